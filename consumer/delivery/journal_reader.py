"""Reader of the journal for one handler or replay, ahead of its cursor.

It first fetches the unacknowledged events of blocked runs, then reads from the offset on, while the handler has demand and the cursor has
capacity. Events go into the lanes, which all readers of a handler share; acknowledgements go to the reader's own cursor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from consumer.clock import Clock
from consumer.delivery.cursor import Cursor
from consumer.delivery.cursor_saver import CursorSaver
from consumer.delivery.lanes import Delivery, Lanes
from consumer.delivery.store_retry import StoreRetry
from consumer.ports.delivery import HandlerDeadLetter, SavedBlockedRun
from consumer.ports.journal import JournalEntry, JournalStore
from consumer.ports.observers.delivery_events import DeliveryEvent
from consumer.ports.observers.handler_events import OffsetOutOfRange
from consumer.ports.observers.observer import Observer

__all__ = ["Demand", "JournalReader"]

READ_LIMIT = 256
"""Largest number of entries in one read."""
WAIT_MS = 5_000
"""Longest wait for new entries, after which the journal is read anyway."""


class Demand(Protocol):
    """Demand of a handler, as its readers see it."""

    @property
    def name(self) -> str:
        """Name of the handler in the settings."""
        ...

    @property
    def types(self) -> frozenset[str]:
        """Event types that the handler gets."""
        ...

    @property
    def lanes(self) -> Lanes:
        """Lanes in which events wait for the handler."""
        ...

    async def wait_for_demand(self, cursor: Cursor) -> None:
        """Return when more events are needed and ``cursor`` has capacity."""
        ...

    def on_enqueued(self) -> None:
        """Wake the tasks that wait for events, after deliveries were added to the lanes."""
        ...


class JournalReader:
    """Reader of the journal for one cursor.

    Args:
        demand: demand and lanes of the handler.
        cursor_saver: cursor of the reader.
        store: the journal.
        clock: measures the waits of blocked runs.
        random: chance in [0, 1), for backoff.
        observer: notified of removed entries and of an unavailable store.
        replayed: whether a replay delivers these events again.
        through: last offset that is read; None for no end.
    """

    redriven = False

    def __init__(
        self,
        demand: Demand,
        cursor_saver: CursorSaver,
        store: JournalStore,
        *,
        clock: Clock,
        random: Callable[[], float],
        observer: Observer[DeliveryEvent],
        replayed: bool = False,
        through: int | None = None,
    ) -> None:
        self.cursor_saver = cursor_saver
        self.replayed = replayed
        self.cancelled = False
        self._demand = demand
        self._store = store
        self._clock = clock
        self._observer = observer
        self._retry = StoreRetry(demand.name, observer, random)
        self._through = through
        self._saved_attempts: dict[int, tuple[SavedBlockedRun, int]] = {}

    def cancel(self) -> None:
        """Read nothing more; events that were read are acknowledged without a call."""
        self.cancelled = True

    # ------------------------------------------------------------ results

    def acknowledged(self, delivery: Delivery, dead_letter: HandlerDeadLetter | None = None) -> None:
        """Acknowledge a delivery, given up on as ``dead_letter`` if there is one."""
        self.cursor_saver.acknowledged(delivery.entry.offset, dead_letter)

    def blocked_runs(self, row: SavedBlockedRun, offsets: Sequence[int]) -> None:
        """Block a run with these unacknowledged entries of this reader."""
        self.cursor_saver.blocked_runs(row, offsets)

    # ------------------------------------------------------------ reading

    async def recover(self) -> None:
        """Fetch the unacknowledged events of blocked runs up to the offset.

        Later events of these runs are read by :meth:`run`.
        """
        cursor = self.cursor_saver.cursor
        now_ms = self._clock.wall_ms()
        for row in cursor.rows():
            if row.attempts:
                due_ms = self._clock.monotonic_ms() + max(0, row.due_ms - now_ms)
                self._saved_attempts[row.first] = (row, due_ms)
            if row.first > cursor.offset:
                continue
            entries = [
                entry
                for entry in await self._entries_of(row.tracker_id, row.first, cursor.offset)
                if entry.type in self._demand.types and entry.offset not in row.done
            ]
            cursor.restore_run(row.tracker_id, [entry.offset for entry in entries])
            for entry in entries:
                self._demand.lanes.add(self._delivery(entry))

    async def run(self) -> None:
        """Read until ``through`` is reached; its last events may be unacknowledged then."""
        cursor, after = self.cursor_saver.cursor, self.cursor_saver.cursor.offset
        while not self.cancelled and (self._through is None or after < self._through):
            await self._demand.wait_for_demand(cursor)
            entries = await self._retry.call(self._store.read, after, min(READ_LIMIT, cursor.capacity))
            if not entries:
                if (
                    self._through is not None
                    and (await self._retry.call(self._store.bounds))[0] > self._through
                ):
                    return  # retention has removed the rest
                await self._retry.call(self._store.wait, after, WAIT_MS)
                continue
            if entries[0].offset > after + 1:
                await self._report_gap(after, entries[0].offset)
            after = entries[-1].offset
            if self._through is not None and after > self._through:
                entries = [entry for entry in entries if entry.offset <= self._through]
            self._enqueue(entries)
            await asyncio.sleep(0)  # a store that answers from memory would keep the event loop to itself

    def _enqueue(self, entries: Sequence[JournalEntry]) -> None:
        cursor_saver, types, add = self.cursor_saver, self._demand.types, self._demand.lanes.add
        cursor = cursor_saver.cursor
        for entry in entries:
            if entry.type not in types:
                cursor_saver.skipped(entry.offset)
            elif cursor.tracked(entry.offset, entry.tracker_id):
                add(self._delivery(entry) if self._saved_attempts else Delivery(entry, self))
        if cursor.has_unseen_runs:
            cursor.drop_missing_runs()
        self._demand.on_enqueued()

    def _delivery(self, entry: JournalEntry) -> Delivery:
        """Make a delivery, with the attempts before a restart."""
        row, due_ms = self._saved_attempts.pop(entry.offset, (None, 0))
        if row is None:
            return Delivery(entry, self)
        return Delivery(entry, self, row.attempts, due_ms, error=row.error)

    async def _entries_of(self, tracker_id: str | None, first: int, through: int) -> list[JournalEntry]:
        if tracker_id is not None:
            entries = await self._retry.call(self._store.read_run, tracker_id, first)
            return [entry for entry in entries if entry.offset <= through]
        found: list[JournalEntry] = []
        after = first - 1
        while after < through and (entries := await self._retry.call(self._store.read, after, READ_LIMIT)):
            after = entries[-1].offset
            found += [each for each in entries if each.tracker_id is None and each.offset <= through]
        return found

    async def _report_gap(self, after: int, found: int) -> None:
        first, _ = await self._retry.call(self._store.bounds)
        if first >= found > after + 1:
            self._observer.observe(OffsetOutOfRange(self._demand.name, after, found))
