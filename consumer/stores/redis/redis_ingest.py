"""Ingest in Redis: commits, and the state that a tenure reads back.

A commit is one Lua script (``commit.lua``): it validates token, number and org before its first write, because a failing script does not
roll back.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import orjson

from consumer.errors import CommitRefused, StoreForeign
from consumer.ports.commit import ChannelState, Commit, Epoch, IngestDeadLetter
from consumer.stores.encoding import HISTORY_KEPT, decode_channel
from consumer.stores.redis.redis_connection import RedisConnection

__all__ = ["RedisIngestStore"]


class RedisIngestStore(RedisConnection):
    """The ingest port on Redis."""

    async def commit(self, commit: Commit) -> bool:
        """Apply a commit in one script, which first checks token, number and org."""
        keys = [
            self._keys.lease,
            self._keys.meta,
            self._keys.states,
            self._keys.journal,
            self._keys.channels,
            self._keys.ingest_dead_letters,
            self._keys.ingest_dead_letters_order,
            self._keys.history,
            self._keys.timers,
            self._keys.reconcile_tasks,
        ]
        args = _arguments(commit, self._keys.run_prefix)
        answer = await self._call(self._scripts.commit(keys=keys, args=args))
        match answer[0]:
            case b"applied":
                if commit.journal:
                    self._journal_signal.notify()
                return True
            case b"again":
                return False
            case b"foreign":
                raise StoreForeign(
                    f"the store belongs to org {answer[1].decode()}, not to {commit.org_id}: set another store.prefix for this org"
                )
            case _:
                raise CommitRefused(commit.number, answer[1].decode() or None)

    async def states(self, record_ids: Sequence[str]) -> dict[str, bytes]:
        """Load the encoded states of the known ones among ``record_ids``."""
        if not record_ids:
            return {}
        found = await self._call(self._redis.hmget(self._keys.states, list(record_ids)))
        return {
            record_id: data for record_id, data in zip(record_ids, found, strict=True) if data is not None
        }

    async def walk(self, cursor: str | None, limit: int) -> tuple[list[tuple[str, bytes]], str | None]:
        """Scan the states; Redis returns a small hash whole, even beyond ``limit``."""
        after, found = await self._call(self._redis.hscan(self._keys.states, int(cursor or 0), count=limit))
        return [(key.decode(), data) for key, data in found.items()], str(after) if after else None

    async def channels(self) -> dict[str, ChannelState]:
        """Load the state of every channel."""
        found = await self._call(self._redis.hgetall(self._keys.channels))
        return {channel.decode(): decode_channel(data) for channel, data in found.items()}

    async def org_id(self) -> str | None:
        """Load the id of the org that the store belongs to."""
        found = await self._call(self._redis.hget(self._keys.meta, "org"))
        return None if found is None else found.decode()

    async def epochs(self) -> list[Epoch]:
        """Load every epoch of commit numbers."""
        found = await self._call(self._redis.hget(self._keys.meta, "epochs"))
        return [] if found is None else [Epoch(**value) for value in orjson.loads(found)]

    async def timers(self, until_ms: int, limit: int) -> list[tuple[str, int]]:
        """Load the timers due at ``until_ms``, the earliest first."""
        found = await self._call(
            self._redis.zrangebyscore(
                self._keys.timers, "-inf", until_ms, start=0, num=limit, withscores=True
            )
        )
        return [(key.decode(), int(due_ms)) for key, due_ms in found]

    async def reconcile_tasks(self) -> dict[str, bytes]:
        """Load every reconcile task."""
        found = await self._call(self._redis.hgetall(self._keys.reconcile_tasks))
        return {task_id.decode(): data for task_id, data in found.items()}

    async def add_reconcile_task(self, task_id: str, data: bytes) -> None:
        """Add an operator's reconcile task, unless one with this id exists."""
        await self._call(self._redis.hsetnx(self._keys.reconcile_tasks, task_id, data))

    async def ingest_dead_letters(self, limit: int) -> list[IngestDeadLetter]:
        """Load the newest ingest dead letters, oldest first."""
        ids = await self._call(self._redis.zrevrange(self._keys.ingest_dead_letters_order, 0, limit - 1))
        found = await self._call(self._redis.hmget(self._keys.ingest_dead_letters, ids)) if ids else []
        dead_letters = []
        for data in reversed(found):
            if data is not None:
                value = orjson.loads(data)
                dead_letters.append(IngestDeadLetter(**{**value, "raw": base64.b64decode(value["raw"])}))
        return dead_letters


def _arguments(commit: Commit, runs: str) -> list[Any]:
    """Encode a commit as the arguments of ``commit.lua``."""
    args: list[Any] = [commit.token, commit.number, commit.org_id, runs, len(commit.states)]
    for record_id, state in commit.states.items():
        args += (record_id, b"" if state is None else state)
    args.append(len(commit.journal))
    for record in commit.journal:
        args += (record.id, record.type, record.tracker_id or "", record.data)
    args.append(len(commit.channels))
    for channel, state_after in commit.channels.items():
        args += (channel, orjson.dumps(asdict(state_after)))
    args.append(len(commit.dead_letters))
    for dead_letter in commit.dead_letters:
        value = {**asdict(dead_letter), "raw": base64.b64encode(dead_letter.raw).decode()}
        args += (dead_letter.id, dead_letter.at_ms, orjson.dumps(value))
    args.append(b"" if commit.epochs is None else orjson.dumps([asdict(epoch) for epoch in commit.epochs]))
    args += ("" if commit.history_at_ms is None else commit.history_at_ms, HISTORY_KEPT, len(commit.timers))
    for key, due_ms in commit.timers.items():
        args += (key, "" if due_ms is None else due_ms)
    args.append(len(commit.reconcile_tasks))
    for task_id, data in commit.reconcile_tasks.items():
        args += (task_id, b"" if data is None else data)
    return args
