"""Time as the answers to polls tell it: time with answered polls, and Salesforce's own time.

Time with answered polls does not advance while no session is up: a change is not released merely because its older sibling could not
arrive. Salesforce's time is that of the last answer, carried on by the monotonic clock.

Pure: given the times of answers.
"""

from __future__ import annotations

__all__ = ["StreamClock"]


class StreamClock:
    """Clock of one tenure's stream; every argument is in milliseconds.

    Attributes:
        answered_ms: sum of the time during which polls were answered.
        answered_at_ms: monotonic time of the session's last answer, or of its opening; None while there is no session.
        server_ms: Salesforce's time in the last answer that had one; None before the first session.
    """

    __slots__ = ("answered_at_ms", "answered_ms", "server_ms")

    def __init__(self) -> None:
        self.answered_ms = 0
        self.answered_at_ms: int | None = None
        self.server_ms: int | None = None

    def opened(self, received_ms: int, server_ms: int) -> None:
        """Begin a session, at Salesforce's time ``server_ms``."""
        self.answered_at_ms = received_ms
        self.server_ms = server_ms

    def answered(self, received_ms: int, server_ms: int | None) -> None:
        """Count the time up to an answer."""
        if self.answered_at_ms is not None:
            self.answered_ms += max(received_ms - self.answered_at_ms, 0)
        self.answered_at_ms = received_ms
        if server_ms is not None:
            self.server_ms = server_ms

    def ended(self) -> None:
        """End the session."""
        self.answered_at_ms = None

    def server_now_ms(self, now_ms: int) -> int | None:
        """Salesforce's time now, carried on from the last answer; None before the first session."""
        if self.server_ms is None or self.answered_at_ms is None:
            return self.server_ms
        return self.server_ms + now_ms - self.answered_at_ms
