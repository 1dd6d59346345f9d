"""Lanes of one handler, with the signals for the tasks that wait for them.

Journal readers wait for demand, workers for a batch to fill up, and the retry timer for a run that is blocked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from consumer.delivery.cursor import Cursor
from consumer.delivery.lanes import Delivery, Lanes
from consumer.delivery.loading import LoadedHandler

__all__ = ["HandlerQueue"]

MIN_READY_LANES = 32
"""Number of ready lanes below which more is read, at a low concurrency."""


class HandlerQueue:
    """Lanes of one handler; implements ``Demand`` of the journal reader.

    Args:
        loaded: the handler.
        on_enqueued: called after events were added.

    Attributes:
        name: name of the handler in the settings.
        types: event types that it gets.
        lanes: the lanes.
        batch_size: largest number of events in one call.
        blocked: set when a run was blocked, whose wait may be the next to end.
        batch_full: set when the lanes have enough new events for a batch.
    """

    def __init__(self, loaded: LoadedHandler, on_enqueued: Callable[[], None]) -> None:
        self.name = loaded.name
        self.types = loaded.types
        self.lanes = Lanes()
        self.batch_size = loaded.batch_size
        self.blocked = asyncio.Event()
        self.batch_full = asyncio.Event()
        self._on_enqueued = on_enqueued
        self._target_ready_lanes = max(MIN_READY_LANES, 2 * loaded.concurrency)
        self._demand = asyncio.Event()
        self._waiting_cursors: list[Cursor] = []

    def add(self, deliveries: Sequence[Delivery]) -> None:
        """Add deliveries to their lanes."""
        for delivery in deliveries:
            self.lanes.add(delivery)
        self.on_enqueued()

    def on_enqueued(self) -> None:
        """Wake the tasks that wait for events, after deliveries were added to the lanes."""
        if self.lanes.blocked_runs:
            self.blocked.set()  # an event that failed before a restart comes with its wait, which may be the next to end
        if self.lanes.fresh_events >= self.batch_size:
            self.batch_full.set()
        self._on_enqueued()

    async def wait_for_demand(self, cursor: Cursor) -> None:
        """Return when the lanes hold too few events and ``cursor`` has capacity."""
        self._waiting_cursors.append(cursor)
        try:
            while not (cursor.capacity and self._has_demand()):
                self._demand.clear()
                await self._demand.wait()
        finally:
            self._waiting_cursors.remove(cursor)

    def wake_readers(self) -> None:
        """Wake the waiting readers."""
        self._demand.set()

    def wake_readers_on_demand(self) -> None:
        """Wake the waiting readers if one of them may read.

        Cheap enough to be called after every call of the handler.
        """
        if self._waiting_cursors and self._has_demand():
            for cursor in self._waiting_cursors:
                if cursor.capacity:
                    self._demand.set()
                    return

    def on_blocked(self) -> None:
        """Wake the retry timer, and the readers: a blocked run is not ready any more."""
        self.blocked.set()
        self._demand.set()

    def _has_demand(self) -> bool:
        if self.batch_size > 1:
            return self.lanes.fresh_events < 2 * self.batch_size
        return self.lanes.ready < self._target_ready_lanes
