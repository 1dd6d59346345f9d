"""Org time: the clock that stamps commits, retention and the `Date` header.

A demo wants a week of cadence life in a minute, a test wants a clock that stands still until told.
Both are the same thing: a function that returns epoch milliseconds. `OrgClock` runs such a function
faster or from another day; `ManualClock` is one that only moves when asked. Session time-outs, token
lifetimes and injected delays are not org time: they are promises to the client on the wire and follow
the event loop's clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable

MillisecondClock = Callable[[], int]


def wall_clock() -> int:
    """Real time in epoch milliseconds."""
    return time.time_ns() // 1_000_000


class OrgClock:
    """Org time in epoch ms: starts at `start` (default: the source's now) and runs `speed` times as fast."""

    def __init__(
        self, source: MillisecondClock = wall_clock, *, speed: float = 1.0, start: int | None = None
    ) -> None:
        self._source = source
        self._speed = speed
        self._origin = source()
        self._start = self._origin if start is None else start

    def __call__(self) -> int:
        """Org time now, epoch ms."""
        return self._start + int((self._source() - self._origin) * self._speed)


class ManualClock:
    """Org time that stands still until `advance` moves it; a story told with it is reproducible."""

    def __init__(self, now: int = 1_767_261_600_000) -> None:
        self._now = now

    def __call__(self) -> int:
        """Org time now, epoch ms."""
        return self._now

    def advance(self, ms: int) -> None:
        """Move org time forward by `ms` milliseconds."""
        self._now += ms
