"""In-memory store for handlers in tests: records, and keys of ``ctx.once``.

Its contents outlive a killed process, as those of the store do. ``ctx.latest`` returns a record as the last of the fed events has it.
"""

from __future__ import annotations

from collections.abc import Iterable

from consumer.domain.lifecycle_events import LifecycleEvent
from consumer.domain.objects import Record
from consumer.domain.record_ids import parse_record_id

__all__ = ["InMemoryContextStore"]


class InMemoryContextStore:
    """Implementation of ``consumer.plugin.Memory`` in memory.

    Attributes:
        done: (handler, key) of everything that :meth:`~consumer.Context.once` has marked as done.
    """

    def __init__(self) -> None:
        self.done: set[tuple[str, str]] = set()
        self._records: dict[str, Record | None] = {}

    def learn(self, events: Iterable[LifecycleEvent]) -> None:
        """Store the records of these events, each as its last event has it."""
        for event in events:
            if event.record_id is not None:
                is_deleted = event.type.endswith(".deleted")
                self._records[event.record_id] = None if is_deleted else event.after

    async def latest(self, record_id: str) -> Record | None:
        """Return the record as its last event has it; None when unknown or deleted."""
        return self._records.get(parse_record_id(record_id))

    async def was_done(self, handler: str, key: str) -> bool:
        """Return true when the handler has marked ``key`` as done."""
        return (handler, key) in self.done

    async def mark_done(self, handler: str, key: str) -> None:
        """Mark ``key`` as done."""
        self.done.add((handler, key))
