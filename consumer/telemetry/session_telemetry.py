"""Log lines, metrics and health of the CometD sessions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import structlog

from consumer.clock import Clock
from consumer.errors import Remedy
from consumer.ports.observers.session_events import (
    PollAnswered,
    SessionClosed,
    SessionEvent,
    SessionOpening,
    SessionStarted,
    TokenRequestFailed,
)
from consumer.telemetry.dispatch import Methods, on
from consumer.telemetry.health import Health
from consumer.telemetry.metric_catalogue import MetricName
from consumer.telemetry.metrics import Metrics, seconds_since

__all__ = ["SessionTelemetry"]

_MAX_LOGGED_BYTES: Final = 200
"""Bytes of an unreadable answer in the log."""

_OTHER: Final = "other"
"""Label of codes that are not in the set below: text from a server must not become a label."""

_OAUTH_CODES: Final = frozenset({
    "access_denied", "access_token_refused", "bad_answer", "bad_settings", "inactive_org", "inactive_user", "invalid_app_access",
    "invalid_assertion_type", "invalid_client", "invalid_client_credentials", "invalid_client_id", "invalid_grant", "invalid_request",
    "invalid_scope", "kept_token_unreadable", "rate_limit_exceeded", "server_error", "store_unavailable", "temporarily_unavailable",
    "unauthorized_client", "unknown_error", "unreachable", "unsupported_grant_type",
})  # fmt: skip


class SessionTelemetry:
    """Observer of the sessions.

    Args:
        metrics: where it counts.
        health: what it notifies.
        clock: monotonic.
        channels: the configured channels, so that a channel that was never acknowledged shows as 0 instead of being absent.
    """

    def __init__(self, metrics: Metrics, health: Health, clock: Clock, channels: tuple[str, ...]) -> None:
        self._log = structlog.get_logger()
        self._metrics = metrics
        self._health = health
        self._clock = clock
        self._polled_ms: int | None = None
        self._methods: Methods = dict((
            on(SessionOpening, self._session_opening),
            on(SessionStarted, self._session_started),
            on(PollAnswered, self._poll_answered),
            on(SessionClosed, self._session_closed),
            on(TokenRequestFailed, self._token_request_failed),
        ))  # fmt: skip
        # An alert on an increase never sees the first event of a series that begins with it.
        metrics.counter(MetricName.SESSIONS_ENDED, "daily_limit")
        for channel in channels:
            acknowledged = metrics.gauge(MetricName.CHANNEL_ACKNOWLEDGED, channel)
            acknowledged.set_function(partial(health.acknowledges, channel))
        metrics.gauge(MetricName.SINCE_LAST_POLL_SECONDS).set_function(
            lambda: seconds_since(self._polled_ms, clock.monotonic_ms())
        )

    def observe(self, event: SessionEvent) -> None:
        """Log, count and pass on to health."""
        self._methods[type(event)](event)

    def _session_opening(self, event: SessionOpening) -> None:
        self._health.session_opening(self._clock.monotonic_ms(), event.number)
        self._log.debug("session_opening", session=event.number)

    def _session_started(self, event: SessionStarted) -> None:
        opened = event.opened
        if opened.poll_limit_ms is not None:
            self._health.poll_limit(opened.poll_limit_ms)
        self._health.session_opened(opened.received_ms, opened.session, opened.resumed)
        self._log.info("session_opened", session=opened.session, resumed=dict(opened.resumed))

    def _poll_answered(self, event: PollAnswered) -> None:
        self._polled_ms = event.answer.received_ms
        self._health.polled(event.answer.received_ms, len(event.answer.messages))

    def _session_closed(self, event: SessionClosed) -> None:
        now_ms, reason, retry_after_ms = self._clock.monotonic_ms(), event.reason, event.retry_after_ms
        self._health.session_ended(
            now_ms, str(reason), now_ms + retry_after_ms if retry_after_ms is not None else None
        )
        self._metrics.counter(MetricName.SESSIONS_ENDED, reason.code).inc()
        facts: dict[str, object] = {"session": event.number, "reason": reason.code, "detail": reason.detail}
        if reason.channel is not None:
            facts["channel"] = reason.channel
        if event.body is not None:
            facts["body"] = event.body[:_MAX_LOGGED_BYTES].decode("utf-8", "backslashreplace")
            facts["body_bytes"] = len(event.body)
        if reason.remedy is Remedy.STOP:
            self._health.stopped(f"Salesforce refuses: {reason.detail}.", reason.action)
            self._log.error("session_ended", **facts, action=reason.action)
        else:
            self._log.warning(
                "session_ended", **facts, remedy=reason.remedy.value, retry_after_ms=retry_after_ms
            )

    def _token_request_failed(self, event: TokenRequestFailed) -> None:
        failure = event.failure
        self._health.authentication_failing(self._clock.monotonic_ms(), failure.code, failure.detail)
        code = failure.code if failure.code in _OAUTH_CODES or failure.code.startswith("http_") else _OTHER
        self._metrics.counter(MetricName.AUTHENTICATION_FAILURES, code).inc()
        log: Callable[..., None] = self._log.error if failure.permanent else self._log.warning
        log(
            "authentication_failed",
            code=failure.code,
            detail=failure.detail,
            retry_after_ms=event.retry_after_ms,
        )
