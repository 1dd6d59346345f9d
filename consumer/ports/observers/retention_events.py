"""Observer events of journal retention."""

from __future__ import annotations

from dataclasses import dataclass

from consumer.ports.store import StoreSize

__all__ = ["JournalTrimBlocked", "JournalTrimmed", "JournalWithinLimits", "RetentionEvent", "StoreMeasured"]


@dataclass(frozen=True, slots=True)
class StoreMeasured:
    """The store was measured.

    Attributes:
        size: bytes of the store and of the journal.
        entries: number of journal entries, holes counted.
        bytes_per_day: growth; None before it is known.
        seconds_until_full: seconds until the store reaches its limit at this pace; None if never or unknown.
    """

    size: StoreSize
    entries: int
    bytes_per_day: float | None
    seconds_until_full: float | None


@dataclass(frozen=True, slots=True)
class JournalTrimmed:
    """Old journal entries were removed.

    Attributes:
        through: offset of the last entry removed.
        entries: number of entries removed.
    """

    through: int
    entries: int


@dataclass(frozen=True, slots=True)
class JournalTrimBlocked:
    """A handler still needs an entry that the settings would remove.

    Attributes:
        handler: its name in the settings.
        offset: the first entry it needs.
        bytes_over: bytes kept beyond the limit; 0 if only the age is exceeded.
    """

    handler: str
    offset: int
    bytes_over: int


@dataclass(frozen=True, slots=True)
class JournalWithinLimits:
    """The journal is within the settings' limits; repeated with every check."""


RetentionEvent = StoreMeasured | JournalTrimmed | JournalTrimBlocked | JournalWithinLimits
"""Any event of journal retention."""
