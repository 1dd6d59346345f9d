"""Journal: lifecycle events in order, read by offset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["JournalEntry", "JournalStore"]


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """A lifecycle event in the journal.

    Attributes:
        offset: its place, counting from 1; grows, holes are possible after retention.
        id: deterministic.
        type: as in ``run.enrolled``.
        tracker_id: the run; None for system events.
        data: its JSON.
    """

    offset: int
    id: str
    type: str
    tracker_id: str | None
    data: bytes


class JournalStore(Protocol):
    """Reading the journal."""

    async def read(self, after: int, limit: int) -> list[JournalEntry]:
        """Up to ``limit`` entries with offsets greater than ``after``, ascending; empty at the end."""
        ...

    async def bounds(self) -> tuple[int, int]:
        """First and last offset; ``(1, 0)`` when it is empty and nothing was ever removed."""
        ...

    async def wait(self, after: int, timeout_ms: int) -> bool:
        """Wait until an entry past ``after`` may exist; False when the time is over."""
        ...

    async def read_run(self, tracker_id: str, first: int = 0) -> list[JournalEntry]:
        """The entries of one run at or after ``first``, ascending."""
        ...
