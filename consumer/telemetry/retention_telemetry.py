"""Log lines, metrics and health of journal retention."""

from __future__ import annotations

import math
from typing import Final

import structlog

from consumer.durations import humanize_ms
from consumer.ports.observers.retention_events import (
    JournalTrimBlocked,
    JournalTrimmed,
    JournalWithinLimits,
    RetentionEvent,
    StoreMeasured,
)
from consumer.telemetry.dispatch import Methods, on
from consumer.telemetry.health import Health
from consumer.telemetry.metric_catalogue import MetricName
from consumer.telemetry.metrics import Metrics

__all__ = ["RetentionTelemetry"]

WARN_BEFORE_FULL_S: Final = 3 * 86_400
"""A store that will be full within these seconds is logged."""


class RetentionTelemetry:
    """Observer of journal retention."""

    def __init__(self, metrics: Metrics, health: Health) -> None:
        self._log = structlog.get_logger()
        self._metrics = metrics
        self._health = health
        self._holding_handler: str | None = None
        self._filling_up = False
        self._methods: Methods = dict((
            on(StoreMeasured, self._store_measured),
            on(JournalTrimmed, self._journal_trimmed),
            on(JournalTrimBlocked, self._journal_trim_blocked),
            on(JournalWithinLimits, self._journal_within_limits),
        ))  # fmt: skip

    def observe(self, event: RetentionEvent) -> None:
        """Log, count and pass on to health."""
        self._methods[type(event)](event)

    def _store_measured(self, event: StoreMeasured) -> None:
        size, full_s = event.size, event.seconds_until_full
        gauge = self._metrics.gauge
        gauge(MetricName.STORE_BYTES).set(size.bytes)
        gauge(MetricName.STORE_LIMIT_BYTES).set(math.inf if size.limit is None else size.limit)
        gauge(MetricName.STORE_DISK_FREE_BYTES).set(math.nan if size.disk_free is None else size.disk_free)
        gauge(MetricName.STATE_RECORDS).set(size.records)
        gauge(MetricName.JOURNAL_BYTES).set(size.journal_bytes)
        gauge(MetricName.JOURNAL_ENTRIES).set(event.entries)
        gauge(MetricName.STORE_GROWTH).set(math.nan if event.bytes_per_day is None else event.bytes_per_day)
        gauge(MetricName.STORE_FULL_SECONDS).set(math.inf if full_s is None else full_s)
        filling_up = full_s is not None and full_s < WARN_BEFORE_FULL_S
        if filling_up and not self._filling_up:
            assert full_s is not None
            self._log.error(
                "store_filling_up",
                bytes=size.bytes,
                limit=size.limit,
                full_in=humanize_ms(int(full_s * 1000)),
            )
        self._filling_up = filling_up

    def _journal_trimmed(self, event: JournalTrimmed) -> None:
        self._metrics.counter(MetricName.JOURNAL_TRIMMED).inc(event.entries)
        self._log.debug("journal_trimmed", through=event.through, entries=event.entries)

    def _journal_trim_blocked(self, event: JournalTrimBlocked) -> None:
        handler, offset, bytes_over = event.handler, event.offset, event.bytes_over
        self._metrics.gauge(MetricName.JOURNAL_OVER_BYTES).set(bytes_over)
        if self._holding_handler != handler:
            self._holding_handler = handler
            self._log.warning("journal_trim_blocked", handler=handler, offset=offset, bytes_over=bytes_over)
        if bytes_over:
            self._health.journal_over_limit(
                f"The journal is {bytes_over} bytes over journal.max_bytes because handler {handler} still needs offset {offset}: "
                f"fix the handler, or remove it from the settings (`cadence-consumer handlers list`)"
            )
        else:
            self._health.journal_within_limit()

    def _journal_within_limits(self, _: JournalWithinLimits) -> None:
        self._metrics.gauge(MetricName.JOURNAL_OVER_BYTES).set(0)
        self._health.journal_within_limit()
        if self._holding_handler is not None:
            self._holding_handler = None
            self._log.info("journal_within_limit")
