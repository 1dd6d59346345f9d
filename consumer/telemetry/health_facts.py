"""Facts that readiness is decided on; all times are monotonic milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["CommitFacts", "HealthFacts", "LeaseFacts", "OngoingFailure", "SessionFacts"]


@dataclass(slots=True)
class OngoingFailure:
    """Failure that has not ended: since when, its code, and what it is."""

    since_ms: int
    code: str
    what: str


@dataclass(slots=True)
class SessionFacts:
    """The session that is open, or the last one."""

    number: int = 0
    state: Literal["none", "opening", "open", "ended"] = "none"
    since_ms: int = 0
    acknowledged: frozenset[str] = frozenset()
    answered_ms: int = 0
    end: str = ""
    next_attempt_ms: int | None = None


@dataclass(slots=True)
class LeaseFacts:
    """The lease as this replica knows it."""

    state: Literal["unknown", "waiting", "held", "lost"] = "unknown"
    holder: str | None = None
    since_ms: int = 0
    until_ms: int | None = None


@dataclass(slots=True)
class CommitFacts:
    """Commits of the process, and the input that waits for one."""

    last_ms: int | None = None
    count: int = 0
    failure: OngoingFailure | None = None
    handed_over_ms: int | None = None
    """When the oldest answer arrived that ingest has not processed; None if there is none."""
    waiting_since_ms: int | None = None
    """When the oldest change arrived that waits for a commit; None if there is none."""
    held: int = 0
    catching_up: bool = False
    """True while held changes wait for a channel to catch up."""
    released_early: int = 0
    released_early_ms: int | None = None


@dataclass(slots=True)
class HealthFacts:
    """Facts that readiness is decided on."""

    lease: LeaseFacts = field(default_factory=LeaseFacts)
    session: SessionFacts = field(default_factory=SessionFacts)
    commits: CommitFacts = field(default_factory=CommitFacts)
    authentication: OngoingFailure | None = None
    signed_in: bool = False
    store: OngoingFailure | None = None
    stuck_channels: dict[str, str] = field(default_factory=dict)
    halted: dict[str, str] = field(default_factory=dict)
    reconcile: dict[str, OngoingFailure] = field(default_factory=dict)
    """Reconcile tasks that are set aside, by id."""
    journal: str | None = None
    stopped: str | None = None
    stopping: bool = False

    def document(self, now_ms: int, started_ms: int, channels: Sequence[str]) -> dict[str, Any]:
        """Return the facts as JSON values, with ages in place of instants."""
        session, commits = self.session, self.commits
        is_open = session.state == "open"
        return {
            "uptime_ms": now_ms - started_ms,
            "lease": {
                "state": self.lease.state,
                "holder": self.lease.holder,
                "since_ms": now_ms - self.lease.since_ms,
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
            "channels": {channel: channel in session.acknowledged for channel in channels},
            "authentication": _shown(self.authentication, now_ms),
            "store": _shown(self.store, now_ms),
            "commits": {
                "count": commits.count,
                "last_ms": now_ms - commits.last_ms if commits.last_ms is not None else None,
                "failing": _shown(commits.failure, now_ms),
                "held": commits.held,
                "catching_up": commits.catching_up,
                "released_early": commits.released_early,
                "released_early_ms": (
                    now_ms - commits.released_early_ms if commits.released_early_ms is not None else None
                ),
            },
            "reconcile": {task: _shown(failure, now_ms) for task, failure in sorted(self.reconcile.items())},
            "stopping": self.stopping,
            "stopped": self.stopped,
        }


def _shown(failure: OngoingFailure | None, now_ms: int) -> dict[str, Any] | None:
    if failure is None:
        return None
    return {"for_ms": now_ms - failure.since_ms, "code": failure.code, "what": failure.what}
