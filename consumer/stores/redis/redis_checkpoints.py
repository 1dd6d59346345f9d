"""Checkpoints in Redis: history, named checkpoints, moved positions."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import orjson

from consumer.ports.commit import ChannelState, PastPosition
from consumer.stores.encoding import decode_channels, encode_channels
from consumer.stores.redis.redis_connection import RedisConnection

__all__ = ["RedisCheckpointStore"]


class RedisCheckpointStore(RedisConnection):
    """The checkpoint port on Redis."""

    async def history(self, channel: str | None, limit: int) -> list[PastPosition]:
        """Load the newest past positions, oldest first."""
        found = await self._call(self._redis.lrange(self._keys.history, 0, -1))
        past = [PastPosition(**orjson.loads(data)) for data in found]
        return [entry for entry in past if channel is None or entry.channel == channel][-limit:]

    async def save_checkpoint(self, name: str, channels: Mapping[str, ChannelState]) -> None:
        """Store positions under a name."""
        await self._call(self._redis.hset(self._keys.checkpoints, name, encode_channels(channels)))

    async def saved_checkpoints(self) -> dict[str, dict[str, ChannelState]]:
        """Load every named checkpoint."""
        found = await self._call(self._redis.hgetall(self._keys.checkpoints))
        return {name.decode(): decode_channels(data) for name, data in sorted(found.items())}

    async def move(self, channels: Mapping[str, ChannelState]) -> None:
        """Set the state of channels and end the current tenure."""
        args: list[Any] = [secrets.token_hex(16)]
        for channel, state in channels.items():
            args += (channel, orjson.dumps(asdict(state)))
        await self._call(self._scripts.move(keys=[self._keys.lease, self._keys.channels], args=args))
