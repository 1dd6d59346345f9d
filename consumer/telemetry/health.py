"""Readiness: facts in, sentences out.

"The process runs" is not health: services that said so have stopped silently for days. Ready means that this replica holds the lease *and*
every configured channel is acknowledged *and* polls were answered lately *and* commits succeed. Observers report each fact with its time;
the class knows no clock and decides when asked. Reasons are whole sentences, because they are read at 3 a.m.

All times are monotonic milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from consumer.durations import humanize_ms
from consumer.telemetry.health_facts import HealthFacts, LeaseFacts, OngoingFailure, SessionFacts

__all__ = ["COMMIT_MARGIN_MS", "Health", "HealthReport"]

POLL_LIMIT_MS = 125_000
"""Salesforce's advice timeout (110 s) plus a margin of 15 s: the longest time an answered poll may take."""

COMMIT_MARGIN_MS = 15_000
"""Time allowed for the commit of changes that were held back for ordering as long as the settings allow."""

_INGEST_LIMIT_MS = 15_000
"""Longest time that ingest may leave an answer in its buffer; usually it takes milliseconds. Failing commits have a reason of their own."""


@dataclass(frozen=True, slots=True)
class HealthReport:
    """Answer of the probes.

    Attributes:
        ready: whether the service does all of its work right now.
        live: False only if it has stopped and will not recover by itself; a restart may help.
        reasons: why it is not ready, one sentence each; empty if it is.
        details: the facts behind the reasons, JSON values.
        standby: whether the only reason is that another replica has the lease: this one would take over.
    """

    ready: bool
    live: bool
    reasons: list[str]
    details: dict[str, Any]
    standby: bool = False


class Health:
    """Facts about the service, and the verdict on them.

    Args:
        channels: the configured channels; all must be acknowledged.
        now_ms: when the service started.
        poll_limit_ms: longest time without an answered poll.
        commit_limit_ms: longest time that changes may wait without a commit.
    """

    def __init__(
        self,
        channels: Sequence[str],
        now_ms: int,
        poll_limit_ms: int = POLL_LIMIT_MS,
        commit_limit_ms: int = 5_000 + COMMIT_MARGIN_MS,
    ) -> None:
        self._channels = tuple(channels)
        self._started_ms = now_ms
        self._poll_limit_ms = poll_limit_ms
        self._commit_limit_ms = commit_limit_ms
        self._facts = HealthFacts()

    # -------------------------------------------------------- facts: tenure

    def lease_waiting(self, now_ms: int, holder: str | None) -> None:
        """The lease is held by another replica."""
        if self._facts.lease.state != "waiting" or self._facts.lease.holder != holder:
            self._facts.lease = LeaseFacts("waiting", holder, now_ms)

    def lease_held(self, now_ms: int, holder: str, until_ms: int | None = None) -> None:
        """The lease was acquired by this replica, ``holder``; a tenure begins.

        It expires at ``until_ms`` unless it is renewed.
        """
        self._facts.lease = LeaseFacts("held", holder, now_ms, until_ms)

    def lease_renewed(self, until_ms: int) -> None:
        """The lease was renewed until ``until_ms``."""
        self._facts.lease.until_ms = until_ms

    def lease_lost(self, now_ms: int, holder: str | None = None) -> None:
        """The tenure is over; ``holder`` has the lease now, where known.

        Sessions and commits of the old tenure no longer count.
        """
        self._facts.lease = LeaseFacts("lost", holder, now_ms)
        self._facts.session = SessionFacts(number=self._facts.session.number, since_ms=now_ms)
        self._facts.signed_in = False
        commits = self._facts.commits
        commits.failure = commits.handed_over_ms = commits.waiting_since_ms = None
        commits.held = 0
        self._facts.stuck_channels.clear()
        self._facts.halted.clear()
        self._facts.reconcile.clear()
        self._facts.journal = None

    # -------------------------------------------------------- facts: session

    def poll_limit(self, limit_ms: int) -> None:
        """Salesforce advised another timeout.

        From now on a poll may go unanswered for ``limit_ms``.
        """
        self._poll_limit_ms = limit_ms

    def session_opening(self, now_ms: int, number: int) -> None:
        """A session is being opened."""
        self._facts.session = SessionFacts(number=number, state="opening", since_ms=now_ms)

    def session_opened(self, now_ms: int, number: int, channels: Iterable[str]) -> None:
        """Salesforce acknowledged ``channels``; the access token is valid."""
        self._facts.session = SessionFacts(
            number=number, state="open", since_ms=now_ms, acknowledged=frozenset(channels), answered_ms=now_ms
        )
        self._facts.authentication = None
        self._facts.signed_in = True

    def polled(self, now_ms: int, messages: int = 0) -> None:
        """A poll was answered with this number of messages, and ingest was given them."""
        self._facts.session.answered_ms = now_ms
        if messages and self._facts.commits.handed_over_ms is None:
            self._facts.commits.handed_over_ms = now_ms

    def session_ended(self, now_ms: int, reason: str, next_attempt_ms: int | None) -> None:
        """The session is over because of ``reason`` (``code: detail``).

        The next one is opened at ``next_attempt_ms``; None if unknown.
        """
        self._facts.session = SessionFacts(
            number=self._facts.session.number,
            state="ended",
            since_ms=now_ms,
            end=reason,
            next_attempt_ms=next_attempt_ms,
        )

    def authentication_failing(self, now_ms: int, code: str, detail: str) -> None:
        """No access token could be obtained."""
        previous = self._facts.authentication
        self._facts.authentication = OngoingFailure(previous.since_ms if previous else now_ms, code, detail)

    # -------------------------------------------------------- facts: store

    def received(self, now_ms: int) -> None:
        """Ingest has accepted changes; a commit has to follow."""
        if self._facts.commits.waiting_since_ms is None:
            self._facts.commits.waiting_since_ms = now_ms

    def held(self, now_ms: int, changes: int, *, catching_up: bool = False) -> None:
        """Ingest has processed every answer and holds this number of changes back.

        While a channel is ``catching_up`` they may wait longer than otherwise: ingest itself bounds that time.
        """
        commits = self._facts.commits
        commits.handed_over_ms = None
        commits.held = changes
        commits.catching_up = catching_up and changes > 0
        if commits.catching_up and commits.waiting_since_ms is not None:
            commits.waiting_since_ms = now_ms

    def released_early(self, now_ms: int, changes: int) -> None:
        """Ingest has released changes although something earlier may still arrive."""
        self._facts.commits.released_early += changes
        self._facts.commits.released_early_ms = now_ms

    def committed(self, now_ms: int) -> None:
        """A commit was applied, so the store works."""
        commits = self._facts.commits
        commits.last_ms = now_ms
        commits.count += 1
        commits.failure = None
        commits.waiting_since_ms = now_ms if commits.held else None
        self._facts.store = None

    def commit_failing(self, now_ms: int, why: str) -> None:
        """A commit could not be applied and is retried."""
        previous = self._facts.commits.failure
        self._facts.commits.failure = OngoingFailure(previous.since_ms if previous else now_ms, "commit", why)

    def store_unavailable(self, now_ms: int, why: str) -> None:
        """The store cannot be reached."""
        previous = self._facts.store
        self._facts.store = OngoingFailure(previous.since_ms if previous else now_ms, "store", why)

    def store_available(self) -> None:
        """The store answered."""
        self._facts.store = None

    # -------------------------------------------------------- facts: input and end

    def input_stuck(self, channel: str, what: str) -> None:
        """The same answer on ``channel`` could not be read three times.

        Only an operator can help; ``what`` is one line.
        """
        self._facts.stuck_channels[channel] = what

    def input_recovered(self, channel: str) -> None:
        """An answer on ``channel`` could be read again."""
        self._facts.stuck_channels.pop(channel, None)

    def handler_halted(self, handler: str, what: str) -> None:
        """A handler makes no more attempts until an operator acts; ``what`` is a sentence."""
        self._facts.halted[handler] = what

    def handler_resumed(self, handler: str) -> None:
        """A handler makes attempts again."""
        self._facts.halted.pop(handler, None)

    def reconcile_failing(self, now_ms: int, task: str, what: str) -> None:
        """A reconcile task is set aside because it fails repeatedly.

        The stream is not affected.
        """
        previous = self._facts.reconcile.get(task)
        self._facts.reconcile[task] = OngoingFailure(
            previous.since_ms if previous else now_ms, "reconcile", what
        )

    def reconcile_recovered(self, task: str) -> None:
        """A reconcile task that was set aside continues."""
        self._facts.reconcile.pop(task, None)

    def journal_over_limit(self, what: str) -> None:
        """The journal cannot be kept within its limit; ``what`` is a sentence."""
        self._facts.journal = what

    def journal_within_limit(self) -> None:
        """The journal is within its limit."""
        self._facts.journal = None

    def stopped(self, what: str, action: str) -> None:
        """The service has stopped until an operator takes ``action``."""
        self._facts.stopped = f"{what} {action}".strip()

    def stopping(self) -> None:
        """A stop was requested; the process is finishing its work."""
        self._facts.stopping = True

    # -------------------------------------------------------- facts for others

    @property
    def holds_lease(self) -> bool:
        """Present tenure: True while this replica has one."""
        return self._facts.lease.state == "held"

    def leads(self, now_ms: int) -> bool:
        """Certain lease: True until it should have been renewed.

        A lease that was not renewed in time may be another replica's already.
        """
        until_ms = self._facts.lease.until_ms
        return self.holds_lease and (until_ms is None or now_ms <= until_ms)

    @property
    def signed_in(self) -> bool:
        """Sign-in: True while Salesforce issues tokens in this tenure."""
        return self.holds_lease and self._facts.signed_in and self._facts.authentication is None

    def acknowledges(self, channel: str) -> bool:
        """Acknowledgement: True while the open session has that of ``channel``."""
        return channel in self._facts.session.acknowledged

    @property
    def behind_since_ms(self) -> int | None:
        """Arrival of the oldest change or answer that waits; None if none waits."""
        commits = self._facts.commits
        since = [each for each in (commits.handed_over_ms, commits.waiting_since_ms) if each is not None]
        return min(since, default=None)

    # -------------------------------------------------------- judgement

    def report(self, now_ms: int) -> HealthReport:
        """Return the verdict at ``now_ms``."""
        reasons = self._reasons(now_ms)
        return HealthReport(
            ready=not reasons,
            live=self._facts.stopped is None,
            reasons=reasons,
            details=self._facts.document(now_ms, self._started_ms, self._channels),
            standby=self._facts.lease.state == "waiting" and len(reasons) == 1,
        )

    def _reasons(self, now_ms: int) -> list[str]:
        facts = self._facts
        reasons: list[str] = []
        if facts.stopped is not None:
            reasons.append(f"Stopped: {facts.stopped}")
        if facts.stopping:
            reasons.append("Shutting down: accepted work is being finished, nothing new is read.")
        if facts.store is not None:
            reasons.append(
                f"The store has been unavailable for {_duration_since(now_ms, facts.store.since_ms)}: {facts.store.what}"
            )
        if facts.lease.state != "held":
            # A standby has no session and no commits, so nothing else is a reason.
            reasons.append(self._lease_reason(now_ms))
            return reasons
        if facts.lease.until_ms is not None and now_ms > facts.lease.until_ms:
            # This process was frozen, or the store does not answer: another replica may have taken over.
            reasons.append(
                f"The lease expired {_duration_since(now_ms, facts.lease.until_ms)} ago and has not been renewed yet."
            )
        if facts.commits.failure is not None:
            failure = facts.commits.failure
            reasons.append(
                f"Commits have been failing for {_duration_since(now_ms, failure.since_ms)}: {failure.what}"
            )
        else:
            reasons += self._stalled_reasons(now_ms)
        if facts.authentication is not None:
            failure = facts.authentication
            reasons.append(
                f"Salesforce has issued no access token for {_duration_since(now_ms, failure.since_ms)} "
                f"({failure.code}): {failure.what}"
            )
        reasons += self._session_reasons(now_ms)
        reasons += [
            f"Channel {channel} is stuck: {what}" for channel, what in sorted(facts.stuck_channels.items())
        ]
        reasons += [what for _, what in sorted(facts.halted.items())]
        if facts.journal is not None:
            reasons.append(facts.journal)
        return reasons

    def _stalled_reasons(self, now_ms: int) -> list[str]:
        commits = self._facts.commits
        if commits.handed_over_ms is not None and now_ms - commits.handed_over_ms > _INGEST_LIMIT_MS:
            return [
                f"Ingest has not processed what Salesforce sent {_duration_since(now_ms, commits.handed_over_ms)} ago."
            ]
        if commits.waiting_since_ms is not None and now_ms - commits.waiting_since_ms > self._commit_limit_ms:
            return [
                f"Changes have been waiting for {_duration_since(now_ms, commits.waiting_since_ms)} without a commit."
            ]
        return []

    def _lease_reason(self, now_ms: int) -> str:
        lease = self._facts.lease
        if lease.state == "waiting":
            return (
                f"Standby for {_duration_since(now_ms, lease.since_ms)}: the lease is held by {lease.holder or 'another replica'}; "
                "this replica takes over when that one stops."
            )
        if lease.state == "lost":
            by = f" to {lease.holder}" if lease.holder else ""
            return f"The lease was lost{by} {_duration_since(now_ms, lease.since_ms)} ago; this replica is trying to acquire it again."
        return "Starting: the lease has not been requested yet."

    def _session_reasons(self, now_ms: int) -> list[str]:
        session = self._facts.session
        missing = [channel for channel in self._channels if channel not in session.acknowledged]
        if missing:
            names = ", ".join(missing)
            return [
                f"{'Channel' if len(missing) == 1 else 'Channels'} {names} not acknowledged: {self._missing_channels_reason(now_ms)}"
            ]
        silent_ms = now_ms - session.answered_ms
        if silent_ms > self._poll_limit_ms:
            normal = humanize_ms(self._poll_limit_ms)
            return [
                f"Salesforce has not answered a poll for {humanize_ms(silent_ms)} (at most {normal} is normal)."
            ]
        return []

    def _missing_channels_reason(self, now_ms: int) -> str:
        session = self._facts.session
        if session.state == "opening":
            return (
                f"session {session.number} has been opening for {_duration_since(now_ms, session.since_ms)}."
            )
        if session.state == "open":
            return f"session {session.number} is open without it."
        if session.state == "ended":
            text = f"session {session.number} ended {_duration_since(now_ms, session.since_ms)} ago ({session.end})"
            if session.next_attempt_ms is None:
                return f"{text}."
            wait_ms = session.next_attempt_ms - now_ms
            return f"{text}; the next attempt is {f'in {humanize_ms(wait_ms)}' if wait_ms > 0 else 'due'}."
        return "no session has been opened yet."


def _duration_since(now_ms: int, since_ms: int) -> str:
    return humanize_ms(max(0, now_ms - since_ms))
