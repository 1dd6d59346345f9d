"""Keeps a handler's place in the store: often enough that a crash repeats little, seldom enough that it costs little.

A place is written by compare-and-set under the tenure, together with the dead letters and the parked runs of the events it passes: what is
neither delivered, nor in the dead letters, nor of a parked run is never passed. A write whose reply was lost is repeated as it was,
revision and all, which the store takes for what it is. A refusal means that another delivers this handler now: it ends everything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from consumer.clock import Clock
from consumer.delivery.cursor import WINDOW, Cursor
from consumer.delivery.store_retry import StoreRetry, wait_until_set
from consumer.ports.delivery import (
    CursorStore,
    HandlerDeadLetter,
    SavedBlockedRun,
    SavedCursor,
)
from consumer.ports.lease import Tenure
from consumer.ports.observers import DeliveryEvents

__all__ = ["CursorSaver"]

SAVE_INTERVAL_MS = 200
"""Shortest time between two saves …"""
SAVE_AFTER_EVENTS = 500
"""… unless this many events have been settled since the last one."""


class CursorSaver:
    """The place of one handler, and the task that saves it.

    Args:
        handler: its name in the settings.
        store: where places are.
        tenure: under which is written.
        cursor_name: under which name the place is kept; the handler's by default.
        clock: for the spacing of saves.
        random: chance in [0, 1), for back-off.
        observer: told when the store is unavailable.
        window: of the place.
    """

    def __init__(
        self,
        handler: str,
        store: CursorStore,
        tenure: Tenure,
        *,
        cursor_name: str | None = None,
        clock: Clock,
        random: Callable[[], float],
        observer: DeliveryEvents,
        window: int = WINDOW,
    ) -> None:
        self._handler = handler
        self._name = cursor_name or handler
        self._store = store
        self._tenure = tenure
        self._clock = clock
        self._retry = StoreRetry(handler, observer, random)
        self._window = window
        self._dead_letters: list[HandlerDeadLetter] = []
        self._unsaved_runs: dict[str | None, SavedBlockedRun | None] = {}
        self._all_acknowledged: asyncio.Event | None = None
        self._revision = 0
        self._acknowledged_count = 0
        self._dirty = asyncio.Event()
        self._urgent = asyncio.Event()
        self._stopping = False
        self.cursor = Cursor(window=window)
        self.saved_offset: int | None = None

    async def load_or_create(self, first_offset: Callable[[], Awaitable[int]]) -> None:
        """Read the place, or make and save the first one.

        Args:
            first_offset: where a new handler begins: the offset after which it is given events.

        Raises:
            CommitRefused: the tenure is over.
            StoreForeign: the place is of a newer format.
        """
        saved = await self._retry.call(self._store.cursor, self._name)
        if saved is None:
            self.cursor = Cursor(await self._retry.call(first_offset), window=self._window)
            await self._save()
            return
        rows = await self._retry.call(self._store.blocked_runs, self._name)
        self.cursor = Cursor.restore(self._handler, saved, self._window, rows)
        self._revision = saved.revision
        self.saved_offset = self.cursor.offset

    @property
    def unsaved(self) -> Sequence[HandlerDeadLetter]:
        """Dead letters that are not written yet."""
        return self._dead_letters

    async def wait_until_drained(self) -> None:
        """Returns when nothing is unsettled."""
        while self.cursor.outstanding:
            self._all_acknowledged = asyncio.Event()
            await self._all_acknowledged.wait()

    def skipped(self, offset: int) -> None:
        """The handler does not want the entry."""
        self.cursor.skipped(offset)
        self._dirty.set()

    def acknowledged(self, offset: int, dead_letter: HandlerDeadLetter | None = None) -> None:
        """The entry is done with, or is kept aside as ``dead_letter``."""
        self.cursor.acknowledged(offset)
        if dead_letter is not None:
            self._dead_letters.append(dead_letter)
        self._acknowledged_count += 1
        if self._all_acknowledged is not None and not self.cursor.outstanding:
            self._all_acknowledged.set()
        self._dirty.set()
        if self._acknowledged_count >= SAVE_AFTER_EVENTS:
            self._urgent.set()

    def blocked_runs(self, row: SavedBlockedRun, offsets: Sequence[int]) -> None:
        """The run waits: its unsettled entries hold the offset back no longer, or, with too many runs parked, still do."""
        if self.cursor.block(row, offsets):
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
            await wait_until_set(self._urgent, SAVE_INTERVAL_MS)
        self._unsaved_runs.update(self.cursor.changed_rows())
        if (
            self._acknowledged_count
            or self._dead_letters
            or self._unsaved_runs
            or self.cursor.offset != self.saved_offset
        ):
            await self._save()

    async def _save(self) -> None:
        offset = self.cursor.offset
        saved = SavedCursor(self._revision + 1, self.cursor.snapshot(), self.cursor.through)
        dead_letters = tuple(self._dead_letters)
        rows = {**self._unsaved_runs, **self.cursor.changed_rows()}
        self._unsaved_runs.clear()
        self._acknowledged_count = 0
        if not self._stopping:
            self._dirty.clear()
            self._urgent.clear()
        await self._retry.call(self._store.save_cursor, self._tenure, self._name, saved, dead_letters, rows)
        del self._dead_letters[: len(dead_letters)]
        self._revision = saved.revision
        self.saved_offset = offset
