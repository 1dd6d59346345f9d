"""Lanes that keep the order per run: serial within a run, parallel across runs.

There is one lane for each run with unacknowledged events here. It is in one of three states: *ready* (its first event may be taken), *in
flight* (some of its events are being attempted), *blocked* (its first event waits for its next attempt). Events without a run
(``system.*``) share a lane of their own.

An event that has failed is always taken alone: a batch that failed as a whole is attempted again event by event, and an event that failed
alone should not spoil another batch. Lanes get the time as an argument and have no limit themselves; the window of the handler's cursor
bounds them.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Protocol

from consumer.domain.lifecycle_events import LifecycleEvent
from consumer.ports.delivery import HandlerDeadLetter, SavedBlockedRun
from consumer.ports.journal import JournalEntry

__all__ = ["BlockedRun", "Delivery", "DeliverySource", "Lanes"]


class DeliverySource(Protocol):
    """Source of events: a journal reader, or redriven dead letters."""

    @property
    def replayed(self) -> bool:
        """True when a replay delivers its events again."""
        ...

    @property
    def redriven(self) -> bool:
        """True when its events are dead letters already.

        Giving up on one of them again adds no dead letter.
        """
        ...

    @property
    def cancelled(self) -> bool:
        """True when its events are no longer to be delivered."""
        ...

    def acknowledged(self, delivery: Delivery, dead_letter: HandlerDeadLetter | None = None) -> None:
        """Record that ``delivery`` is acknowledged, or given up on as ``dead_letter``."""
        ...

    def blocked_runs(self, row: SavedBlockedRun, offsets: Sequence[int]) -> None:
        """Record that a run is blocked.

        The ``offsets`` are those of its unacknowledged entries that came from here.
        """
        ...


@dataclass(slots=True, eq=False)
class Delivery:
    """Event on its way to a handler.

    Attributes:
        entry: entry of the journal.
        source: source of the event, which records what becomes of it.
        attempts: number of attempts so far.
        due_ms: monotonic milliseconds before which no further attempt is made.
        event: decoded ``entry``; None before it was decoded.
        error: error of the last attempt, one line.
        sequence: number in the order in which events were added to the lanes.
    """

    entry: JournalEntry
    source: DeliverySource
    attempts: int = 0
    due_ms: int = 0
    event: LifecycleEvent | None = None
    error: str = ""
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class BlockedRun:
    """Run whose first event waits for another attempt.

    Attributes:
        first: that event.
        waiting: all events of the run here in their order, ``first`` included.
        acknowledged: events that were acknowledged in the same batch.
    """

    first: Delivery
    waiting: list[Delivery]
    acknowledged: list[Delivery]


@dataclass(slots=True, eq=False)
class _Lane:
    waiting: deque[Delivery] = field(default_factory=deque)
    in_flight: int = 0
    failed: list[Delivery] = field(default_factory=list)
    acknowledged: list[Delivery] = field(default_factory=list)


_by_sequence = attrgetter("sequence")


class Lanes:
    """Lanes of one handler."""

    def __init__(self) -> None:
        self._lanes: dict[str | None, _Lane] = {}
        self._fresh: deque[_Lane] = deque()
        self._ready_retries: deque[_Lane] = deque()
        self._blocked: list[tuple[int, int, _Lane]] = []
        self._blocked_count = 0
        self._last_sequence = 0
        self._fresh_events = 0
        self._retries_first = True

    def __len__(self) -> int:
        return len(self._lanes)

    @property
    def ready(self) -> int:
        """Number of lanes with an event that may be taken."""
        return len(self._fresh) + len(self._ready_retries)

    @property
    def fresh_events(self) -> int:
        """Number of events that may be taken and were never attempted."""
        return self._fresh_events

    @property
    def retries(self) -> int:
        """Number of events that may be taken and have failed before."""
        return len(self._ready_retries)

    @property
    def blocked_runs(self) -> int:
        """Number of runs that wait for another attempt."""
        return len(self._blocked)

    def add(self, delivery: Delivery) -> None:
        """Append an event to the lane of its run, in journal order for each source.

        The first event of a lane may have failed before a restart; it then waits until it is due.
        """
        key = delivery.entry.tracker_id
        self._last_sequence += 1
        delivery.sequence = self._last_sequence
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane()
            if delivery.attempts:
                self._block_lane(delivery.due_ms, lane)
            else:
                self._fresh.append(lane)
                self._fresh_events += 1
        elif not lane.in_flight and lane.waiting[0].attempts == 0:
            self._fresh_events += 1
        lane.waiting.append(delivery)

    def take(self, now_ms: int, limit: int = 1) -> list[Delivery]:
        """Take one event that has failed before, or up to ``limit`` others.

        The others come in the order in which they were added; the list is empty when there are none.

        With a limit above 1 there may be several of one run among them. Each must be given back by :meth:`acknowledged` or
        :meth:`retry_later`.
        """
        self.wake(now_ms)
        if self._ready_retries and (self._retries_first or not self._fresh):
            self._retries_first = False  # take turns, so that neither retries nor new events starve
            lane = self._ready_retries.popleft()
            lane.in_flight = 1
            return [lane.waiting.popleft()]
        self._retries_first = True
        batch: list[Delivery] = []
        while self._fresh and len(batch) < limit:
            lane = self._fresh[0]
            replayed = (batch or lane.waiting)[0].source.replayed
            if lane.waiting[0].source.replayed is not replayed:
                break  # `ctx.replayed` is one value for all events of a call
            self._fresh.popleft()
            self._fresh_events -= len(lane.waiting)
            while lane.waiting and len(batch) < limit and lane.waiting[0].source.replayed is replayed:
                batch.append(lane.waiting.popleft())
                lane.in_flight += 1
        if len(batch) > 1:
            batch.sort(key=_by_sequence)
        return batch

    def acknowledged(self, delivery: Delivery) -> BlockedRun | None:
        """Give back an acknowledged event.

        Returns the run when it is blocked because an earlier event of the same batch failed.
        """
        lane = self._lanes[delivery.entry.tracker_id]
        lane.in_flight -= 1
        if lane.in_flight == 0:
            if lane.failed:
                lane.acknowledged.append(delivery)
            return self._release_lane(delivery.entry.tracker_id, lane)
        lane.acknowledged.append(delivery)
        return None

    def retry_later(self, delivery: Delivery, due_ms: int) -> BlockedRun | None:
        """Give back an event that waits for another attempt.

        Returns the blocked run once the last event of the batch is given back.
        """
        lane = self._lanes[delivery.entry.tracker_id]
        delivery.due_ms = due_ms
        lane.failed.append(delivery)
        lane.in_flight -= 1
        return self._release_lane(delivery.entry.tracker_id, lane) if lane.in_flight == 0 else None

    def wake(self, now_ms: int) -> None:
        """Make the lanes ready whose wait has ended."""
        while self._blocked and self._blocked[0][0] <= now_ms:
            self._ready_retries.append(heapq.heappop(self._blocked)[2])

    def next_due_ms(self) -> int | None:
        """End of the next wait, in monotonic milliseconds; None when no lane is blocked."""
        return self._blocked[0][0] if self._blocked else None

    def _release_lane(self, key: str | None, lane: _Lane) -> BlockedRun | None:
        acknowledged, lane.acknowledged = lane.acknowledged, []
        if lane.failed:
            lane.waiting.extendleft(sorted(lane.failed, key=_by_sequence, reverse=True))
            lane.failed = []
        if not lane.waiting:
            del self._lanes[key]
        elif lane.waiting[0].attempts:
            first = lane.waiting[0]
            self._block_lane(first.due_ms, lane)
            return BlockedRun(first, list(lane.waiting), acknowledged)
        else:
            self._fresh.append(lane)
            self._fresh_events += len(lane.waiting)
        return None

    def _block_lane(self, due_ms: int, lane: _Lane) -> None:
        self._blocked_count += 1
        heapq.heappush(self._blocked, (due_ms, self._blocked_count, lane))
