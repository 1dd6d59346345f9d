"""Delivery in Redis: cursors, blocked runs, dead letters, handler commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import Any, Final

import orjson

from consumer.errors import CommitRefused
from consumer.ports.delivery import (
    HandlerCommand,
    HandlerDeadLetter,
    PendingCommands,
    SavedBlockedRun,
    SavedCursor,
)
from consumer.ports.lease import Tenure
from consumer.stores.encoding import ONCE_MARKS_KEPT, commands_of, decode_blocked_run, encode_blocked_run
from consumer.stores.redis.redis_connection import RedisConnection

__all__ = ["RedisCursorStore"]

_PIPELINE_SIZE: Final = 500
"""Keys per command."""


class RedisCursorStore(RedisConnection):
    """The cursor port on Redis."""

    async def cursor(self, handler: str) -> SavedCursor | None:
        """Load a handler's cursor."""
        revision, data = await self._call(
            self._redis.hmget(self._keys.cursors, [f"revision:{handler}", f"data:{handler}"])
        )
        return None if revision is None else SavedCursor(int(revision), data)

    async def cursors(self) -> dict[str, SavedCursor]:
        """Load every handler's cursor."""
        found = await self._call(self._redis.hgetall(self._keys.cursors))
        names = [name.removeprefix(b"revision:").decode() for name in found if name.startswith(b"revision:")]
        return {
            name: SavedCursor(int(found[f"revision:{name}".encode()]), found[f"data:{name}".encode()])
            for name in names
        }

    async def blocked_runs(self, handler: str) -> list[SavedBlockedRun]:
        """Load a handler's blocked runs."""
        found = await self._call(self._redis.hvals(self._keys.blocked_runs_prefix + handler))
        return sorted(map(decode_blocked_run, found), key=lambda row: row.first)

    async def save_cursor(
        self,
        tenure: Tenure,
        handler: str,
        cursor: SavedCursor,
        dead_letters: Sequence[HandlerDeadLetter] = (),
        blocked_runs: Mapping[str | None, SavedBlockedRun | None] = MappingProxyType({}),
    ) -> None:
        """Compare-and-set a cursor with dead letters and blocked runs, under the lease."""
        args: list[Any] = [
            tenure.token,
            handler,
            cursor.revision,
            cursor.data,
            cursor.through,
            len(dead_letters),
        ]
        for dead_letter in dead_letters:
            value = {**asdict(dead_letter), "data": dead_letter.data.decode()}
            args += [f"{dead_letter.handler}/{dead_letter.event_id}", dead_letter.at_ms, orjson.dumps(value)]
        args.append(len(blocked_runs))
        for tracker_id, row in blocked_runs.items():
            args += [tracker_id or "", "" if row is None else encode_blocked_run(row)]
        keys = [
            self._keys.lease,
            self._keys.cursors,
            self._keys.handler_dead_letters,
            self._keys.dead_letters_order_prefix + handler.partition("/")[0],
            self._keys.journal,
            self._keys.blocked_runs_prefix + handler,
        ]
        answer = await self._call(self._scripts.cursor(keys=keys, args=args))
        if answer[0] != 1:
            raise CommitRefused(cursor.revision, answer[1].decode() or None)

    async def handler_dead_letters(self, handler: str | None, limit: int) -> list[HandlerDeadLetter]:
        """Load the newest dead letters, oldest first."""
        names = (
            [handler] if handler is not None else [name for name in await self.cursors() if "/" not in name]
        )
        found: list[tuple[float, bytes]] = []
        for name in names:
            found += [
                (at_ms, key)
                for key, at_ms in await self._call(
                    self._redis.zrevrange(
                        self._keys.dead_letters_order_prefix + name, 0, limit - 1, withscores=True
                    )
                )
            ]
        return await self._load_dead_letters([key for _, key in sorted(found)[-limit:]])

    async def _load_dead_letters(self, keys: Sequence[bytes]) -> list[HandlerDeadLetter]:
        dead_letters = []
        for start in range(0, len(keys), _PIPELINE_SIZE):
            for data in await self._call(
                self._redis.hmget(self._keys.handler_dead_letters, keys[start : start + _PIPELINE_SIZE])
            ):
                if data is not None:
                    value = orjson.loads(data)
                    dead_letters.append(HandlerDeadLetter(**{**value, "data": value["data"].encode()}))
        return dead_letters

    async def redrive_dead_letters(self, handler: str, event_ids: Sequence[str]) -> None:
        """Mark dead letters for redrive."""
        keys = [f"{handler}/{event_id}" for event_id in event_ids]
        for start in range(0, len(keys), _PIPELINE_SIZE):
            chunk = keys[start : start + _PIPELINE_SIZE]
            known = await self._call(self._redis.hmget(self._keys.handler_dead_letters, chunk))
            if existing := [key for key, data in zip(chunk, known, strict=True) if data is not None]:
                await self._call(self._redis.sadd(self._keys.redrives_prefix + handler, *existing))

    async def redrives(self, handler: str, limit: int) -> list[HandlerDeadLetter]:
        """Load the dead letters marked for redrive, in journal order."""
        keys = await self._call(self._redis.smembers(self._keys.redrives_prefix + handler))
        return sorted(await self._load_dead_letters(list(keys)), key=lambda dead_letter: dead_letter.offset)[
            :limit
        ]

    async def resolve_dead_letters(
        self, handler: str, removed: Sequence[str], failed_again: Sequence[HandlerDeadLetter] = ()
    ) -> None:
        """Remove or update dead letters, and remove their marks."""
        pipeline = self._redis.pipeline(transaction=True)
        for event_id in removed:
            key = f"{handler}/{event_id}"
            pipeline.hdel(self._keys.handler_dead_letters, key).zrem(
                self._keys.dead_letters_order_prefix + handler, key
            )
            pipeline.srem(self._keys.redrives_prefix + handler, key)
        for dead_letter in failed_again:
            key = f"{handler}/{dead_letter.event_id}"
            value = {**asdict(dead_letter), "data": dead_letter.data.decode()}
            pipeline.hset(self._keys.handler_dead_letters, key, orjson.dumps(value))
            pipeline.zadd(self._keys.dead_letters_order_prefix + handler, {key: dead_letter.at_ms})
            pipeline.srem(self._keys.redrives_prefix + handler, key)
        await self._call(pipeline.execute())

    async def pending_commands(self, handlers: Sequence[str]) -> dict[str, PendingCommands]:
        """Load the pending commands of handlers, in one round trip."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hvals(self._keys.commands)
        for handler in handlers:
            pipeline.zcard(self._keys.dead_letters_order_prefix + handler).scard(
                self._keys.redrives_prefix + handler
            )
        values, *counts = await self._call(pipeline.execute())
        commands = [HandlerCommand(**orjson.loads(data)) for data in values]
        return {
            handler: PendingCommands(commands_of(commands, handler), counts[2 * index], counts[2 * index + 1])
            for index, handler in enumerate(handlers)
        }

    async def put_command(self, command: HandlerCommand) -> None:
        """Store a handler command."""
        await self._call(self._redis.hset(self._keys.commands, command.id, orjson.dumps(asdict(command))))

    async def remove_command(self, command: HandlerCommand, *, progress: bool = True) -> None:
        """Remove a handler command and, with ``progress``, its cursor."""
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.hdel(self._keys.commands, command.id)
        if progress:
            self._forget_cursor(pipeline, command.cursor)
        await self._call(pipeline.execute())

    async def was_done(self, handler: str, key: str, since_ms: int) -> bool:
        """Report whether ``key`` was marked at or after ``since_ms``."""
        at_ms = await self._call(self._redis.zscore(self._keys.once_prefix + handler, key))
        return at_ms is not None and at_ms >= since_ms

    async def mark_done(self, handler: str, key: str, at_ms: int, since_ms: int) -> None:
        """Mark ``key``, and drop old marks."""
        name = self._keys.once_prefix + handler
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.zadd(name, {key: at_ms}).zremrangebyscore(name, "-inf", f"({since_ms}")
        pipeline.zremrangebyrank(name, 0, -ONCE_MARKS_KEPT - 1)
        await self._call(pipeline.execute())

    async def forget_handler(self, handler: str) -> None:
        """Remove everything stored for a handler."""
        commands = (await self.pending_commands([handler]))[handler].commands
        dead_letters = await self._call(
            self._redis.zrange(self._keys.dead_letters_order_prefix + handler, 0, -1)
        )
        pipeline = self._redis.pipeline(transaction=True)
        for name in (handler, *(command.cursor for command in commands)):
            self._forget_cursor(pipeline, name)
        for command in commands:
            pipeline.hdel(self._keys.commands, command.id)
        if dead_letters:
            pipeline.hdel(self._keys.handler_dead_letters, *dead_letters)
        pipeline.delete(
            self._keys.dead_letters_order_prefix + handler,
            self._keys.redrives_prefix + handler,
            self._keys.once_prefix + handler,
        )
        await self._call(pipeline.execute())

    def _forget_cursor(self, pipeline: Any, name: str) -> None:
        pipeline.hdel(self._keys.cursors, f"revision:{name}", f"data:{name}").delete(
            self._keys.blocked_runs_prefix + name
        )
