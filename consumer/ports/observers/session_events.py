"""Observer events of the CometD sessions, as the supervisor opens and ends them."""

from __future__ import annotations

from dataclasses import dataclass

from consumer.errors import AuthenticationFailed, EndReason
from consumer.ports.source import Answer, SessionOpened

__all__ = [
    "PollAnswered",
    "SessionClosed",
    "SessionEvent",
    "SessionOpening",
    "SessionStarted",
    "TokenRequestFailed",
]


@dataclass(frozen=True, slots=True)
class SessionOpening:
    """A session is about to authenticate and shake hands; ``number`` is its own."""

    number: int


@dataclass(frozen=True, slots=True)
class SessionStarted:
    """Salesforce has acknowledged every channel.

    Attributes:
        opened: the session's channels and where each continues.
    """

    opened: SessionOpened


@dataclass(frozen=True, slots=True)
class PollAnswered:
    """A poll was answered, with or without messages."""

    answer: Answer


@dataclass(frozen=True, slots=True)
class SessionClosed:
    """A session is over.

    Attributes:
        number: number of the session.
        reason: why it ended.
        retry_after_ms: milliseconds until the next session is opened; None when the service stops.
        body: the exact answer, where it could not be read.
    """

    number: int
    reason: EndReason
    retry_after_ms: int | None
    body: bytes | None


@dataclass(frozen=True, slots=True)
class TokenRequestFailed:
    """No access token could be obtained; followed by :class:`SessionClosed`.

    Attributes:
        failure: the OAuth error.
        retry_after_ms: milliseconds until the next request.
    """

    failure: AuthenticationFailed
    retry_after_ms: int


SessionEvent = SessionOpening | SessionStarted | PollAnswered | SessionClosed | TokenRequestFailed
"""Any event of a session."""
