"""Delivery of events to one handler under test, without a store or waits.

Loading, filters, order within a run, the call with its context and time limit, retries, backoff and dead letters are the service's own
modules. Left out is what a test of a handler should not need: the store, parallel calls, and the waits, which are added up in
:attr:`Report.waited` instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from consumer.clock import to_ms
from consumer.delivery.dispatcher import SharedHttp
from consumer.delivery.filters import EventFilter
from consumer.delivery.handler_settings import HandlerSpec
from consumer.delivery.invocation import HandlerInvoker
from consumer.delivery.lanes import Delivery, Lanes
from consumer.delivery.loading import LoadedHandler, load_handler
from consumer.delivery.retry import (
    Acknowledge,
    Block,
    DeadLetter,
    Outcome,
    RetryLater,
    RetryPolicy,
    Skip,
    Stop,
    Success,
)
from consumer.domain.lifecycle_events import LifecycleEvent
from consumer.errors import SettingsError
from consumer.plugin import BatchHandler, Handler
from consumer.ports.delivery import HandlerDeadLetter, SavedBlockedRun
from consumer.ports.journal import JournalEntry
from consumer.testing.fed_records import InMemoryContextStore
from consumer.testing.recorded_actions import RecordedActions

__all__ = ["Attempt", "Feed", "Report"]

MEDIAN_JITTER = 0.5
"""Chance for the jitter of the backoff, which is random in the service."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Attempt with one event, in a call of the handler.

    Attributes:
        event: the event.
        number: number of the attempt with it, from 1.
        error: error of the attempt, one line; None when it succeeded.
    """

    event: LifecycleEvent
    number: int
    error: str | None


@dataclass(slots=True)
class Report:
    """Result of feeding events to a handler.

    Attributes:
        delivered: events that the handler acknowledged, in the order in which it did.
        attempts: every event of every call, in order.
        dead_letters: event and reason, for dead letters.
        skipped: event and reason, for events given up (``on_failure = "skip"``).
        blocked: event and error, for events that would be attempted for ever (``on_failure = "block"``), which block their run.
        left_out: event and filter (``type``, ``origin``, ``own_change``, ``max_age``, ``predicate``), for events that it never got.
        disabled: reason of :class:`~consumer.plugin.Disable`, which ends the feeding; None when it was not raised.
        waited: total wait of the service between attempts.
        lives: number of times that the handler was opened: 1, and one for every kill.
    """

    delivered: list[LifecycleEvent] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    dead_letters: list[tuple[LifecycleEvent, str]] = field(default_factory=list)
    skipped: list[tuple[LifecycleEvent, str]] = field(default_factory=list)
    blocked: list[tuple[LifecycleEvent, str]] = field(default_factory=list)
    left_out: list[tuple[LifecycleEvent, str]] = field(default_factory=list)
    disabled: str | None = None
    waited: timedelta = timedelta()
    lives: int = 0

    @property
    def types(self) -> list[str]:
        """Types of the delivered events, in order."""
        return [event.type for event in self.delivered]


class Feed:
    """Feeds events to one handler.

    Args:
        handler: a class, a function decorated with ``@handler``, or text as in the setting ``use``.
        name: name of the handler in the settings.
        section: the rest of its section ``handlers.<name>``: ``settings={…}``, ``max_attempts=3``, ``on=[…]`` ….

    Attributes:
        actions: records the handler's actions, and lets them fail.
        memory: answers ``ctx.latest`` and ``ctx.once``.
        killed: handlers whose process was killed, which are never closed; a test may close their open connections.

    Raises:
        SettingsError: with every problem that the service would report at its start.
    """

    def __init__(self, handler: Any, *, name: str = "tested", **section: Any) -> None:
        self._handler = handler
        self._name = name
        self._spec = HandlerSpec(use=handler if isinstance(handler, str) else "tests:given", **section)
        self.actions = RecordedActions()
        self.memory = InMemoryContextStore()
        self.killed: list[Handler | BatchHandler] = []
        self._load()  # a wrong setting is reported where the test writes it

    def _load(self) -> LoadedHandler:
        """Load the handler anew, as a process does when it starts."""
        value = None if isinstance(self._handler, str) else self._handler
        loaded, problems = load_handler(self._name, self._spec, value)
        if loaded is None:
            raise SettingsError(problems)
        return loaded

    async def deliver(self, events: Iterable[LifecycleEvent], *, kills: Sequence[int] = ()) -> Report:
        """Open the handler, deliver the events in journal order, retry failures, close it.

        Args:
            events: events of any number of runs, delivered in this order; those of a run wait for each other. The time of the last one
                is the present for ``max_age``.
            kills: numbers of calls, from 1 and counted across all lives, after which the process is killed before anything is
                acknowledged: the handler is not closed, a new one is opened, and every event is delivered again. The worst case of
                *at least once*.

        Raises:
            Exception: raised by the handler's ``open`` or ``close``.
        """
        return await self._deliver(list(events), kills=frozenset(kills), replayed=False)

    async def replay(self, events: Iterable[LifecycleEvent]) -> Report:
        """Deliver the events as ``cadence-consumer replay`` does.

        ``ctx.replayed`` is true, and ``ctx.actions`` is refused unless the settings allow it.

        Raises:
            Exception: raised by the handler's ``open`` or ``close``.
        """
        return await self._deliver(list(events), kills=frozenset(), replayed=True)

    async def _deliver(
        self, events: list[LifecycleEvent], *, kills: frozenset[int], replayed: bool
    ) -> Report:
        report = Report()
        calls = 0
        self.memory.learn(events)
        while True:
            loaded = self._load()
            process = _Process(loaded, self.actions, self.memory, events, report, calls, replayed=replayed)
            end = await process.run(kills)
            if end == "done":
                return report
            self.killed.append(loaded.handler)
            calls = process.calls
            report.disabled = None
            report.delivered.clear()
            for events_and_reasons in (report.dead_letters, report.skipped, report.blocked, report.left_out):
                events_and_reasons.clear()


@dataclass(frozen=True, slots=True)
class _TestSource:
    """Source of the events of a test, which has no cursor."""

    replayed: bool
    redriven: bool = False
    cancelled: bool = False

    def acknowledged(self, delivery: Delivery, dead_letter: HandlerDeadLetter | None = None) -> None:
        """Store nothing."""

    def blocked_runs(self, row: SavedBlockedRun, offsets: Sequence[int]) -> None:
        """Store nothing."""


class _Process:
    """Life of a process: from opening the handler to closing it, or to the kill."""

    def __init__(
        self,
        loaded: LoadedHandler,
        actions: RecordedActions,
        memory: InMemoryContextStore,
        events: Sequence[LifecycleEvent],
        report: Report,
        calls: int,
        *,
        replayed: bool,
    ) -> None:
        self.calls = calls
        self._loaded = loaded
        self._report = report
        self._policy = RetryPolicy(loaded.spec.max_attempts, loaded.spec.on_failure)
        self._http = SharedHttp()
        self._invoker = HandlerInvoker(loaded, self._http.session, actions, memory)
        self._batch_size = loaded.batch_size
        self._lanes = Lanes()
        self._now_ms = 0
        wall_ms = to_ms(events[-1].time) if events else 0
        event_filter = EventFilter(loaded, lambda: wall_ms)
        source = _TestSource(replayed=replayed)
        for offset, event in enumerate(events, 1):
            is_selected = event.type in loaded.types
            rejected_by = event_filter.rejected_by(event, replayed=replayed) if is_selected else "type"
            if rejected_by is not None:
                report.left_out.append((event, rejected_by))
                continue
            entry = JournalEntry(offset, event.id, event.type, event.tracker_id, event.to_json())
            self._lanes.add(Delivery(entry, source, event=event))

    async def run(self, kills: frozenset[int]) -> Literal["done", "killed"]:
        self._report.lives += 1
        try:
            await self._invoker.open()
            while self._report.disabled is None and (deliveries := self._next_deliveries()):
                events = [each.event for each in deliveries if each.event is not None]
                results = await self._invoker.attempt(deliveries, events)
                self.calls += 1
                for delivery, event, outcome in zip(deliveries, events, results, strict=True):
                    error = None if isinstance(outcome, Success) else outcome.error
                    self._report.attempts.append(Attempt(event, delivery.attempts, error))
                if self.calls in kills:
                    return "killed"
                for delivery, event, outcome in zip(deliveries, events, results, strict=True):
                    self._apply_decision(delivery, event, outcome)
            await self._invoker.close()
        finally:
            await self._http.aclose()
        return "done"

    def _next_deliveries(self) -> list[Delivery]:
        """Take the next deliveries, after a wait if one is needed; empty at the end."""
        deliveries = self._lanes.take(self._now_ms, self._batch_size)
        due_ms = self._lanes.next_due_ms()
        if deliveries or due_ms is None:
            return deliveries
        self._report.waited += timedelta(milliseconds=due_ms - self._now_ms)
        self._now_ms = due_ms
        return self._lanes.take(self._now_ms, self._batch_size)

    def _apply_decision(self, delivery: Delivery, event: LifecycleEvent, outcome: Outcome) -> None:
        report, lanes = self._report, self._lanes
        match self._policy.decide(delivery.attempts, outcome, MEDIAN_JITTER):
            case RetryLater(after_ms):
                lanes.retry_later(delivery, self._now_ms + after_ms)
                return
            case Block():
                report.blocked.append((event, "" if isinstance(outcome, Success) else outcome.error))
                return  # never given back to its lane, so its run stays blocked
            case DeadLetter(reason):
                report.dead_letters.append((event, reason))
            case Stop(reason):
                report.disabled = reason
                return
            case Skip(reason):
                report.skipped.append((event, reason))
            case Acknowledge():
                report.delivered.append(event)
        lanes.acknowledged(delivery)
