"""Options that several commands share, and access to the settings.

Commands that only read the store need no Salesforce credentials, so that an operator on call can use them without.
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
        help="Settings file in TOML; CADENCE_<SECTION>__<KEY> variables override it.",
    ),
]

Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]


def read_settings(config: Path | None, *, connects: bool = False) -> Settings:
    """Load the settings from the file and the environment.

    Args:
        config: the file, if any.
        connects: whether the command connects to Salesforce.

    Raises:
        SettingsError: the settings are invalid; lists every problem.
    """
    from consumer.settings import load_settings

    return load_settings(config, os.environ, connects=connects)


def settings_without_credentials(config: Path | None) -> Settings | None:
    """Load settings without checking credentials; None if anything else is invalid.

    Used to report problems that do not concern Salesforce in the same attempt.
    """
    from consumer.errors import SettingsError

    try:
        return read_settings(config)
    except SettingsError:
        return None


def record_id(text: str) -> str:
    """Parse an id of 15 or 18 characters, or a record's URL, to 18 characters.

    Raises:
        typer.BadParameter: the text contains no record id.
    """
    from consumer.domain.record_ids import parse_record_id

    try:
        return parse_record_id(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def instant_ms(text: str, option: str) -> int:
    """Parse a time in ISO 8601 (default UTC), or an age such as ``90m``, to epoch ms.

    Raises:
        typer.BadParameter: the text is neither.
    """
    from datetime import UTC, datetime

    from consumer.clock import SystemClock, to_ms
    from consumer.durations import parse_ms

    try:
        return SystemClock().wall_ms() - parse_ms(text)
    except ValueError:
        pass
    try:
        instant = datetime.fromisoformat(text.strip())
    except ValueError:
        raise typer.BadParameter(
            f'{text!r} is neither a time such as "2026-01-31T09:30:00Z" nor an age such as "2h"',
            param_hint=option,
        ) from None
    return to_ms(instant if instant.tzinfo else instant.replace(tzinfo=UTC))
