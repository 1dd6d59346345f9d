"""Fresh stores by the thousand, and their past."""

import shutil
import sqlite3
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis.asyncio

from consumer.errors import StoreUnavailable
from consumer.stores.redis.redis_store import RedisStore
from consumer.stores.sqlite.sqlite_store import SqliteStore


class ThreadlessStore(SqliteStore):
    """The real store without its threads: a schedule has nobody to wait for, and handing over costs more than the work."""

    async def _run(self, thread: Any, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except sqlite3.Error as error:
            raise StoreUnavailable(self.url, f"{type(error).__name__}: {error}") from error


class SqliteStores:
    """Files in a folder that should be memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._empty = folder / "empty"

    async def fresh(self) -> ThreadlessStore:
        if not self._empty.exists():
            first = ThreadlessStore(self._empty)
            await first.open()
            await first.aclose()
        path = self.folder / f"{uuid.uuid4().hex}.db"
        shutil.copy(self._empty, path)  # to make the tables costs as much as half a schedule
        store = ThreadlessStore(path)
        await store.open()
        return store

    async def save(self, store: SqliteStore) -> Path:
        copy = store._path.with_suffix(".saved")
        copy.unlink(missing_ok=True)
        assert store._writer is not None
        store._writer.execute("VACUUM INTO ?", (str(copy),))
        return copy

    async def restore(self, store: SqliteStore, copy: Path) -> None:
        path = store._path
        await store.aclose()
        for suffix in ("-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        shutil.copy(copy, path)
        SqliteStore.__init__(store, path)
        await store.open()

    async def expire(self, store: SqliteStore) -> None:
        """The holder is dead: its lock is free (here: one process, so by hand), and its lease, in a copy that is older too, has run out."""
        store._lock.release()
        assert store._writer is not None
        store._writer.execute("UPDATE lease SET expires_ms = 0 WHERE id = 1")

    async def drop(self, store: SqliteStore) -> None:
        await store.aclose()
        for path in self.folder.glob(f"{store._path.stem}*"):
            path.unlink()


class RedisStores:
    """Prefixes of one server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.plain: Any = redis.asyncio.Redis.from_url(url, socket_timeout=10)

    async def fresh(self) -> RedisStore:
        store = RedisStore(self.url, shown_url=self.url, prefix=uuid.uuid4().hex)
        await store.open()
        return store

    async def _keys(self, store: RedisStore) -> list[bytes]:
        pattern = store._keys.lease.removesuffix("lease") + "*"
        return [key async for key in self.plain.scan_iter(match=pattern, count=10_000)]

    async def save(self, store: RedisStore) -> dict[bytes, bytes]:
        return {key: await self.plain.dump(key) for key in await self._keys(store)}

    async def restore(self, store: RedisStore, dumped: dict[bytes, bytes]) -> None:
        keys = await self._keys(store)
        if keys:
            await self.plain.delete(*keys)
        for key, data in dumped.items():
            await self.plain.restore(key, 0, data)

    async def expire(self, store: RedisStore) -> None:
        """The dead holder's lease has run out."""
        await self.plain.hset(store._keys.lease, "expires", "0")

    async def drop(self, store: RedisStore) -> None:
        keys = await self._keys(store)
        if keys:
            await self.plain.delete(*keys)
        await store.aclose()

    async def aclose(self) -> None:
        await self.plain.aclose()
