"""Command ``handlers test``: a dry run of a handler with events of the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import typer

from consumer.cli.command_frame import run_with_store
from consumer.cli.error_reporting import fail
from consumer.cli.options import Config, Json, record_id
from consumer.cli.render.output import print_json, print_message
from consumer.process import ExitCode

if TYPE_CHECKING:
    from aiohttp import ClientSession

    from consumer.delivery.loading import LoadedHandler
    from consumer.domain.lifecycle_events import LifecycleEvent
    from consumer.ports.journal import JournalEntry
    from consumer.ports.store import Store
    from consumer.settings import Settings

__all__ = ["dry_run"]

SEARCHED_ENTRIES = 10_000
"""Number of entries at the end of the journal that are searched.

The newest events of the handler's types are looked for among them.
"""
READ_LIMIT = 1_000


def dry_run(
    name: Annotated[str, typer.Argument(metavar="HANDLER", help="Its name in the settings.")],
    number: Annotated[int, typer.Option("-n", min=1, help="How many events.")] = 10,
    from_offset: Annotated[
        int | None,
        typer.Option("--from-offset", min=1, help="From this journal offset; default: the newest."),
    ] = None,
    run: Annotated[str | None, typer.Option("--run", metavar="ID", help="Only events of this run.")] = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Call a handler with events of the journal and print what it would send.

    Requests by ctx.http get a response of 200, ctx.actions succeed, ctx.dry_run is true; cursors and dead letters stay as they are. Other
    effects of the handler, such as those of a connection of its own, are real.

    Example: cadence-consumer handlers test notify -n 3
    """

    async def count_failures(settings: Settings, store: Store) -> int:
        from consumer.delivery.loading import load_handlers
        from consumer.telemetry.logging import Redactor, configure_logging

        # Requests and actions are printed; a log line about each would show it twice.
        configure_logging("warning", settings.log.format, Redactor(settings.secrets()))
        specs = settings.handlers_to_run()
        if name not in specs:
            raise fail(f"there is no handler {name} in the settings; there are {', '.join(specs)}")
        loaded = load_handlers({name: specs[name].model_copy(update={"enabled": True})})[0]
        entries = await _select_entries(store, loaded, number, from_offset, record_id(run) if run else None)
        if not entries:
            print_message("the journal holds no event that it would get")
        return await _DryRun(loaded, store, json=json).run(entries)

    if run_with_store(config, count_failures):
        raise typer.Exit(ExitCode.FAILED)


async def _select_entries(
    store: Store, loaded: LoadedHandler, number: int, from_offset: int | None, run: str | None
) -> list[JournalEntry]:
    first, last = await store.bounds()
    after = max(first - 1, last - SEARCHED_ENTRIES) if from_offset is None else from_offset - 1
    found: list[JournalEntry] = []
    while entries := await store.read(after, READ_LIMIT):
        after = entries[-1].offset
        found += [each for each in entries if each.type in loaded.types and run in (None, each.tracker_id)]
        if from_offset is not None and len(found) >= number:
            return found[:number]
    return found[-number:]


class _DryRun:
    """Calls of one handler that send nothing and store nothing."""

    def __init__(self, loaded: LoadedHandler, store: Store, *, json: bool) -> None:
        from consumer.clock import SystemClock
        from consumer.delivery.context_store import HandlerContextStore
        from consumer.delivery.dry_run import RecordedHttp, RecordingActionSender
        from consumer.delivery.filters import EventFilter
        from consumer.delivery.invocation import HandlerInvoker

        clock = SystemClock()
        self._json = json
        self._sent: list[str] = []
        http = cast("ClientSession", RecordedHttp(self._sent.append))
        self._event_filter = EventFilter(loaded, clock.wall_ms)
        self._invoker = HandlerInvoker(
            loaded,
            lambda: http,
            RecordingActionSender(self._sent.append),
            HandlerContextStore(store, clock),
            dry_run=True,
        )

    async def run(self, entries: list[JournalEntry]) -> int:
        """Call the handler with every entry; the number of calls that failed."""
        from consumer.domain.lifecycle_events import LifecycleEvent

        failures = 0
        await self._invoker.open()
        try:
            for entry in entries:
                self._sent.clear()
                result, failed = await self._attempt(LifecycleEvent.from_json(entry.data))
                failures += failed
                self._print_outcome(entry, result)
        finally:
            await self._invoker.close()
        return failures

    async def _attempt(self, event: LifecycleEvent) -> tuple[str, bool]:
        """Filter one event and call the handler; the result, and true if it failed."""
        from consumer.delivery.retry import Success, one_line

        try:
            rejected_by = self._event_filter.rejected_by(event, replayed=True)
        except Exception as error:  # noqa: BLE001 - a predicate may raise anything, and a dry run is to show it
            return f"failed: {one_line(error)}", True
        if rejected_by is not None:
            return f"left out: {rejected_by}", False
        [outcome] = await self._invoker.call([event])
        if isinstance(outcome, Success):
            return "done", False
        return f"failed: {outcome.error}", True

    def _print_outcome(self, entry: JournalEntry, outcome: str) -> None:
        if self._json:
            print_json(
                {
                    "offset": entry.offset,
                    "id": entry.id,
                    "type": entry.type,
                    "outcome": outcome,
                    "sent": list(self._sent),
                }
            )
            return
        typer.echo(f"{entry.offset}  {entry.type}  {entry.tracker_id or '-'}  {outcome}")
        for line in self._sent:
            typer.echo(f"    {line}")
