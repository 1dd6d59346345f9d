"""``status``: how it stands, from the store alone, whoever runs the service and wherever."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from consumer.cli.options import Config, Json, settings_and_store
from consumer.cli.output import json_line, say, table

if TYPE_CHECKING:
    from pathlib import Path

    from consumer.ports import Store
    from consumer.settings import Settings
    from consumer.standing import Standing

__all__ = ["look", "show", "status"]


def status(config: Config = None, json: Json = False) -> None:
    """Show who holds the lease, how far each channel was read, where each handler is, and what is still to be mended.

    Example: cadence-consumer status --json
    """
    import asyncio

    show(asyncio.run(_read(config)), json=json)


async def _read(config: Path | None) -> Standing:
    async with settings_and_store(config) as (settings, store):
        return await look(settings, store)


async def look(settings: Settings, store: Store) -> Standing:
    """How it stands now."""
    from consumer.clock import SystemClock
    from consumer.standing import read_standing

    return await read_standing(store, settings.channels, settings.enabled_handlers(), SystemClock().wall_ms())


def show(now: Standing, *, json: bool) -> None:
    """Print it."""
    from consumer.cli.standing_view import headline, tables

    if json:
        json_line(now.document())
        return
    for line in headline(now):
        say(line)
    for number, (columns, rows) in enumerate(tables(now)):
        if number:
            typer.echo()
        table(columns, rows)
