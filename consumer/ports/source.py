"""Change source: sessions with Salesforce and what they answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["Answer", "FetchedItem", "Inbound", "Session", "SessionEnded", "SessionOpened", "Source"]


@dataclass(frozen=True, slots=True)
class Answer:
    """One poll answer, validated whole before any of it is consumed.

    Attributes:
        session: number of the session it came in, counting from 1 within the process.
        messages: its data messages in arrival order, each ``{"channel": str, "data": Any, …}``.
        body: the raw bytes it came as, so that a bad event can be kept exactly.
        server_ms: Salesforce time (``Date`` header), milliseconds since the epoch; None when absent.
        received_ms: monotonic milliseconds when it had arrived completely.
    """

    session: int
    messages: Sequence[Mapping[str, Any]]
    body: bytes
    server_ms: int | None
    received_ms: int


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """Every configured channel is acknowledged.

    Attributes:
        session: its number.
        resumed: per channel the replay option that was sent and acknowledged: ``-1``, ``-2`` or a replay id.
        server_ms: Salesforce time at the acknowledgement of the last channel; None when no ``Date`` came.
        received_ms: monotonic milliseconds.
        poll_limit_ms: after so long without an answer a poll of this session counts as unanswered; None when nothing was advised.
    """

    session: int
    resumed: Mapping[str, str]
    server_ms: int | None
    received_ms: int
    poll_limit_ms: int | None = None


@dataclass(frozen=True, slots=True)
class FetchedItem:
    """What was read beside the stream, for a commit: rows that a reconcile task asked Salesforce for, or states that may be forgotten.

    Attributes:
        page: opaque to everybody but who read it and who commits it.
        received_ms: monotonic milliseconds.
    """

    page: Any
    received_ms: int


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """The session is over, and nothing more of it will come.

    Attributes:
        session: its number.
        code: why, a stable label (``consumer.errors.EndReason.code``).
        received_ms: monotonic milliseconds.
    """

    session: int
    code: str
    received_ms: int


Inbound = SessionOpened | Answer | SessionEnded | FetchedItem


class Session(Protocol):
    """One disposable session: authenticate, handshake, subscribe every channel, poll. Nothing in it is ever repaired."""

    async def open(self, resume: Mapping[str, str]) -> SessionOpened:
        """Authenticate, shake hands and subscribe every channel of ``resume`` (channel to replay option).

        Raises:
            SessionFault: anything but a clean acknowledgement of every channel.
        """
        ...

    def answers(self) -> AsyncIterator[Answer]:
        """Poll, one long poll at a time; yields every answer, also empty ones.

        Raises:
            SessionFault: the session is over, with the reason.
        """
        ...

    async def aclose(self) -> None:
        """Disconnect politely within 2 s; leaves no task, socket or cookie behind."""
        ...


class Source(Protocol):
    """Makes sessions; a Pub/Sub API transport could fill this too."""

    def session(self, number: int, poll_timeout: Callable[[], int | None]) -> Session:
        """A fresh session with its own HTTP connections and cookie jar.

        Args:
            number: of the session.
            poll_timeout: asked right before each long poll: milliseconds after which the server should answer even without events,
                or None for the server's own time-out. While changes are held back, a short poll proves that nothing older is coming.
        """
        ...
