"""What a handler may ask of the store by ``ctx``: what is known of a record now, and what it has done already."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

from consumer.clock import Clock
from consumer.ids import as_people_have_it
from consumer.records import ENTITIES, Record
from consumer.state import RecordState

__all__ = ["ONCE_KEPT_MS", "MemoryStore", "StoreMemory"]

ONCE_KEPT_MS = 30 * 86_400_000
"""How long a handler's ``once`` keys are remembered."""


class MemoryStore(Protocol):
    """What this needs of the store."""

    async def states(self, record_ids: Sequence[str]) -> dict[str, bytes]:
        """The encoded states of those that are known."""
        ...

    async def was_done(self, handler: str, key: str, since_ms: int) -> bool:
        """Whether it was marked since then."""
        ...

    async def mark_done(self, handler: str, key: str, at_ms: int, since_ms: int) -> None:
        """Mark it, and forget what was marked before ``since_ms``."""
        ...


class StoreMemory:
    """Implements :class:`consumer.plugin.Memory`.

    Args:
        store: asked.
        clock: its wall dates keys.
    """

    def __init__(self, store: MemoryStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def latest(self, record_id: str) -> Record | None:
        """What is known of a record as of the last commit; None when it is unknown or deleted."""
        wanted = as_people_have_it(record_id)
        data = (await self._store.states([wanted])).get(wanted)
        if data is None:
            return None
        state = RecordState.decode(data)
        if state.is_deleted or not state.exists:
            return None
        return ENTITIES.get(state.entity, Record).model_validate(state.values())

    async def was_done(self, handler: str, key: str) -> bool:
        """Whether the handler has marked ``key`` within the last 30 days."""
        return await self._store.was_done(handler, _short(key), self._clock.wall_ms() - ONCE_KEPT_MS)

    async def mark_done(self, handler: str, key: str) -> None:
        """Mark ``key``."""
        now_ms = self._clock.wall_ms()
        await self._store.mark_done(handler, _short(key), now_ms, now_ms - ONCE_KEPT_MS)


def _short(key: str) -> str:
    """A key of bounded length: whatever a handler makes of an event may be long."""
    return hashlib.sha256(key.encode()).hexdigest()
