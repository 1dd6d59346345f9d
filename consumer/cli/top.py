"""``top``: how it stands, again and again, with what moves a second."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from consumer.cli.options import Config, Json, settings_and_store
from consumer.cli.render.output import console, make_table
from consumer.cli.status import current_status, print_status

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType

    from consumer.inspection.status import ServiceStatus

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
        print_status(await current_status(settings, store), json=json)


async def _watch(config: Path | None, every: float) -> None:
    import asyncio

    from rich.live import Live

    from consumer.errors import StoreUnavailable

    async with settings_and_store(config) as (settings, store):
        previous = current = await current_status(settings, store)
        with Live(_frame(current, None, ""), console=console(), auto_refresh=False, screen=True) as live:
            while True:
                await asyncio.sleep(every)
                store_error = ""
                try:
                    previous, current = current, await current_status(settings, store)
                except StoreUnavailable as error:
                    # What was seen last stays, and says that it is old.
                    store_error = str(error)
                live.update(_frame(current, previous, store_error), refresh=True)


def _frame(current: ServiceStatus, previous: ServiceStatus | None, store_error: str) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from consumer.cli.render.status import header_lines, rates_between, tables
    from consumer.clock import iso

    rates = rates_between(previous, current) if previous is not None and not store_error else None
    first, *more = header_lines(current, rates)
    head = [Text(first, "bold"), *(Text(line) for line in more)]
    if store_error:
        head.append(Text(f"{store_error}; this is how it stood at {iso(current.at_ms)}", "bold red"))
    return Group(*head, *(make_table(columns, rows) for columns, rows in tables(current, rates)))
