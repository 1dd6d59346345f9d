"""Log lines, metrics and health of delivery.

A delivered event is counted and not logged. A failed attempt is a warning while another follows, and an error when the event is given up or
blocks its run; only that error carries the traceback, because ten identical ones help nobody. When everything fails in the same way the
first lines are written and the rest counted (:class:`~consumer.telemetry.log_throttle.LogThrottle`).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import orjson
import structlog
from prometheus_client import Counter, Histogram

from consumer.ports.journal import JournalEntry
from consumer.ports.observers.delivery_events import (
    AttemptFailed,
    CallInterrupted,
    DeadLettered,
    DeliveryEvent,
    DeliveryRecovered,
    EventFiltered,
    EventSkipped,
    HandlerCallFinished,
    RunBlocked,
)
from consumer.ports.observers.handler_events import (
    CancellationIgnored,
    CursorSaved,
    CursorUnsaved,
    HandlerCloseFailed,
    HandlerDisabled,
    HandlerHalted,
    HandlerOpened,
    HandlerOpenFailed,
    HandlerPaused,
    HandlerResumed,
    HandlerStoreUnreachable,
    OffsetOutOfRange,
    ReplayEnded,
    ReplayStarted,
)
from consumer.safe_text import text_of
from consumer.telemetry.dispatch import Methods, on
from consumer.telemetry.health import Health
from consumer.telemetry.log_throttle import LogThrottle
from consumer.telemetry.metric_catalogue import MetricName
from consumer.telemetry.metrics import Metrics

__all__ = ["DeliveryTelemetry"]

_ERROR_KIND_LENGTH: Final = 60
"""Number of an error's first characters that make two errors alike."""


@dataclass(frozen=True, slots=True)
class _HandlerMetrics:
    """Counters of one handler, looked up once.

    Its gauges end with the tenure and are looked up every time.
    """

    delivered: Counter
    failed: Counter
    dead_lettered: Counter
    skipped: Counter
    filtered: Counter
    seconds: Histogram


class DeliveryTelemetry:
    """Observer of delivery, for all handlers.

    Args:
        metrics: where it counts.
        health: notified of handlers that have stopped; None for none.
        throttle: leaves lines out in a storm.
    """

    def __init__(
        self, metrics: Metrics, health: Health | None = None, throttle: LogThrottle | None = None
    ) -> None:
        self._throttle = throttle or LogThrottle()
        self._health = health
        self._log = structlog.get_logger()
        self._metrics = metrics
        self._handler_metrics: dict[str, _HandlerMetrics] = {}
        self._store_down: set[str] = set()
        self._methods: Methods = dict((
            on(HandlerOpened, self._handler_opened),
            on(HandlerOpenFailed, self._handler_open_failed),
            on(HandlerCloseFailed, self._handler_close_failed),
            on(CancellationIgnored, self._cancellation_ignored),
            on(HandlerPaused, self._handler_paused),
            on(HandlerHalted, self._handler_halted),
            on(HandlerResumed, self._handler_resumed),
            on(HandlerDisabled, self._handler_disabled),
            on(HandlerCallFinished, self._handler_call_finished),
            on(DeliveryRecovered, self._delivery_recovered),
            on(AttemptFailed, self._attempt_failed),
            on(RunBlocked, self._run_blocked),
            on(DeadLettered, self._dead_lettered),
            on(EventSkipped, self._event_skipped),
            on(EventFiltered, self._event_filtered),
            on(CallInterrupted, self._call_interrupted),
            on(ReplayStarted, self._replay_started),
            on(ReplayEnded, self._replay_ended),
            on(OffsetOutOfRange, self._offset_out_of_range),
            on(CursorSaved, self._cursor_saved),
            on(CursorUnsaved, self._cursor_unsaved),
            on(HandlerStoreUnreachable, self._handler_store_unreachable),
        ))  # fmt: skip

    def observe(self, event: DeliveryEvent) -> None:
        """Log, count and pass on to health."""
        self._methods[type(event)](event)

    def _metrics_of(self, handler: str) -> _HandlerMetrics:
        handler_metrics = self._handler_metrics.get(handler)
        if handler_metrics is None:
            counter = self._metrics.counter
            handler_metrics = self._handler_metrics[handler] = _HandlerMetrics(
                delivered=counter(MetricName.HANDLER_DELIVERED, handler),
                failed=counter(MetricName.HANDLER_FAILED, handler),
                dead_lettered=counter(MetricName.HANDLER_DEAD_LETTERED, handler),
                skipped=counter(MetricName.HANDLER_SKIPPED, handler),
                filtered=counter(MetricName.HANDLER_FILTERED, handler),
                seconds=self._metrics.histogram(MetricName.HANDLER_SECONDS, handler),
            )
        return handler_metrics

    def _is_logged(self, line: str, handler: str, error: str) -> bool:
        """Errors are alike when they are of one type: their texts name records."""
        return self._throttle.allow(line, handler=handler, error=error.partition(":")[0][:_ERROR_KIND_LENGTH])

    def _set_stopped(self, handler: str, *, stopped: bool) -> None:
        self._metrics.gauge(MetricName.HANDLER_STOPPED, handler).set(stopped)

    def _stop(self, handler: str, reason: str) -> None:
        self._set_stopped(handler, stopped=True)
        if self._health is not None:
            self._health.handler_halted(handler, reason)

    # -------------------------------------------------------- handlers

    def _handler_opened(self, event: HandlerOpened) -> None:
        self._metrics_of(event.handler)
        self._metrics.gauge(MetricName.HANDLER_OFFSET, event.handler).set(event.offset)
        # A pause or a halt that was found in the store has been observed before.
        self._metrics.gauge(MetricName.HANDLER_STOPPED, event.handler).inc(0)
        self._log.info("handler_opened", handler=event.handler, offset=event.offset)

    def _handler_open_failed(self, event: HandlerOpenFailed) -> None:
        error = f"{type(event.exception).__name__}: {text_of(event.exception).partition(chr(10))[0][:500]}"
        self._stop(
            event.handler, f"Handler {event.handler} cannot open, and is opened again and again: {error}"
        )
        self._log.error(
            "handler_open_failed",
            handler=event.handler,
            retry_after_ms=event.retry_after_ms,
            exc_info=event.exception,
        )

    def _handler_close_failed(self, event: HandlerCloseFailed) -> None:
        self._log.warning("handler_close_failed", handler=event.handler, exc_info=event.exception)

    def _cancellation_ignored(self, event: CancellationIgnored) -> None:
        self._stop(
            event.handler,
            f"Handler {event.handler} does not end a call that was cancelled at its time limit: mend it, and restart the service",
        )
        self._log.error("handler_ignores_cancellation", handler=event.handler)

    def _handler_paused(self, event: HandlerPaused) -> None:
        self._set_stopped(event.handler, stopped=True)
        self._log.warning("handler_paused", handler=event.handler)

    def _handler_halted(self, event: HandlerHalted) -> None:
        handler, dead_letters, limit = event.handler, event.dead_letters, event.limit
        self._stop(
            handler,
            f"Handler {handler} has stopped at {dead_letters} dead letters (handlers.{handler}.dead_letter_limit = {limit}): "
            "redrive or discard them (`cadence-consumer dead-letters`)",
        )
        self._log.error("handler_halted", handler=handler, dead_letters=dead_letters, limit=limit)

    def _handler_resumed(self, event: HandlerResumed) -> None:
        self._set_stopped(event.handler, stopped=False)
        if self._health is not None:
            self._health.handler_resumed(event.handler)
        self._log.info("handler_resumed", handler=event.handler)

    def _handler_disabled(self, event: HandlerDisabled) -> None:
        handler = event.handler
        self._metrics_of(handler).failed.inc()
        self._stop(handler, f"Handler {handler} has asked to be stopped: {event.error}")
        self._log.error("handler_disabled", **_facts(handler, event.entry), error=event.error)

    # -------------------------------------------------------- events

    def _handler_call_finished(self, event: HandlerCallFinished) -> None:
        handler_metrics = self._metrics_of(event.handler)
        handler_metrics.delivered.inc(event.delivered)
        handler_metrics.seconds.observe(event.duration_ms / 1000)

    def _delivery_recovered(self, event: DeliveryRecovered) -> None:
        if self._throttle.allow("delivered_after_failure", handler=event.handler):
            self._log.info(
                "delivered_after_failure", handler=event.handler, type=event.event_type, attempt=event.attempt
            )

    def _attempt_failed(self, event: AttemptFailed) -> None:
        # Without the traceback: the last attempt shows it.
        self._metrics_of(event.handler).failed.inc()
        if self._is_logged("handler_failed", event.handler, event.error):
            self._log.warning(
                "handler_failed",
                **_facts(event.handler, event.entry),
                attempt=event.attempt,
                error=event.error,
                retry_after_ms=event.retry_after_ms,
            )

    def _run_blocked(self, event: RunBlocked) -> None:
        self._metrics_of(event.handler).failed.inc()
        if self._is_logged("run_blocked", event.handler, event.error):
            self._log.error(
                "run_blocked",
                **_facts(event.handler, event.entry),
                attempt=event.attempt,
                error=event.error,
                retry_after_ms=event.retry_after_ms,
                **_exc_info(event.exception),
            )

    def _dead_lettered(self, event: DeadLettered) -> None:
        handler_metrics = self._metrics_of(event.handler)
        handler_metrics.failed.inc()
        handler_metrics.dead_lettered.inc()
        self._log_given_up("dead_lettered", event)

    def _event_skipped(self, event: EventSkipped) -> None:
        handler_metrics = self._metrics_of(event.handler)
        handler_metrics.failed.inc()
        handler_metrics.skipped.inc()
        self._log_given_up("event_skipped", event)

    def _log_given_up(self, line: str, event: DeadLettered | EventSkipped) -> None:
        if self._is_logged(line, event.handler, event.error):
            self._log.error(
                line,
                **_facts(event.handler, event.entry),
                attempts=event.attempts,
                error=event.error,
                **_exc_info(event.exception),
            )

    def _event_filtered(self, event: EventFiltered) -> None:
        self._metrics_of(event.handler).filtered.inc()
        self._log.debug("event_filtered", handler=event.handler, type=event.event_type, reason=event.reason)

    def _call_interrupted(self, event: CallInterrupted) -> None:
        self._log.info("handler_interrupted", **_facts(event.handler, event.entry))

    # -------------------------------------------------------- replays, cursors

    def _replay_started(self, event: ReplayStarted) -> None:
        self._log.info(
            "replay_began",
            handler=event.handler,
            id=event.command_id,
            after=event.after,
            through=event.through,
        )

    def _replay_ended(self, event: ReplayEnded) -> None:
        self._log.info(
            "replay_ended",
            handler=event.handler,
            id=event.command_id,
            offset=event.offset,
            cancelled=event.cancelled,
        )

    def _offset_out_of_range(self, event: OffsetOutOfRange) -> None:
        self._log.error(
            "offset_out_of_range",
            handler=event.handler,
            after=event.after,
            first=event.first,
            lost=event.first - event.after - 1,
        )

    def _cursor_saved(self, event: CursorSaved) -> None:
        for name, value in (
            (MetricName.HANDLER_OFFSET, event.offset),
            (MetricName.HANDLER_LAG, event.lag),
            (MetricName.HANDLER_BLOCKED_RUNS, event.blocked_runs),
            (MetricName.HANDLER_DEAD_LETTERS, event.dead_letters),
        ):
            self._metrics.gauge(name, event.handler).set(value)
        if event.handler in self._store_down:
            self._store_down.discard(event.handler)
            self._log.info("handler_store_available", handler=event.handler)

    def _cursor_unsaved(self, event: CursorUnsaved) -> None:
        self._log.warning("cursor_unsaved", handler=event.handler, offset=event.offset)

    def _handler_store_unreachable(self, event: HandlerStoreUnreachable) -> None:
        # Observed with every attempt, logged with the first.
        if event.handler not in self._store_down:
            self._store_down.add(event.handler)
            self._log.error(
                "handler_store_unavailable",
                handler=event.handler,
                error=str(event.exception),
                retry_after_ms=event.retry_after_ms,
            )


def _facts(handler: str, entry: JournalEntry) -> dict[str, object]:
    """Return the keys of a log line: here, in the journal, and in Salesforce."""
    facts: dict[str, object] = {
        "handler": handler,
        "type": entry.type,
        "run": entry.tracker_id,
        "event_id": entry.id,
        "offset": entry.offset,
    }
    # An entry that cannot be read is logged as well.
    with suppress(orjson.JSONDecodeError, AttributeError, KeyError):
        event = orjson.loads(entry.data)
        if event.get("position"):
            facts |= {"channel": event["position"]["channel"], "position": event["position"]["replay_id"]}
        if event.get("transaction"):
            facts["transaction"] = event["transaction"]["key"]
    return facts


def _exc_info(exception: BaseException | None) -> dict[str, BaseException]:
    return {} if exception is None else {"exc_info": exception}
