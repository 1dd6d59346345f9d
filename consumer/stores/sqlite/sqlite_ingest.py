"""Ingest in SQLite: commits, and the state that a tenure reads back."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

import orjson

from consumer.ports.commit import ChannelState, Commit, Epoch, IngestDeadLetter
from consumer.stores.encoding import decode_channel
from consumer.stores.sqlite.sqlite_connections import SqliteConnections
from consumer.stores.sqlite.transactions import apply_commit

__all__ = ["SqliteIngestStore"]

_IDS_PER_QUERY: Final = 500
"""Ids per query; SQLite allows 32,766 parameters, older builds 999."""


class SqliteIngestStore(SqliteConnections):
    """The ingest port on SQLite."""

    async def commit(self, commit: Commit) -> bool:
        """Apply a commit in one transaction, which first checks token, number and org."""
        applied = await self._write(lambda connection: apply_commit(connection, commit))
        if applied and commit.journal:
            self._journal_signal.notify()
        return applied

    async def states(self, record_ids: Sequence[str]) -> dict[str, bytes]:
        """Load the encoded states of the known ones among ``record_ids``."""

        def select(connection: sqlite3.Connection) -> dict[str, bytes]:
            found: dict[str, bytes] = {}
            for start in range(0, len(record_ids), _IDS_PER_QUERY):
                chunk = record_ids[start : start + _IDS_PER_QUERY]
                placeholders = ",".join("?" * len(chunk))
                query = f"SELECT record_id, data FROM states WHERE record_id IN ({placeholders})"  # noqa: S608 - placeholders only
                found.update(connection.execute(query, chunk))
            return found

        return await self._read(select)

    async def walk(self, cursor: str | None, limit: int) -> tuple[list[tuple[str, bytes]], str | None]:
        """Scan the states in the order of their keys."""

        def select(connection: sqlite3.Connection) -> list[tuple[str, bytes]]:
            query = "SELECT record_id, data FROM states WHERE record_id > ? ORDER BY record_id LIMIT ?"
            return connection.execute(query, (cursor or "", limit)).fetchall()

        found = await self._read(select)
        return found, found[-1][0] if len(found) == limit else None

    async def channels(self) -> dict[str, ChannelState]:
        """Load the state of every channel."""

        def select(connection: sqlite3.Connection) -> dict[str, ChannelState]:
            rows = connection.execute("SELECT channel, data FROM channels").fetchall()
            return {channel: decode_channel(data) for channel, data in rows}

        return await self._read(select)

    async def org_id(self) -> str | None:
        """Load the id of the org that the store belongs to."""

        def select(connection: sqlite3.Connection) -> str | None:
            row = connection.execute("SELECT value FROM meta WHERE name = 'org'").fetchone()
            return None if row is None else str(row[0])

        return await self._read(select)

    async def epochs(self) -> list[Epoch]:
        """Load every epoch of commit numbers."""

        def select(connection: sqlite3.Connection) -> list[Epoch]:
            row = connection.execute("SELECT value FROM meta WHERE name = 'epochs'").fetchone()
            return [] if row is None else [Epoch(**value) for value in orjson.loads(row[0])]

        return await self._read(select)

    async def timers(self, until_ms: int, limit: int) -> list[tuple[str, int]]:
        """Load the timers due at ``until_ms``, the earliest first."""

        def select(connection: sqlite3.Connection) -> list[tuple[str, int]]:
            return connection.execute(
                "SELECT key, due_ms FROM timers WHERE due_ms <= ? ORDER BY due_ms, key LIMIT ?",
                (until_ms, limit),
            ).fetchall()

        return await self._read(select)

    async def reconcile_tasks(self) -> dict[str, bytes]:
        """Load every reconcile task."""
        return await self._read(
            lambda connection: dict(connection.execute("SELECT id, data FROM tasks").fetchall())
        )

    async def add_reconcile_task(self, task_id: str, data: bytes) -> None:
        """Add an operator's reconcile task, unless one with this id exists."""
        await self._write(
            lambda connection: connection.execute(
                "INSERT OR IGNORE INTO tasks VALUES (?, ?)", (task_id, data)
            )
        )

    async def ingest_dead_letters(self, limit: int) -> list[IngestDeadLetter]:
        """Load the newest ingest dead letters, oldest first."""

        def select(connection: sqlite3.Connection) -> list[IngestDeadLetter]:
            rows = connection.execute(
                "SELECT id, channel, position, reason, detail, raw, at_ms FROM ingest_dead_letters ORDER BY seq DESC LIMIT ?",
                (limit,),
            ).fetchall()
            return [IngestDeadLetter(*row) for row in reversed(rows)]

        return await self._read(select)
