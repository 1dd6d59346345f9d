"""What is told of work beside the stream: reconcile tasks, what they read and found and why they wait; what is known and forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

from consumer.domain.reconcile_task import REASONS
from consumer.telemetry.log_throttle import LogThrottle
from consumer.telemetry.metrics import MetricName, Metrics

__all__ = ["ReconcileTelemetry"]

_KINDS = ("run", "step", "target", "gap")


class ReconcileTelemetry:
    """The part of ``IngestEvents`` that is about reconcile tasks and retention of states.

    Args:
        metrics: where it counts.
        throttle: leaves lines out in a storm.
    """

    def __init__(self, metrics: Metrics, throttle: LogThrottle) -> None:
        self._reconcile_throttle = throttle
        self._gauge = metrics.gauge
        self._rows = {reason: metrics.counter(MetricName.RECONCILE_ROWS, reason) for reason in REASONS}
        self._changed = {reason: metrics.counter(MetricName.RECONCILE_CHANGED, reason) for reason in REASONS}
        self._failures = metrics.counter(MetricName.RECONCILE_FAILURES)
        self._expired = metrics.counter(MetricName.STATE_EXPIRED)
        self._state_records = {kind: metrics.gauge(MetricName.STATE_KINDS, kind) for kind in _KINDS}
        self._state_bytes = {kind: metrics.gauge(MetricName.STATE_BYTES, kind) for kind in _KINDS}
        self._reconcile_log = structlog.get_logger()

    def reconciling(self, pending: Mapping[str, int]) -> None:
        """So many tasks are under way."""
        for reason in REASONS:
            self._gauge(MetricName.RECONCILE_TASKS, reason).set(pending.get(reason, 0))

    def reconcile_failing(self, task: str, why: str, retry_delay_ms: int) -> None:
        """A page could not be had."""
        self._failures.inc()
        self._reconcile_log.warning("reconcile_failing", task=task, why=why, next_in_ms=retry_delay_ms)

    def row_unreadable(self, entity: str, record_id: str, why: str) -> None:
        """A row could not be understood."""
        if self._reconcile_throttle.allow("row_unread", entity=entity):
            self._reconcile_log.error("row_unread", entity=entity, record_id=record_id, why=why)

    def reconciled(self, reason: str, fetched: int, changed: int) -> None:
        """A page was compared and committed."""
        self._rows[reason].inc(fetched)
        self._changed[reason].inc(changed)

    def task_done(self, task: str, report: Mapping[str, Any]) -> None:
        """A task is done; a sweep that found something says so loudly, for Salesforce never published it."""
        is_warning = report["reason"] == "sweep" and report["changed"]
        log = self._reconcile_log.warning if is_warning else self._reconcile_log.info
        log("reconciled", task=task, **report)

    def states_counted(self, records: Mapping[str, int], sizes: Mapping[str, int]) -> None:
        """So many states are known."""
        for kind in _KINDS:
            self._state_records[kind].set(records.get(kind, 0))
            self._state_bytes[kind].set(sizes.get(kind, 0))
        self._reconcile_log.debug("states_counted", records=dict(records), bytes=sum(sizes.values()))

    def states_expired(self, states: int) -> None:
        """So many were forgotten."""
        self._expired.inc(states)
        self._reconcile_log.debug("states_expired", states=states)
