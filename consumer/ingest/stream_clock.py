"""Time as a stream of answers defines it.

It is threefold: session time, answered time, and Salesforce's own time.

A change is held back because an earlier one may still be under way. While no session is open nothing is under way, so that time proves
nothing and must not count:

* *session time* advances while a session has every channel acknowledged and its poll is answered or not overdue;
* *answered time* advances only up to the last answer, which proves that the server had nothing more to deliver by then.

Salesforce's time is that of the last answer, carried on by the monotonic clock.

Pure: given the times at which sessions open, answer and end. Every time is in whole milliseconds.
"""

from __future__ import annotations

from typing import Final

__all__ = ["POLL_LIMIT_MS", "StreamClock"]

POLL_LIMIT_MS: Final = 125_000
"""Time until a poll is overdue where the server advised nothing: Salesforce's 110 s and a margin."""


class StreamClock:
    """Clock of one tenure's stream.

    Attributes:
        answered_ms: answered time so far.
        answered_at_ms: monotonic time of the session's last answer, or of its opening; None while there is no session.
        server_ms: Salesforce's time in the last answer that had one; None before the first session.
    """

    __slots__ = ("_elapsed_ms", "_poll_limit_ms", "answered_at_ms", "answered_ms", "server_ms")

    def __init__(self) -> None:
        self.answered_ms = 0
        self.answered_at_ms: int | None = None
        self.server_ms: int | None = None
        self._elapsed_ms = 0
        """Session time up to the last answer or the end of the last session."""
        self._poll_limit_ms = POLL_LIMIT_MS

    def opened(self, received_ms: int, server_ms: int | None, poll_limit_ms: int | None = None) -> None:
        """Begin a session in which every channel is acknowledged.

        Args:
            received_ms: monotonic.
            server_ms: Salesforce's time, where it is known.
            poll_limit_ms: time after an answer until the next one is overdue; None where nothing was advised.
        """
        self.ended(received_ms)
        self.answered_at_ms = received_ms
        self._poll_limit_ms = POLL_LIMIT_MS if poll_limit_ms is None else poll_limit_ms
        if server_ms is not None:
            self.server_ms = server_ms

    def answered(self, received_ms: int, server_ms: int | None) -> None:
        """Count the time up to an answer; without a session nothing counts."""
        if self.answered_at_ms is not None:
            received_ms = max(received_ms, self.answered_at_ms)
            self._elapsed_ms = self.session_ms(received_ms)
            self.answered_ms += received_ms - self.answered_at_ms
            self.answered_at_ms = received_ms
        if server_ms is not None:
            self.server_ms = server_ms

    def ended(self, now_ms: int) -> None:
        """End the session: neither clock advances until the next one."""
        self._elapsed_ms = self.session_ms(now_ms)
        self.answered_at_ms = None

    def session_ms(self, now_ms: int) -> int:
        """Session time at monotonic ``now_ms``."""
        if self.answered_at_ms is None:
            return self._elapsed_ms
        return self._elapsed_ms + min(max(now_ms - self.answered_at_ms, 0), self._poll_limit_ms)

    def until_ms(self, session_ms: int, now_ms: int) -> int | None:
        """Milliseconds from monotonic ``now_ms`` until ``session_ms``.

        The result is None when only an answer or a session brings it.
        """
        if self.answered_at_ms is None:
            return None
        remaining_ms = session_ms - self.session_ms(now_ms)
        return remaining_ms if now_ms + remaining_ms <= self.answered_at_ms + self._poll_limit_ms else None

    def server_now_ms(self, now_ms: int) -> int | None:
        """Salesforce's time now, carried on from the last answer.

        The result is None before the first session.
        """
        if self.server_ms is None or self.answered_at_ms is None:
            return self.server_ms
        return self.server_ms + now_ms - self.answered_at_ms
