"""Dead letters that somebody asked to be delivered once more.

The wish stands beside the letter in the store, so it survives whoever was asked. The letter's event joins the lane of its run behind what
waits there, the oldest letters first. When the handler is done with it the letter goes; when it gives up again the letter stays, with the
new error, and the wish goes. A crash in between delivers it once more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from consumer.delivery.lanes import Delivery
from consumer.delivery.store_retry import StoreRetry
from consumer.ports.delivery import (
    CursorStore,
    HandlerDeadLetter,
    PendingCommands,
    SavedBlockedRun,
)
from consumer.ports.journal import JournalEntry
from consumer.ports.observers import DeliveryEvents

__all__ = ["DeadLetterRedrive"]

FETCH_LIMIT = 500
"""Letters fetched at a time."""


class DeadLetterRedrive:
    """The dead letters of one handler that are delivered again; its events come from here as from a feed.

    Args:
        handler: its name in the settings.
        store: where letters are.
        add: takes a delivery into the lanes.
        random: chance in [0, 1), for back-off.
        observer: told when the store is unavailable.
    """

    replayed = False
    redriven = True
    cancelled = False

    def __init__(
        self,
        handler: str,
        store: CursorStore,
        add: Callable[[Sequence[Delivery]], None],
        *,
        random: Callable[[], float],
        observer: DeliveryEvents,
    ) -> None:
        self._handler = handler
        self._store = store
        self._add = add
        self._retry = StoreRetry(handler, observer, random)
        self._in_flight: set[str] = set()
        self._removed: list[str] = []
        self._failed_again: list[HandlerDeadLetter] = []
        self._wakeup = asyncio.Event()
        self._fetch_pending = False

    def apply_commands(self, pending_commands: PendingCommands) -> None:
        """What the store says is wanted."""
        if pending_commands.redrives > len(self._in_flight):
            self._fetch_pending = True
            self._wakeup.set()

    def acknowledged(self, delivery: Delivery, dead_letter: HandlerDeadLetter | None = None) -> None:
        """The handler is done with it, or has given up again."""
        if dead_letter is None:
            self._removed.append(delivery.entry.id)
        else:
            self._failed_again.append(dead_letter)
        self._wakeup.set()

    def blocked_runs(self, row: SavedBlockedRun, offsets: Sequence[int]) -> None:
        """Nothing is to be kept: the letters themselves stay until they are settled."""

    async def run(self) -> None:
        """Fetch what is asked for and write down what became of it, for ever."""
        while True:
            await self._wakeup.wait()
            self._wakeup.clear()
            await self.save()
            if self._fetch_pending and len(self._in_flight) < FETCH_LIMIT:
                self._fetch_pending = False
                dead_letters = await self._retry.call(self._store.redrives, self._handler, FETCH_LIMIT)
                new_letters = [
                    dead_letter for dead_letter in dead_letters if dead_letter.event_id not in self._in_flight
                ]
                self._in_flight.update(dead_letter.event_id for dead_letter in new_letters)
                self._add([Delivery(_entry_of(dead_letter), self) for dead_letter in new_letters])

    async def save(self) -> None:
        """Write down what became of letters, if anything did."""
        removed, failed_again = tuple(self._removed), tuple(self._failed_again)
        if removed or failed_again:
            await self._retry.call(self._store.resolve_dead_letters, self._handler, removed, failed_again)
            del self._removed[: len(removed)], self._failed_again[: len(failed_again)]
            self._in_flight.difference_update(removed, (dead_letter.event_id for dead_letter in failed_again))


def _entry_of(dead_letter: HandlerDeadLetter) -> JournalEntry:
    return JournalEntry(
        dead_letter.offset, dead_letter.event_id, dead_letter.type, dead_letter.tracker_id, dead_letter.data
    )
