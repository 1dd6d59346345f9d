"""Log lines, metrics and health of ingest.

Each event has one method, which decides how severe it is, what it counts and what health learns of it. Ordinary events are counted and
not logged, because a line for each poll hides the line that matters.
"""

from __future__ import annotations

import math
from typing import Final

import structlog
from prometheus_client import Counter

from consumer.clock import Clock
from consumer.ports.observers.ingest_events import (
    BadEventReceived,
    ChangeEventsReceived,
    ChangesHeld,
    ChangesReleasedEarly,
    CommitApplied,
    CommitFailed,
    GapReceived,
    IngestEvent,
    InputRecovered,
    InputStuck,
    LookupFailed,
    PositionRefused,
    QuotaUnknown,
    UnknownValuesReceived,
    ValuesReplaced,
)
from consumer.telemetry.dispatch import Methods, on
from consumer.telemetry.health import Health
from consumer.telemetry.log_throttle import LogThrottle
from consumer.telemetry.metric_catalogue import MetricName
from consumer.telemetry.metrics import Metrics, seconds_since
from consumer.telemetry.reconcile_telemetry import ReconcileTelemetry

__all__ = ["IngestTelemetry"]

_MAX_LOGGED_TEXT: Final = 80
"""Characters of a name or value that Salesforce sent, in the log."""

_MAX_REMEMBERED: Final = 1_000
"""Number of names and values remembered as logged; once it is reached, new ones are only counted."""

_LAG_HOLD_MS: Final = 60_000
"""Milliseconds for which the lag of the last commit is shown if nothing follows it."""

_OTHER: Final = "other"
"""Label of channels and reasons that are not in the sets below: text from a server must not become a label."""

_BAD_EVENT_REASONS: Final = (
    "no_channel", "no_data", "no_header", "no_payload", "no_position", "no_record_ids", "too_deep", "too_large", "unknown_change_type",
    "unknown_channel", "unknown_entity", "unreadable_answer", "wrong_type",
)  # fmt: skip


class IngestTelemetry:
    """Observer of ingest, its reconcile tasks included.

    Args:
        metrics: where it counts.
        health: what it notifies.
        clock: monotonic for health, wall for the lag.
        channels: the configured channels, so that a channel without events shows as 0 instead of being absent.
        throttle: leaves lines out in a storm.
    """

    def __init__(
        self,
        metrics: Metrics,
        health: Health,
        clock: Clock,
        channels: tuple[str, ...],
        throttle: LogThrottle | None = None,
    ) -> None:
        self._throttle = throttle or LogThrottle()
        self._log = structlog.get_logger()
        self._metrics = metrics
        self._health = health
        self._clock = clock
        self._channels = channels
        self._event_ms: int | None = None
        self._last_lag = (0, 0)
        self._failing = False
        self._logged_once: set[tuple[str, ...]] = set()
        # Children are kept: looking one up costs more than counting.
        self._received: dict[str, Counter] = {
            channel: metrics.counter(MetricName.CHANGE_EVENTS_RECEIVED, channel) for channel in channels
        }
        self._journal: dict[str, Counter] = {}
        self._held = metrics.gauge(MetricName.HELD_CHANGES)
        self._commit_duration = metrics.histogram(MetricName.COMMIT_DURATION_SECONDS)
        self._methods: Methods = ReconcileTelemetry(metrics, self._throttle, health, clock).methods | dict((
            on(ChangeEventsReceived, self._change_events_received),
            on(BadEventReceived, self._bad_event_received),
            on(UnknownValuesReceived, self._unknown_values_received),
            on(ValuesReplaced, self._values_replaced),
            on(GapReceived, self._gap_received),
            on(PositionRefused, self._position_refused),
            on(InputStuck, self._input_stuck),
            on(InputRecovered, self._input_recovered),
            on(QuotaUnknown, self._quota_unknown),
            on(LookupFailed, self._lookup_failed),
            on(ChangesHeld, self._changes_held),
            on(ChangesReleasedEarly, self._changes_released_early),
            on(CommitApplied, self._commit_applied),
            on(CommitFailed, self._commit_failed),
        ))  # fmt: skip
        # An alert on an increase never sees the first event of a series that begins with it.
        for channel in (*channels, _OTHER):
            for reason in _BAD_EVENT_REASONS:
                metrics.counter(MetricName.BAD_EVENTS, channel, reason)
        metrics.gauge(MetricName.LAG_SECONDS).set_function(self._lag_seconds)
        metrics.gauge(MetricName.SINCE_LAST_EVENT_SECONDS).set_function(
            lambda: seconds_since(self._event_ms, clock.monotonic_ms())
        )

    def observe(self, event: IngestEvent) -> None:
        """Log, count and pass on to health."""
        self._methods[type(event)](event)

    def _lag_seconds(self) -> float:
        """Lag of the last commit while it is recent, in seconds.

        While changes wait, at least as long as they have waited.
        """
        if not self._health.holds_lease:
            return math.nan
        now_ms = self._clock.monotonic_ms()
        committed_ms, lag_ms = self._last_lag
        since_ms = self._health.behind_since_ms
        if since_ms is not None:
            return max(lag_ms, now_ms - since_ms) / 1000
        return lag_ms / 1000 if now_ms - committed_ms < _LAG_HOLD_MS else 0.0

    # -------------------------------------------------------- changes

    def _change_events_received(self, event: ChangeEventsReceived) -> None:
        counter = self._received.get(event.channel)
        if counter is None:
            counter = self._received[event.channel] = self._metrics.counter(
                MetricName.CHANGE_EVENTS_RECEIVED, event.channel
            )
        counter.inc(event.changes)
        self._event_ms = self._clock.monotonic_ms()
        self._health.received(self._event_ms)

    def _bad_event_received(self, event: BadEventReceived) -> None:
        dead_letter = event.dead_letter
        channel = dead_letter.channel if dead_letter.channel in self._channels else _OTHER
        reason = dead_letter.reason if dead_letter.reason in _BAD_EVENT_REASONS else _OTHER
        self._metrics.counter(MetricName.BAD_EVENTS, channel, reason).inc()
        if dead_letter.reason == "unknown_entity" and not self._is_first("entity", dead_letter.detail):
            # A channel that carries another object carries many of it: each is stored and counted, the first is logged.
            return
        if not self._throttle.allow("bad_event", channel=channel, reason=reason):
            return
        self._log.error(
            "bad_event",
            channel=dead_letter.channel,
            position=dead_letter.position,
            reason=dead_letter.reason,
            detail=dead_letter.detail,
            dead_letter=dead_letter.id,
        )

    def _unknown_values_received(self, event: UnknownValuesReceived) -> None:
        for (entity, (name, value)), count in event.counts.items():
            what = "field" if value is None else "value"
            self._metrics.counter(MetricName.UNKNOWN_VALUES, entity, what).inc(count)
            if self._is_first(entity, name, value or ""):
                facts = {} if value is None else {"value": value[:_MAX_LOGGED_TEXT]}
                self._log.warning(
                    f"undocumented_{what}", entity=entity, field=name[:_MAX_LOGGED_TEXT], **facts
                )

    def _values_replaced(self, event: ValuesReplaced) -> None:
        for name in event.fields:
            if self._is_first("replaced", event.channel, name):
                self._log.warning("value_replaced", channel=event.channel, field=name[:_MAX_LOGGED_TEXT])

    def _is_first(self, *what: str) -> bool:
        """Remember ``what``; False if it is known, or if too much is remembered."""
        if what in self._logged_once or len(self._logged_once) >= _MAX_REMEMBERED:
            return False
        self._logged_once.add(what)
        return True

    def _gap_received(self, event: GapReceived) -> None:
        change, header = event.change, event.change.header
        self._metrics.counter(MetricName.GAPS, header.kind).inc()
        if self._throttle.allow("gap", channel=change.channel, kind=header.kind):
            self._log.warning(
                "gap",
                kind=header.kind,
                entity=header.entity,
                record_id=change.record_id,
                channel=change.channel,
                position=change.position,
                transaction=header.transaction,
                committed_ms=header.commit_ms,
            )

    def _position_refused(self, event: PositionRefused) -> None:
        log = self._log.error if event.missed else self._log.warning
        log(
            "position_refused",
            channel=event.channel,
            position=event.position,
            policy=event.policy,
            missed=event.missed,
        )

    def _input_stuck(self, event: InputStuck) -> None:
        self._health.input_stuck(event.channel, event.error)
        self._log.error("input_stuck", channel=event.channel, error=event.error)

    def _input_recovered(self, event: InputRecovered) -> None:
        self._health.input_recovered(event.channel)
        self._log.info("input_recovered", channel=event.channel)

    def _lookup_failed(self, event: LookupFailed) -> None:
        if self._throttle.allow("lookup_failed"):
            self._log.warning("lookup_failed", error=event.error, records=event.records)

    def _quota_unknown(self, event: QuotaUnknown) -> None:
        self._log.warning("allocation_unknown", error=event.error)

    def _changes_held(self, event: ChangesHeld) -> None:
        self._held.set(event.changes)
        self._health.held(self._clock.monotonic_ms(), event.changes, catching_up=event.catching_up)

    def _changes_released_early(self, event: ChangesReleasedEarly) -> None:
        self._metrics.counter(MetricName.RELEASED_EARLY).inc(event.changes)
        self._health.released_early(self._clock.monotonic_ms(), event.changes)
        if self._throttle.allow("changes_released_early"):
            self._log.warning(
                "changes_released_early",
                changes=event.changes,
                action="something earlier may still arrive and is then marked late; ordering.max_catch_up bounds the wait",
            )

    # -------------------------------------------------------- commits

    def _commit_applied(self, event: CommitApplied) -> None:
        self._health.committed(self._clock.monotonic_ms())
        counter = self._metrics.counter
        counter(MetricName.COMMITS).inc()
        self._commit_duration.observe(event.duration_ms / 1000)
        counter(MetricName.DUPLICATES).inc(event.duplicates)
        counter(MetricName.LATE).inc(event.late)
        counter(MetricName.IGNORED).inc(event.ignored)
        for event_type, count in event.events.items():
            journaled = self._journal.get(event_type)
            if journaled is None:
                journaled = self._journal[event_type] = counter(MetricName.JOURNAL_EVENTS, event_type)
            journaled.inc(count)
        if event.newest_commit_ms is not None:
            lag_ms = max(0, self._clock.wall_ms() - event.newest_commit_ms)
            self._last_lag = (self._clock.monotonic_ms(), lag_ms)
        if self._failing:
            self._failing = False
            self._log.info("commits_recovered", commit=event.number)
        self._log.debug(
            "committed", commit=event.number, changes=event.changes, events=sum(event.events.values())
        )

    def _commit_failed(self, event: CommitFailed) -> None:
        self._health.commit_failing(self._clock.monotonic_ms(), event.error)
        self._metrics.counter(MetricName.COMMIT_FAILURES).inc()
        if not self._failing:
            self._failing = True
            self._log.error("commit_failing", commit=event.number, error=event.error, since_ms=event.since_ms)
