"""Order per run: one lane for each run that has something to deliver, serial inside, parallel across.

A lane exists while its run has events here, and goes when the last one is settled. It is in one of three states: *ready* (its first event
may be taken), *flying* (some of its events are being handled), *parked* (its first event waits for its next attempt). Events without a run
(``system.*``) share a lane of their own.

An event that has failed is always taken alone: a batch that failed as a whole is tried again event by event, and what failed alone should
not spoil another batch. Lanes are told the time and have no limit themselves; the window of the handler's place bounds what is in them.
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
    """Where events come from: a feed, or dead letters that are tried again."""

    @property
    def replayed(self) -> bool:
        """Whether its events are delivered again because somebody asked."""
        ...

    @property
    def redriven(self) -> bool:
        """Whether its events are dead letters already, so that giving up on one adds none."""
        ...

    @property
    def cancelled(self) -> bool:
        """Whether its events are not wanted any more."""
        ...

    def acknowledged(self, delivery: Delivery, dead_letter: HandlerDeadLetter | None = None) -> None:
        """The handler is done with one, or it is to be kept aside as ``dead_letter``."""
        ...

    def blocked_runs(self, row: SavedBlockedRun, offsets: Sequence[int]) -> None:
        """A run waits; these of its unsettled events came from here."""
        ...


@dataclass(slots=True, eq=False)
class Delivery:
    """One event on its way to one handler.

    Attributes:
        entry: as the journal has it.
        source: where it came from, which is told what becomes of it.
        attempts: made so far.
        due_ms: monotonic milliseconds before which no other attempt is to be made.
        event: ``entry`` decoded, once it was.
        error: what the last attempt came to, one line.
        sequence: its place in the order in which events came to the lanes.
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
    """A run has come to a stop: its first event waits for another attempt.

    Attributes:
        first: that event.
        waiting: all its events here in their order, ``first`` included.
        acknowledged: events that were settled in the same batch.
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
    """All lanes of one handler."""

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
        """How many lanes have an event that may be taken."""
        return len(self._fresh) + len(self._ready_retries)

    @property
    def fresh_events(self) -> int:
        """How many events that were never tried may be taken."""
        return self._fresh_events

    @property
    def retries(self) -> int:
        """How many events may be taken that have failed before."""
        return len(self._ready_retries)

    @property
    def blocked_runs(self) -> int:
        """How many runs wait for another attempt."""
        return len(self._blocked)

    def add(self, delivery: Delivery) -> None:
        """Append an event to the lane of its run; those of one source come in journal order.

        The first of a lane may have failed before a restart; it waits for its time then.
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
        """Take what may be handled now: one event that has failed before, or up to ``limit`` others in the order they came; empty if none.

        With a greater limit than 1 there may be several of one run among them. Each must be given back by :meth:`acknowledged` or
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
                break  # a call is told once whether its events are replayed
            self._fresh.popleft()
            self._fresh_events -= len(lane.waiting)
            while lane.waiting and len(batch) < limit and lane.waiting[0].source.replayed is replayed:
                batch.append(lane.waiting.popleft())
                lane.in_flight += 1
        if len(batch) > 1:
            batch.sort(key=_by_sequence)
        return batch

    def acknowledged(self, delivery: Delivery) -> BlockedRun | None:
        """The event is done with; says so when its run stands still, because an earlier one of the same batch failed."""
        lane = self._lanes[delivery.entry.tracker_id]
        lane.in_flight -= 1
        if lane.in_flight == 0:
            if lane.failed:
                lane.acknowledged.append(delivery)
            return self._release_lane(delivery.entry.tracker_id, lane)
        lane.acknowledged.append(delivery)
        return None

    def retry_later(self, delivery: Delivery, due_ms: int) -> BlockedRun | None:
        """The event waits for another attempt, and with it what follows in its run, which is told when the last of its batch is back."""
        lane = self._lanes[delivery.entry.tracker_id]
        delivery.due_ms = due_ms
        lane.failed.append(delivery)
        lane.in_flight -= 1
        return self._release_lane(delivery.entry.tracker_id, lane) if lane.in_flight == 0 else None

    def wake(self, now_ms: int) -> None:
        """Make the lanes ready whose wait is over."""
        while self._blocked and self._blocked[0][0] <= now_ms:
            self._ready_retries.append(heapq.heappop(self._blocked)[2])

    def next_due_ms(self) -> int | None:
        """When the next wait is over, monotonic milliseconds; None when no lane is parked."""
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
