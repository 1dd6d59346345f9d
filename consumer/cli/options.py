"""Options that several commands share, and how they get at settings.

Commands that only read the store need no Salesforce credentials, so that the person with the pager can look without having them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from consumer.settings import Settings

__all__ = [
    "Config",
    "Json",
    "instant_ms",
    "read_settings",
    "record_id",
    "settings_without_credentials",
]

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        envvar="CADENCE_CONFIG",
        help="TOML file; CADENCE_<SECTION>__<KEY> variables win over it.",
    ),
]

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


def read_settings(config: Path | None, *, connects: bool = False) -> Settings:
    """The settings of this process.

    Args:
        config: the file, if any.
        connects: whether the command talks to Salesforce.

    Raises:
        SettingsError: every problem at once.
    """
    from consumer.settings import load_settings

    return load_settings(config, os.environ, connects=connects)


def settings_without_credentials(config: Path | None) -> Settings | None:
    """What can be used of settings that do not say how to sign in; None when nothing can.

    What does not need Salesforce is worth knowing in the same attempt.
    """
    from consumer.errors import SettingsError

    try:
        return read_settings(config)
    except SettingsError:
        return None


def record_id(text: str) -> str:
    """The 18-character id in what somebody pasted.

    Raises:
        typer.BadParameter: there is none.
    """
    from consumer.domain.record_ids import parse_record_id

    try:
        return parse_record_id(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def instant_ms(text: str, option: str) -> int:
    """The wall milliseconds of a time in ISO 8601 (UTC where it names no zone), or of so long ago, as in ``90m``.

    Raises:
        typer.BadParameter: it is neither.
    """
    from datetime import UTC, datetime

    from consumer.clock import SystemClock, to_ms
    from consumer.durations import parse_ms

    try:
        return SystemClock().wall_ms() - parse_ms(text)
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise typer.BadParameter(
            f'{text!r} is neither a time such as "2026-01-31T09:30:00Z" nor a span such as "2h"',
            param_hint=option,
        ) from None
    return to_ms(at if at.tzinfo else at.replace(tzinfo=UTC))
