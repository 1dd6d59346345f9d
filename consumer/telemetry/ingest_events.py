"""One named event both logs and counts: what ingest tells, turned into log lines, metrics and health.

The halves of the service declare what they tell (``IngestEvents``, ``SupervisorEvents``); nothing else in them speaks to
logs or metrics. Each method here is one event: how severe it is, what it counts, what health learns of it. Ordinary events are counted,
not logged, because a line per poll hides the line that matters. ``consumer.telemetry.delivery_events`` does the same for handlers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import structlog
from prometheus_client import Counter
from structlog.contextvars import bind_contextvars, unbind_contextvars

from consumer.clock import Clock
from consumer.domain.change_events import Change, UnknownValue
from consumer.errors import AuthenticationFailed, EndReason, Remedy
from consumer.ports.commit import IngestDeadLetter
from consumer.ports.observers import CommitSummary
from consumer.ports.source import Answer, SessionOpened
from consumer.telemetry.health import Health
from consumer.telemetry.log_throttle import LogThrottle
from consumer.telemetry.metrics import MetricName, Metrics
from consumer.telemetry.reconcile_events import ReconcileTelemetry

__all__ = ["IngestTelemetry", "TenureTelemetry"]

_MAX_LOGGED_BYTES = 200
"""Of an unreadable answer, in the log."""

_TOKEN_PREFIX_LENGTH = 8
"""Of a tenure's token, on every line of the tenure: enough to tell tenures apart, not to commit under one."""

_MAX_LOGGED_TEXT = 80
"""Of a name or value that Salesforce sent, in the log."""

_MAX_REMEMBERED = 1_000
"""What is told once is remembered up to so many; after that it is only counted."""

_LAG_HOLD_MS = 60_000
"""How long the lag of the last commit is shown when nothing follows it."""

_OTHER = "other"
"""Label of what is in none of the sets below: a server's text must not become a label."""

_BAD_EVENT_REASONS = (
    "no_data", "no_header", "no_payload", "no_position", "no_record_ids", "too_deep", "unknown_change_type", "unknown_channel",
    "unknown_entity", "unreadable_answer", "wrong_type",
)  # fmt: skip

_OAUTH_CODES = frozenset({
    "access_denied", "access_token_refused", "bad_answer", "bad_settings", "inactive_org", "inactive_user", "invalid_app_access",
    "invalid_assertion_type", "invalid_client", "invalid_client_credentials", "invalid_client_id", "invalid_grant", "invalid_request",
    "invalid_scope", "kept_token_unreadable", "rate_limit_exceeded", "server_error", "store_unavailable", "temporarily_unavailable",
    "unauthorized_client", "unknown_error", "unreachable", "unsupported_grant_type",
})  # fmt: skip


class TenureTelemetry:
    """Implements ``ServiceEvents``: who holds the lease, whether the store is there, the end; also makes readiness a metric."""

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
        metrics.gauge(MetricName.READY).set_function(lambda: float(health.report(clock.monotonic_ms()).ready))
        metrics.gauge(MetricName.TENURE).set_function(lambda: float(health.leads(clock.monotonic_ms())))

    def waiting(self, holder: str | None) -> None:
        """The lease is another's; may be told again and again."""
        self._health.lease_waiting(self._clock.monotonic_ms(), holder)
        if self._waiting_for != (holder or ""):
            self._waiting_for = holder or ""
            self._log.info("standby", held_by=holder)

    def won(self, holder: str, until_ms: int | None = None, token: str = "") -> None:
        """The lease is ours, for so long at least; from here every line of the tenure carries the beginning of its token."""
        self._waiting_for = None
        bind_contextvars(tenure=token[:_TOKEN_PREFIX_LENGTH])
        self._health.lease_held(self._clock.monotonic_ms(), holder, until_ms)
        self._log.info("tenure_began", holder=holder)

    def renewed(self, until_ms: int) -> None:
        """The lease is ours for longer."""
        self._health.lease_renewed(until_ms)

    def ended(self, why: str, holder: str | None = None) -> None:
        """The tenure is over: lost, refused or released."""
        self._health.lease_lost(self._clock.monotonic_ms(), holder)
        self._metrics.end_tenure()
        self._log.warning("tenure_ended", why=why, held_by=holder)
        unbind_contextvars("tenure")

    def store_unavailable(self, why: str) -> None:
        """The store cannot be reached; may be told with every attempt."""
        self._health.store_unavailable(self._clock.monotonic_ms(), why)
        if not self._store_down:
            self._store_down = True
            self._log.error("store_unavailable", why=why)

    def store_available(self) -> None:
        """The store answered."""
        self._health.store_available()
        if self._store_down:
            self._store_down = False
            self._log.info("store_available")

    def store_warning(self, what: str) -> None:
        """Something about the store's configuration can lose checkpoints."""
        self._log.warning("store_warning", what=what)

    def stopping(self, grace_ms: int) -> None:
        """A stop was asked for; running handlers get ``grace_ms`` milliseconds."""
        self._health.stopping()
        self._log.info("stopping", grace_ms=grace_ms)

    def stopped(self, *, clean: bool) -> None:
        """Everything has ended; ``clean`` when nothing had to be cut short."""
        self._health.lease_lost(self._clock.monotonic_ms())
        self._metrics.end_tenure()
        self._throttle.flush()
        log: Callable[..., None] = self._log.info if clean else self._log.warning
        log("stopped", clean=clean)


class IngestTelemetry(ReconcileTelemetry):
    """Implements ``IngestEvents`` and ``SupervisorEvents``.

    Args:
        metrics: where it counts.
        health: what it tells.
        clock: monotonic for health, wall for the lag.
        channels: the configured ones, so that a channel that never came shows as 0 instead of being absent.
        throttle: leaves lines out in a storm.
    """

    def __init__(
        self,
        metrics: Metrics,
        health: Health,
        clock: Clock,
        channels: tuple[str, ...],
        throttle: LogThrottle | None = None,
    ) -> None:
        throttle = throttle or LogThrottle()
        super().__init__(metrics, throttle)
        self._throttle = throttle
        self._log = structlog.get_logger()
        self._metrics = metrics
        self._health = health
        self._clock = clock
        self._channels = channels
        self._polled_ms: int | None = None
        self._event_ms: int | None = None
        self._last_lag = (0, 0)
        self._failing = False
        # Children are kept: looking one up costs more than counting.
        self._received: dict[str, Counter] = {
            c: metrics.counter(MetricName.CHANGE_EVENTS_RECEIVED, c) for c in channels
        }
        self._journal: dict[str, Counter] = {}
        self._logged_once: set[tuple[str, ...]] = set()
        self._held = metrics.gauge(MetricName.HELD_CHANGES)
        self._commit_duration = metrics.histogram(MetricName.COMMIT_DURATION_SECONDS)
        self._commits = metrics.counter(MetricName.COMMITS)
        # An alert on an increase never sees the first one of a series that begins with it.
        metrics.counter(MetricName.SESSIONS_ENDED, "daily_limit")
        for channel in (*channels, _OTHER):
            for reason in _BAD_EVENT_REASONS:
                metrics.counter(MetricName.BAD_EVENTS, channel, reason)
        for channel in channels:
            acknowledged = metrics.gauge(MetricName.CHANNEL_ACKNOWLEDGED, channel)
            acknowledged.set_function(partial(health.acknowledges, channel))
        metrics.gauge(MetricName.LAG_SECONDS).set_function(self._lag)
        metrics.gauge(MetricName.SINCE_LAST_POLL_SECONDS).set_function(lambda: self._since(self._polled_ms))
        metrics.gauge(MetricName.SINCE_LAST_EVENT_SECONDS).set_function(lambda: self._since(self._event_ms))

    def _since(self, then_ms: int | None) -> float:
        return math.nan if then_ms is None else (self._clock.monotonic_ms() - then_ms) / 1000

    def _lag(self) -> float:
        """What the last commit was late by, as long as it tells anything; while changes wait, at least as long as they do."""
        if not self._health.holds_lease:
            return math.nan
        now_ms = self._clock.monotonic_ms()
        committed_ms, lag_ms = self._last_lag
        since_ms = self._health.behind_since_ms
        if since_ms is not None:
            return max(lag_ms, now_ms - since_ms) / 1000
        return lag_ms / 1000 if now_ms - committed_ms < _LAG_HOLD_MS else 0.0

    # -------------------------------------------------------- sessions

    def session_opening(self, number: int) -> None:
        """A session is about to authenticate and shake hands."""
        self._health.session_opening(self._clock.monotonic_ms(), number)
        self._log.debug("session_opening", session=number)

    def session_opened(self, opened: SessionOpened) -> None:
        """Every channel is acknowledged."""
        if opened.poll_limit_ms is not None:
            self._health.poll_limit(opened.poll_limit_ms)
        self._health.session_opened(opened.received_ms, opened.session, opened.resumed)
        self._log.info("session_opened", session=opened.session, resumed=dict(opened.resumed))

    def polled(self, answer: Answer) -> None:
        """A poll was answered."""
        self._polled_ms = answer.received_ms
        self._health.polled(answer.received_ms, len(answer.messages))

    def session_ended(
        self, number: int, reason: EndReason, next_in_ms: int | None, body: bytes | None
    ) -> None:
        """A session is over."""
        now_ms = self._clock.monotonic_ms()
        self._health.session_ended(
            now_ms, str(reason), now_ms + next_in_ms if next_in_ms is not None else None
        )
        self._metrics.counter(MetricName.SESSIONS_ENDED, reason.code).inc()
        facts: dict[str, object] = {"session": number, "reason": reason.code, "detail": reason.detail}
        if reason.channel is not None:
            facts["channel"] = reason.channel
        if body is not None:
            facts["body"] = body[:_MAX_LOGGED_BYTES].decode("utf-8", "backslashreplace")
            facts["body_bytes"] = len(body)
        if reason.remedy is Remedy.STOP:
            self._health.stopped(f"Salesforce refuses: {reason.detail}.", reason.action)
            self._log.error("session_ended", **facts, action=reason.action)
        else:
            self._log.warning("session_ended", **facts, remedy=reason.remedy.value, next_in_ms=next_in_ms)

    def authentication_failed(self, failure: AuthenticationFailed, next_in_ms: int) -> None:
        """No token could be had."""
        self._health.authentication_failing(self._clock.monotonic_ms(), failure.code, failure.detail)
        code = failure.code if failure.code in _OAUTH_CODES or failure.code.startswith("http_") else _OTHER
        self._metrics.counter(MetricName.AUTHENTICATION_FAILURES, code).inc()
        log: Callable[..., None] = self._log.error if failure.permanent else self._log.warning
        log("authentication_failed", code=failure.code, detail=failure.detail, next_in_ms=next_in_ms)

    # -------------------------------------------------------- changes

    def received(self, channel: str, changes: int) -> None:
        """Changes arrived."""
        counter = self._received.get(channel)
        if counter is None:
            counter = self._received[channel] = self._metrics.counter(
                MetricName.CHANGE_EVENTS_RECEIVED, channel
            )
        counter.inc(changes)
        self._event_ms = self._clock.monotonic_ms()
        self._health.received(self._event_ms)

    def bad_event(self, dead_letter: IngestDeadLetter) -> None:
        """A message could not be understood."""
        channel = dead_letter.channel if dead_letter.channel in self._channels else _OTHER
        reason = dead_letter.reason if dead_letter.reason in _BAD_EVENT_REASONS else _OTHER
        self._metrics.counter(MetricName.BAD_EVENTS, channel, reason).inc()
        if dead_letter.reason == "unknown_entity" and not self._is_first("entity", dead_letter.detail):
            return  # a channel that carries another object carries many of it: each is kept and counted, one is told
        if not self._throttle.allow("bad_event", channel=channel, reason=reason):
            return
        self._log.error(
            "bad_event",
            channel=dead_letter.channel,
            position=dead_letter.position,
            reason=dead_letter.reason,
            detail=dead_letter.detail,
            dead_letter=dead_letter.id,
        )

    def unknown_field(self, entity: str, unknown_values: Sequence[UnknownValue]) -> None:
        """Fields or picklist values that this release does not know passed through."""
        for name, value in unknown_values:
            what = "field" if value is None else "value"
            self._metrics.counter(MetricName.UNKNOWN_VALUES, entity, what).inc()
            if self._is_first(entity, name, value or ""):
                facts = {} if value is None else {"value": value[:_MAX_LOGGED_TEXT]}
                self._log.warning(
                    f"undocumented_{what}", entity=entity, field=name[:_MAX_LOGGED_TEXT], **facts
                )

    def _is_first(self, *what: str) -> bool:
        """Whether it has not been told yet; also no once too much has been."""
        if what in self._logged_once or len(self._logged_once) >= _MAX_REMEMBERED:
            return False
        self._logged_once.add(what)
        return True

    def gap(self, change: Change) -> None:
        """Salesforce says that something happened which the stream does not carry."""
        header = change.header
        self._metrics.counter(MetricName.GAPS, header.kind).inc()
        if self._throttle.allow("gap", channel=change.channel, kind=header.kind):
            self._log.warning(
                "gap",
                kind=header.kind,
                entity=header.entity,
                record_id=change.record_id,
                channel=change.channel,
                position=change.position,
                transaction=header.transaction,
                committed_ms=header.commit_ms,
            )

    def position_refused(self, channel: str, position: str, policy: str, *, missed: bool) -> None:
        """Salesforce does not know the stored replay id any more."""
        log: Callable[..., None] = self._log.error if missed else self._log.warning
        log("position_refused", channel=channel, position=position, policy=policy, missed=missed)

    def input_stuck(self, channel: str, what: str) -> None:
        """The same answer could not be read three times."""
        self._health.input_stuck(channel, what)
        self._log.error("input_stuck", channel=channel, what=what)

    def input_recovered(self, channel: str) -> None:
        """An answer could be read again."""
        self._health.input_recovered(channel)
        self._log.info("input_flows", channel=channel)

    def lookup_failed(self, why: str, records: int) -> None:
        """Records that were never seen could not be looked up."""
        if self._throttle.allow("lookup_failed"):
            self._log.warning("lookup_failed", why=why, records=records)

    def quota_unknown(self, why: str) -> None:
        """Everything retained is read without knowing whether the allocation bears it."""
        self._log.warning("allocation_unknown", why=why)

    def held(self, changes: int) -> None:
        """So many changes are held back now."""
        self._held.set(changes)
        self._health.held(changes)

    # -------------------------------------------------------- commits

    def committed(self, summary: CommitSummary) -> None:
        """A commit was applied."""
        self._health.committed(self._clock.monotonic_ms())
        self._commits.inc()
        self._commit_duration.observe(summary.duration_ms / 1000)
        self._metrics.counter(MetricName.DUPLICATES).inc(summary.duplicates)
        self._metrics.counter(MetricName.LATE).inc(summary.late)
        self._metrics.counter(MetricName.IGNORED).inc(summary.ignored)
        for event_type, count in summary.events.items():
            counter = self._journal.get(event_type)
            if counter is None:
                counter = self._journal[event_type] = self._metrics.counter(
                    MetricName.JOURNAL_EVENTS, event_type
                )
            counter.inc(count)
        if summary.newest_commit_ms is not None:
            lag_ms = max(0, self._clock.wall_ms() - summary.newest_commit_ms)
            self._last_lag = (self._clock.monotonic_ms(), lag_ms)
        if self._failing:
            self._failing = False
            self._log.info("commits_succeed_again", commit=summary.number)
        self._log.debug(
            "committed", commit=summary.number, changes=summary.changes, events=sum(summary.events.values())
        )

    def commit_failing(self, number: int, why: str, since_ms: int) -> None:
        """The store did not take a commit; the same one is sent again."""
        now_ms = self._clock.monotonic_ms()
        self._health.commit_failing(now_ms, why)
        self._metrics.counter(MetricName.COMMIT_FAILURES).inc()
        if not self._failing:
            self._failing = True
            self._log.error("commit_failing", commit=number, why=why, since_ms=since_ms)
