"""How much of the journal is kept: by age and by bytes, and never less than a handler still needs.

Every so often the oldest entries are looked at. What is past ``journal.max_age``, or too much for ``journal.max_bytes``, is removed, but
only up to the lowest entry that a configured handler, a parked run or a replay needs: what a handler has not seen is not taken from under
it. Where that keeps more than the settings allow it is told (:meth:`RetentionEvents.held`), because the store goes on growing then.

Age is that of the event. Entries are removed from the front only, so an old event that became known late stays as long as what stands
before it does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import orjson

from consumer.clock import Clock, to_ms
from consumer.delivery.place import Place
from consumer.errors import StoreUnavailable
from consumer.ports import JournalEntry, JournalStore, PlaceStore, SizeStore, StoreSize, Tenure

__all__ = ["Growth", "Retention", "RetentionEvents", "RetentionStore"]

EVERY_MS = 60_000
"""Between two looks."""
READ = 1_000
"""Entries looked at, and removed, at a time: a step should not keep others from the store."""
STEPS = 50
"""Steps in one look; what is left over is for the next."""


class RetentionStore(JournalStore, PlaceStore, SizeStore, Protocol):
    """What retention needs of the store."""


class RetentionEvents(Protocol):
    """Told what retention sees and does."""

    def measured(self, size: StoreSize, entries: int, per_day: float | None, full_in_s: float | None) -> None:
        """Bytes and entries now; how many bytes a day are added, and in how many seconds the store is full, where that can be known."""
        ...

    def trimmed(self, through: int, entries: int) -> None:
        """So many entries, up to this offset, were removed."""
        ...

    def held(self, handler: str, offset: int, *, bytes_over: int) -> None:
        """``handler`` needs the entry at ``offset``, which the settings would remove; ``bytes_over`` is how much is kept too much, or 0."""
        ...

    def free(self) -> None:
        """Nothing is kept beyond what the settings say; repeated."""
        ...


class Growth:
    """How fast the store grows, from what was measured within the last day. Pure: told the time."""

    def __init__(self, span_ms: int = 86_400_000, least_ms: int = 600_000) -> None:
        self._span_ms = span_ms
        self._least_ms = least_ms
        self._seen: deque[tuple[int, int]] = deque()

    def add(self, now_ms: int, size: int) -> None:
        """So large is it now."""
        self._seen.append((now_ms, size))
        while self._seen[0][0] < now_ms - self._span_ms:
            self._seen.popleft()

    def per_day(self) -> float | None:
        """Bytes per day, negative when it shrinks; None before ten minutes have been seen."""
        (first_ms, first), (last_ms, last) = self._seen[0], self._seen[-1]
        if last_ms - first_ms < self._least_ms:
            return None
        return (last - first) * 86_400_000 / (last_ms - first_ms)

    def full_in_s(self, limit: int | None) -> float | None:
        """Seconds until ``limit`` bytes are reached at this pace; None when that is never, or unknown."""
        pace = self.per_day()
        if limit is None or pace is None or pace <= 0:
            return None
        return max(0.0, (limit - self._seen[-1][1]) / pace * 86_400)


@dataclass(frozen=True, slots=True)
class _Floor:
    offset: int
    handler: str


class Retention:
    """Keeps the journal within its limits, for one tenure.

    Args:
        store: asked and trimmed.
        tenure: under which is trimmed.
        handlers: names of all configured handlers, also disabled ones; the places of others hold nothing back.
        clock: monotonic for waiting, wall for ages.
        events: told of everything.
        max_age_ms: of an event.
        max_bytes: of the journal, about; None sets no limit.
    """

    def __init__(
        self,
        store: RetentionStore,
        tenure: Tenure,
        handlers: Sequence[str],
        *,
        clock: Clock,
        events: RetentionEvents,
        max_age_ms: int,
        max_bytes: int | None,
    ) -> None:
        self._store = store
        self._tenure = tenure
        self._handlers = handlers
        self._clock = clock
        self._events = events
        self._max_age_ms = max_age_ms
        self._max_bytes = max_bytes
        self._growth = Growth()

    async def run(self) -> None:
        """Look every minute, for ever; before the first minute is over only measure, for not every handler has its first place yet.

        Raises:
            CommitRefused: the tenure is over.
        """
        with suppress(StoreUnavailable):  # ingest and delivery meet the same and tell
            first, last = await self._store.bounds()
            await self._measure(last - first + 1)
        while True:
            await asyncio.sleep(EVERY_MS / 1000)
            with suppress(StoreUnavailable):
                await self.look()

    async def look(self) -> None:
        """Measure, and remove what may go.

        Raises:
            StoreUnavailable: try again later.
            CommitRefused: the tenure is over.
        """
        first, last = await self._store.bounds()
        size = await self._measure(last - first + 1)
        floor = await self._floor(last)
        over = 0 if self._max_bytes is None else max(0, size.journal_bytes - self._max_bytes)
        each = size.journal_bytes / (last - first + 1) if last >= first else 0
        by_bytes = first - 1 + (int(over / each) + 1 if over and each else 0)
        removed = first - 1
        for _ in range(STEPS):
            entries = await self._store.read(removed, READ)
            through = max(
                self._aged(entries, removed), min(by_bytes, entries[-1].offset if entries else removed)
            )
            allowed = min(through, floor.offset - 1)
            if allowed > removed:
                await self._store.trim(self._tenure, allowed)
                self._events.trimmed(allowed, sum(entry.offset <= allowed for entry in entries))
                removed = allowed
            if through > allowed:
                left = max(0, by_bytes - removed)
                self._events.held(floor.handler, floor.offset, bytes_over=int(left * each))
                return
            if len(entries) < READ or through < entries[-1].offset:
                break
        self._events.free()

    async def _measure(self, entries: int) -> StoreSize:
        size = await self._store.size()
        self._growth.add(self._clock.monotonic_ms(), size.bytes)
        self._events.measured(size, entries, self._growth.per_day(), self._growth.full_in_s(size.limit))
        return size

    def _aged(self, entries: Sequence[JournalEntry], before: int) -> int:
        """The last offset of the entries at the front that are too old."""
        oldest_ms = self._clock.wall_ms() - self._max_age_ms
        through = before
        for entry in entries:
            if to_ms(datetime.fromisoformat(orjson.loads(entry.data)["time"])) >= oldest_ms:
                break
            through = entry.offset
        return through

    async def _floor(self, last: int) -> _Floor:
        """The lowest entry that somebody needs, and who."""
        floor = _Floor(last + 1, "")
        requests = await self._store.requests(self._handlers)
        for handler in self._handlers:
            names = [(handler, last + 1)]
            names += [
                (order.place, order.after + 1) for order in requests[handler].orders if order.kind == "replay"
            ]
            for name, otherwise in names:
                saved = await self._store.place(name)
                needed = otherwise
                if saved is not None:
                    needed = Place.load(saved.data, parked=await self._store.parked(name)).needed
                if needed < floor.offset:
                    floor = _Floor(needed, handler)
        return floor
