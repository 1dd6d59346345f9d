"""What retention tells, turned into log lines and metrics."""

from __future__ import annotations

import math

import structlog

from consumer.durations import in_words
from consumer.ports import StoreSize
from consumer.telemetry.health import Health
from consumer.telemetry.metrics import MetricName, Metrics

__all__ = ["RetentionTelemetry"]

SOON_S = 3 * 86_400
"""A store that is full within this time is worth a warning."""


class RetentionTelemetry:
    """Implements ``RetentionEvents``."""

    def __init__(self, metrics: Metrics, health: Health) -> None:
        self._log = structlog.get_logger()
        self._metrics = metrics
        self._health = health
        self._held: str | None = None
        self._soon = False

    def measured(self, size: StoreSize, entries: int, per_day: float | None, full_in_s: float | None) -> None:
        """Bytes and entries now, and where that leads."""
        gauge = self._metrics.gauge
        gauge(MetricName.STORE_BYTES).set(size.bytes)
        gauge(MetricName.STORE_LIMIT_BYTES).set(math.inf if size.limit is None else size.limit)
        gauge(MetricName.STORE_DISK_FREE_BYTES).set(math.nan if size.disk_free is None else size.disk_free)
        gauge(MetricName.STATE_RECORDS).set(size.records)
        gauge(MetricName.JOURNAL_BYTES).set(size.journal_bytes)
        gauge(MetricName.JOURNAL_ENTRIES).set(entries)
        gauge(MetricName.STORE_GROWTH).set(math.nan if per_day is None else per_day)
        gauge(MetricName.STORE_FULL_SECONDS).set(math.inf if full_in_s is None else full_in_s)
        soon = full_in_s is not None and full_in_s < SOON_S
        if soon and not self._soon:
            assert full_in_s is not None
            self._log.error(
                "store_fills_up", bytes=size.bytes, limit=size.limit, full_in=in_words(int(full_in_s * 1000))
            )
        self._soon = soon

    def trimmed(self, through: int, entries: int) -> None:
        """Entries were removed."""
        self._metrics.counter(MetricName.JOURNAL_TRIMMED).inc(entries)
        self._log.debug("journal_trimmed", through=through, entries=entries)

    def held(self, handler: str, offset: int, *, bytes_over: int) -> None:
        """A handler needs what the settings would remove."""
        self._metrics.gauge(MetricName.JOURNAL_OVER_BYTES).set(bytes_over)
        if self._held != handler:
            self._held = handler
            self._log.warning("journal_held", handler=handler, offset=offset, bytes_over=bytes_over)
        if bytes_over:
            self._health.journal_held(
                f"The journal is {bytes_over} bytes over journal.max_bytes because handler {handler} still needs offset {offset}: "
                f"mend the handler, or remove it from the settings (`cadence-consumer handlers list`)"
            )
        else:
            self._health.journal_free()

    def free(self) -> None:
        """Nothing is kept beyond what the settings say."""
        self._metrics.gauge(MetricName.JOURNAL_OVER_BYTES).set(0)
        self._health.journal_free()
        if self._held is not None:
            self._held = None
            self._log.info("journal_free")
