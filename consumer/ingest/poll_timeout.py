"""Timeout of the next poll while changes are held back.

A change is released once ``lateness`` of time *with answered polls* has passed since it arrived: only an answer proves that nothing
older is on the way. A long poll is held for up to 110 s while nothing happens, so while changes are held back the next poll asks to be
answered when the oldest of them becomes due, even without events. When nothing is held back, polls are left to the server.
"""

from __future__ import annotations

from collections import deque

__all__ = ["PollTimeout"]

_SPANS = 32


class PollTimeout:
    """Arrival times of messages, as long as they matter.

    Arrivals closer together than a 32nd of the lateness share a span, of which the first and the last instant are kept: thousands of
    answers a second take at most 34 spans. The oldest arrival is exact; those inside a span become due together with its last.
    """

    def __init__(self, lateness_ms: int) -> None:
        if lateness_ms < 0:
            raise ValueError(f"lateness cannot be negative: {lateness_ms} ms")
        self._lateness_ms = lateness_ms
        self._width_ms = lateness_ms // _SPANS
        self._spans: deque[list[int]] = deque()

    def answered(self, now_ms: int, had_messages: bool) -> None:
        """Note an answer to a poll at monotonic ``now_ms``."""
        if not had_messages or self._lateness_ms == 0:
            return
        self._expire(now_ms)
        if self._spans and now_ms - self._spans[-1][0] <= self._width_ms:
            self._spans[-1][1] = now_ms
        else:
            self._spans.append([now_ms, now_ms])

    def timeout(self, now_ms: int) -> int | None:
        """Milliseconds (at least 1) after which the next poll should be answered.

        The result is None for the server's own timeout.
        """
        self._expire(now_ms)
        if not self._spans:
            return None
        first, last = self._spans[0]
        due = first if first + self._lateness_ms > now_ms else last
        return max(1, due + self._lateness_ms - now_ms)

    def _expire(self, now_ms: int) -> None:
        while self._spans and self._spans[0][1] + self._lateness_ms <= now_ms:
            self._spans.popleft()
