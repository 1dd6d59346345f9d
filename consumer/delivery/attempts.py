"""Attempts with an event or a batch: decode, filter, call, decide.

The decision of the retry policy is carried out here: acknowledge, wait for another attempt, write a dead letter, or stop the handler.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from consumer.clock import Clock
from consumer.delivery.filters import EventFilter
from consumer.delivery.handler_queue import HandlerQueue
from consumer.delivery.handler_state import HandlerStateMachine
from consumer.delivery.invocation import HandlerInvoker
from consumer.delivery.isolation import CallTask
from consumer.delivery.lanes import BlockedRun, Delivery, DeliverySource
from consumer.delivery.loading import LoadedHandler
from consumer.delivery.retry import (
    Acknowledge,
    BatchFailed,
    Block,
    DeadLetter,
    Disabled,
    Failure,
    Rejection,
    RetryLater,
    RetryPolicy,
    Skip,
    Stop,
    Success,
    one_line,
)
from consumer.domain.lifecycle_events import LifecycleEvent
from consumer.ports.delivery import HandlerDeadLetter, SavedBlockedRun
from consumer.ports.journal import JournalEntry
from consumer.ports.observers.delivery_events import (
    AttemptFailed,
    CallInterrupted,
    DeadLettered,
    DeliveryEvent,
    DeliveryRecovered,
    EventFiltered,
    EventSkipped,
    HandlerCallFinished,
    RunBlocked,
)
from consumer.ports.observers.observer import Observer

__all__ = ["AttemptRunner"]

STOPPED_RETRY_MS = 60_000
"""Wait of an event that halted or disabled its handler.

A handler that is stopped makes no attempts anyway.
"""


class AttemptRunner:
    """Runs attempts with the events of one handler.

    Args:
        loaded: the handler.
        queue: lanes from which the deliveries were taken, and to which they are given back.
        invoker: calls the handler.
        state: halted or disabled by an outcome.
        clock: monotonic for waits, wall for the age of events and the time of dead letters.
        random: chance in [0, 1), for jitter.
        observer: notified of what becomes of every event.
        decode: decodes an entry; raises ValueError when it cannot.
    """

    def __init__(
        self,
        loaded: LoadedHandler,
        queue: HandlerQueue,
        invoker: HandlerInvoker,
        state: HandlerStateMachine,
        *,
        clock: Clock,
        random: Callable[[], float],
        observer: Observer[DeliveryEvent],
        decode: Callable[[JournalEntry], LifecycleEvent],
    ) -> None:
        self._handler = loaded.name
        self._queue = queue
        self._lanes = queue.lanes
        self._invoker = invoker
        self._state = state
        self._clock = clock
        self._random = random
        self._observer = observer
        self._decode = decode
        self._event_filter = EventFilter(loaded, clock.wall_ms)
        self._policy = RetryPolicy(loaded.spec.max_attempts, loaded.spec.on_failure)

    async def run(self, deliveries: list[Delivery], started_ms: int, call_task: CallTask) -> None:
        """Make one attempt with ``deliveries``; each is given back to its lane.

        Args:
            deliveries: taken from the lanes together.
            started_ms: monotonic milliseconds at which they were taken.
            call_task: current task.

        Raises:
            asyncio.CancelledError: the stop cancelled the call, which is no failure; the events stay unacknowledged.
        """
        called: list[Delivery] = []
        events: list[LifecycleEvent] = []
        for delivery in deliveries:
            if (event := self._decode_and_filter(delivery)) is not None:
                called.append(delivery)
                events.append(event)
        if not called:
            return
        try:
            results = await self._invoker.attempt(called, events, call_task)
        except asyncio.CancelledError:
            for delivery in called:
                self._observer.observe(CallInterrupted(self._handler, delivery.entry))
            raise
        ended_ms = self._clock.monotonic_ms()
        delivered = 0
        for delivery, outcome in zip(called, results, strict=True):
            if isinstance(outcome, Success):
                delivered += 1
                if delivery.attempts > 1:
                    self._observer.observe(
                        DeliveryRecovered(self._handler, delivery.entry.type, delivery.attempts)
                    )
                self._acknowledge(delivery)
            else:
                self._decide(delivery, outcome, ended_ms)
        self._observer.observe(HandlerCallFinished(self._handler, ended_ms - started_ms, delivered))

    def _decode_and_filter(self, delivery: Delivery) -> LifecycleEvent | None:
        """Decode and filter one event; None when no call is needed.

        No call is needed for an event that is cancelled, filtered out, or impossible to decode.
        """
        if delivery.source.cancelled:
            self._acknowledge(delivery)
            return None
        if delivery.event is not None:
            return delivery.event
        try:
            event = self._decode(delivery.entry)
        except ValueError as error:
            self._decide(
                delivery, Rejection(f"the journal entry cannot be read: {one_line(error)}", error), 0
            )
            return None
        try:
            rejected_by = self._event_filter.rejected_by(event, replayed=delivery.source.replayed)
        except BaseException as error:  # noqa: BLE001 - a predicate may raise anything; it counts as an attempt
            delivery.attempts += 1
            self._decide(delivery, Failure(one_line(error), None, error), self._clock.monotonic_ms())
            return None
        if rejected_by is not None:
            self._observer.observe(EventFiltered(self._handler, event.type, rejected_by))
            self._acknowledge(delivery)
            return None
        delivery.event = event
        return event

    def _decide(
        self, delivery: Delivery, outcome: Failure | BatchFailed | Rejection | Disabled, now_ms: int
    ) -> None:
        entry, attempts, error, cause = delivery.entry, delivery.attempts, outcome.error, outcome.cause
        match self._policy.decide(attempts, outcome, self._random()):
            case RetryLater(after_ms):
                self._observer.observe(AttemptFailed(self._handler, entry, attempts, error, cause, after_ms))
                self._retry_later(delivery, error, now_ms + after_ms)
            case Block(after_ms):
                self._observer.observe(RunBlocked(self._handler, entry, attempts, error, cause, after_ms))
                self._retry_later(delivery, error, now_ms + after_ms)
            case Skip(reason):
                self._observer.observe(EventSkipped(self._handler, entry, attempts, reason, cause))
                self._acknowledge(delivery)
            case DeadLetter() if self._state.is_at_dead_letter_limit and not delivery.source.redriven:
                self._state.halt()
                self._observer.observe(
                    RunBlocked(self._handler, entry, attempts, error, cause, STOPPED_RETRY_MS)
                )
                self._retry_later(delivery, error, now_ms + STOPPED_RETRY_MS)
            case DeadLetter(reason):
                self._state.add_dead_letter()
                self._observer.observe(DeadLettered(self._handler, entry, attempts, reason, cause))
                self._acknowledge(delivery, self._new_dead_letter(delivery, reason))
            case Stop(reason):
                self._state.disable(entry, reason)
                self._retry_later(delivery, reason, now_ms + STOPPED_RETRY_MS)
            case Acknowledge():
                self._acknowledge(delivery)

    def _acknowledge(self, delivery: Delivery, dead_letter: HandlerDeadLetter | None = None) -> None:
        delivery.source.acknowledged(delivery, dead_letter)
        blocked_run = self._lanes.acknowledged(delivery)
        if blocked_run is not None:
            self._save_blocked_run(blocked_run)

    def _retry_later(self, delivery: Delivery, error: str, due_ms: int) -> None:
        delivery.error = error
        blocked_run = self._lanes.retry_later(delivery, due_ms)
        if blocked_run is not None:
            self._save_blocked_run(blocked_run)

    def _save_blocked_run(self, blocked_run: BlockedRun) -> None:
        """Give every source the row of its events that wait."""
        first = blocked_run.first
        due_ms = self._clock.wall_ms() + max(0, first.due_ms - self._clock.monotonic_ms())
        by_source: dict[DeliverySource, list[Delivery]] = {}
        for delivery in blocked_run.waiting:
            by_source.setdefault(delivery.source, []).append(delivery)
        for source, waiting in by_source.items():
            first_waiting = waiting[0]
            offset = first_waiting.entry.offset
            acknowledged = sorted(
                each.entry.offset
                for each in blocked_run.acknowledged
                if each.source is source and each.entry.offset > offset
            )
            row = SavedBlockedRun(
                first_waiting.entry.tracker_id,
                offset,
                first_waiting.attempts,
                due_ms if first_waiting.attempts else 0,
                first_waiting.error,
                tuple(acknowledged),
            )
            source.blocked_runs(row, [delivery.entry.offset for delivery in waiting])
        self._queue.on_blocked()

    def _new_dead_letter(self, delivery: Delivery, reason: str) -> HandlerDeadLetter:
        entry = delivery.entry
        return HandlerDeadLetter(
            handler=self._handler,
            event_id=entry.id,
            offset=entry.offset,
            tracker_id=entry.tracker_id,
            type=entry.type,
            attempts=delivery.attempts,
            error=reason,
            at_ms=self._clock.wall_ms(),
            data=entry.data,
        )
