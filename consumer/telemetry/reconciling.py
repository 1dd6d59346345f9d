"""What is told of work beside the stream: reconcile tasks, what they read and found and why they wait; what is known and forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

from consumer.tasks import REASONS
from consumer.telemetry.metrics import MetricName, Metrics
from consumer.telemetry.repeats import Repeats

__all__ = ["ReconcileTelemetry"]

_KINDS = ("run", "step", "target", "gap")


class ReconcileTelemetry:
    """The part of ``IngestEvents`` that is about reconcile tasks and retention of states.

    Args:
        metrics: where it counts.
        repeats: leaves lines out in a storm.
    """

    def __init__(self, metrics: Metrics, repeats: Repeats) -> None:
        self._reconcile_repeats = repeats
        self._gauge = metrics.gauge
        self._rows = {reason: metrics.counter(MetricName.RECONCILE_ROWS, reason) for reason in REASONS}
        self._found = {reason: metrics.counter(MetricName.RECONCILE_CHANGED, reason) for reason in REASONS}
        self._failures = metrics.counter(MetricName.RECONCILE_FAILURES)
        self._expired = metrics.counter(MetricName.STATE_EXPIRED)
        self._state_records = {kind: metrics.gauge(MetricName.STATE_KINDS, kind) for kind in _KINDS}
        self._state_bytes = {kind: metrics.gauge(MetricName.STATE_BYTES, kind) for kind in _KINDS}
        self._reconcile_log = structlog.get_logger()

    def reconciling(self, pending: Mapping[str, int]) -> None:
        """So many tasks are under way."""
        for reason in REASONS:
            self._gauge(MetricName.RECONCILE_TASKS, reason).set(pending.get(reason, 0))

    def reconcile_failing(self, task: str, why: str, again_ms: int) -> None:
        """A page could not be had."""
        self._failures.inc()
        self._reconcile_log.warning("reconcile_failing", task=task, why=why, next_in_ms=again_ms)

    def row_unread(self, entity: str, record_id: str, why: str) -> None:
        """A row could not be understood."""
        if self._reconcile_repeats.may_say("row_unread", entity=entity):
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
