"""Command ``top``: live status with rates."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from consumer.cli.command_frame import run_with_store
from consumer.cli.options import Config, Json
from consumer.cli.render.output import console, make_table
from consumer.cli.status import current_status, print_status

if TYPE_CHECKING:
    from rich.console import RenderableType

    from consumer.inspection.status import ServiceStatus
    from consumer.ports.store import Store
    from consumer.settings import Settings

__all__ = ["top"]


def top(
    config: Config = None,
    json: Json = False,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between updates.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Print once, like `status`.")] = False,
) -> None:
    """Show the status live, with rates, until Ctrl-C.

    Shows lease, channels, handlers and open reconcile tasks. Prints once if standard output is not a terminal.

    Example: cadence-consumer top --every 5
    """
    if not sys.stdout.isatty() or once or json:
        print_status(run_with_store(config, current_status), json=json)
        return
    with contextlib.suppress(KeyboardInterrupt):  # the intended way to stop
        run_with_store(config, lambda settings, store: _watch(settings, store, every))


async def _watch(settings: Settings, store: Store, every: float) -> None:
    import asyncio

    from rich.live import Live

    from consumer.errors import StoreUnavailable

    previous = current = await current_status(settings, store)
    with Live(_frame(current, None, ""), console=console(), auto_refresh=False, screen=True) as live:
        while True:
            await asyncio.sleep(every)
            store_error = ""
            try:
                previous, current = current, await current_status(settings, store)
            except StoreUnavailable as error:
                # The last status remains on the screen, with its time.
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
        head.append(Text(f"{store_error}; last status read at {iso(current.at_ms)}", "bold red"))
    return Group(*head, *(make_table(columns, rows) for columns, rows in tables(current, rates)))
