"""Time as an argument.

Two clocks exist and are never mixed: the *monotonic* one measures waiting (it cannot jump), the *wall* one names instants (it can).
Both are whole milliseconds: float deadlines livelock under fake clocks. Salesforce's own time comes from the ``Date`` header of its
answers and is passed along as data.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol

__all__ = ["Clock", "SystemClock", "from_ms", "iso", "to_ms"]


class Clock(Protocol):
    """What components ask the time of."""

    def monotonic_ms(self) -> int:
        """Milliseconds of a clock that never jumps; its zero means nothing."""
        ...

    def wall_ms(self) -> int:
        """Milliseconds since 1970-01-01T00:00Z."""
        ...


class SystemClock:
    """The event loop's time (so that virtual time governs it in tests) and the system's wall clock."""

    def monotonic_ms(self) -> int:
        """Milliseconds of the running event loop's clock."""
        return int(asyncio.get_running_loop().time() * 1000)

    def wall_ms(self) -> int:
        """Milliseconds since the epoch."""
        return time.time_ns() // 1_000_000


def from_ms(ms: int) -> datetime:
    """The instant ``ms`` milliseconds after the epoch, in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def to_ms(instant: datetime) -> int:
    """Milliseconds since the epoch of an aware datetime."""
    return round(instant.timestamp() * 1000)


def iso(ms: int) -> str:
    """``2026-01-31T09:30:00.000Z``: ISO 8601, UTC, milliseconds, as change events write it."""
    return from_ms(ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")
