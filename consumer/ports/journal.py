"""Journal port: lifecycle events in order, read by offset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["JournalEntry", "JournalStore"]


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """Lifecycle event in the journal.

    Attributes:
        offset: counts from 1 and grows; gaps are possible after retention.
        id: deterministic.
        type: as in ``run.enrolled``.
        tracker_id: the run; None for system events.
        data: the event's JSON.
    """

    offset: int
    id: str
    type: str
    tracker_id: str | None
    data: bytes


class JournalStore(Protocol):
    """Store operations that read the journal."""

    async def read(self, after: int, limit: int) -> list[JournalEntry]:
        """Read up to ``limit`` entries past offset ``after``, ascending; empty at the end."""
        ...

    async def bounds(self) -> tuple[int, int]:
        """Read the first and the last offset; ``(1, 0)`` for a new journal."""
        ...

    async def wait(self, after: int, timeout_ms: int) -> bool:
        """Wait until an entry past ``after`` may exist; False on timeout."""
        ...

    async def read_run(self, tracker_id: str, first: int = 0) -> list[JournalEntry]:
        """Read the entries of one run at or after offset ``first``, ascending."""
        ...
