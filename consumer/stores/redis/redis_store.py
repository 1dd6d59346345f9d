"""Production store: Redis 7 or newer, or Valkey.

One class per port, all over the same connection (``redis_connection.py``). Not promised: a Redis that forgets acknowledged commits (AOF
``everysec`` on power failure, failover with replication lag) takes state, journal, positions and cursors back *together*.
"""

from __future__ import annotations

from typing import Final

from consumer.errors import StoreEmpty, StoreForeign, StoreUnavailable
from consumer.stores.redis.redis_checkpoints import RedisCheckpointStore
from consumer.stores.redis.redis_delivery import RedisCursorStore
from consumer.stores.redis.redis_ingest import RedisIngestStore
from consumer.stores.redis.redis_journal import RedisJournalStore
from consumer.stores.redis.redis_lease import RedisLeaseStore

__all__ = ["RedisStore"]

FORMAT: Final = 1
"""Version of these keys; migrating them is code with a test."""

_MIN_VERSION: Final = (7, 0)


class RedisStore(
    RedisCheckpointStore, RedisCursorStore, RedisIngestStore, RedisJournalStore, RedisLeaseStore
):
    """Store in the keys under one prefix of a Redis database.

    Arguments as for :class:`~consumer.stores.redis.redis_connection.RedisConnection`.
    """

    async def open(self) -> None:
        """Connect, and check the versions of the server and of the stored format.

        Raises:
            StoreUnavailable: the server cannot be reached.
            StoreEmpty: nothing was written under the prefix yet, when opened for reading only.
            StoreForeign: the server is too old, or a newer version wrote the keys.
        """
        info = await self._call(self._redis.info("server"))
        version = str(info.get("valkey_version") or info.get("redis_version", "0"))
        if (
            "valkey_version" not in info
            and tuple(int(part) for part in version.split(".")[:2]) < _MIN_VERSION
        ):
            raise StoreForeign(
                f"store {self.url} is Redis {version}: upgrade it to 7.0 or newer, or use Valkey"
            )
        if not self._read_only:
            await self._call(self._redis.hsetnx(self._keys.meta, "format", str(FORMAT)))
        stored_format = await self._call(self._redis.hget(self._keys.meta, "format"))
        if stored_format is None:
            raise StoreEmpty(
                self.url, "nothing is stored under this prefix yet; the service writes it when it first runs"
            )
        if int(stored_format) > FORMAT:
            raise StoreForeign(
                f"store {self.url} has format {int(stored_format)}; this version reads up to {FORMAT}: run the newer release"
            )

    async def warnings(self) -> list[str]:
        """List the server settings that can lose checkpoints."""
        # INFO rather than CONFIG GET, which hosted servers refuse.
        try:
            info = await self._call(self._redis.info())
        except StoreUnavailable as error:
            info = {"why": error.why}
        policy, aof = info.get("maxmemory_policy"), info.get("aof_enabled")
        if policy is None or aof is None:
            why = info.get("why", "INFO does not report it")
            return [
                f"cannot read the configuration of {self.url} ({why}): make sure of maxmemory-policy noeviction and appendonly yes"
            ]
        found = []
        if policy != "noeviction":
            found.append(
                f"{self.url} has maxmemory-policy {policy}: it may evict checkpoints; set noeviction"
            )
        if not aof:
            found.append(f"{self.url} has appendonly no: a restart loses commits; set appendonly yes")
        return found

    async def write_problems(self) -> list[str]:
        """List the reasons why the server would refuse a commit now."""
        info = await self._call(self._redis.info())
        found = []
        if info.get("role") == "slave":
            found.append(f"{self.url} is a replica, which accepts no commits: name the primary in store.url")
        limit = info.get("maxmemory", 0)
        if limit and info.get("used_memory", 0) >= limit:
            found.append(
                f"{self.url} is full ({limit} bytes): raise maxmemory, or lower journal.max_bytes and journal.max_age"
            )
        if info.get("aof_enabled") and info.get("aof_last_write_status", "ok") != "ok":
            found.append(f"{self.url} cannot write its append-only file: check the server's disk and log")
        return found

    async def secret(self, name: str) -> str | None:
        """Load the secret stored under ``name``."""
        found = await self._call(self._redis.hget(self._keys.meta, f"secret:{name}"))
        return None if found is None else found.decode()

    async def save_secret(self, name: str, value: str) -> None:
        """Store a secret under ``name``."""
        await self._call(self._redis.hset(self._keys.meta, f"secret:{name}", value))
