"""Rate limiter: even spacing of events, by arithmetic instead of a ticking refill."""

from __future__ import annotations

__all__ = ["RateLimiter"]


MAX_CATCH_UP_US = 10_000
"""Greatest delay of an event, in microseconds, that later events make up for.

Sleeps end a little late, and the rate should hold on average.
"""


class RateLimiter:
    """Limiter that spaces events evenly.

    Args:
        rate: events per second, greater than zero.
    """

    def __init__(self, rate: float) -> None:
        self._interval_us = 1_000_000 / rate
        self._next_free_us = 0.0

    def delay_ms(self, now_ms: int) -> int:
        """Compute the whole milliseconds until the next event is allowed; 0 for now.

        Args:
            now_ms: monotonic milliseconds.
        """
        return max(0, int(self._next_free_us) // 1000 - now_ms)

    def consume(self, now_ms: int, events: int) -> None:
        """Record that events happen now.

        Args:
            now_ms: monotonic milliseconds.
            events: number of events.
        """
        self._next_free_us = (
            max(self._next_free_us, now_ms * 1000 - MAX_CATCH_UP_US) + events * self._interval_us
        )
