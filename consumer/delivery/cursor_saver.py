"""Saving of a cursor: often enough that a crash repeats little, but no oftener.

A cursor is saved by compare-and-set under the tenure, together with the dead letters and the blocked runs of the events that it passes: it
never passes an event that is neither acknowledged, nor a dead letter, nor of a blocked run. A save whose reply was lost is repeated with
the same revision, which the store recognises. A refused save means that another process delivers to this handler now, and ends the tenure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from consumer.delivery.cursor import WINDOW, Cursor
from consumer.delivery.store_retry import StoreRetry, wait_until_set
from consumer.ports.delivery import (
    CursorStore,
    HandlerDeadLetter,
    SavedBlockedRun,
    SavedCursor,
)
from consumer.ports.lease import Tenure
from consumer.ports.observers.delivery_events import DeliveryEvent
from consumer.ports.observers.observer import Observer

__all__ = ["CursorSaver"]

SAVE_INTERVAL_MS = 200
"""Shortest interval of saves …"""
SAVE_AFTER_EVENTS = 500
"""… unless this number of events was acknowledged since the last save."""


class CursorSaver:
    """Cursor of one handler or replay, and the task that saves it.

    Args:
        handler: name of the handler in the settings.
        store: store of the cursors.
        tenure: tenure under which the cursor is saved.
        cursor_name: name under which the cursor is stored; that of the handler by default.
        random: chance in [0, 1), for backoff.
        observer: notified when the store is unavailable.
        window: window of the cursor.

    Attributes:
        cursor: current cursor.
        saved_offset: offset of the saved cursor; None before it was read.
    """

    def __init__(
        self,
        handler: str,
        store: CursorStore,
        tenure: Tenure,
        *,
        cursor_name: str | None = None,
        random: Callable[[], float],
        observer: Observer[DeliveryEvent],
        window: int = WINDOW,
    ) -> None:
        self._handler = handler
        self._name = cursor_name or handler
        self._store = store
        self._tenure = tenure
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
        """Read the cursor, or create and save the first one.

        Args:
            first_offset: finds the offset after which a new handler gets events.

        Raises:
            CommitRefused: the tenure has ended.
            StoreForeign: the cursor has a newer format.
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
        """Dead letters that are not stored yet."""
        return self._dead_letters

    async def wait_until_drained(self) -> None:
        """Return when every announced entry is acknowledged."""
        while self.cursor.outstanding:
            self._all_acknowledged = asyncio.Event()
            await self._all_acknowledged.wait()

    def skipped(self, offset: int) -> None:
        """Pass an entry of a type that the handler does not get."""
        self.cursor.skipped(offset)
        self._dirty.set()

    def acknowledged(self, offset: int, dead_letter: HandlerDeadLetter | None = None) -> None:
        """Acknowledge an entry, given up on as ``dead_letter`` if there is one."""
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
        """Block a run, so that its entries no longer hold the offset back.

        While too many runs are blocked they still do.
        """
        if self.cursor.block(row, offsets):
            self._dirty.set()

    def stop(self) -> None:
        """Stop :meth:`run` after a last save.

        Nothing more will be acknowledged.
        """
        self._stopping = True
        self._dirty.set()
        self._urgent.set()

    async def run(self) -> None:
        """Save changes at most every 200 ms, until :meth:`stop`; then save the rest.

        Raises:
            CommitRefused: the tenure has ended, or another process has moved the cursor.
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
