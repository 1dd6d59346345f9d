"""What retention tells, turned into log lines and metrics."""

from __future__ import annotations

import math

import structlog

from consumer.durations import humanize_ms
from consumer.ports.store import StoreSize
from consumer.telemetry.health import Health
from consumer.telemetry.metrics import MetricName, Metrics

__all__ = ["RetentionTelemetry"]

WARN_BEFORE_FULL_S = 3 * 86_400
"""A store that is full within this time is worth a warning."""


class RetentionTelemetry:
    """Implements ``RetentionEvents``."""

    def __init__(self, metrics: Metrics, health: Health) -> None:
        self._log = structlog.get_logger()
        self._metrics = metrics
        self._health = health
        self._holding_handler: str | None = None
        self._filling_up = False

    def measured(
        self, size: StoreSize, entries: int, bytes_per_day: float | None, seconds_until_full: float | None
    ) -> None:
        """Bytes and entries now, and where that leads."""
        gauge = self._metrics.gauge
        gauge(MetricName.STORE_BYTES).set(size.bytes)
        gauge(MetricName.STORE_LIMIT_BYTES).set(math.inf if size.limit is None else size.limit)
        gauge(MetricName.STORE_DISK_FREE_BYTES).set(math.nan if size.disk_free is None else size.disk_free)
        gauge(MetricName.STATE_RECORDS).set(size.records)
        gauge(MetricName.JOURNAL_BYTES).set(size.journal_bytes)
        gauge(MetricName.JOURNAL_ENTRIES).set(entries)
        gauge(MetricName.STORE_GROWTH).set(math.nan if bytes_per_day is None else bytes_per_day)
        gauge(MetricName.STORE_FULL_SECONDS).set(
            math.inf if seconds_until_full is None else seconds_until_full
        )
        filling_up = seconds_until_full is not None and seconds_until_full < WARN_BEFORE_FULL_S
        if filling_up and not self._filling_up:
            assert seconds_until_full is not None
            self._log.error(
                "store_fills_up",
                bytes=size.bytes,
                limit=size.limit,
                full_in=humanize_ms(int(seconds_until_full * 1000)),
            )
        self._filling_up = filling_up

    def trimmed(self, through: int, entries: int) -> None:
        """Entries were removed."""
        self._metrics.counter(MetricName.JOURNAL_TRIMMED).inc(entries)
        self._log.debug("journal_trimmed", through=through, entries=entries)

    def held_back(self, handler: str, offset: int, *, bytes_over: int) -> None:
        """A handler needs what the settings would remove."""
        self._metrics.gauge(MetricName.JOURNAL_OVER_BYTES).set(bytes_over)
        if self._holding_handler != handler:
            self._holding_handler = handler
            self._log.warning("journal_held", handler=handler, offset=offset, bytes_over=bytes_over)
        if bytes_over:
            self._health.journal_over_limit(
                f"The journal is {bytes_over} bytes over journal.max_bytes because handler {handler} still needs offset {offset}: "
                f"mend the handler, or remove it from the settings (`cadence-consumer handlers list`)"
            )
        else:
            self._health.journal_within_limit()

    def within_limits(self) -> None:
        """Nothing is kept beyond what the settings say."""
        self._metrics.gauge(MetricName.JOURNAL_OVER_BYTES).set(0)
        self._health.journal_within_limit()
        if self._holding_handler is not None:
            self._holding_handler = None
            self._log.info("journal_free")
