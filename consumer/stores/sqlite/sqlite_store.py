"""Embedded store: one SQLite file, no server.

One class per port, all over the same two connections (``sqlite_connections.py``).
"""

from __future__ import annotations

import asyncio
import os
import sqlite3

from consumer.stores.sqlite.sqlite_checkpoints import SqliteCheckpointStore
from consumer.stores.sqlite.sqlite_delivery import SqliteCursorStore
from consumer.stores.sqlite.sqlite_ingest import SqliteIngestStore
from consumer.stores.sqlite.sqlite_journal import SqliteJournalStore
from consumer.stores.sqlite.sqlite_lease import SqliteLeaseStore

__all__ = ["SqliteStore"]


class SqliteStore(
    SqliteIngestStore, SqliteCheckpointStore, SqliteCursorStore, SqliteJournalStore, SqliteLeaseStore
):
    """Store in one SQLite file.

    Arguments as for :class:`~consumer.stores.sqlite.sqlite_connections.SqliteConnections`.
    """

    async def warnings(self) -> list[str]:
        """Return no warnings: no setting of a file can lose checkpoints."""
        return []

    async def write_problems(self) -> list[str]:
        """List the reasons why the file could not be written to or created."""
        return await asyncio.to_thread(self._write_problems)

    def _write_problems(self) -> list[str]:
        folder = self._path.parent
        if not folder.is_dir():
            return [f"the folder {folder} does not exist: create it, or name another in store.url"]
        # The folder must be writable: SQLite creates and deletes the files of the write-ahead log in it.
        if not os.access(folder, os.W_OK | os.X_OK):
            return [f"the folder {folder} is not writable: give {_user()} write permission"]
        if self._path.exists():
            try:
                self._path.open("r+b").close()
            except OSError as error:
                return [
                    f"{self._path} is not writable ({error.strerror}): give {_user()} write permission, or name another file in store.url"
                ]
        return []

    async def secret(self, name: str) -> str | None:
        """Load the secret stored under ``name``."""

        def select(connection: sqlite3.Connection) -> str | None:
            row = connection.execute("SELECT value FROM meta WHERE name = ?", (f"secret:{name}",)).fetchone()
            return None if row is None else str(row[0])

        return await self._read(select)

    async def save_secret(self, name: str, value: str) -> None:
        """Store a secret under ``name``."""
        await self._write(
            lambda connection: connection.execute(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)", (f"secret:{name}", value)
            )
        )


def _user() -> str:
    """Name the user of this process, for messages."""
    return f"user {os.geteuid()}"
