"""Log lines, metrics and health of the service's life: lease, store, stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog
from structlog.contextvars import bind_contextvars, unbind_contextvars

from consumer.clock import Clock
from consumer.ports.observers.service_events import (
    LeaseAcquired,
    LeaseAwaited,
    LeaseRenewed,
    ServiceEvent,
    ServiceStopped,
    StopRequested,
    StoreReachable,
    StoreUnreachable,
    StoreWarningFound,
    TenureEnded,
)
from consumer.telemetry.dispatch import Methods, on
from consumer.telemetry.health import Health
from consumer.telemetry.log_throttle import LogThrottle
from consumer.telemetry.metric_catalogue import MetricName
from consumer.telemetry.metrics import Metrics

__all__ = ["ServiceTelemetry"]

_TOKEN_PREFIX_LENGTH: Final = 8
"""Characters of a tenure's token on each of its lines: enough to tell tenures apart, too few to commit under one."""


class ServiceTelemetry:
    """Observer of the service; it also exports readiness and tenure as metrics.

    Args:
        metrics: where it counts.
        health: what it notifies.
        clock: monotonic.
        throttle: flushed when the service has stopped.
    """

    def __init__(
        self, metrics: Metrics, health: Health, clock: Clock, throttle: LogThrottle | None = None
    ) -> None:
        self._throttle = throttle or LogThrottle()
        self._log = structlog.get_logger()
        self._metrics = metrics
        self._health = health
        self._clock = clock
        self._waiting_for: str | None = None
        self._store_down = False
        self._methods: Methods = dict((
            on(LeaseAwaited, self._lease_awaited),
            on(LeaseAcquired, self._lease_acquired),
            on(LeaseRenewed, self._lease_renewed),
            on(TenureEnded, self._tenure_ended),
            on(StoreUnreachable, self._store_unreachable),
            on(StoreReachable, self._store_reachable),
            on(StoreWarningFound, self._store_warning_found),
            on(StopRequested, self._stop_requested),
            on(ServiceStopped, self._service_stopped),
        ))  # fmt: skip
        metrics.gauge(MetricName.READY).set_function(lambda: float(health.report(clock.monotonic_ms()).ready))
        metrics.gauge(MetricName.TENURE).set_function(lambda: float(health.leads(clock.monotonic_ms())))

    def observe(self, event: ServiceEvent) -> None:
        """Log, count and pass on to health."""
        self._methods[type(event)](event)

    def _lease_awaited(self, event: LeaseAwaited) -> None:
        self._health.lease_waiting(self._clock.monotonic_ms(), event.holder)
        if self._waiting_for != (event.holder or ""):
            self._waiting_for = event.holder or ""
            self._log.info("standby", held_by=event.holder)

    def _lease_acquired(self, event: LeaseAcquired) -> None:
        self._waiting_for = None
        bind_contextvars(tenure=event.token[:_TOKEN_PREFIX_LENGTH])
        self._health.lease_held(self._clock.monotonic_ms(), event.holder, event.until_ms)
        self._log.info("tenure_began", holder=event.holder)

    def _lease_renewed(self, event: LeaseRenewed) -> None:
        self._health.lease_renewed(event.until_ms)

    def _tenure_ended(self, event: TenureEnded) -> None:
        self._health.lease_lost(self._clock.monotonic_ms(), event.holder)
        self._metrics.end_tenure()
        self._log.warning("tenure_ended", reason=event.reason, held_by=event.holder)
        unbind_contextvars("tenure")

    def _store_unreachable(self, event: StoreUnreachable) -> None:
        self._health.store_unavailable(self._clock.monotonic_ms(), event.error)
        if not self._store_down:
            self._store_down = True
            self._log.error("store_unavailable", error=event.error)

    def _store_reachable(self, _: StoreReachable) -> None:
        self._health.store_available()
        if self._store_down:
            self._store_down = False
            self._log.info("store_available")

    def _store_warning_found(self, event: StoreWarningFound) -> None:
        self._log.warning("store_warning", warning=event.warning)

    def _stop_requested(self, event: StopRequested) -> None:
        self._health.stopping()
        self._log.info("stopping", grace_ms=event.grace_ms)

    def _service_stopped(self, event: ServiceStopped) -> None:
        self._health.lease_lost(self._clock.monotonic_ms())
        self._metrics.end_tenure()
        self._throttle.flush()
        log: Callable[..., None] = self._log.info if event.clean else self._log.warning
        log("stopped", clean=event.clean)
