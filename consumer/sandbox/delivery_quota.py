"""Daily allocation of deliveries: each event counts once for each subscriber.

Documented: the window is the last 24 hours, rolling; a client beyond the limit is refused with
`403::Organization total events daily limit exceeded`, also on an open connection, and events wait on the bus.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from consumer.sandbox.clock import MillisecondClock

DAY_MS: Final = 24 * 3_600_000


class DeliveryQuota:
    """Number of events delivered to subscribers in the last 24 hours of org time."""

    def __init__(self, clock: MillisecondClock, limit: int) -> None:
        self.limit = limit
        self._clock = clock
        self._batches: deque[tuple[int, int]] = deque()
        self._total = 0

    def count(self, events: int) -> None:
        """Count `events` deliveries now."""
        if events:
            self._batches.append((self._clock(), events))
            self._total += events

    @property
    def remaining(self) -> int:
        """Number of deliveries left."""
        since = self._clock() - DAY_MS
        while self._batches and self._batches[0][0] <= since:
            self._total -= self._batches.popleft()[1]
        return max(self.limit - self._total, 0)
