"""Keeps a handler's place in the store: often enough that a crash repeats little, seldom enough that it costs little.

A place is written by compare-and-set under the tenure, together with the dead letters and the parked runs of the events it passes: what is
neither delivered, nor in the dead letters, nor of a parked run is never passed. A write whose reply was lost is repeated as it was,
revision and all, which the store takes for what it is. A refusal means that another delivers this handler now: it ends everything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from consumer.clock import Clock
from consumer.delivery.observer import DeliveryEvents
from consumer.delivery.patience import patiently, wait_for
from consumer.delivery.place import WINDOW, Place
from consumer.errors import StoreForeign
from consumer.ports import HandlerDeadLetter, ParkedRun, PlaceStore, SavedPlace, Tenure

__all__ = ["PlaceKeeper"]

T = TypeVar("T")

EVERY_MS = 200
"""Shortest time between two saves …"""
EVERY_SETTLED = 500
"""… unless this many events have been settled since the last one."""


class PlaceKeeper:
    """The place of one handler, and the task that saves it.

    Args:
        handler: its name in the settings.
        store: where places are.
        tenure: under which is written.
        place_name: under which name the place is kept; the handler's by default.
        clock: for the spacing of saves.
        random: chance in [0, 1), for back-off.
        observer: told when the store is unavailable.
        window: of the place.
    """

    def __init__(
        self,
        handler: str,
        store: PlaceStore,
        tenure: Tenure,
        *,
        place_name: str | None = None,
        clock: Clock,
        random: Callable[[], float],
        observer: DeliveryEvents,
        window: int = WINDOW,
    ) -> None:
        self._handler = handler
        self._name = place_name or handler
        self._store = store
        self._tenure = tenure
        self._clock = clock
        self._random = random
        self._observer = observer
        self._window = window
        self._dead: list[HandlerDeadLetter] = []
        self._rows: dict[str | None, ParkedRun | None] = {}
        self._drained: asyncio.Event | None = None
        self._revision = 0
        self._settled = 0
        self._dirty = asyncio.Event()
        self._urgent = asyncio.Event()
        self._stopping = False
        self.place = Place(window=window)
        self.saved_offset: int | None = None

    async def begin(self, first_offset: Callable[[], Awaitable[int]]) -> None:
        """Read the place, or make and save the first one.

        Args:
            first_offset: where a new handler begins: the offset after which it is given events.

        Raises:
            CommitRefused: the tenure is over.
            StoreForeign: the place is of a newer format.
        """
        saved = await self._patiently(lambda: self._store.place(self._name))
        if saved is None:
            self.place = Place(await self._patiently(first_offset), window=self._window)
            await self._save()
            return
        rows = await self._patiently(lambda: self._store.parked(self._name))
        try:
            self.place = Place.load(saved.data, self._window, rows)
        except ValueError as error:
            raise StoreForeign(
                f"the place of handler {self._handler!r} cannot be read ({error}): "
                "a newer version of this service wrote it; run that version"
            ) from error
        self._revision = saved.revision
        self.saved_offset = self.place.offset

    @property
    def unsaved(self) -> Sequence[HandlerDeadLetter]:
        """Dead letters that are not written yet."""
        return self._dead

    async def drained(self) -> None:
        """Returns when nothing is unsettled."""
        while self.place.outstanding:
            self._drained = asyncio.Event()
            await self._drained.wait()

    def passed(self, offset: int) -> None:
        """The handler does not want the entry."""
        self.place.passed(offset)
        self._dirty.set()

    def settled(self, offset: int, dead_letter: HandlerDeadLetter | None = None) -> None:
        """The entry is done with, or is kept aside as ``dead_letter``."""
        self.place.settled(offset)
        if dead_letter is not None:
            self._dead.append(dead_letter)
        self._settled += 1
        if self._drained is not None and not self.place.outstanding:
            self._drained.set()
        self._dirty.set()
        if self._settled >= EVERY_SETTLED:
            self._urgent.set()

    def parked(self, row: ParkedRun, offsets: Sequence[int]) -> None:
        """The run waits: its unsettled entries hold the offset back no longer, or, with too many runs parked, still do."""
        if self.place.park(row, offsets):
            self._dirty.set()

    def stop(self) -> None:
        """Nothing more will be settled: :meth:`run` saves what there is and returns."""
        self._stopping = True
        self._dirty.set()
        self._urgent.set()

    async def run(self) -> None:
        """Save whenever there is something to save and it is time; returns after :meth:`stop`, when all is saved.

        Raises:
            CommitRefused: the tenure is over, or another process has moved the place.
        """
        while True:
            await self._dirty.wait()
            if self._stopping:
                break
            await self._save()
            await wait_for(self._urgent, EVERY_MS)
        self._rows.update(self.place.changed_rows())
        if self._settled or self._dead or self._rows or self.place.offset != self.saved_offset:
            await self._save()

    async def _save(self) -> None:
        offset = self.place.offset
        saved = SavedPlace(self._revision + 1, self.place.snapshot(), self.place.through)
        dead = tuple(self._dead)
        rows = {**self._rows, **self.place.changed_rows()}
        self._rows.clear()
        self._settled = 0
        if not self._stopping:
            self._dirty.clear()
            self._urgent.clear()
        await self._patiently(lambda: self._store.save_place(self._tenure, self._name, saved, dead, rows))
        del self._dead[: len(dead)]
        self._revision = saved.revision
        self.saved_offset = offset

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        return await patiently(ask, handler=self._handler, observer=self._observer, random=self._random)
