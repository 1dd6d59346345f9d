"""Org time: the clock behind commit times, retention and the `Date` header.

A demo needs a week of cadences in a minute, a test a clock that it moves itself. Both are functions that return epoch
milliseconds: `OrgClock` runs such a function faster or from another start, `ManualClock` moves only by `advance`.
Session time-outs, token lifetimes and injected delays do not use org time: the client measures them on the wire, so
they follow the event loop's clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable

MillisecondClock = Callable[[], int]


def wall_clock() -> int:
    """Return real time in epoch milliseconds."""
    return time.time_ns() // 1_000_000


class OrgClock:
    """Org time in epoch ms from `start` on, `speed` times as fast as `source`.

    `start` defaults to the time of `source`.
    """

    def __init__(
        self, source: MillisecondClock = wall_clock, *, speed: float = 1.0, start: int | None = None
    ) -> None:
        self._source = source
        self._speed = speed
        self._origin = source()
        self._start = self._origin if start is None else start

    def __call__(self) -> int:
        """Return org time in epoch ms."""
        return self._start + int((self._source() - self._origin) * self._speed)


class ManualClock:
    """Org time that moves only by `advance`, which makes a scenario reproducible."""

    def __init__(self, now: int = 1_767_261_600_000) -> None:
        self._now = now

    def __call__(self) -> int:
        """Return org time in epoch ms."""
        return self._now

    def advance(self, ms: int) -> None:
        """Move org time forward by `ms` milliseconds."""
        self._now += ms
