"""Lease in Redis: one script, which compares expiry with the server's clock."""

from __future__ import annotations

import secrets

from consumer.errors import CommitRefused
from consumer.ports.lease import LeaseState, Tenure
from consumer.stores.redis.redis_connection import RedisConnection

__all__ = ["RedisLeaseStore"]


class RedisLeaseStore(RedisConnection):
    """The lease port on Redis."""

    async def acquire(self, holder: str, lease_ms: int) -> Tenure | None:
        """Win the lease and write a fresh token in one script."""
        token = secrets.token_hex(16)
        answer = await self._call(
            self._scripts.lease(keys=[self._keys.lease], args=["win", token, lease_ms, holder])
        )
        return Tenure(token, holder) if answer[0] == 1 else None

    async def renew(self, tenure: Tenure, number: int, lease_ms: int) -> None:
        """Prolong the lease if token and number are still those of the tenure."""
        answer = await self._call(
            self._scripts.lease(keys=[self._keys.lease], args=["renew", tenure.token, lease_ms, number])
        )
        if answer[0] != 1:
            raise CommitRefused(number, answer[1].decode() or None)

    async def release(self, tenure: Tenure) -> None:
        """Release the lease, so that the next holder can win it at once."""
        await self._call(self._scripts.lease(keys=[self._keys.lease], args=["leave", tenure.token, 0, ""]))

    async def lease(self) -> LeaseState:
        """Read the lease."""
        holder, expires, number = await self._call(
            self._redis.hmget(self._keys.lease, ["holder", "expires", "number"])
        )
        if expires is None:
            return LeaseState(None, 0, 0)
        seconds, micros = await self._call(self._redis.time())
        is_held = bool(holder) and int(expires) > int(seconds) * 1000 + int(micros) // 1000
        return LeaseState(holder.decode() if is_held else None, int(expires), int(number))
