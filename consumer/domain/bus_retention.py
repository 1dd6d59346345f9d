"""Retention of Salesforce's event bus, and the headroom that a channel has left."""

from __future__ import annotations

from typing import Final, Protocol

__all__ = ["BUS_RETENTION_MS", "HEADROOM_WARNINGS_MS", "LOW_HEADROOM_MS", "ChannelTimes", "headroom_ms"]

HOUR_MS: Final = 3_600_000

BUS_RETENTION_MS: Final = 72 * HOUR_MS
"""Retention of change events on the bus: three days (documented)."""

LOW_HEADROOM_MS: Final = 24 * HOUR_MS
"""Headroom below which an operator should be informed."""

HEADROOM_WARNINGS_MS: Final = (LOW_HEADROOM_MS, 6 * HOUR_MS, HOUR_MS)
"""Headroom thresholds, each of which causes a warning in the log."""


class ChannelTimes(Protocol):
    """Instants from which a channel's headroom is counted, in wall milliseconds."""

    @property
    def position_ms(self) -> int | None:
        """Time at which the stored position last moved."""
        ...

    @property
    def polled_through_ms(self) -> int | None:
        """Time at which a poll was last answered with no event left to fetch."""
        ...

    @property
    def birth_ms(self) -> int:
        """Time of the channel's first subscription."""
        ...


def headroom_ms(channel: ChannelTimes, now_ms: int) -> int:
    """Compute the milliseconds until uncommitted changes may be gone from the bus.

    Negative when they may be gone already. Counted from the newest of: the position moved, a poll was answered with no event left to fetch,
    the channel was first subscribed.

    Args:
        channel: instants of the channel.
        now_ms: wall milliseconds.
    """
    safe_ms = max(channel.position_ms or 0, channel.polled_through_ms or 0, channel.birth_ms)
    return safe_ms + BUS_RETENTION_MS - now_ms
