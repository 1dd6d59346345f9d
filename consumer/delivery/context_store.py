"""Store access of a handler's context, for ``ctx.latest`` and ``ctx.once``."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

from consumer.clock import Clock
from consumer.domain.objects import ENTITIES, Record
from consumer.domain.record_ids import parse_record_id
from consumer.domain.record_state import RecordState

__all__ = ["ONCE_RETENTION_MS", "ContextStore", "HandlerContextStore"]

ONCE_RETENTION_MS = 30 * 86_400_000
"""Retention of a handler's ``once`` keys."""


class ContextStore(Protocol):
    """Part of the store that a handler's context uses."""

    async def states(self, record_ids: Sequence[str]) -> dict[str, bytes]:
        """Encoded states of those records that are known."""
        ...

    async def was_done(self, handler: str, key: str, since_ms: int) -> bool:
        """Return true when ``key`` was marked as done at or after ``since_ms``."""
        ...

    async def mark_done(self, handler: str, key: str, at_ms: int, since_ms: int) -> None:
        """Mark ``key`` as done, and forget keys marked before ``since_ms``."""
        ...


class HandlerContextStore:
    """Implementation of :class:`consumer.plugin.Memory` on the store.

    Args:
        store: store of states and keys.
        clock: its wall time dates the keys.
    """

    def __init__(self, store: ContextStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def latest(self, record_id: str) -> Record | None:
        """Record as of the last commit; None when it is unknown or deleted."""
        full_id = parse_record_id(record_id)
        data = (await self._store.states([full_id])).get(full_id)
        if data is None:
            return None
        state = RecordState.decode(data)
        if state.is_deleted or not state.exists:
            return None
        return ENTITIES.get(state.entity, Record).model_validate(state.values())

    async def was_done(self, handler: str, key: str) -> bool:
        """Return true when the handler has marked ``key`` within the last 30 days."""
        return await self._store.was_done(handler, _digest(key), self._clock.wall_ms() - ONCE_RETENTION_MS)

    async def mark_done(self, handler: str, key: str) -> None:
        """Mark ``key`` as done."""
        now_ms = self._clock.wall_ms()
        await self._store.mark_done(handler, _digest(key), now_ms, now_ms - ONCE_RETENTION_MS)


def _digest(key: str) -> str:
    """Key of bounded length: handlers make keys of event data, which may be long."""
    return hashlib.sha256(key.encode()).hexdigest()
