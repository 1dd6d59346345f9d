"""How much of the journal is kept: by age and by bytes, and never less than a handler still needs.

Every so often the oldest entries are looked at. What is past ``journal.max_age``, or too much for ``journal.max_bytes``, is removed, but
only up to the lowest entry that a configured handler, a parked run or a replay needs: what a handler has not seen is not taken from under
it. Where that keeps more than the settings allow it is told (:meth:`RetentionEvents.held_back`), because the store goes on growing then.

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
from consumer.delivery.cursor import Cursor
from consumer.errors import StoreUnavailable
from consumer.ports.delivery import CursorStore
from consumer.ports.journal import JournalEntry, JournalStore
from consumer.ports.lease import Tenure
from consumer.ports.observers import RetentionEvents
from consumer.ports.store import SizeStore, StoreSize

__all__ = ["GrowthRate", "Retention", "RetentionStore"]

EVERY_MS = 60_000
"""Between two looks."""
READ_LIMIT = 1_000
"""Entries looked at, and removed, at a time: a step should not keep others from the store."""
MAX_STEPS = 50
"""Steps in one look; what is left over is for the next."""


class RetentionStore(JournalStore, CursorStore, SizeStore, Protocol):
    """What retention needs of the store."""


class GrowthRate:
    """How fast the store grows, from what was measured within the last day. Pure: told the time."""

    def __init__(self, span_ms: int = 86_400_000, min_span_ms: int = 600_000) -> None:
        self._span_ms = span_ms
        self._min_span_ms = min_span_ms
        self._samples: deque[tuple[int, int]] = deque()

    def add(self, now_ms: int, size: int) -> None:
        """So large is it now."""
        self._samples.append((now_ms, size))
        while self._samples[0][0] < now_ms - self._span_ms:
            self._samples.popleft()

    def bytes_per_day(self) -> float | None:
        """Bytes per day, negative when it shrinks; None before ten minutes have been seen."""
        (first_ms, first), (last_ms, last) = self._samples[0], self._samples[-1]
        if last_ms - first_ms < self._min_span_ms:
            return None
        return (last - first) * 86_400_000 / (last_ms - first_ms)

    def seconds_until_full(self, limit: int | None) -> float | None:
        """Seconds until ``limit`` bytes are reached at this pace; None when that is never, or unknown."""
        growth = self.bytes_per_day()
        if limit is None or growth is None or growth <= 0:
            return None
        return max(0.0, (limit - self._samples[-1][1]) / growth * 86_400)


@dataclass(frozen=True, slots=True)
class _RetentionFloor:
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
        self._growth = GrowthRate()

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
                await self.enforce()

    async def enforce(self) -> None:
        """Measure, and remove what may go.

        Raises:
            StoreUnavailable: try again later.
            CommitRefused: the tenure is over.
        """
        first, last = await self._store.bounds()
        size = await self._measure(last - first + 1)
        floor = await self._floor(last)
        excess_bytes = 0 if self._max_bytes is None else max(0, size.journal_bytes - self._max_bytes)
        bytes_per_entry = size.journal_bytes / (last - first + 1) if last >= first else 0
        by_bytes = (
            first - 1 + (int(excess_bytes / bytes_per_entry) + 1 if excess_bytes and bytes_per_entry else 0)
        )
        removed = first - 1
        for _ in range(MAX_STEPS):
            entries = await self._store.read(removed, READ_LIMIT)
            through = max(
                self._expired_through(entries, removed),
                min(by_bytes, entries[-1].offset if entries else removed),
            )
            allowed = min(through, floor.offset - 1)
            if allowed > removed:
                await self._store.trim(self._tenure, allowed)
                self._events.trimmed(allowed, sum(entry.offset <= allowed for entry in entries))
                removed = allowed
            if through > allowed:
                remaining_bytes = max(0, by_bytes - removed)
                self._events.held_back(
                    floor.handler, floor.offset, bytes_over=int(remaining_bytes * bytes_per_entry)
                )
                return
            if len(entries) < READ_LIMIT or through < entries[-1].offset:
                break
        self._events.within_limits()

    async def _measure(self, entries: int) -> StoreSize:
        size = await self._store.size()
        self._growth.add(self._clock.monotonic_ms(), size.bytes)
        self._events.measured(
            size, entries, self._growth.bytes_per_day(), self._growth.seconds_until_full(size.limit)
        )
        return size

    def _expired_through(self, entries: Sequence[JournalEntry], before: int) -> int:
        """The last offset of the entries at the front that are too old."""
        oldest_ms = self._clock.wall_ms() - self._max_age_ms
        through = before
        for entry in entries:
            if to_ms(datetime.fromisoformat(orjson.loads(entry.data)["time"])) >= oldest_ms:
                break
            through = entry.offset
        return through

    async def _floor(self, last: int) -> _RetentionFloor:
        """The lowest entry that somebody needs, and who."""
        floor = _RetentionFloor(last + 1, "")
        pending_commands = await self._store.pending_commands(self._handlers)
        for handler in self._handlers:
            names = [(handler, last + 1)]
            names += [
                (command.cursor, command.after + 1)
                for command in pending_commands[handler].commands
                if command.kind == "replay"
            ]
            for name, default_offset in names:
                saved = await self._store.cursor(name)
                lowest_needed_offset = default_offset
                if saved is not None:
                    lowest_needed_offset = Cursor.restore(
                        handler, saved, blocked_runs=await self._store.blocked_runs(name)
                    ).lowest_needed_offset
                if lowest_needed_offset < floor.offset:
                    floor = _RetentionFloor(lowest_needed_offset, handler)
        return floor
