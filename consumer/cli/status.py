"""Command ``status``: state of the service, from the store alone.

It shows the same on every machine that can reach the store, whether or not the service runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from consumer.cli.command_frame import run_with_store
from consumer.cli.options import Config, Json
from consumer.cli.render.output import print_json, print_message, table

if TYPE_CHECKING:
    from consumer.inspection.status import ServiceStatus
    from consumer.ports.store import Store
    from consumer.settings import Settings

__all__ = ["current_status", "print_status", "status"]


def status(config: Config = None, json: Json = False) -> None:
    """Show lease, channels, journal, handlers and open reconcile tasks.

    Example: cadence-consumer status --json
    """
    print_status(run_with_store(config, current_status), json=json)


async def current_status(settings: Settings, store: Store) -> ServiceStatus:
    """Read the present status from the store."""
    from consumer.clock import SystemClock
    from consumer.inspection.status import read_status

    return await read_status(store, settings.channels, settings.enabled_handlers(), SystemClock().wall_ms())


def print_status(current: ServiceStatus, *, json: bool) -> None:
    """Print a status, as tables or as JSON."""
    from consumer.cli.render.status import header_lines, tables

    if json:
        print_json(current.document())
        return
    for line in header_lines(current):
        print_message(line)
    for number, (columns, rows) in enumerate(tables(current)):
        if number:
            typer.echo()
        table(columns, rows)
