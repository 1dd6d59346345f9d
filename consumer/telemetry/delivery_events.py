"""What delivery tells, turned into log lines and metrics: one named event both logs and counts.

A delivered event is counted and not logged; an attempt that failed is a warning as long as another one follows, and an error when the event
is given up or holds its run back. Only the last one carries the traceback: ten identical ones help nobody. When everything fails in the
same way the first lines are written and the rest counted (``consumer.telemetry.throttle``).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import orjson
import structlog
from prometheus_client import Counter, Histogram

from consumer.ports.journal import JournalEntry
from consumer.telemetry.health import Health
from consumer.telemetry.log_throttle import LogThrottle
from consumer.telemetry.metrics import MetricName, Metrics

__all__ = ["DeliveryTelemetry"]


_ERROR_KIND_LENGTH = 60
"""Characters of an error's first words that tell kinds of errors apart."""


@dataclass(frozen=True, slots=True)
class _HandlerMetrics:
    """A handler's counters, looked up once; its gauges end with the tenure and are looked up every time."""

    delivered: Counter
    failed: Counter
    dead_lettered: Counter
    skipped: Counter
    filtered: Counter
    seconds: Histogram


class DeliveryTelemetry:
    """Implements ``DeliveryEvents``."""

    def __init__(
        self, metrics: Metrics, health: Health | None = None, throttle: LogThrottle | None = None
    ) -> None:
        self._throttle = throttle or LogThrottle()
        self._health = health
        self._log = structlog.get_logger()
        self._metrics = metrics
        self._handler_metrics: dict[str, _HandlerMetrics] = {}
        self._store_down: set[str] = set()

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

    def _is_logged(self, event: str, handler: str, error: str) -> bool:
        """Errors are alike when they are of one type: their texts name records."""
        return self._throttle.allow(
            event, handler=handler, error=error.partition(":")[0][:_ERROR_KIND_LENGTH]
        )

    def _set_stopped(self, handler: str, *, stopped: bool) -> None:
        self._metrics.gauge(MetricName.HANDLER_STOPPED, handler).set(stopped)

    # -------------------------------------------------------- handlers

    def opened(self, handler: str, offset: int) -> None:
        """The handler is open and goes on after ``offset``."""
        self._metrics_of(handler)
        self._metrics.gauge(MetricName.HANDLER_OFFSET, handler).set(offset)
        # A pause or a halt that was found in the store was told before.
        self._metrics.gauge(MetricName.HANDLER_STOPPED, handler).inc(0)
        self._log.info("handler_opened", handler=handler, offset=offset)

    def open_failed(self, handler: str, error: BaseException, again_ms: int) -> None:
        """Its ``open`` raised or took too long."""
        self._log.error("handler_open_failed", handler=handler, again_ms=again_ms, exc_info=error)

    def close_failed(self, handler: str, error: BaseException) -> None:
        """Its ``close`` raised or took too long."""
        self._log.warning("handler_close_failed", handler=handler, exc_info=error)

    # -------------------------------------------------------- events

    def called(self, handler: str, duration_ms: int, delivered: int) -> None:
        """A call came to its end."""
        handler_metrics = self._metrics_of(handler)
        handler_metrics.delivered.inc(delivered)
        handler_metrics.seconds.observe(duration_ms / 1000)

    def recovered(self, handler: str, type_: str, attempt: int) -> None:
        """It is done with an event that had failed before."""
        if self._throttle.allow("delivered_after_failure", handler=handler):
            self._log.info("delivered_after_failure", handler=handler, type=type_, attempt=attempt)

    def failed(
        self,
        handler: str,
        entry: JournalEntry,
        attempt: int,
        error: str,
        exception: BaseException | None,  # noqa: ARG002 - the last attempt shows it
        again_ms: int,
    ) -> None:
        """An attempt failed and another follows."""
        self._metrics_of(handler).failed.inc()
        if self._is_logged("handler_failed", handler, error):
            self._log.warning(
                "handler_failed", **_facts(handler, entry), attempt=attempt, error=error, again_ms=again_ms
            )

    def blocked(
        self,
        handler: str,
        entry: JournalEntry,
        attempt: int,
        error: str,
        exception: BaseException | None,
        again_ms: int,
    ) -> None:
        """All attempts are used up and the run is held back until the event succeeds."""
        self._metrics_of(handler).failed.inc()
        if self._is_logged("handler_blocked", handler, error):
            self._log.error(
                "handler_blocked",
                **_facts(handler, entry),
                attempt=attempt,
                error=error,
                again_ms=again_ms,
                **_exc_info(exception),
            )

    def dead_lettered(
        self, handler: str, entry: JournalEntry, attempts: int, error: str, exception: BaseException | None
    ) -> None:
        """The event is kept aside."""
        handler_metrics = self._metrics_of(handler)
        handler_metrics.failed.inc()
        handler_metrics.dead_lettered.inc()
        if self._is_logged("dead_lettered", handler, error):
            self._log.error(
                "dead_lettered",
                **_facts(handler, entry),
                attempts=attempts,
                error=error,
                **_exc_info(exception),
            )

    def skipped(
        self, handler: str, entry: JournalEntry, attempts: int, error: str, exception: BaseException | None
    ) -> None:
        """All attempts failed and the handler goes on without the event."""
        handler_metrics = self._metrics_of(handler)
        handler_metrics.failed.inc()
        handler_metrics.skipped.inc()
        if self._is_logged("handler_skipped", handler, error):
            self._log.error(
                "handler_skipped",
                **_facts(handler, entry),
                attempts=attempts,
                error=error,
                **_exc_info(exception),
            )

    def disabled(self, handler: str, entry: JournalEntry, error: str) -> None:
        """It asked to be stopped."""
        self._metrics_of(handler).failed.inc()
        self._set_stopped(handler, stopped=True)
        if self._health is not None:
            self._health.handler_halted(handler, f"Handler {handler} has asked to be stopped: {error}")
        self._log.error("handler_disabled", **_facts(handler, entry), error=error)

    def filtered(self, handler: str, type_: str, why: str) -> None:
        """An event of a wanted type was left out."""
        self._metrics_of(handler).filtered.inc()
        self._log.debug("filtered", handler=handler, type=type_, why=why)

    def paused(self, handler: str) -> None:
        """Somebody paused it."""
        self._set_stopped(handler, stopped=True)
        self._log.warning("handler_paused", handler=handler)

    def halted(self, handler: str, dead_letters: int, limit: int) -> None:
        """It has as many dead letters as it may have."""
        self._set_stopped(handler, stopped=True)
        what = f"Handler {handler} has stopped at {dead_letters} dead letters (handlers.{handler}.dead_letter_limit = {limit}): "
        what += "retry or discard them (`cadence-consumer dead-letters`)"
        if self._health is not None:
            self._health.handler_halted(handler, what)
        self._log.error("handler_halted", handler=handler, dead_letters=dead_letters, limit=limit)

    def resumed(self, handler: str) -> None:
        """A pause or a halt is over."""
        self._set_stopped(handler, stopped=False)
        if self._health is not None:
            self._health.handler_resumed(handler)
        self._log.info("handler_resumed", handler=handler)

    def replay_began(self, handler: str, command_id: str, after: int, through: int) -> None:
        """Events are delivered again."""
        self._log.info("replay_began", handler=handler, id=command_id, after=after, through=through)

    def replay_ended(self, handler: str, command_id: str, offset: int, *, cancelled: bool) -> None:
        """A replay is done, or was taken back."""
        self._log.info("replay_ended", handler=handler, id=command_id, offset=offset, cancelled=cancelled)

    def interrupted(self, handler: str, entry: JournalEntry) -> None:
        """A call was cancelled by the stop."""
        self._log.info("handler_interrupted", **_facts(handler, entry))

    # -------------------------------------------------------- places

    def offset_out_of_range(self, handler: str, after: int, first: int) -> None:
        """Retention removed what lay between before the handler got there."""
        self._log.error("handler_outrun", handler=handler, after=after, first=first, lost=first - after - 1)

    def cursor_saved(self, handler: str, offset: int, lag: int, blocked_runs: int, dead_letters: int) -> None:
        """Its place was saved."""
        for name, value in (
            (MetricName.HANDLER_OFFSET, offset),
            (MetricName.HANDLER_LAG, lag),
            (MetricName.HANDLER_BLOCKED_RUNS, blocked_runs),
            (MetricName.HANDLER_DEAD_LETTERS, dead_letters),
        ):
            self._metrics.gauge(name, handler).set(value)
        if handler in self._store_down:
            self._store_down.discard(handler)
            self._log.info("handler_store_available", handler=handler)

    def store_unavailable(self, handler: str, error: BaseException, again_ms: int) -> None:
        """Reading or saving failed; told with every attempt, logged with the first."""
        if handler not in self._store_down:
            self._store_down.add(handler)
            self._log.error("handler_store_unavailable", handler=handler, why=str(error), again_ms=again_ms)

    def unsaved(self, handler: str, offset: int) -> None:
        """The stop came to an end before the place could be saved."""
        self._log.warning("place_unsaved", handler=handler, offset=offset)


def _facts(handler: str, entry: JournalEntry) -> dict[str, object]:
    """What a line about an event is found by: here, in the journal, and in Salesforce."""
    facts: dict[str, object] = {
        "handler": handler,
        "type": entry.type,
        "run": entry.tracker_id,
        "event_id": entry.id,
        "offset": entry.offset,
    }
    with suppress(
        orjson.JSONDecodeError, AttributeError, KeyError
    ):  # an entry that cannot be read is told too
        event = orjson.loads(entry.data)
        if event.get("position"):
            facts |= {"channel": event["position"]["channel"], "position": event["position"]["replay_id"]}
        if event.get("transaction"):
            facts["transaction"] = event["transaction"]["key"]
    return facts


def _exc_info(exception: BaseException | None) -> dict[str, BaseException]:
    return {} if exception is None else {"exc_info": exception}
