"""Checkpoints in SQLite: history, named checkpoints, moved positions."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Mapping

from consumer.ports.commit import ChannelState, PastPosition
from consumer.stores.encoding import decode_channels, encode_channels
from consumer.stores.sqlite.sqlite_connections import SqliteConnections
from consumer.stores.sqlite.transactions import put_channels

__all__ = ["SqliteCheckpointStore"]


class SqliteCheckpointStore(SqliteConnections):
    """The checkpoint port on SQLite."""

    async def history(self, channel: str | None, limit: int) -> list[PastPosition]:
        """Load the newest past positions, oldest first."""

        def select(connection: sqlite3.Connection) -> list[PastPosition]:
            rows = connection.execute(
                "SELECT channel, position, at_ms, offset FROM positions WHERE :channel IS NULL OR channel = :channel"
                " ORDER BY seq DESC LIMIT :limit",
                {"channel": channel, "limit": limit},
            ).fetchall()
            return [PastPosition(*row) for row in reversed(rows)]

        return await self._read(select)

    async def save_checkpoint(self, name: str, channels: Mapping[str, ChannelState]) -> None:
        """Store positions under a name."""
        data = encode_channels(channels)
        await self._write(
            lambda connection: connection.execute(
                "INSERT OR REPLACE INTO checkpoints VALUES (?, ?)", (name, data)
            )
        )

    async def saved_checkpoints(self) -> dict[str, dict[str, ChannelState]]:
        """Load every named checkpoint."""

        def select(connection: sqlite3.Connection) -> dict[str, dict[str, ChannelState]]:
            rows = connection.execute("SELECT name, data FROM checkpoints ORDER BY name").fetchall()
            return {name: decode_channels(data) for name, data in rows}

        return await self._read(select)

    async def move(self, channels: Mapping[str, ChannelState]) -> None:
        """Set the state of channels and end the current tenure."""

        def put(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE lease SET token = ?, number = 0, holder = NULL, expires_ms = 0 WHERE id = 1",
                (secrets.token_hex(16),),
            )
            put_channels(connection, channels)

        await self._write(put)
