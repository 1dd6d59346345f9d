"""Log lines and metrics of reconcile tasks and of the retention of states."""

from __future__ import annotations

from typing import Final

import structlog

from consumer.clock import Clock
from consumer.domain.reconcile_task import REASONS
from consumer.ports.observers.reconcile_events import (
    ReconcileFetchFailed,
    ReconcileTaskCompleted,
    ReconcileTaskRecovered,
    ReconcileTasksCounted,
    RowsReconciled,
    RowUnreadable,
    StatesCounted,
    StatesExpired,
)
from consumer.telemetry.dispatch import Methods, on
from consumer.telemetry.health import Health
from consumer.telemetry.log_throttle import LogThrottle
from consumer.telemetry.metric_catalogue import MetricName
from consumer.telemetry.metrics import Metrics

__all__ = ["ReconcileTelemetry"]

_KINDS: Final = ("run", "step", "target", "gap")


class ReconcileTelemetry:
    """Observer of reconcile tasks and states, as part of that of ingest.

    Args:
        metrics: where it counts.
        throttle: leaves lines out in a storm.
        health: is notified of tasks that fail repeatedly.
        clock: for the age of a failure.

    Attributes:
        methods: its part of the observer's dispatch.
    """

    def __init__(self, metrics: Metrics, throttle: LogThrottle, health: Health, clock: Clock) -> None:
        self._throttle = throttle
        self._health = health
        self._clock = clock
        self._gauge = metrics.gauge
        self._rows = {reason: metrics.counter(MetricName.RECONCILE_ROWS, reason) for reason in REASONS}
        self._changed = {reason: metrics.counter(MetricName.RECONCILE_CHANGED, reason) for reason in REASONS}
        self._failures = metrics.counter(MetricName.RECONCILE_FAILURES)
        self._expired = metrics.counter(MetricName.STATE_EXPIRED)
        self._state_records = {kind: metrics.gauge(MetricName.STATE_KINDS, kind) for kind in _KINDS}
        self._state_bytes = {kind: metrics.gauge(MetricName.STATE_BYTES, kind) for kind in _KINDS}
        self._log = structlog.get_logger()
        self.methods: Methods = dict((
            on(ReconcileTasksCounted, self._tasks_counted),
            on(ReconcileFetchFailed, self._fetch_failed),
            on(ReconcileTaskRecovered, self._task_recovered),
            on(RowUnreadable, self._row_unreadable),
            on(RowsReconciled, self._rows_reconciled),
            on(ReconcileTaskCompleted, self._task_completed),
            on(StatesCounted, self._states_counted),
            on(StatesExpired, self._states_expired),
        ))  # fmt: skip

    def _tasks_counted(self, event: ReconcileTasksCounted) -> None:
        for reason in REASONS:
            self._gauge(MetricName.RECONCILE_TASKS, reason).set(event.pending.get(reason, 0))

    def _fetch_failed(self, event: ReconcileFetchFailed) -> None:
        self._failures.inc()
        self._log.warning(
            "reconcile_fetch_failed", task=event.task, error=event.error, retry_after_ms=event.retry_after_ms
        )
        if event.set_aside:
            self._health.reconcile_failing(self._clock.monotonic_ms(), event.task, event.error)

    def _task_recovered(self, event: ReconcileTaskRecovered) -> None:
        self._health.reconcile_recovered(event.task)
        self._log.info("reconcile_task_recovered", task=event.task)

    def _row_unreadable(self, event: RowUnreadable) -> None:
        if self._throttle.allow("row_unreadable", entity=event.entity):
            self._log.error(
                "row_unreadable", entity=event.entity, record_id=event.record_id, error=event.error
            )

    def _rows_reconciled(self, event: RowsReconciled) -> None:
        self._rows[event.reason].inc(event.fetched)
        self._changed[event.reason].inc(event.changed)

    def _task_completed(self, event: ReconcileTaskCompleted) -> None:
        # A sweep that found something found what Salesforce never published.
        is_warning = event.report["reason"] == "sweep" and event.report["changed"]
        log = self._log.warning if is_warning else self._log.info
        log("reconcile_task_completed", task=event.task, **event.report)

    def _states_counted(self, event: StatesCounted) -> None:
        for kind in _KINDS:
            self._state_records[kind].set(event.records.get(kind, 0))
            self._state_bytes[kind].set(event.sizes.get(kind, 0))
        self._log.debug("states_counted", records=dict(event.records), bytes=sum(event.sizes.values()))

    def _states_expired(self, event: StatesExpired) -> None:
        self._expired.inc(event.states)
        self._log.debug("states_expired", states=event.states)
