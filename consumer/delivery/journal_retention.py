"""Retention of the journal by age and bytes, never below the need of a handler.

Every minute the oldest entries are examined. Entries older than ``journal.max_age``, or too many for ``journal.max_bytes``, are removed,
but only up to the lowest entry that a configured handler, a blocked run or a replay needs: no event is removed before a handler got it.
Where that keeps more than the settings allow, the observer is notified (:class:`JournalTrimBlocked`), because the store grows then.

The age is that of the event. Entries are removed from the front only, so an old event that became known late stays as long as the entries
before it.
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
from consumer.ports.observers.observer import Observer
from consumer.ports.observers.retention_events import (
    JournalTrimBlocked,
    JournalTrimmed,
    JournalWithinLimits,
    RetentionEvent,
    StoreMeasured,
)
from consumer.ports.store import SizeStore, StoreSize

__all__ = ["GrowthRate", "Retention", "RetentionStore"]

INTERVAL_MS = 60_000
"""Interval of two checks."""
READ_LIMIT = 1_000
"""Largest number of entries read or removed in one step.

A step should not block the store for others.
"""
MAX_STEPS = 50
"""Largest number of steps in one check; the next check removes the rest."""


class RetentionStore(JournalStore, CursorStore, SizeStore, Protocol):
    """Part of the store that retention uses."""


class GrowthRate:
    """Growth rate of the store over the last day; pure, with the time as an argument."""

    def __init__(self, span_ms: int = 86_400_000, min_span_ms: int = 600_000) -> None:
        self._span_ms = span_ms
        self._min_span_ms = min_span_ms
        self._samples: deque[tuple[int, int]] = deque()

    def add(self, now_ms: int, size: int) -> None:
        """Add a measurement of the store's size in bytes."""
        self._samples.append((now_ms, size))
        while self._samples[0][0] < now_ms - self._span_ms:
            self._samples.popleft()

    def bytes_per_day(self) -> float | None:
        """Growth in bytes per day, negative when the store shrinks.

        None before ten minutes were measured.
        """
        (first_ms, first), (last_ms, last) = self._samples[0], self._samples[-1]
        if last_ms - first_ms < self._min_span_ms:
            return None
        return (last - first) * 86_400_000 / (last_ms - first_ms)

    def seconds_until_full(self, limit: int | None) -> float | None:
        """Seconds until ``limit`` bytes are reached; None when never, or unknown."""
        growth = self.bytes_per_day()
        if limit is None or growth is None or growth <= 0:
            return None
        return max(0.0, (limit - self._samples[-1][1]) / growth * 86_400)


@dataclass(frozen=True, slots=True)
class _RetentionFloor:
    offset: int
    handler: str


class Retention:
    """Retention of the journal within its limits, for one tenure.

    Args:
        store: journal and cursors.
        tenure: tenure under which the journal is trimmed.
        handlers: names of all configured handlers, also disabled ones; cursors of other handlers keep no entries.
        clock: monotonic for waits, wall for ages.
        events: notified of everything.
        max_age_ms: largest age of an event.
        max_bytes: largest size of the journal, roughly; None for no limit.
    """

    def __init__(
        self,
        store: RetentionStore,
        tenure: Tenure,
        handlers: Sequence[str],
        *,
        clock: Clock,
        observer: Observer[RetentionEvent],
        max_age_ms: int,
        max_bytes: int | None,
    ) -> None:
        self._store = store
        self._tenure = tenure
        self._handlers = handlers
        self._clock = clock
        self._observer = observer
        self._max_age_ms = max_age_ms
        self._max_bytes = max_bytes
        self._growth = GrowthRate()

    async def run(self) -> None:
        """Check every minute; never returns.

        The first check comes after a minute, when every handler has its first cursor; at the beginning the store is only measured.

        Raises:
            CommitRefused: the tenure has ended.
        """
        with suppress(StoreUnavailable):  # ingest and delivery see the same error and report it
            first, last = await self._store.bounds()
            await self._measure(last - first + 1)
        while True:
            await asyncio.sleep(INTERVAL_MS / 1000)
            with suppress(StoreUnavailable):
                await self.enforce()

    async def enforce(self) -> None:
        """Measure the store, and remove what exceeds the limits and no handler needs.

        Raises:
            StoreUnavailable: try again later.
            CommitRefused: the tenure has ended.
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
                self._observer.observe(
                    JournalTrimmed(allowed, sum(entry.offset <= allowed for entry in entries))
                )
                removed = allowed
            if through > allowed:
                remaining_bytes = max(0, by_bytes - removed)
                self._observer.observe(
                    JournalTrimBlocked(
                        floor.handler, floor.offset, bytes_over=int(remaining_bytes * bytes_per_entry)
                    )
                )
                return
            if len(entries) < READ_LIMIT or through < entries[-1].offset:
                break
        self._observer.observe(JournalWithinLimits())

    async def _measure(self, entries: int) -> StoreSize:
        size = await self._store.size()
        self._growth.add(self._clock.monotonic_ms(), size.bytes)
        self._observer.observe(
            StoreMeasured(
                size, entries, self._growth.bytes_per_day(), self._growth.seconds_until_full(size.limit)
            )
        )
        return size

    def _expired_through(self, entries: Sequence[JournalEntry], before: int) -> int:
        """Last offset of the entries at the front that are too old."""
        oldest_ms = self._clock.wall_ms() - self._max_age_ms
        through = before
        for entry in entries:
            if to_ms(datetime.fromisoformat(orjson.loads(entry.data)["time"])) >= oldest_ms:
                break
            through = entry.offset
        return through

    async def _floor(self, last: int) -> _RetentionFloor:
        """Lowest offset that is still needed, and the handler that needs it."""
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
