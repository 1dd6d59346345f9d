"""Why is this event here, and what became of it: everything that the store keeps of one lifecycle event.

Of the change that caused it the journal keeps what it said (fields before and after), who made it, where it stood in the stream and in its
transaction; the message itself is not kept, except where it could not be understood. Of its delivery each handler's place says whether it
is past the event, not how: a handler that began later, or that left the event out, is past it as well. What can be told apart is: the
filters are asked again, and parked runs and dead letters have rows of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

import orjson

from consumer.changes import Key
from consumer.clock import to_ms
from consumer.delivery.admission import Admission
from consumer.delivery.loading import LoadedHandler
from consumer.delivery.place import Place
from consumer.delivery.retry import one_line
from consumer.errors import StoreForeign
from consumer.events import LifecycleEvent, Origin
from consumer.ids import is_record_id
from consumer.ingest.epochs import Epochs
from consumer.ports import HandlerDeadLetter, HandlerRequests, JournalEntry, ParkedRun, SavedPlace, Store
from consumer.state import RecordState

__all__ = ["Explanation", "HandlerView", "Verdict", "explain", "origin_in_words"]

READ: Final = 1_000
EVERY: Final = 1_000_000
"""Dead letters of one handler are at most so many."""


class Verdict(StrEnum):
    """What one handler made of an event."""

    SETTLED = "settled"
    """Its place is past it."""
    FILTERED = "filtered_out"
    """It does not want it."""
    PARKED = "parked"
    """An attempt has failed, and the next one is to come."""
    BEHIND = "waits_in_run"
    """An earlier event of its run is parked."""
    WAITING = "waiting"
    """Its turn has not come."""
    DEAD_LETTER = "dead_letter"
    """It gave up on it."""
    NEW = "new"
    """It has no place yet."""


@dataclass(frozen=True, slots=True)
class HandlerView:
    """How one handler stands to the event.

    Attributes:
        handler: its name in the settings.
        verdict: what became of it.
        detail: in words.
        attempts: that were made, as far as they are kept: of parked events and of dead letters.
        error: the last failure, one line.
        at_ms: of a dead letter, when it was given up; of a parked event, when the next attempt is due.
    """

    handler: str
    verdict: Verdict
    detail: str
    attempts: int | None = None
    error: str | None = None
    at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything that is known of one event.

    Attributes:
        event: itself.
        offset: in the journal; None when retention has removed it and a dead letter still has it.
        key: its place in the order: epoch, commit number, sequence number; None unless it came with the stream.
        overtaken_by: of a late event, the newest event of its run that had been journaled before it.
        after: the event of its run before it in the journal.
        together: ids of the other events that the same change caused.
        standing: of the fields that the change wrote, those that nothing newer has overwritten, as far as the record is still known.
        handlers: one view for each handler.
    """

    event: LifecycleEvent
    offset: int | None
    key: Key | None
    overtaken_by: LifecycleEvent | None
    after: LifecycleEvent | None
    together: tuple[str, ...]
    standing: tuple[str, ...] | None
    handlers: tuple[HandlerView, ...] = field(default=())

    def document(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "event": orjson.loads(self.event.to_json()),
            "offset": self.offset,
            "key": self.key,
            "late": self.event.late,
            "overtaken_by": self.overtaken_by.id if self.overtaken_by is not None else None,
            "after": self.after.id if self.after is not None else None,
            "together": self.together,
            "standing": self.standing,
            "handlers": [asdict(view) for view in self.handlers],
        }


async def explain(
    store: Store, wanted: str, loaded: Sequence[LoadedHandler], now_ms: int
) -> Explanation | None:
    """Everything that is known of one event; None when it is not known.

    Args:
        store: open.
        wanted: the event's id, or its offset in the journal.
        loaded: the enabled handlers, as far as they can be loaded.
        now_ms: wall milliseconds.

    Raises:
        StoreUnavailable: it does not answer.
        StoreForeign: a newer version of this service wrote what is in it.
    """
    entry = await _find(store, wanted)
    letters = await store.handler_dead_letters(None, EVERY)
    if entry is None:
        # Retention does not wait for dead letters: they carry their events with them.
        letter = next((one for one in letters if wanted in (one.event_id, str(one.offset))), None)
        if letter is None:
            return None
        entry = JournalEntry(letter.offset, letter.event_id, letter.type, letter.tracker_id, letter.data)
        kept = False
    else:
        kept = True
    event = LifecycleEvent.from_json(entry.data)
    epochs = Epochs(await store.epochs())
    earlier = [
        LifecycleEvent.from_json(one.data)
        for one in (await store.of_run(entry.tracker_id) if entry.tracker_id else [])
        if one.offset < entry.offset
    ]
    key = _key(event, epochs)
    return Explanation(
        event,
        entry.offset if kept else None,
        key,
        _overtaker(key, earlier, epochs) if event.late else None,
        earlier[-1] if earlier else None,
        await _together(store, entry, event),
        await _standing(store, event, key),
        await _views(
            store, entry, event, loaded, [one for one in letters if one.event_id == entry.id], now_ms
        ),
    )


# ---------------------------------------------------------------- finding it


async def _find(store: Store, wanted: str) -> JournalEntry | None:
    if wanted.isdecimal():
        offset = int(wanted)
        entries = await store.read(max(offset - 1, 0), 1)
        return next((one for one in entries if one.offset == offset), None)
    # An id names its record, and the journal knows its runs; only what belongs to no run has to be looked for.
    records = [part for part in wanted.split("/") if is_record_id(part)]
    known = await store.states(records)
    runs = {*records, *(run for data in known.values() if (run := RecordState.decode(data).tracker_id))}
    for run in runs:
        for entry in await store.of_run(run):
            if entry.id == wanted:
                return entry
    first, _ = await store.bounds()
    after = first - 1
    while entries := await store.read(after, READ):
        for entry in entries:
            if entry.id == wanted:
                return entry
        after = entries[-1].offset
    return None


async def _together(store: Store, entry: JournalEntry, event: LifecycleEvent) -> tuple[str, ...]:
    """Ids that differ in the type alone."""
    if entry.tracker_id is None or not entry.id.endswith(f"/{event.type}"):
        return ()
    change = entry.id.removesuffix(event.type)
    entries = await store.of_run(entry.tracker_id)
    return tuple(one.id for one in entries if one.id != entry.id and one.id.removesuffix(one.type) == change)


# ---------------------------------------------------------------- order


def _key(event: LifecycleEvent, epochs: Epochs) -> Key | None:
    if event.transaction is None:
        return None
    number = event.transaction.commit_number
    return epochs.of(number, to_ms(event.time)), number, event.transaction.sequence_number


def _overtaker(key: Key | None, earlier: Sequence[LifecycleEvent], epochs: Epochs) -> LifecycleEvent | None:
    if key is None:
        return None
    newer = [(other, one) for one in earlier if (other := _key(one, epochs)) is not None and other > key]
    return max(newer, key=lambda pair: pair[0])[1] if newer else None


async def _standing(store: Store, event: LifecycleEvent, key: Key | None) -> tuple[str, ...] | None:
    if key is None or event.record_id is None:
        return None
    known = await store.states([event.record_id])
    if event.record_id not in known:
        return None
    fields = RecordState.decode(known[event.record_id]).fields
    return tuple(sorted(name for name, (_, by) in fields.items() if by == key))


# ---------------------------------------------------------------- delivery


async def _views(
    store: Store,
    entry: JournalEntry,
    event: LifecycleEvent,
    loaded: Sequence[LoadedHandler],
    letters: Sequence[HandlerDeadLetter],
    now_ms: int,
) -> tuple[HandlerView, ...]:
    places = {name: place for name, place in (await store.places()).items() if "/" not in name}
    by_name = {one.name: one for one in loaded}
    names = [*by_name, *sorted(({*places} | {one.handler for one in letters}) - by_name.keys())]
    requests = await store.requests(names)
    views = []
    for name in names:
        letter = next((one for one in letters if one.handler == name), None)
        if letter is not None:
            views.append(await _letter(store, letter))
            continue
        reason = _refusal(by_name.get(name), event, now_ms)
        saved = places.get(name)
        if reason is not None and not (saved is None and reason == "max_age"):
            views.append(HandlerView(name, Verdict.FILTERED, _REASONS.get(reason, reason)))
        elif saved is None:
            views.append(HandlerView(name, Verdict.NEW, "it has not begun: `start` says where"))
        else:
            view = _placed(name, saved, await store.parked(name), entry, requests[name])
            if name not in by_name:
                view = replace(view, detail=f"{view.detail}; the handler is not configured, or off")
            views.append(view)
    return tuple(views)


_REASONS: Final = {
    "type": "`on` does not select this type",
    "origin": "`origins` does not name how it came to be known",
    "own_change": "the handler made this change itself (`ignore_own_changes`)",
    "max_age": "it is older than `max_age` by now; it was delivered if its turn came earlier",
    "predicate": "the handler's own predicate does not want it",
}


def _refusal(handler: LoadedHandler | None, event: LifecycleEvent, now_ms: int) -> str | None:
    """Why the handler does not get it, as far as it can be asked."""
    if handler is None:
        return None
    if event.type not in handler.types:
        return "type"
    try:
        return Admission(handler, lambda: now_ms).refusal(event, replayed=False)
    except Exception as error:  # noqa: BLE001 - a predicate may raise anything
        return f"the handler's own predicate raises {one_line(error)}"


async def _letter(store: Store, letter: HandlerDeadLetter) -> HandlerView:
    again = any(one.event_id == letter.event_id for one in await store.retries(letter.handler, EVERY))
    return HandlerView(
        letter.handler,
        Verdict.DEAD_LETTER,
        "it is to be delivered again" if again else "it gave up: `dead-letters retry` delivers it again",
        letter.attempts,
        letter.error,
        letter.at_ms,
    )


def _placed(
    name: str, saved: SavedPlace, rows: Sequence[ParkedRun], entry: JournalEntry, requests: HandlerRequests
) -> HandlerView:
    try:
        place = Place.load(saved.data)
    except ValueError as error:
        raise StoreForeign(
            f"the place of handler {name!r} cannot be read ({error}): run the newer release"
        ) from error
    paused = "; it is paused" if any(order.kind == "pause" for order in requests.orders) else ""
    row = next((one for one in rows if one.tracker_id == entry.tracker_id), None)
    if row is not None and entry.offset == row.first:
        return HandlerView(
            name, Verdict.PARKED, f"it is tried again{paused}", row.attempts, row.error or None, row.due_ms
        )
    if row is not None and entry.offset > row.first and entry.offset not in row.done:
        detail = f"behind offset {row.first} of the same run, which failed: {row.error}"
        return HandlerView(name, Verdict.BEHIND, detail + paused)
    ranges = place.ranges()
    if entry.offset <= place.offset or any(start <= entry.offset <= end for start, end in ranges):
        detail = f"its place, at offset {max(place.offset, 0)}, is past it"
        return HandlerView(name, Verdict.SETTLED, detail)
    return HandlerView(name, Verdict.WAITING, f"its place is at offset {place.offset}{paused}")


def origin_in_words(event: LifecycleEvent) -> str:
    """How it came to be known, for people."""
    return {
        Origin.STREAM: "the stream carried it",
        Origin.SNAPSHOT: "a snapshot over REST showed it; what happened in between is not known",
        Origin.GAP: "a gap event named the record, and REST showed what it had become",
        Origin.REPAIR: "REST showed what the stream had not told",
        Origin.TIMER: "nothing changed: a due time passed",
    }[event.origin]
