"""Clocks and conversions of time.

Two clocks exist and are never mixed: the *monotonic* clock measures waiting (it cannot jump), the *wall* clock names instants (it can).
Both return whole milliseconds: float deadlines livelock under fake clocks. Salesforce's own time comes from the ``Date`` header of its
answers and is passed along as data.

The same few instants are formatted again and again, one for each field of each record of a transaction, so conversions are cached.
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
    """Source of time for all components."""

    def monotonic_ms(self) -> int:
        """Read the clock that never jumps, in milliseconds from an arbitrary zero."""
        ...

    def wall_ms(self) -> int:
        """Read the wall clock, in milliseconds since 1970-01-01T00:00Z."""
        ...


class SystemClock:
    """Clock of the event loop, and the system's wall clock.

    Through the event loop, virtual time governs waiting in tests.
    """

    def monotonic_ms(self) -> int:
        """Read the clock of the running event loop, in milliseconds."""
        return int(asyncio.get_running_loop().time() * 1000)

    def wall_ms(self) -> int:
        """Read the system's wall clock, in milliseconds since the epoch."""
        return time.time_ns() // 1_000_000


def from_ms(ms: int) -> datetime:
    """Convert milliseconds since the epoch to a datetime in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def to_ms(instant: datetime) -> int:
    """Convert an aware datetime to milliseconds since the epoch."""
    return round(instant.timestamp() * 1000)


@lru_cache(4_096)
def parse_iso_ms(text: str) -> int:
    """Convert ISO 8601 to milliseconds since the epoch; without a zone it is UTC.

    Raises:
        ValueError: the text is not ISO 8601, or the instant lies after the year 9999.
    """
    instant = datetime.fromisoformat(text)
    return to_ms(instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC))


def parse_http_date_ms(header: str) -> int:
    """Convert an HTTP date to milliseconds since the epoch; without a zone it is UTC.

    Raises:
        ValueError: the header is not a date.
    """
    try:
        instant = parsedate_to_datetime(header)
    except (OverflowError, IndexError, TypeError) as error:
        # The standard library raises these for numbers out of range, and for some text in place of numbers.
        raise ValueError(f"{header[:80]!r} is not a date") from error
    return to_ms(instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC))


@lru_cache(1_024)
def iso(ms: int) -> str:
    """Format as in change events: ISO 8601, UTC, as in ``2026-01-31T09:30:00.000Z``."""
    return from_ms(ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")
