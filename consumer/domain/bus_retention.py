"""How long Salesforce keeps change events on its bus, and how much of that time is left to a channel."""

from __future__ import annotations

from typing import Final, Protocol

__all__ = ["BUS_RETENTION_MS", "HEADROOM_WARNINGS_MS", "LOW_HEADROOM_MS", "ChannelTimes", "headroom_ms"]

HOUR_MS: Final = 3_600_000

BUS_RETENTION_MS: Final = 72 * HOUR_MS
"""Change events stay on the bus for three days (documented)."""

LOW_HEADROOM_MS: Final = 24 * HOUR_MS
"""Below this an operator should know."""

HEADROOM_WARNINGS_MS: Final = (LOW_HEADROOM_MS, 6 * HOUR_MS, HOUR_MS)
"""At each of these the log warns that time is running out."""


class ChannelTimes(Protocol):
    """Instants of a channel that its headroom is counted from, in wall milliseconds."""

    @property
    def position_ms(self) -> int | None:
        """When the stored position last moved."""
        ...

    @property
    def polled_through_ms(self) -> int | None:
        """When a poll was last answered with nothing left over."""
        ...

    @property
    def birth_ms(self) -> int:
        """When the channel was first subscribed."""
        ...


def headroom_ms(channel: ChannelTimes, now_ms: int) -> int:
    """Milliseconds until changes that are not committed may be gone from the bus; negative when they may be gone already.

    Counted from the newest of: the position moved, polls were answered with nothing left over, the channel was first subscribed.

    Args:
        channel: its instants.
        now_ms: wall milliseconds.
    """
    safe_ms = max(channel.position_ms or 0, channel.polled_through_ms or 0, channel.birth_ms)
    return safe_ms + BUS_RETENTION_MS - now_ms
