"""Ready, or why not: facts in, sentences out.

"The process runs" is not health: services that said so have stopped silently for days. Ready means that this replica holds the lease *and*
every configured channel is acknowledged *and* polls were answered lately *and* commits succeed. Whoever learns a fact reports it with the
time; the class knows no clock and decides only when asked. Reasons are whole sentences, because they are read at 3 a.m.

All times are monotonic milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from consumer.durations import humanize_ms

__all__ = ["COMMIT_MARGIN_MS", "Health", "HealthReport"]

POLL_LIMIT_MS = 125_000
"""Salesforce's advice timeout (110 s) plus a margin of 15 s: the longest time an answered poll may take."""

COMMIT_MARGIN_MS = 15_000
"""What is held back for ordering as long as it may be must be committed so soon after."""

_INGEST_LIMIT_MS = 15_000
"""Ingest takes up what was handed over in milliseconds; a commit that the store does not answer is told on its own."""


@dataclass(frozen=True, slots=True)
class HealthReport:
    """What probes answer.

    Attributes:
        ready: whether the service does its work right now.
        live: False only when it has stopped and will not go on by itself; a restart may help.
        reasons: why it is not ready, one sentence each; empty when it is.
        details: the facts behind it, for people and scripts; JSON values.
        standby: whether all that keeps it from being ready is that another replica leads: it would take over.
    """

    ready: bool
    live: bool
    reasons: list[str]
    details: dict[str, Any]
    standby: bool = False


@dataclass(slots=True)
class _Failure:
    since_ms: int
    code: str
    what: str


@dataclass(slots=True)
class _Session:
    number: int = 0
    state: Literal["none", "opening", "open", "ended"] = "none"
    since_ms: int = 0
    acknowledged: frozenset[str] = frozenset()
    answered_ms: int = 0
    end: str = ""
    next_attempt_ms: int | None = None


@dataclass(slots=True)
class _Lease:
    state: Literal["unknown", "waiting", "held", "lost"] = "unknown"
    holder: str | None = None
    since_ms: int = 0
    until_ms: int | None = None


@dataclass(slots=True)
class _Commits:
    last_ms: int | None = None
    count: int = 0
    failure: _Failure | None = None
    handed_over_ms: int | None = None
    """Since when something has been handed to ingest that it has not looked at."""
    waiting_since_ms: int | None = None
    """Since when changes have been waiting without any commit."""
    held: int = 0


@dataclass(slots=True)
class _Facts:
    lease: _Lease = field(default_factory=_Lease)
    session: _Session = field(default_factory=_Session)
    commits: _Commits = field(default_factory=_Commits)
    authentication: _Failure | None = None
    signed_in: bool = False
    store: _Failure | None = None
    stuck_channels: dict[str, str] = field(default_factory=dict)
    halted: dict[str, str] = field(default_factory=dict)
    journal: str | None = None
    stopped: str | None = None
    stopping: bool = False


class Health:
    """Collects facts and judges them when asked.

    Args:
        channels: the configured channels; all must be acknowledged.
        now_ms: when the service started.
        poll_limit_ms: longest time without an answered poll.
        commit_limit_ms: longest time in which changes wait and nothing is committed.
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
        self._facts = _Facts()

    # -------------------------------------------------------- facts: tenure

    def lease_waiting(self, now_ms: int, holder: str | None) -> None:
        """Another replica has the lease."""
        if self._facts.lease.state != "waiting" or self._facts.lease.holder != holder:
            self._facts.lease = _Lease("waiting", holder, now_ms)

    def lease_held(self, now_ms: int, holder: str, until_ms: int | None = None) -> None:
        """This replica won the lease, under the name ``holder``, until ``until_ms`` unless it is renewed; a tenure begins."""
        self._facts.lease = _Lease("held", holder, now_ms, until_ms)

    def lease_renewed(self, until_ms: int) -> None:
        """The lease is ours until then."""
        self._facts.lease.until_ms = until_ms

    def lease_lost(self, now_ms: int, holder: str | None = None) -> None:
        """The tenure is over; ``holder`` has the lease now, where known. Sessions and commits of the old tenure mean nothing any more."""
        self._facts.lease = _Lease("lost", holder, now_ms)
        self._facts.session = _Session(number=self._facts.session.number, since_ms=now_ms)
        self._facts.signed_in = False
        commits = self._facts.commits
        commits.failure = commits.handed_over_ms = commits.waiting_since_ms = None
        commits.held = 0
        self._facts.stuck_channels.clear()
        self._facts.halted.clear()
        self._facts.journal = None

    # -------------------------------------------------------- facts: session

    def poll_limit(self, limit_ms: int) -> None:
        """Salesforce advised another time-out: from now on a poll may go unanswered for ``limit_ms``."""
        self._poll_limit_ms = limit_ms

    def session_opening(self, now_ms: int, number: int) -> None:
        """A session is being opened."""
        self._facts.session = _Session(number=number, state="opening", since_ms=now_ms)

    def session_opened(self, now_ms: int, number: int, channels: Iterable[str]) -> None:
        """Salesforce acknowledged ``channels``, which also proves that the access token works."""
        self._facts.session = _Session(
            number=number, state="open", since_ms=now_ms, acknowledged=frozenset(channels), answered_ms=now_ms
        )
        self._facts.authentication = None
        self._facts.signed_in = True

    def polled(self, now_ms: int, messages: int = 0) -> None:
        """A poll was answered, with so many messages; ingest is given them."""
        self._facts.session.answered_ms = now_ms
        if messages and self._facts.commits.handed_over_ms is None:
            self._facts.commits.handed_over_ms = now_ms

    def session_ended(self, now_ms: int, reason: str, next_attempt_ms: int | None) -> None:
        """The session is over because of ``reason`` (``code: detail``); the next opens at ``next_attempt_ms`` (None: unknown)."""
        self._facts.session = _Session(
            number=self._facts.session.number,
            state="ended",
            since_ms=now_ms,
            end=reason,
            next_attempt_ms=next_attempt_ms,
        )

    def authentication_failing(self, now_ms: int, code: str, detail: str) -> None:
        """No access token could be had."""
        previous = self._facts.authentication
        self._facts.authentication = _Failure(previous.since_ms if previous else now_ms, code, detail)

    # -------------------------------------------------------- facts: store

    def received(self, now_ms: int) -> None:
        """Ingest has taken changes in; a commit has to follow."""
        if self._facts.commits.waiting_since_ms is None:
            self._facts.commits.waiting_since_ms = now_ms

    def held(self, changes: int) -> None:
        """Ingest has looked at everything that was handed over, and holds so many changes back."""
        self._facts.commits.handed_over_ms = None
        self._facts.commits.held = changes

    def committed(self, now_ms: int) -> None:
        """A commit was applied, so the store works."""
        commits = self._facts.commits
        commits.last_ms = now_ms
        commits.count += 1
        commits.failure = None
        commits.waiting_since_ms = now_ms if commits.held else None
        self._facts.store = None

    def commit_failing(self, now_ms: int, why: str) -> None:
        """A commit could not be applied and is tried again."""
        previous = self._facts.commits.failure
        self._facts.commits.failure = _Failure(previous.since_ms if previous else now_ms, "commit", why)

    def store_unavailable(self, now_ms: int, why: str) -> None:
        """The store cannot be reached."""
        previous = self._facts.store
        self._facts.store = _Failure(previous.since_ms if previous else now_ms, "store", why)

    def store_available(self) -> None:
        """The store answered."""
        self._facts.store = None

    # -------------------------------------------------------- facts: input and end

    def input_stuck(self, channel: str, what: str) -> None:
        """The same position of ``channel`` failed three times in the same way; going on would need a person."""
        self._facts.stuck_channels[channel] = what

    def input_recovered(self, channel: str) -> None:
        """``channel`` is past the position that had failed."""
        self._facts.stuck_channels.pop(channel, None)

    def handler_halted(self, handler: str, what: str) -> None:
        """A handler makes no more attempts until a person acts; ``what`` is a sentence."""
        self._facts.halted[handler] = what

    def handler_resumed(self, handler: str) -> None:
        """A handler makes attempts again."""
        self._facts.halted.pop(handler, None)

    def journal_over_limit(self, what: str) -> None:
        """The journal cannot be kept within its limit; ``what`` is a sentence."""
        self._facts.journal = what

    def journal_within_limit(self) -> None:
        """The journal is within its limit."""
        self._facts.journal = None

    def stopped(self, what: str, action: str) -> None:
        """The service gave up until a person does ``action``."""
        self._facts.stopped = f"{what} {action}".strip()

    def stopping(self) -> None:
        """A stop was asked for; the process is finishing its work."""
        self._facts.stopping = True

    # -------------------------------------------------------- facts, asked back

    @property
    def holds_lease(self) -> bool:
        """Whether a tenure of this replica is under way."""
        return self._facts.lease.state == "held"

    def leads(self, now_ms: int) -> bool:
        """Whether the lease is ours beyond doubt: one that could not be renewed in time may be another's already."""
        until_ms = self._facts.lease.until_ms
        return self.holds_lease and (until_ms is None or now_ms <= until_ms)

    @property
    def signed_in(self) -> bool:
        """Whether Salesforce has given a token in this tenure, and gives one still."""
        return self.holds_lease and self._facts.signed_in and self._facts.authentication is None

    def acknowledges(self, channel: str) -> bool:
        """Whether Salesforce has acknowledged the subscription of ``channel`` in the session that is open."""
        return channel in self._facts.session.acknowledged

    @property
    def behind_since_ms(self) -> int | None:
        """Since when something waits to be committed; None when nothing does."""
        commits = self._facts.commits
        since = [each for each in (commits.handed_over_ms, commits.waiting_since_ms) if each is not None]
        return min(since, default=None)

    # -------------------------------------------------------- judgement

    def report(self, now_ms: int) -> HealthReport:
        """The verdict at ``now_ms``."""
        reasons = self._reasons(now_ms)
        return HealthReport(
            ready=not reasons,
            live=self._facts.stopped is None,
            reasons=reasons,
            details=self._details(now_ms),
            standby=self._facts.lease.state == "waiting" and len(reasons) == 1,
        )

    def _reasons(self, now_ms: int) -> list[str]:
        facts = self._facts
        reasons: list[str] = []
        if facts.stopped is not None:
            reasons.append(f"Stopped: {facts.stopped}")
        if facts.stopping:
            reasons.append("Shutting down: finishing what was taken in, nothing new is read.")
        if facts.store is not None:
            reasons.append(
                f"The store has been unavailable for {_duration_since(now_ms, facts.store.since_ms)}: {facts.store.what}"
            )
        if facts.lease.state != "held":
            # What a standby does not do is no news.
            reasons.append(self._lease_reason(now_ms))
            return reasons
        if facts.lease.until_ms is not None and now_ms > facts.lease.until_ms:
            # This process was frozen, or the store does not answer: another replica may be at work already.
            reasons.append(
                f"The lease ran out {_duration_since(now_ms, facts.lease.until_ms)} ago and could not be renewed yet."
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
                f"Salesforce has given no access token for {_duration_since(now_ms, failure.since_ms)} "
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
                f"Ingest has not taken up what Salesforce sent {_duration_since(now_ms, commits.handed_over_ms)} ago."
            ]
        if commits.waiting_since_ms is not None and now_ms - commits.waiting_since_ms > self._commit_limit_ms:
            return [
                f"Changes have been waiting for {_duration_since(now_ms, commits.waiting_since_ms)} and nothing is committed."
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
            return f"The lease was lost{by} {_duration_since(now_ms, lease.since_ms)} ago; this replica is trying to win it again."
        return "Starting: the lease has not been asked for yet."

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

    def _details(self, now_ms: int) -> dict[str, Any]:
        facts = self._facts
        session = facts.session
        is_open = session.state == "open"
        return {
            "uptime_ms": now_ms - self._started_ms,
            "lease": {
                "state": facts.lease.state,
                "holder": facts.lease.holder,
                "since_ms": now_ms - facts.lease.since_ms,
            },
            "session": {
                "number": session.number,
                "state": session.state,
                "since_ms": now_ms - session.since_ms,
                "last_answer_ms": now_ms - session.answered_ms if is_open else None,
                "ended": session.end or None,
                "next_attempt_ms": (
                    max(0, session.next_attempt_ms - now_ms) if session.next_attempt_ms is not None else None
                ),
            },
            "channels": {channel: channel in session.acknowledged for channel in self._channels},
            "authentication": _shown(facts.authentication, now_ms),
            "store": _shown(facts.store, now_ms),
            "commits": {
                "count": facts.commits.count,
                "last_ms": now_ms - facts.commits.last_ms if facts.commits.last_ms is not None else None,
                "failing": _shown(facts.commits.failure, now_ms),
            },
            "stopping": facts.stopping,
            "stopped": facts.stopped,
        }


def _duration_since(now_ms: int, since_ms: int) -> str:
    return humanize_ms(max(0, now_ms - since_ms))


def _shown(failure: _Failure | None, now_ms: int) -> dict[str, Any] | None:
    if failure is None:
        return None
    return {"for_ms": now_ms - failure.since_ms, "code": failure.code, "what": failure.what}
