"""``handlers test``: what a handler would do with events of the journal, without sending anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast

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
"""Entries at the end of the journal among which the newest wanted ones are looked for."""
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
    """Call a handler with events of the journal and print what it would have sent by ctx.http and ctx.actions.

    Requests are answered 200, actions succeed, ctx.dry_run is true, places and dead letters stay as they are. What a handler does by other
    means, such as a connection of its own, it really does.

    Example: cadence-consumer handlers test notify -n 3
    """

    async def count_failures(settings: Settings, store: Store) -> int:
        from consumer.delivery.loading import load_handlers
        from consumer.telemetry.logging import Redactor, configure_logging

        # What is sent is told; what the handler logs of it would say it twice.
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
    """A handler that is tried out."""

    def __init__(self, loaded: LoadedHandler, store: Store, *, json: bool) -> None:
        self._loaded = loaded
        self._store = store
        self._json = json
        self._sent: list[str] = []

    async def run(self, entries: list[JournalEntry]) -> int:
        """Call it with every entry; how many calls failed."""
        import asyncio

        from consumer.clock import SystemClock
        from consumer.delivery.filters import EventFilter
        from consumer.delivery.retry import one_line
        from consumer.domain.lifecycle_events import LifecycleEvent

        event_filter = EventFilter(self._loaded, SystemClock().wall_ms)
        handler, failures = self._loaded.handler, 0
        async with asyncio.timeout(self._loaded.spec.timeout / 1000):
            await handler.open(self._loaded.settings, self._context(None))
        try:
            for entry in entries:
                self._sent.clear()
                event = LifecycleEvent.from_json(entry.data)
                outcome = "done"
                try:
                    if (why := event_filter.rejected_by(event, replayed=True)) is not None:
                        outcome = f"left out: {why}"
                    else:
                        await self._call(event)
                except Exception as error:  # noqa: BLE001 - a handler may raise anything; it is what the trial is for
                    failures += 1
                    outcome = f"failed: {one_line(error)}"
                self._print_outcome(entry, outcome)
        finally:
            await handler.close()
        return failures

    async def _call(self, event: LifecycleEvent) -> None:
        import asyncio

        from consumer.plugin import BatchHandler

        handler, context = self._loaded.handler, self._context(event.id)
        async with asyncio.timeout(self._loaded.spec.timeout / 1000):
            if isinstance(handler, BatchHandler):
                await handler.handle_batch([event], context)
            else:
                await handler.handle(event, context)

    def _context(self, event_id: str | None) -> Any:
        import structlog

        from consumer.clock import SystemClock
        from consumer.delivery.context_store import HandlerContextStore
        from consumer.delivery.dry_run import RecordedHttp, RecordingActionSender
        from consumer.plugin import Context

        http = cast("ClientSession", RecordedHttp(self._sent.append))
        return Context(
            handler=self._loaded.name,
            log=structlog.get_logger("handler"),
            http=lambda: http,
            event_id=event_id,
            action_sender=RecordingActionSender(self._sent.append),
            dry_run=True,
            memory=HandlerContextStore(self._store, SystemClock()),
        )

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
