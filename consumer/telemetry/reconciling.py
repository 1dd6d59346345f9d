"""What reconciliation tells: how many tasks are under way, what they read, what they found, and why they wait."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

from consumer.telemetry.metrics import MetricName, Metrics

__all__ = ["ReconcileTelemetry"]

_REASONS = ("gap", "overflow", "expired", "sweep", "repair")


class ReconcileTelemetry:
    """The part of ``IngestEvents`` that is about reconcile tasks.

    Args:
        metrics: where it counts.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._tasks = {reason: metrics.gauge(MetricName.RECONCILE_TASKS, reason) for reason in _REASONS}
        self._rows = {reason: metrics.counter(MetricName.RECONCILE_ROWS, reason) for reason in _REASONS}
        self._found = {reason: metrics.counter(MetricName.RECONCILE_CHANGED, reason) for reason in _REASONS}
        self._failures = metrics.counter(MetricName.RECONCILE_FAILURES)
        self._reconcile_log = structlog.get_logger()

    def reconciling(self, pending: Mapping[str, int]) -> None:
        """So many tasks are under way."""
        for reason, gauge in self._tasks.items():
            gauge.set(pending.get(reason, 0))

    def reconcile_failing(self, task: str, why: str, again_ms: int) -> None:
        """A page could not be had."""
        self._failures.inc()
        self._reconcile_log.warning("reconcile_failing", task=task, why=why, next_in_ms=again_ms)

    def row_unread(self, entity: str, record_id: str, why: str) -> None:
        """A row could not be understood."""
        self._reconcile_log.error("row_unread", entity=entity, record_id=record_id, why=why)

    def reconciled(self, reason: str, fetched: int, changed: int) -> None:
        """A page was compared and committed."""
        self._rows[reason].inc(fetched)
        self._found[reason].inc(changed)

    def task_done(self, task: str, report: Mapping[str, Any]) -> None:
        """A task is done; a sweep that found something says so loudly, for Salesforce never published it."""
        loud = report["reason"] == "sweep" and report["changed"]
        say = self._reconcile_log.warning if loud else self._reconcile_log.info
        say("reconciled", task=task, **report)
