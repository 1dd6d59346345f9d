"""Lifecycle events in a Redis stream, each event once.

An entry has the fields ``id``, ``type``, ``key`` (the run, empty for system events) and ``event`` (the event's JSON). The stream is
trimmed to about ``maxlen`` entries. With ``partitions`` there are several streams, ``name:0``, ``name:1`` …; all events of one run are in
the same stream, in order, so that one reader per stream keeps the order.

Events are delivered to the handler at least once and appear in the stream once. A sorted set beside each stream (``{name}:ids``) holds
the ids of the entries added in the last ``remember_hours``; one script looks up the id, appends the entry and stores the id, all or
nothing. An event that is delivered again within that time - after a crash, a lost answer, a replay - is not appended again. To fill an
emptied stream by a replay, delete the sorted set too.

::

    [handlers.feed]
    use = "redis_stream"
    settings.url = "redis://cache:6379/1"
    settings.stream = "cadences"
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr
from redis.asyncio import Redis
from redis.asyncio.retry import Retry as NoRetry
from redis.backoff import NoBackoff

from consumer import BatchHandler, Context, LifecycleEvent

__all__ = ["RedisStream"]

SCHEMES = ("redis://", "rediss://", "unix://")
SOCKET_TIMEOUT_S = 10.0
HOUR_MS = 3_600_000

# KEYS: the stream, the ids. ARGV: maxlen, milliseconds to remember, then id, type, key and JSON of each event.
# Types are checked before the first write, because a script that fails half-way does not roll back.
APPEND = """#!lua
for at, expected in ipairs({'stream', 'zset'}) do
  local actual = redis.call('TYPE', KEYS[at]).ok
  if actual ~= 'none' and actual ~= expected then
    return redis.error_reply('WRONGTYPE ' .. KEYS[at] .. ' is a ' .. actual .. ' and not a ' .. expected)
  end
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[2])
local added = 0
for at = 3, #ARGV, 4 do
  if redis.call('ZADD', KEYS[2], 'NX', now, ARGV[at]) == 1 then
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*',
      'id', ARGV[at], 'type', ARGV[at + 1], 'key', ARGV[at + 2], 'event', ARGV[at + 3])
    added = added + 1
  end
end
return added
"""


def _check_address(url: SecretStr) -> SecretStr:
    if not url.get_secret_value().startswith(SCHEMES):
        raise ValueError(f"must begin with {', '.join(SCHEMES[:-1])} or {SCHEMES[-1]}")
    return url


class RedisStream(BatchHandler):
    """Append each event to a Redis stream once."""

    class Settings(BaseModel):
        """Redis, name and length of the stream, and how long ids are remembered."""

        model_config = ConfigDict(extra="forbid")

        url: Annotated[SecretStr, AfterValidator(_check_address)] = Field(
            description="URL of the Redis server, such as `rediss://user:password@cache:6379/1`; need not be that of `store.url`. "
            "Redis 7 or Valkey."
        )
        stream: str = Field(
            default="cadence-events", min_length=1, description="Name of the stream; default cadence-events."
        )
        partitions: int = Field(
            default=1,
            ge=1,
            le=1_000,
            description="Number of streams; all events of a run are in the same one. Changing it moves runs to other streams.",
        )
        maxlen: int = Field(
            default=1_000_000,
            ge=1,
            description="Approximate number of entries that each stream keeps; the oldest are removed. Default one million.",
        )
        remember_hours: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
            default=168.0,
            description="Hours for which a repeated event is recognised; default 168, a week. Costs about 200 bytes per event.",
        )

    on = ("*",)

    async def open(self, settings: Settings, ctx: Context) -> None:
        """Connect."""
        del ctx
        self._settings = settings
        self._remember_ms = int(settings.remember_hours * HOUR_MS)
        # The service retries failed deliveries, with backoff and visibly; the client must not retry on its own.
        self._redis: Redis = Redis.from_url(
            settings.url.get_secret_value(),
            socket_timeout=SOCKET_TIMEOUT_S,
            socket_connect_timeout=SOCKET_TIMEOUT_S,
            retry=NoRetry(NoBackoff(), 0),
        )
        self._append = self._redis.register_script(APPEND)
        try:
            await self._redis.ping()
        except BaseException:
            await self._redis.aclose()
            raise

    async def handle_batch(self, events: Sequence[LifecycleEvent], ctx: Context) -> None:
        """Append the events that are not yet in their streams."""
        by_stream: defaultdict[str, list[LifecycleEvent]] = defaultdict(list)
        for event in events:
            by_stream[self._stream_of(event.tracker_id)].append(event)
        for stream, stream_events in by_stream.items():
            arguments: list[str | bytes | int] = [self._settings.maxlen, self._remember_ms]
            for event in stream_events:
                arguments += (event.id, event.type, event.tracker_id or "", event.to_json())
            added = await self._append(keys=[stream, _ids_key(stream)], args=arguments)
            if added < len(stream_events):
                ctx.log.info(
                    "skipped events already in the stream", stream=stream, events=len(stream_events) - added
                )

    async def close(self) -> None:
        """Disconnect."""
        await self._redis.aclose()

    def _stream_of(self, tracker_id: str | None) -> str:
        if self._settings.partitions == 1:
            return self._settings.stream
        # hash() would differ between processes.
        number = zlib.crc32((tracker_id or "").encode()) % self._settings.partitions
        return f"{self._settings.stream}:{number}"


def _ids_key(stream: str) -> str:
    """Key of the ids, in the stream's Redis Cluster slot (that of the text in braces)."""
    return f"{stream}:ids" if "{" in stream else f"{{{stream}}}:ids"
