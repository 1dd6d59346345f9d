"""Delivery in SQLite: cursors, blocked runs, dead letters, handler commands."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType

import orjson

from consumer.ports.delivery import (
    HandlerCommand,
    HandlerDeadLetter,
    PendingCommands,
    SavedBlockedRun,
    SavedCursor,
)
from consumer.ports.lease import Tenure
from consumer.stores.encoding import ONCE_MARKS_KEPT, commands_of, decode_blocked_run
from consumer.stores.sqlite.sqlite_connections import SqliteConnections
from consumer.stores.sqlite.transactions import apply_cursor, forget_cursor, resolve_stored_dead_letters

__all__ = ["SqliteCursorStore"]


class SqliteCursorStore(SqliteConnections):
    """The cursor port on SQLite."""

    async def cursor(self, handler: str) -> SavedCursor | None:
        """Load a handler's cursor."""

        def select(connection: sqlite3.Connection) -> SavedCursor | None:
            row = connection.execute(
                "SELECT revision, data FROM places WHERE handler = ?", (handler,)
            ).fetchone()
            return None if row is None else SavedCursor(*row)

        return await self._read(select)

    async def cursors(self) -> dict[str, SavedCursor]:
        """Load every handler's cursor."""

        def select(connection: sqlite3.Connection) -> dict[str, SavedCursor]:
            rows = connection.execute("SELECT handler, revision, data FROM places").fetchall()
            return {handler: SavedCursor(revision, data) for handler, revision, data in rows}

        return await self._read(select)

    async def blocked_runs(self, handler: str) -> list[SavedBlockedRun]:
        """Load a handler's blocked runs."""

        def select(connection: sqlite3.Connection) -> list[SavedBlockedRun]:
            rows = connection.execute(
                "SELECT data FROM parked WHERE handler = ? ORDER BY first", (handler,)
            ).fetchall()
            return [decode_blocked_run(data) for (data,) in rows]

        return await self._read(select)

    async def save_cursor(
        self,
        tenure: Tenure,
        handler: str,
        cursor: SavedCursor,
        dead_letters: Sequence[HandlerDeadLetter] = (),
        blocked_runs: Mapping[str | None, SavedBlockedRun | None] = MappingProxyType({}),
    ) -> None:
        """Compare-and-set a cursor with dead letters and blocked runs, under the lease."""
        await self._write(
            lambda connection: apply_cursor(connection, tenure, handler, cursor, dead_letters, blocked_runs)
        )

    async def handler_dead_letters(self, handler: str | None, limit: int) -> list[HandlerDeadLetter]:
        """Load the newest dead letters, oldest first."""

        def select(connection: sqlite3.Connection) -> list[HandlerDeadLetter]:
            rows = connection.execute(
                "SELECT handler, event_id, offset, tracker_id, type, attempts, error, at_ms, data FROM handler_dead_letters"
                " WHERE :handler IS NULL OR handler = :handler ORDER BY at_ms DESC, offset DESC LIMIT :limit",
                {"handler": handler, "limit": limit},
            ).fetchall()
            return [HandlerDeadLetter(*row) for row in reversed(rows)]

        return await self._read(select)

    async def redrive_dead_letters(self, handler: str, event_ids: Sequence[str]) -> None:
        """Mark dead letters for redrive."""

        def mark(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "INSERT OR IGNORE INTO dead_letter_retries SELECT handler, event_id FROM handler_dead_letters"
                " WHERE handler = ? AND event_id = ?",
                [(handler, event_id) for event_id in event_ids],
            )

        await self._write(mark)

    async def redrives(self, handler: str, limit: int) -> list[HandlerDeadLetter]:
        """Load the dead letters marked for redrive, in journal order."""

        def select(connection: sqlite3.Connection) -> list[HandlerDeadLetter]:
            rows = connection.execute(
                "SELECT handler, event_id, offset, tracker_id, type, attempts, error, at_ms, data FROM dead_letter_retries"
                " JOIN handler_dead_letters USING (handler, event_id) WHERE handler = ? ORDER BY offset LIMIT ?",
                (handler, limit),
            ).fetchall()
            return [HandlerDeadLetter(*row) for row in rows]

        return await self._read(select)

    async def resolve_dead_letters(
        self, handler: str, removed: Sequence[str], failed_again: Sequence[HandlerDeadLetter] = ()
    ) -> None:
        """Remove or update dead letters, and remove their marks."""
        await self._write(
            lambda connection: resolve_stored_dead_letters(connection, handler, removed, failed_again)
        )

    async def pending_commands(self, handlers: Sequence[str]) -> dict[str, PendingCommands]:
        """Load the pending commands of handlers."""

        def select(connection: sqlite3.Connection) -> dict[str, PendingCommands]:
            rows = connection.execute("SELECT data FROM orders").fetchall()
            commands = [HandlerCommand(**orjson.loads(data)) for (data,) in rows]
            dead_letters, redrives = (
                dict(connection.execute(f"SELECT handler, count(*) FROM {table} GROUP BY handler").fetchall())  # noqa: S608
                for table in ("handler_dead_letters", "dead_letter_retries")
            )
            return {
                handler: PendingCommands(
                    commands_of(commands, handler), dead_letters.get(handler, 0), redrives.get(handler, 0)
                )
                for handler in handlers
            }

        return await self._read(select)

    async def put_command(self, command: HandlerCommand) -> None:
        """Store a handler command."""
        data = orjson.dumps(asdict(command))
        await self._write(
            lambda connection: connection.execute(
                "INSERT OR REPLACE INTO orders VALUES (?, ?, ?)", (command.id, command.handler, data)
            )
        )

    async def remove_command(self, command: HandlerCommand, *, progress: bool = True) -> None:
        """Remove a handler command and, with ``progress``, its cursor."""

        def remove(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM orders WHERE id = ?", (command.id,))
            if progress:
                forget_cursor(connection, command.cursor)

        await self._write(remove)

    async def was_done(self, handler: str, key: str, since_ms: int) -> bool:
        """Report whether ``key`` was marked at or after ``since_ms``."""
        return await self._read(
            lambda connection: (
                connection.execute(
                    "SELECT 1 FROM once WHERE handler = ? AND key = ? AND at_ms >= ?",
                    (handler, key, since_ms),
                ).fetchone()
                is not None
            )
        )

    async def mark_done(self, handler: str, key: str, at_ms: int, since_ms: int) -> None:
        """Mark ``key``, and drop old marks."""

        def mark(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO once VALUES (?, ?, ?)", (handler, key, at_ms))
            connection.execute("DELETE FROM once WHERE handler = ? AND at_ms < ?", (handler, since_ms))
            connection.execute(
                "DELETE FROM once WHERE rowid <= (SELECT max(rowid) FROM once) - ?", (ONCE_MARKS_KEPT,)
            )

        await self._write(mark)

    async def forget_handler(self, handler: str) -> None:
        """Remove everything stored for a handler."""

        def forget(connection: sqlite3.Connection) -> None:
            for (command_id,) in connection.execute(
                "SELECT id FROM orders WHERE handler = ?", (handler,)
            ).fetchall():
                forget_cursor(connection, f"{handler}/{command_id}")
            forget_cursor(connection, handler)
            for table in ("orders", "handler_dead_letters", "dead_letter_retries", "once"):
                connection.execute(f"DELETE FROM {table} WHERE handler = ?", (handler,))  # noqa: S608 - known names

        await self._write(forget)
