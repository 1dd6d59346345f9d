"""Journal in Redis: reading by offset, its size and its retention.

The journal is a stream whose ids are ``<offset>-0``.
"""

from __future__ import annotations

from typing import Final

from consumer.errors import CommitRefused
from consumer.ports.journal import JournalEntry
from consumer.ports.lease import Tenure
from consumer.ports.store import StoreSize
from consumer.stores.redis.redis_connection import RedisConnection

__all__ = ["RedisJournalStore"]

_TRIM_BATCH: Final = 1_000
"""Journal entries removed per script call."""
_PIPELINE_SIZE: Final = 500
"""Commands per pipeline."""


class RedisJournalStore(RedisConnection):
    """The journal and size ports on Redis."""

    async def read(self, after: int, limit: int) -> list[JournalEntry]:
        """Read up to ``limit`` entries with offsets greater than ``after``."""
        found = await self._call(
            self._redis.xrange(self._keys.journal, min=f"({after}-0", max="+", count=limit)
        )
        return [_entry(stream_id, fields) for stream_id, fields in found]

    async def bounds(self) -> tuple[int, int]:
        """Read the first and the last offset."""
        if not await self._call(self._redis.exists(self._keys.journal)):
            return 1, 0
        info = await self._call(self._redis.xinfo_stream(self._keys.journal))
        last = _offset(info["last-generated-id"])
        first = info["first-entry"]
        return (_offset(first[0]) if first else last + 1), last

    async def wait(self, after: int, timeout_ms: int) -> bool:
        """Wait for an entry with an offset greater than ``after``."""
        return await self._journal_signal.wait(self._last, after, timeout_ms)

    async def _last(self) -> int:
        return (await self.bounds())[1]

    async def read_run(self, tracker_id: str, first: int = 0) -> list[JournalEntry]:
        """Read the entries of one run."""
        stored = await self._call(self._redis.lrange(self._keys.run_prefix + tracker_id, 0, -1))
        offsets = [offset for offset in map(int, stored) if offset >= first]
        entries = []
        for start in range(0, len(offsets), _PIPELINE_SIZE):
            pipeline = self._redis.pipeline(transaction=False)
            for offset in offsets[start : start + _PIPELINE_SIZE]:
                pipeline.xrange(self._keys.journal, min=f"{offset}-0", max=f"{offset}-0", count=1)
            for found in await self._call(pipeline.execute()):
                entries += [_entry(found_id, fields) for found_id, fields in found]
        return entries

    async def size(self) -> StoreSize:
        """Measure the memory of server and journal, and count the records."""
        info = await self._call(self._redis.info("memory"))
        journal = await self._call(self._redis.memory_usage(self._keys.journal, samples=5))
        records = await self._call(self._redis.hlen(self._keys.states))
        limit = int(info.get("maxmemory", 0)) or None
        return StoreSize(int(info["used_memory"]), int(journal or 0), limit, int(records))

    async def trim(self, tenure: Tenure, through: int) -> None:
        """Remove the journal's entries up to ``through``, in batches."""
        while True:
            entries = await self._call(
                self._redis.xrange(self._keys.journal, min="-", max=f"{through}-0", count=_TRIM_BATCH)
            )
            last = _offset(entries[-1][0]) if len(entries) == _TRIM_BATCH else through
            runs = sorted({fields[b"r"] for _, fields in entries} - {b""})
            answer = await self._call(
                self._scripts.trim(
                    keys=[self._keys.lease, self._keys.journal],
                    args=[tenure.token, last, self._keys.run_prefix, len(runs), *runs],
                )
            )
            if answer[0] != 1:
                raise CommitRefused(0, answer[1].decode() or None)
            if last == through:
                return


def _offset(stream_id: bytes | str) -> int:
    text = stream_id.decode() if isinstance(stream_id, bytes) else stream_id
    return int(text.partition("-")[0])


def _entry(stream_id: bytes, fields: dict[bytes, bytes]) -> JournalEntry:
    run = fields[b"r"].decode()
    return JournalEntry(
        _offset(stream_id), fields[b"i"].decode(), fields[b"t"].decode(), run or None, fields[b"d"]
    )
