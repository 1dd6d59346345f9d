"""Journal in SQLite: reading by offset, its size and its retention."""

from __future__ import annotations

import shutil
import sqlite3
from typing import Final

from consumer.errors import CommitRefused
from consumer.ports.journal import JournalEntry
from consumer.ports.lease import Tenure
from consumer.ports.store import StoreSize
from consumer.stores.sqlite.sqlite_connections import SqliteConnections
from consumer.stores.sqlite.transactions import holder_of

__all__ = ["SqliteJournalStore"]

_TRIM_BATCH: Final = 1_000
"""Journal entries removed per transaction."""


class SqliteJournalStore(SqliteConnections):
    """The journal and size ports on SQLite."""

    async def read(self, after: int, limit: int) -> list[JournalEntry]:
        """Read up to ``limit`` entries with offsets greater than ``after``."""

        def select(connection: sqlite3.Connection) -> list[JournalEntry]:
            rows = connection.execute(
                "SELECT offset, id, type, tracker_id, data FROM journal WHERE offset > ? ORDER BY offset LIMIT ?",
                (after, limit),
            ).fetchall()
            return [JournalEntry(*row) for row in rows]

        return await self._read(select)

    async def bounds(self) -> tuple[int, int]:
        """Read the first and the last offset."""

        def select(connection: sqlite3.Connection) -> tuple[int, int]:
            first, last = connection.execute(
                "SELECT (SELECT min(offset) FROM journal), (SELECT seq FROM sqlite_sequence WHERE name = 'journal')"
            ).fetchone()
            last = last or 0
            return (first if first is not None else last + 1), last

        return await self._read(select)

    async def wait(self, after: int, timeout_ms: int) -> bool:
        """Wait for an entry with an offset greater than ``after``."""
        return await self._journal_signal.wait(self._last, after, timeout_ms)

    async def _last(self) -> int:
        return (await self.bounds())[1]

    async def read_run(self, tracker_id: str, first: int = 0) -> list[JournalEntry]:
        """Read the entries of one run."""

        def select(connection: sqlite3.Connection) -> list[JournalEntry]:
            rows = connection.execute(
                "SELECT offset, id, type, tracker_id, data FROM journal WHERE tracker_id = ? AND offset >= ? ORDER BY offset",
                (tracker_id, first),
            ).fetchall()
            return [JournalEntry(*row) for row in rows]

        return await self._read(select)

    async def size(self) -> StoreSize:
        """Measure the file and the free space, estimate the journal, count the records.

        The journal's size is extrapolated from its newest entries.
        """

        def select(connection: sqlite3.Connection) -> StoreSize:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            (unused,) = connection.execute("PRAGMA freelist_count").fetchone()
            (page,) = connection.execute("PRAGMA page_size").fetchone()
            first, last = connection.execute("SELECT min(offset), max(offset) FROM journal").fetchone()
            (entry_bytes,) = connection.execute(
                "SELECT avg(length(data) + length(id) + 64) FROM (SELECT id, data FROM journal ORDER BY offset DESC LIMIT 1000)"
            ).fetchone()
            journal = 0 if first is None else int((last - first + 1) * entry_bytes)
            (records,) = connection.execute("SELECT count(*) FROM states").fetchone()
            used, free = (pages - unused) * page, shutil.disk_usage(self._path.parent).free
            return StoreSize(used, journal, used + unused * page + free, records, free)

        return await self._read(select)

    async def trim(self, tenure: Tenure, through: int) -> None:
        """Remove the journal's entries up to ``through``, in batches.

        The file keeps its size and reuses the space.
        """

        def remove(connection: sqlite3.Connection) -> int:
            lease = connection.execute("SELECT token FROM lease WHERE id = 1").fetchone()
            if lease is None or lease[0] != tenure.token:
                raise CommitRefused(0, holder_of(connection))
            return connection.execute(
                "DELETE FROM journal WHERE offset IN (SELECT offset FROM journal WHERE offset <= ? ORDER BY offset LIMIT ?)",
                (through, _TRIM_BATCH),
            ).rowcount

        while await self._write(remove) == _TRIM_BATCH:
            pass
