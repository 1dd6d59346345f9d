"""Lease in SQLite: the token in a row, and a lock on a file beside the store.

The rule is that of every store (a fresh random token; every commit checks token and number). In addition the holder locks ``<file>.lock``
(``file_lock.py``): a replica that gets the lock and finds the holder's token in it knows that the holder, on this machine, is dead, and
need not wait for the lease to expire.
"""

from __future__ import annotations

import secrets
import sqlite3

from consumer.errors import CommitRefused
from consumer.ports.lease import LeaseState, Tenure
from consumer.stores.sqlite.sqlite_connections import SqliteConnections
from consumer.stores.sqlite.transactions import holder_of

__all__ = ["SqliteLeaseStore"]


class SqliteLeaseStore(SqliteConnections):
    """The lease port on SQLite."""

    async def acquire(self, holder: str, lease_ms: int) -> Tenure | None:
        """Win the lease and write a fresh token in one transaction."""
        lock_token = self._lock.acquire()
        token = secrets.token_hex(16)

        def win(connection: sqlite3.Connection) -> bool:
            at_ms = self._wall_ms()
            row = connection.execute("SELECT holder, expires_ms, token FROM lease WHERE id = 1").fetchone()
            if row is not None and row[0] is not None and row[1] > at_ms and row[2] != lock_token:
                return False
            connection.execute(
                "INSERT OR REPLACE INTO lease (id, token, number, holder, expires_ms) VALUES (1, ?, 0, ?, ?)",
                (token, holder, at_ms + lease_ms),
            )
            return True

        won = False
        try:
            won = await self._write(win)
        finally:
            if won:
                self._lock.write_token(token)
            else:
                self._lock.release()
        return Tenure(token, holder) if won else None

    async def renew(self, tenure: Tenure, number: int, lease_ms: int) -> None:
        """Prolong the lease if token and number are still those of the tenure."""

        def prolong(connection: sqlite3.Connection) -> None:
            done = connection.execute(
                "UPDATE lease SET expires_ms = ? WHERE id = 1 AND token = ? AND number = ?",
                (self._wall_ms() + lease_ms, tenure.token, number),
            )
            if done.rowcount != 1:
                raise CommitRefused(number, holder_of(connection))

        try:
            await self._write(prolong)
        except CommitRefused:
            self._lock.release()
            raise
        if self._lock.acquire() not in (None, tenure.token):
            # The lease was won while a frozen process had the lock, which that process has released by now.
            self._lock.write_token(tenure.token)

    async def release(self, tenure: Tenure) -> None:
        """Release the lease, so that the next holder can win it at once."""

        def leave(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE lease SET holder = NULL, expires_ms = 0 WHERE id = 1 AND token = ?", (tenure.token,)
            )

        try:
            await self._write(leave)
        finally:
            self._lock.release()

    async def lease(self) -> LeaseState:
        """Read the lease."""

        def select(connection: sqlite3.Connection) -> LeaseState:
            row = connection.execute("SELECT holder, expires_ms, number FROM lease WHERE id = 1").fetchone()
            if row is None:
                return LeaseState(None, 0, 0)
            return LeaseState(row[0] if row[1] > self._wall_ms() else None, row[1], row[2])

        return await self._read(select)
