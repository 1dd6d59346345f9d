"""``top``: how it stands, again and again, with what moves a second."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from consumer.cli.options import Config, Json, settings_and_store
from consumer.cli.output import console, table_of
from consumer.cli.status import look, show

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType

    from consumer.standing import Standing

__all__ = ["top"]


def top(
    config: Config = None,
    json: Json = False,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks at the store.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="One look, as `status` prints it.")] = False,
) -> None:
    """Watch it live until Ctrl-C: lease, channels, handlers and what is to be mended, with rates. One look where there is no terminal.

    Example: cadence-consumer top --every 5
    """
    import asyncio

    live = sys.stdout.isatty() and not once and not json
    try:
        asyncio.run(_watch(config, every) if live else _once(config, json=json))
    except KeyboardInterrupt:
        # The way to end it, not a failure.
        return


async def _once(config: Path | None, *, json: bool) -> None:
    async with settings_and_store(config) as (settings, store):
        show(await look(settings, store), json=json)


async def _watch(config: Path | None, every: float) -> None:
    import asyncio

    from rich.live import Live

    from consumer.errors import StoreUnavailable

    async with settings_and_store(config) as (settings, store):
        before = now = await look(settings, store)
        with Live(_frame(now, None, ""), console=console(), auto_refresh=False, screen=True) as live:
            while True:
                await asyncio.sleep(every)
                trouble = ""
                try:
                    before, now = now, await look(settings, store)
                except StoreUnavailable as error:
                    # What was seen last stays, and says that it is old.
                    trouble = str(error)
                live.update(_frame(now, before, trouble), refresh=True)


def _frame(now: Standing, before: Standing | None, trouble: str) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from consumer.cli.standing_view import headline, pace_between, tables
    from consumer.clock import iso

    pace = pace_between(before, now) if before is not None and not trouble else None
    first, *more = headline(now, pace)
    head = [Text(first, "bold"), *(Text(line) for line in more)]
    if trouble:
        head.append(Text(f"{trouble}; this is how it stood at {iso(now.at_ms)}", "bold red"))
    return Group(*head, *(table_of(columns, rows) for columns, rows in tables(now, pace)))
