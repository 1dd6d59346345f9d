"""Not more than so many events a second: even spacing, kept by arithmetic instead of a ticking refill."""

from __future__ import annotations

__all__ = ["RateLimiter"]


MAX_CATCH_UP_US = 10_000
"""How late an event may be and still be made up for: sleeps end a little late, and the rate should hold on average."""


class RateLimiter:
    """Spaces events evenly.

    Args:
        rate: events per second, greater than zero.
    """

    def __init__(self, rate: float) -> None:
        self._interval_us = 1_000_000 / rate
        self._next_free_us = 0.0

    def delay_ms(self, now_ms: int) -> int:
        """Whole milliseconds until the next event may go; zero when it may go now.

        Args:
            now_ms: monotonic milliseconds.
        """
        return max(0, int(self._next_free_us) // 1000 - now_ms)

    def consume(self, now_ms: int, events: int) -> None:
        """``events`` go now.

        Args:
            now_ms: monotonic milliseconds.
            events: how many.
        """
        self._next_free_us = (
            max(self._next_free_us, now_ms * 1000 - MAX_CATCH_UP_US) + events * self._interval_us
        )
