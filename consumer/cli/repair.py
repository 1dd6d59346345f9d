"""Command ``repair``: reconcile everything that changed since a time over REST.

The command stores reconcile tasks, which survive a restart: the lease holder reads both objects page by page beside the stream. Unknown
changes become lifecycle events with ``origin`` ``repair``; known ones change nothing.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consumer.cli.command_frame import run_with_store
from consumer.cli.error_reporting import fail
from consumer.cli.options import Config, Json, instant_ms
from consumer.cli.render.output import print_json, print_message
from consumer.process import ExitCode

if TYPE_CHECKING:
    from consumer.domain.reconcile_task import ReconcileTask
    from consumer.ports.store import Store

__all__ = ["repair"]

POLL_INTERVAL_S = 0.5
PAGE_SIZE = 1_000


def repair(
    since: Annotated[
        str,
        typer.Option(
            "--since",
            metavar="TIME",
            help="Start of the period to reconcile: ISO 8601, or 2h for two hours ago.",
        ),
    ],
    wait: Annotated[
        bool, typer.Option(help="Wait and show progress; the repair continues without it.")
    ] = True,
    config: Config = None,
    json: Json = False,
) -> None:
    """Reconcile over REST everything that changed since a time.

    The service does it beside the stream; changes that it does not know become lifecycle events.

    Example: cadence-consumer repair --since 6h
    """
    from consumer.clock import SystemClock

    since_ms, now_ms = instant_ms(since, "--since"), SystemClock().wall_ms()
    if since_ms > now_ms:
        raise fail("--since is in the future; give a time in the past", ExitCode.USAGE)
    run_with_store(
        config, lambda _, store: _repair(store, since_ms, now_ms, wait=wait, json=json), read_only=False
    )


async def _repair(store: Store, since_ms: int, now_ms: int, *, wait: bool, json: bool) -> None:
    from consumer.clock import iso
    from consumer.domain.objects import ENTITIES
    from consumer.domain.reconcile_task import window_task

    reconcile_tasks = [window_task("repair", iso(now_ms), entity, since_ms, 0) for entity in ENTITIES]
    _, last = await store.bounds()
    for task in reconcile_tasks:
        await store.add_reconcile_task(task.id, task.encode())
    if (await store.lease()).holder is None:
        print_message("no replica is running; the repair starts when one does")
    if not wait:
        return
    await _show_progress(store, reconcile_tasks)
    for report in await _reports(store, {task.id for task in reconcile_tasks}, last):
        if json:
            print_json(report)
        else:
            print_message(
                f"{report['entity']}: {report['fetched']} rows read, {report['changed']} records changed, "
                f"{report['deleted']} of them deleted, {report['events']} events"
            )


async def _show_progress(store: Store, reconcile_tasks: list[ReconcileTask]) -> None:
    """Show the progress of the tasks until all of them have ended."""
    import asyncio

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    from consumer.domain.reconcile_task import ReconcileTask

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rows]} rows"))
    with Progress(
        *columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True
    ) as bar:
        bar_tasks = {task.id: bar.add_task(task.entity, total=1_000, rows=0) for task in reconcile_tasks}
        while True:
            remaining = await store.reconcile_tasks()
            for task in reconcile_tasks:
                if task.id in remaining:
                    current = ReconcileTask.decode(remaining[task.id])
                    bar.update(
                        bar_tasks[task.id], completed=int((current.done or 0) * 1_000), rows=current.fetched
                    )
                else:
                    bar.update(bar_tasks[task.id], completed=1_000)
            if not remaining.keys() & bar_tasks.keys():
                return
            await asyncio.sleep(POLL_INTERVAL_S)


async def _reports(store: Store, task_ids: set[str], after: int) -> list[dict[str, Any]]:
    """Collect the reports that the service journaled about the tasks."""
    from consumer import event_types as v
    from consumer.domain.lifecycle_events import LifecycleEvent

    reports = []
    while entries := await store.read(after, PAGE_SIZE):
        after = entries[-1].offset
        for entry in entries:
            concerns_task = any(f"/{task_id}/" in entry.id for task_id in task_ids)
            if entry.type == v.SYSTEM_REPAIRED and concerns_task:
                event = LifecycleEvent.from_journal(entry.data)
                reports.append(dict((event.after.model_extra if event.after is not None else None) or {}))
    return reports
