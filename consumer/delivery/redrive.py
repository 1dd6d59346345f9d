"""Redrive of dead letters: delivery once more, on an operator's command.

The command is a mark on the dead letter in the store, so it survives the process that was to carry it out. The event joins the lane of its
run behind those that wait there, the oldest dead letters first. When the handler acknowledges it the dead letter is removed; when the
handler gives up again the dead letter stays, with the new error and without the mark. A crash in between delivers the event once more.
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
from consumer.ports.observers.delivery_events import DeliveryEvent
from consumer.ports.observers.observer import Observer

__all__ = ["DeadLetterRedrive"]

FETCH_LIMIT = 500
"""Largest number of dead letters that are fetched and in flight."""


class DeadLetterRedrive:
    """Redrive of one handler's dead letters, as a source of deliveries.

    Args:
        handler: name of the handler in the settings.
        store: store of the dead letters.
        add: adds deliveries to the lanes.
        random: chance in [0, 1), for backoff.
        observer: notified when the store is unavailable.
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
        observer: Observer[DeliveryEvent],
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
        """Fetch dead letters if more are marked than are in flight."""
        if pending_commands.redrives > len(self._in_flight):
            self._fetch_pending = True
            self._wakeup.set()

    def acknowledged(self, delivery: Delivery, dead_letter: HandlerDeadLetter | None = None) -> None:
        """Record that a dead letter is acknowledged, or given up on again."""
        if dead_letter is None:
            self._removed.append(delivery.entry.id)
        else:
            self._failed_again.append(dead_letter)
        self._wakeup.set()

    def blocked_runs(self, row: SavedBlockedRun, offsets: Sequence[int]) -> None:
        """Store nothing: the dead letters themselves stay until they are acknowledged."""

    async def run(self) -> None:
        """Fetch marked dead letters and save their results; never returns."""
        while True:
            await self._wakeup.wait()
            self._wakeup.clear()
            await self.save()
            if self._fetch_pending and len(self._in_flight) < FETCH_LIMIT:
                self._fetch_pending = False
                dead_letters = await self._retry.call(self._store.redrives, self._handler, FETCH_LIMIT)
                new = [
                    dead_letter for dead_letter in dead_letters if dead_letter.event_id not in self._in_flight
                ]
                self._in_flight.update(dead_letter.event_id for dead_letter in new)
                self._add([Delivery(_entry_of(dead_letter), self) for dead_letter in new])

    async def save(self) -> None:
        """Save the results since the last save, if there are any."""
        removed, failed_again = tuple(self._removed), tuple(self._failed_again)
        if removed or failed_again:
            await self._retry.call(self._store.resolve_dead_letters, self._handler, removed, failed_again)
            del self._removed[: len(removed)], self._failed_again[: len(failed_again)]
            self._in_flight.difference_update(removed, (dead_letter.event_id for dead_letter in failed_again))


def _entry_of(dead_letter: HandlerDeadLetter) -> JournalEntry:
    return JournalEntry(
        dead_letter.offset, dead_letter.event_id, dead_letter.type, dead_letter.tracker_id, dead_letter.data
    )
