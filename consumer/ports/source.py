"""Source port: sessions with Salesforce, and their answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from consumer.errors import BadEvent

__all__ = ["Answer", "FetchedItem", "Inbound", "Session", "SessionEnded", "SessionOpened", "Source"]


@dataclass(frozen=True, slots=True)
class Answer:
    """Poll answer, validated as a whole before any of it is consumed.

    Attributes:
        session: number of the session, counting from 1 within the process.
        messages: data messages in arrival order, each ``{"channel": str, "data": Any, …}``.
        body: the raw bytes, so that a bad event can be stored exactly.
        server_ms: Salesforce time (``Date`` header), milliseconds since the epoch; None when absent.
        received_ms: monotonic milliseconds at which the answer had arrived completely.
        unusable: reasons why messages cannot be used, by index of the message.
        repaired: fields of messages whose value was changed to make it usable, by index of the message.
        spans: location of each message in the body; None when every element on a channel is a message.
    """

    session: int
    messages: Sequence[Mapping[str, Any]]
    body: bytes
    server_ms: int | None
    received_ms: int
    unusable: Mapping[int, BadEvent] = field(default_factory=dict)
    repaired: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    spans: Sequence[tuple[int, int]] | None = None


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """Session in which every configured channel is acknowledged.

    Attributes:
        session: number of the session.
        resumed: per channel the replay option that was sent and acknowledged: ``-1``, ``-2`` or a replay id.
        server_ms: Salesforce time at the acknowledgement of the last channel; None without a ``Date`` header.
        received_ms: monotonic milliseconds of the acknowledgement.
        poll_limit_ms: milliseconds after which a poll of this session counts as unanswered; None when the server advised nothing.
    """

    session: int
    resumed: Mapping[str, str]
    server_ms: int | None
    received_ms: int
    poll_limit_ms: int | None = None


@dataclass(frozen=True, slots=True)
class FetchedItem:
    """Input of a commit that was read beside the stream.

    Rows that a reconcile task fetched from Salesforce, or states that may expire.

    Attributes:
        page: opaque to all but its producer and the code that commits it.
        received_ms: monotonic milliseconds at which it was read.
    """

    page: Any
    received_ms: int


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """End of a session, after which none of its answers follows.

    Attributes:
        session: number of the session.
        code: stable label of the reason (``consumer.errors.EndReason.code``).
        received_ms: monotonic milliseconds of the end.
    """

    session: int
    code: str
    received_ms: int


Inbound = SessionOpened | Answer | SessionEnded | FetchedItem


class Session(Protocol):
    """Disposable session: authenticate, handshake, subscribe every channel, poll.

    A session never recovers from a failure; the next session replaces it.
    """

    async def open(self, resume: Mapping[str, str]) -> SessionOpened:
        """Authenticate, handshake and subscribe every channel.

        Args:
            resume: channel to replay option.

        Raises:
            SessionFault: any outcome but a clean acknowledgement of every channel.
        """
        ...

    def answers(self) -> AsyncIterator[Answer]:
        """Poll, one long poll at a time, and yield every answer, including empty ones.

        Raises:
            SessionFault: the session is over, with the reason.
        """
        ...

    async def aclose(self) -> None:
        """Send a disconnect within 2 s; leaves no task, socket or cookie behind."""
        ...


class Source(Protocol):
    """Factory of sessions; a Pub/Sub API transport could implement it too."""

    def session(self, number: int, poll_timeout: Callable[[], int | None]) -> Session:
        """Create a session with its own HTTP connections and cookie jar.

        Args:
            number: number of the session.
            poll_timeout: called right before each long poll; returns the milliseconds after which the server should answer even without
                events, or None for the server's own timeout. While changes are held back, a short poll proves that nothing older follows.
        """
        ...
