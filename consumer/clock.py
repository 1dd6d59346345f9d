"""Time as an argument.

Two clocks exist and are never mixed: the *monotonic* one measures waiting (it cannot jump), the *wall* one names instants (it can).
Both are whole milliseconds: float deadlines livelock under fake clocks. Salesforce's own time comes from the ``Date`` header of its
answers and is passed along as data.

The same few instants are written again and again, one for each field of each record of a transaction: they are remembered.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Protocol

__all__ = ["Clock", "SystemClock", "from_ms", "iso", "parse_http_date_ms", "parse_iso_ms", "to_ms"]


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


@lru_cache(4_096)
def parse_iso_ms(text: str) -> int:
    """Milliseconds since the epoch of ISO 8601; without a zone it is UTC, wherever this runs.

    Raises:
        ValueError: it is none, or an instant that no year up to 9999 holds.
    """
    instant = datetime.fromisoformat(text)
    return to_ms(instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC))


def parse_http_date_ms(header: str) -> int:
    """Milliseconds since the epoch of a date as HTTP headers write it; without a zone it is UTC.

    Raises:
        ValueError: it is none.
    """
    try:
        instant = parsedate_to_datetime(header)
    except (OverflowError, IndexError, TypeError) as error:
        # What the standard library says to numbers that fit no date, and to some that are no numbers.
        raise ValueError(f"{header[:80]!r} is no date") from error
    return to_ms(instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC))


@lru_cache(1_024)
def iso(ms: int) -> str:
    """``2026-01-31T09:30:00.000Z``: ISO 8601, UTC, milliseconds, as change events write it."""
    return from_ms(ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")
