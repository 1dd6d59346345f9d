"""Explanation of one lifecycle event: its cause, order and delivery.

Of the change that caused the event the journal has the fields before and after, the user, and the position in the stream and in its
transaction; the message itself is stored only if it could not be understood. Of the delivery, each handler's cursor has whether the event
is acknowledged, not how: a handler that began later, or that left the event out, has acknowledged it as well. These cases are distinguished
where possible: the filters are evaluated again, and blocked runs and dead letters have rows of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

import orjson

from consumer.clock import to_ms
from consumer.delivery.cursor import Cursor
from consumer.delivery.filters import EventFilter
from consumer.delivery.loading import LoadedHandler
from consumer.delivery.retry import one_line
from consumer.domain.change_events import OrderKey
from consumer.domain.lifecycle_events import LifecycleEvent, Origin
from consumer.domain.record_ids import is_record_id
from consumer.domain.record_state import RecordState
from consumer.ingest.epochs import Epochs
from consumer.ports.delivery import (
    HandlerDeadLetter,
    PendingCommands,
    SavedBlockedRun,
    SavedCursor,
)
from consumer.ports.journal import JournalEntry
from consumer.ports.store import Store

__all__ = ["EventExplanation", "HandlerOutcome", "HandlerVerdict", "describe_origin", "explain"]

PAGE_SIZE: Final = 1_000
MAX_DEAD_LETTERS: Final = 1_000_000
"""More dead letters than one handler can have."""


class HandlerVerdict(StrEnum):
    """Outcome of an event at one handler."""

    ACKNOWLEDGED = "acknowledged"
    """The handler's cursor has acknowledged it."""
    FILTERED_OUT = "filtered_out"
    """The handler's settings or predicate leave it out."""
    WAITING_FOR_RETRY = "waiting_for_retry"
    """An attempt has failed, and another will follow."""
    BEHIND_BLOCKED = "behind_blocked_run"
    """An earlier event of its run waits for another attempt."""
    WAITING = "waiting"
    """The handler has not reached it."""
    DEAD_LETTER = "dead_letter"
    """The handler gave it up."""
    NEW = "new"
    """The handler has no cursor yet."""


@dataclass(frozen=True, slots=True)
class HandlerOutcome:
    """Delivery of the event to one handler.

    Attributes:
        handler: its name in the settings.
        verdict: outcome of the event.
        detail: the outcome as a sentence.
        attempts: number of attempts; known of blocked runs and dead letters only.
        error: the last failure, one line.
        at_ms: of a dead letter, when it was given up; of a blocked run, when the next attempt is due.
    """

    handler: str
    verdict: HandlerVerdict
    detail: str
    attempts: int | None = None
    error: str | None = None
    at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class EventExplanation:
    """Explanation of one event, from the store.

    Attributes:
        event: the event.
        offset: offset in the journal; None if retention has removed it and a dead letter still has it.
        key: epoch, commit number and sequence number; None unless it came with the stream.
        overtaken_by: of a late event, the newest event of its run that had been journaled before it.
        after: the event of its run before it in the journal.
        same_change: ids of the other events that the same change caused.
        still_current: fields written by the change that nothing newer has overwritten; None if the record is no longer known.
        handlers: outcome at each handler.
    """

    event: LifecycleEvent
    offset: int | None
    key: OrderKey | None
    overtaken_by: LifecycleEvent | None
    after: LifecycleEvent | None
    same_change: tuple[str, ...]
    still_current: tuple[str, ...] | None
    handlers: tuple[HandlerOutcome, ...] = field(default=())

    def document(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "event": orjson.loads(self.event.to_json()),
            "offset": self.offset,
            "key": self.key,
            "late": self.event.late,
            "overtaken_by": self.overtaken_by.id if self.overtaken_by is not None else None,
            "after": self.after.id if self.after is not None else None,
            "same_change": self.same_change,
            "still_current": self.still_current,
            "handlers": [asdict(outcome) for outcome in self.handlers],
        }


async def explain(
    store: Store, event_id_or_offset: str, loaded: Sequence[LoadedHandler], now_ms: int
) -> EventExplanation | None:
    """Explain one event; None if the store does not have it.

    Args:
        store: open store.
        event_id_or_offset: the event's id, or its offset in the journal.
        loaded: the enabled handlers that can be loaded.
        now_ms: wall milliseconds.

    Raises:
        StoreUnavailable: the store does not answer.
        StoreForeign: a newer release of this service wrote the store.
    """
    entry = await _find(store, event_id_or_offset)
    dead_letters = await store.handler_dead_letters(None, MAX_DEAD_LETTERS)
    if entry is None:
        # Retention does not wait for dead letters, because they contain their events.
        dead_letter = next(
            (item for item in dead_letters if event_id_or_offset in (item.event_id, str(item.offset))), None
        )
        if dead_letter is None:
            return None
        entry = JournalEntry(
            dead_letter.offset,
            dead_letter.event_id,
            dead_letter.type,
            dead_letter.tracker_id,
            dead_letter.data,
        )
        in_journal = False
    else:
        in_journal = True
    event = LifecycleEvent.from_json(entry.data)
    epochs = Epochs(await store.epochs())
    earlier = [
        LifecycleEvent.from_json(item.data)
        for item in (await store.read_run(entry.tracker_id) if entry.tracker_id else [])
        if item.offset < entry.offset
    ]
    key = _key(event, epochs)
    return EventExplanation(
        event,
        entry.offset if in_journal else None,
        key,
        _overtaking_event(key, earlier, epochs) if event.late else None,
        earlier[-1] if earlier else None,
        await _same_change(store, entry, event),
        await _still_current(store, event, key),
        await _handler_outcomes(
            store, entry, event, loaded, [item for item in dead_letters if item.event_id == entry.id], now_ms
        ),
    )


# ---------------------------------------------------------------- search


async def _find(store: Store, event_id_or_offset: str) -> JournalEntry | None:
    if event_id_or_offset.isdecimal():
        offset = int(event_id_or_offset)
        entries = await store.read(max(offset - 1, 0), 1)
        return next((item for item in entries if item.offset == offset), None)
    # An id contains its record, and the journal has an index of runs; only events of no run need a scan.
    records = [part for part in event_id_or_offset.split("/") if is_record_id(part)]
    known = await store.states(records)
    runs = {*records, *(run for data in known.values() if (run := RecordState.decode(data).tracker_id))}
    for run in runs:
        for entry in await store.read_run(run):
            if entry.id == event_id_or_offset:
                return entry
    first, _ = await store.bounds()
    after = first - 1
    while entries := await store.read(after, PAGE_SIZE):
        for entry in entries:
            if entry.id == event_id_or_offset:
                return entry
        after = entries[-1].offset
    return None


async def _same_change(store: Store, entry: JournalEntry, event: LifecycleEvent) -> tuple[str, ...]:
    """Return the ids that differ in the type alone."""
    if entry.tracker_id is None or not entry.id.endswith(f"/{event.type}"):
        return ()
    change = entry.id.removesuffix(event.type)
    entries = await store.read_run(entry.tracker_id)
    return tuple(
        item.id for item in entries if item.id != entry.id and item.id.removesuffix(item.type) == change
    )


# ---------------------------------------------------------------- order


def _key(event: LifecycleEvent, epochs: Epochs) -> OrderKey | None:
    if event.transaction is None:
        return None
    number = event.transaction.commit_number
    return epochs.epoch_of(number, to_ms(event.time)), number, event.transaction.sequence_number


def _overtaking_event(
    key: OrderKey | None, earlier: Sequence[LifecycleEvent], epochs: Epochs
) -> LifecycleEvent | None:
    if key is None:
        return None
    newer = [(other, item) for item in earlier if (other := _key(item, epochs)) is not None and other > key]
    return max(newer, key=lambda pair: pair[0])[1] if newer else None


async def _still_current(store: Store, event: LifecycleEvent, key: OrderKey | None) -> tuple[str, ...] | None:
    if key is None or event.record_id is None:
        return None
    known = await store.states([event.record_id])
    if event.record_id not in known:
        return None
    fields = RecordState.decode(known[event.record_id]).fields
    return tuple(sorted(name for name, (_, by) in fields.items() if by == key))


# ---------------------------------------------------------------- delivery


async def _handler_outcomes(
    store: Store,
    entry: JournalEntry,
    event: LifecycleEvent,
    loaded: Sequence[LoadedHandler],
    dead_letters: Sequence[HandlerDeadLetter],
    now_ms: int,
) -> tuple[HandlerOutcome, ...]:
    cursors = {name: cursor for name, cursor in (await store.cursors()).items() if "/" not in name}
    by_name = {item.name: item for item in loaded}
    names = [*by_name, *sorted(({*cursors} | {item.handler for item in dead_letters}) - by_name.keys())]
    pending_commands = await store.pending_commands(names)
    outcomes = []
    for name in names:
        dead_letter = next((item for item in dead_letters if item.handler == name), None)
        if dead_letter is not None:
            outcomes.append(await _dead_letter_outcome(store, dead_letter))
            continue
        reason = _rejected_by(by_name.get(name), event, now_ms)
        saved = cursors.get(name)
        if reason is not None and not (saved is None and reason == "max_age"):
            outcomes.append(HandlerOutcome(name, HandlerVerdict.FILTERED_OUT, _REASONS.get(reason, reason)))
        elif saved is None:
            outcomes.append(
                HandlerOutcome(
                    name, HandlerVerdict.NEW, "it has not begun; its setting `start` says where it will"
                )
            )
        else:
            outcome = _cursor_outcome(
                name, saved, await store.blocked_runs(name), entry, pending_commands[name]
            )
            if name not in by_name:
                outcome = replace(outcome, detail=f"{outcome.detail}; the handler is not configured, or off")
            outcomes.append(outcome)
    return tuple(outcomes)


_REASONS: Final = {
    "type": "`on` does not select this type",
    "origin": "`origins` does not include its origin",
    "own_change": "the handler made this change itself (`ignore_own_changes`)",
    "max_age": "it is older than `max_age` by now; it was delivered if the handler reached it earlier",
    "predicate": "the handler's own predicate rejects it",
}


def _rejected_by(handler: LoadedHandler | None, event: LifecycleEvent, now_ms: int) -> str | None:
    """Return why the handler does not get the event; None if it does.

    None as well if the handler's filters are not known.
    """
    if handler is None:
        return None
    if event.type not in handler.types:
        return "type"
    try:
        return EventFilter(handler, lambda: now_ms).rejected_by(event, replayed=False)
    except Exception as error:  # noqa: BLE001 - a predicate may raise anything
        return f"the handler's own predicate raises {one_line(error)}"


async def _dead_letter_outcome(store: Store, dead_letter: HandlerDeadLetter) -> HandlerOutcome:
    redrive_pending = any(
        item.event_id == dead_letter.event_id
        for item in await store.redrives(dead_letter.handler, MAX_DEAD_LETTERS)
    )
    return HandlerOutcome(
        dead_letter.handler,
        HandlerVerdict.DEAD_LETTER,
        "it will be delivered again"
        if redrive_pending
        else "it gave up: `dead-letters redrive` delivers it again",
        dead_letter.attempts,
        dead_letter.error,
        dead_letter.at_ms,
    )


def _cursor_outcome(
    name: str,
    saved: SavedCursor,
    rows: Sequence[SavedBlockedRun],
    entry: JournalEntry,
    pending_commands: PendingCommands,
) -> HandlerOutcome:
    cursor = Cursor.restore(name, saved)
    paused = "; it is paused" if any(command.kind == "pause" for command in pending_commands.commands) else ""
    row = next((item for item in rows if item.tracker_id == entry.tracker_id), None)
    if row is not None and entry.offset == row.first:
        return HandlerOutcome(
            name,
            HandlerVerdict.WAITING_FOR_RETRY,
            f"it will be retried{paused}",
            row.attempts,
            row.error or None,
            row.due_ms,
        )
    if row is not None and entry.offset > row.first and entry.offset not in row.done:
        detail = f"behind offset {row.first} of the same run, which failed: {row.error}"
        return HandlerOutcome(name, HandlerVerdict.BEHIND_BLOCKED, detail + paused)
    ranges = cursor.ranges()
    if entry.offset <= cursor.offset or any(start <= entry.offset <= end for start, end in ranges):
        detail = f"its cursor, at offset {max(cursor.offset, 0)}, is past it"
        return HandlerOutcome(name, HandlerVerdict.ACKNOWLEDGED, detail)
    return HandlerOutcome(name, HandlerVerdict.WAITING, f"its cursor is at offset {cursor.offset}{paused}")


def describe_origin(event: LifecycleEvent) -> str:
    """Return a sentence on the origin of an event."""
    return {
        Origin.STREAM: "the stream carried it",
        Origin.SNAPSHOT: "a snapshot over REST showed it; what happened before is not known",
        Origin.GAP: "a gap event named the record, and REST showed its new state",
        Origin.REPAIR: "REST showed what the stream had not carried",
        Origin.TIMER: "nothing changed: a timer fired",
    }[event.origin]
