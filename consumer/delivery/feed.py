"""Where a handler's events come from: the journal, read ahead from a place.

A feed belongs to one place. It fetches what is unsettled of parked runs, then reads on from the offset, as long as its handler wants more
and its place has room; what it reads goes into the lanes that all feeds of the handler share, and what becomes of it is told to the place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import ParamSpec, Protocol, TypeVar

from consumer.clock import Clock
from consumer.delivery.lanes import Delivery, Lanes
from consumer.delivery.observer import DeliveryEvents
from consumer.delivery.patience import patiently
from consumer.delivery.place import Place
from consumer.delivery.place_keeper import PlaceKeeper
from consumer.ports import HandlerDeadLetter, JournalEntry, JournalStore, ParkedRun

__all__ = ["Desk", "Feed"]

P = ParamSpec("P")
T = TypeVar("T")

READ = 256
"""Entries asked of the journal at a time."""
WAIT_MS = 5_000
"""Longest wait for new entries before the journal is read anyway."""


class Desk(Protocol):
    """What a feed needs of the handler that it feeds."""

    @property
    def name(self) -> str:
        """Of the handler."""
        ...

    @property
    def types(self) -> frozenset[str]:
        """The event types it gets."""
        ...

    @property
    def lanes(self) -> Lanes:
        """Where events wait for it."""
        ...

    async def hungry(self, place: Place) -> None:
        """Returns when it wants more and ``place`` has room."""
        ...

    def fed(self) -> None:
        """Something was added to the lanes."""
        ...


class Feed:
    """Feeds one handler from one place.

    Args:
        desk: the handler.
        keeper: of the place.
        store: the journal.
        clock: for the waits of parked runs.
        random: chance in [0, 1), for back-off.
        observer: told of gaps and of an unavailable store.
        replayed: whether these events are delivered again because somebody asked.
        through: the last offset that it delivers; None goes on for ever.
    """

    def __init__(
        self,
        desk: Desk,
        keeper: PlaceKeeper,
        store: JournalStore,
        *,
        clock: Clock,
        random: Callable[[], float],
        observer: DeliveryEvents,
        replayed: bool = False,
        through: int | None = None,
    ) -> None:
        self.keeper = keeper
        self.replayed = replayed
        self.cancelled = False
        self._desk = desk
        self._store = store
        self._clock = clock
        self._random = random
        self._observer = observer
        self._through = through
        self._recovered: dict[int, tuple[ParkedRun, int]] = {}

    def cancel(self) -> None:
        """Read nothing more; what was read is not delivered."""
        self.cancelled = True

    # ------------------------------------------------------------ what becomes of events

    def settled(self, delivery: Delivery, dead_letter: HandlerDeadLetter | None = None) -> None:
        """The handler is done with it, or it is kept aside as ``dead_letter``."""
        self.keeper.settled(delivery.entry.offset, dead_letter)

    def parked(self, row: ParkedRun, offsets: Sequence[int]) -> None:
        """A run waits, with these unsettled entries of this feed."""
        self.keeper.parked(row, offsets)

    # ------------------------------------------------------------ reading

    async def recover(self) -> None:
        """Fetch what is unsettled of parked runs and lies behind the offset; :meth:`run` meets the rest."""
        place = self.keeper.place
        now_ms = self._clock.wall_ms()
        for row in place.rows():
            if row.attempts:
                due_ms = self._clock.monotonic_ms() + max(0, row.due_ms - now_ms)
                self._recovered[row.first] = (row, due_ms)
            if row.first > place.offset:
                continue
            entries = [
                entry
                for entry in await self._entries_of(row.tracker_id, row.first, place.offset)
                if entry.type in self._desk.types and entry.offset not in row.done
            ]
            place.resume(row.tracker_id, [entry.offset for entry in entries])
            for entry in entries:
                self._desk.lanes.add(self._delivery(entry))

    async def run(self) -> None:
        """Read on; returns when ``through`` is reached, with the last of it perhaps unsettled."""
        place, after = self.keeper.place, self.keeper.place.offset
        while not self.cancelled and (self._through is None or after < self._through):
            await self._desk.hungry(place)
            entries = await self._patiently(self._store.read, after, min(READ, place.room))
            if not entries:
                if (
                    self._through is not None
                    and (await self._patiently(self._store.bounds))[0] > self._through
                ):
                    return  # retention has removed the rest
                await self._patiently(self._store.wait, after, WAIT_MS)
                continue
            if entries[0].offset > after + 1:
                await self._look_for_a_gap(after, entries[0].offset)
            after = entries[-1].offset
            if self._through is not None and after > self._through:
                entries = [entry for entry in entries if entry.offset <= self._through]
            self._accept(entries)
            await asyncio.sleep(0)  # a store that answers from memory would never let anyone else have a turn

    def _accept(self, entries: Sequence[JournalEntry]) -> None:
        keeper, types, add = self.keeper, self._desk.types, self._desk.lanes.add
        place = keeper.place
        for entry in entries:
            if entry.type not in types:
                keeper.passed(entry.offset)
            elif place.taken(entry.offset, entry.tracker_id):
                add(self._delivery(entry) if self._recovered else Delivery(entry, self))
        if place.expects:
            place.miss()
        self._desk.fed()

    def _delivery(self, entry: JournalEntry) -> Delivery:
        """With what was tried before a restart."""
        row, due_ms = self._recovered.pop(entry.offset, (None, 0))
        if row is None:
            return Delivery(entry, self)
        return Delivery(entry, self, row.attempts, due_ms, error=row.error)

    async def _entries_of(self, tracker_id: str | None, first: int, through: int) -> list[JournalEntry]:
        if tracker_id is not None:
            entries = await self._patiently(self._store.of_run, tracker_id, first)
            return [entry for entry in entries if entry.offset <= through]
        found: list[JournalEntry] = []
        after = first - 1
        while after < through and (entries := await self._patiently(self._store.read, after, READ)):
            after = entries[-1].offset
            found += [each for each in entries if each.tracker_id is None and each.offset <= through]
        return found

    async def _look_for_a_gap(self, after: int, found: int) -> None:
        first, _ = await self._patiently(self._store.bounds)
        if first >= found > after + 1:
            self._observer.outrun(self._desk.name, after, found)

    async def _patiently(self, ask: Callable[P, Awaitable[T]], *arguments: P.args, **named: P.kwargs) -> T:
        return await patiently(
            lambda: ask(*arguments, **named),
            handler=self._desk.name,
            observer=self._observer,
            random=self._random,
        )
