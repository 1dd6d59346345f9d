"""What a handler in a test asks of the store: the records that its events tell about, and what it has marked as done.

It outlives a killed process, as the store does; what a handler sees by ``ctx.latest`` is what the last of the fed events says.
"""

from __future__ import annotations

from collections.abc import Iterable

from consumer.domain.lifecycle_events import LifecycleEvent
from consumer.domain.objects import Record
from consumer.domain.record_ids import parse_record_id

__all__ = ["InMemoryContextStore"]


class InMemoryContextStore:
    """Implements ``consumer.plugin.Memory``.

    Attributes:
        done: (handler, key) of everything that :meth:`~consumer.Context.once` has marked.
    """

    def __init__(self) -> None:
        self.done: set[tuple[str, str]] = set()
        self._records: dict[str, Record | None] = {}

    def learn(self, events: Iterable[LifecycleEvent]) -> None:
        """What these events say of their records is known from now on."""
        for event in events:
            if event.record_id is not None:
                gone = event.type.endswith(".deleted")
                self._records[event.record_id] = None if gone else event.after

    async def latest(self, record_id: str) -> Record | None:
        """The record as the last event told it; None when none did, or it was deleted."""
        return self._records.get(parse_record_id(record_id))

    async def was_done(self, handler: str, key: str) -> bool:
        """Whether the handler has marked ``key``."""
        return (handler, key) in self.done

    async def mark_done(self, handler: str, key: str) -> None:
        """Mark ``key``."""
        self.done.add((handler, key))
