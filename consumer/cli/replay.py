"""Command ``replay``: deliver a range of the journal to handlers again.

The command is stored, so it survives a restart: the lease holder delivers the range beside new events, in order per run and within the
handler's limits, with ``ctx.replayed`` set, and saves its progress in a cursor. Salesforce is not involved. Events beyond the handler's own
cursor are not replayed, because they are delivered anyway.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from consumer.cli.command_frame import run_with_store
from consumer.cli.error_reporting import fail
from consumer.cli.handler_commands import commands, require_handler
from consumer.cli.options import Config, Json, instant_ms
from consumer.cli.render.output import print_json, print_message
from consumer.process import ExitCode

if TYPE_CHECKING:
    from consumer.delivery.loading import LoadedHandler
    from consumer.ports.delivery import HandlerCommand
    from consumer.ports.journal import JournalEntry
    from consumer.ports.store import Store
    from consumer.settings import Settings

__all__ = ["replay"]

PREVIEW_EVENTS = 10
"""Number of events that a dry run prints for each handler."""
POLL_INTERVAL_S = 0.5
READ_LIMIT = 1_000


@dataclass(frozen=True)
class _OffsetRange:
    after: int
    through: int


def replay(
    handler: Annotated[
        list[str] | None, typer.Option("--handler", help="Replay to this handler; can be repeated.")
    ] = None,
    all_handlers: Annotated[
        bool, typer.Option("--all-handlers", help="Replay to every configured handler.")
    ] = False,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="TIME",
            help="Start at the first event since this time: ISO 8601, or 2h for two hours ago.",
        ),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            "--checkpoint", metavar="NAME", help="Start where the journal ended at this named checkpoint."
        ),
    ] = None,
    from_offset: Annotated[
        int | None, typer.Option("--from-offset", min=1, help="Start at this journal offset.")
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="End of the range; default: the newest event.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only count the events, and print the first of them.")
    ] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Cancel the replays in progress.")] = False,
    wait: Annotated[
        bool, typer.Option(help="Wait and show progress; the replay continues without it.")
    ] = True,
    config: Config = None,
    json: Json = False,
) -> None:
    """Deliver events of the journal again, with ctx.replayed set.

    Example: cadence-consumer replay --handler crm --from 2026-01-31T09:00:00Z --dry-run
    """
    if bool(handler) == all_handlers:
        raise fail("give either --handler NAME or --all-handlers", ExitCode.USAGE)
    if not cancel and [from_ is not None, checkpoint is not None, from_offset is not None].count(True) != 1:
        raise fail(
            "give exactly one of --from TIME, --checkpoint NAME and --from-offset OFFSET", ExitCode.USAGE
        )

    async def run_or_cancel(settings: Settings, store: Store) -> None:
        command = _Replay(settings, store, handler, json=json)
        await command.require_handlers()
        if cancel:
            await command.cancel()
            return
        offset_range = await _offset_range(store, from_, checkpoint, from_offset, to)
        await command.run(offset_range, dry_run=dry_run, wait=wait)

    run_with_store(config, run_or_cancel, read_only=dry_run)


async def _offset_range(
    store: Store, from_: str | None, checkpoint: str | None, from_offset: int | None, to: str | None
) -> _OffsetRange:
    from consumer.clock import from_ms
    from consumer.delivery.start_offset import first_offset

    first, last = await store.bounds()
    if from_ is not None:
        after = await first_offset(store, from_ms(instant_ms(from_, "--from")))
    elif from_offset is not None:
        after = from_offset - 1
    else:
        assert checkpoint is not None
        after = await _offset_at(store, checkpoint)
    through = last if to is None else await first_offset(store, from_ms(instant_ms(to, "--to")))
    if after + 1 < first <= last:
        print_message(f"the journal begins at offset {first}: retention has removed earlier events")
    return _OffsetRange(max(after, first - 1), through)


async def _offset_at(store: Store, name: str) -> int:
    """Find the end of the journal at a named checkpoint, the earliest of its channels."""
    saved = await store.saved_checkpoints()
    if name not in saved:
        raise fail(f"there is no checkpoint {name}; saved checkpoints: {', '.join(saved) or 'none'}")
    positions = {(channel, state.position) for channel, state in saved[name].items()}
    offsets = {
        (past.channel, past.position): past.offset
        for past in reversed(await store.history(None, sys.maxsize >> 16))
        if (past.channel, past.position) in positions
    }
    if len(offsets) < len(positions):
        raise fail(f"the history does not reach back to checkpoint {name}; use --from TIME")
    return min(offsets.values(), default=0)


class _Replay:
    """Operations of one replay command on the store."""

    def __init__(self, settings: Settings, store: Store, names: list[str] | None, *, json: bool) -> None:
        self._settings = settings
        self._store = store
        self._names = names or list(settings.handlers_to_run())
        self._json = json

    async def require_handlers(self) -> None:
        for name in self._names:
            await require_handler(self._settings, self._store, name)

    async def cancel(self) -> None:
        for name in self._names:
            replays = [command for command in await commands(self._store, name) if command.kind == "replay"]
            for command in replays:
                await self._store.remove_command(command, progress=False)
            print_message(f"{name}: {len(replays)} replay{'s' if len(replays) != 1 else ''} cancelled")

    async def run(self, requested_range: _OffsetRange, *, dry_run: bool, wait: bool) -> None:
        submitted = []
        for name in self._names:
            handler_range = await self._range_for(name, requested_range)
            if dry_run:
                await self._show(name, handler_range)
            elif handler_range.after < handler_range.through:
                submitted.append(await self._submit(name, handler_range))
        if submitted and wait:
            await self._show_progress(submitted)

    async def _range_for(self, name: str, requested_range: _OffsetRange) -> _OffsetRange:
        from consumer.delivery.cursor import Cursor

        saved = await self._store.cursor(name)
        through = (
            requested_range.through
            if saved is None
            else min(requested_range.through, Cursor.restore(name, saved).offset)
        )
        if through < requested_range.through:
            print_message(f"{name} is at offset {through}: later events are delivered anyway")
        if requested_range.after >= through:
            print_message(f"{name}: there is nothing to replay")
        return _OffsetRange(requested_range.after, through)

    async def _submit(self, name: str, offset_range: _OffsetRange) -> HandlerCommand:
        from consumer.clock import SystemClock
        from consumer.ports.delivery import HandlerCommand

        now_ms = SystemClock().wall_ms()
        command = HandlerCommand(
            f"replay-{now_ms:x}-{name}", name, "replay", now_ms, offset_range.after, offset_range.through
        )
        await self._store.put_command(command)
        print_message(
            f"{name}: offsets {offset_range.after + 1} to {offset_range.through} will be delivered again ({command.id})"
        )
        if (await self._store.lease()).holder is None:
            print_message("no replica is running; the replay starts when one does")
        return command

    async def _show(self, name: str, offset_range: _OffsetRange) -> None:
        counts: Counter[str] = Counter()
        preview: list[JournalEntry] = []
        loaded = _load_configured(self._settings, name)
        after = offset_range.after
        while after < offset_range.through and (entries := await self._store.read(after, READ_LIMIT)):
            after = entries[-1].offset
            matching = [
                entry
                for entry in entries
                if entry.offset <= offset_range.through and _would_receive(loaded, entry)
            ]
            counts.update(entry.type for entry in matching)
            preview += matching[: PREVIEW_EVENTS - len(preview)]
        for entry in preview:
            if self._json:
                print_json(
                    {
                        "kind": "event",
                        "handler": name,
                        "offset": entry.offset,
                        "id": entry.id,
                        "type": entry.type,
                        "run": entry.tracker_id,
                    }
                )
            else:
                typer.echo(f"{entry.offset}  {entry.type}  {entry.tracker_id or '-'}  {entry.id}")
        if self._json:
            print_json(
                {
                    "kind": "count",
                    "handler": name,
                    "after": offset_range.after,
                    "through": offset_range.through,
                    "events": counts.total(),
                    "types": dict(counts),
                }
            )
        else:
            kinds = ", ".join(f"{count} {type_}" for type_, count in counts.most_common())
            print_message(
                f"{name}: {counts.total()} events would be delivered again{': ' if kinds else ''}{kinds}"
            )

    async def _show_progress(self, submitted: list[HandlerCommand]) -> None:
        import asyncio

        from consumer.delivery.cursor import Cursor

        reported: dict[str, int] = {}
        while submitted:
            for command in list(submitted):
                if command not in await commands(self._store, command.handler):
                    submitted.remove(command)
                    self._report_progress(command, command.through, done=True)
                    continue
                saved = await self._store.cursor(command.cursor)
                offset = command.after if saved is None else Cursor.restore(command.handler, saved).offset
                tenth = (offset - command.after) * 10 // (command.through - command.after)
                if reported.get(command.id) != tenth:
                    reported[command.id] = tenth
                    self._report_progress(command, offset, done=False)
            if submitted:
                await asyncio.sleep(POLL_INTERVAL_S)

    def _report_progress(self, command: HandlerCommand, offset: int, *, done: bool) -> None:
        if self._json:
            print_json(
                {
                    "kind": "progress",
                    "handler": command.handler,
                    "id": command.id,
                    "offset": offset,
                    "after": command.after,
                    "through": command.through,
                    "done": done,
                }
            )
        else:
            percent = (offset - command.after) * 100 // (command.through - command.after)
            print_message(
                f"{command.handler}: done"
                if done
                else f"{command.handler}: {percent} %, at offset {offset} of {command.through}"
            )


def _load_configured(settings: Settings, name: str) -> LoadedHandler | None:
    """Load a handler for its filters; None if it is no longer configured."""
    from consumer.delivery.loading import load_handlers

    spec = settings.handlers_to_run().get(name)
    return None if spec is None else next(iter(load_handlers({name: spec})), None)


def _would_receive(loaded: LoadedHandler | None, entry: JournalEntry) -> bool:
    from consumer.clock import SystemClock
    from consumer.delivery.filters import EventFilter
    from consumer.domain.lifecycle_events import LifecycleEvent

    if loaded is None or entry.type not in loaded.types:
        return False
    event = LifecycleEvent.from_json(entry.data)
    return EventFilter(loaded, SystemClock().wall_ms).rejected_by(event, replayed=True) is None
