"""Statements of a commit and of a cursor, inside a transaction begun by the store.

Everything is checked before anything is written, as in the Redis scripts; here a refusal rolls back as well.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import orjson

from consumer.errors import CommitRefused, StoreForeign
from consumer.ports.commit import ChannelState, Commit
from consumer.ports.delivery import HandlerDeadLetter, SavedBlockedRun, SavedCursor
from consumer.ports.lease import Tenure
from consumer.stores.encoding import HISTORY_KEPT, encode_blocked_run

__all__ = [
    "apply_commit",
    "apply_cursor",
    "forget_cursor",
    "holder_of",
    "now_ms",
    "put_channels",
    "resolve_stored_dead_letters",
]


_ROWS_PER_STATEMENT: Final = (64, 8, 1)
"""Numbers of rows per statement; few sizes, so that all statements stay compiled.

Older builds of SQLite allow 999 parameters.
"""


def now_ms() -> int:
    """Read the wall clock in milliseconds, by which leases on this machine expire."""
    return time.time_ns() // 1_000_000


def holder_of(connection: sqlite3.Connection) -> str | None:
    """Read the present or last holder of the lease."""
    row: tuple[Any, ...] | None = connection.execute("SELECT holder FROM lease WHERE id = 1").fetchone()
    return None if row is None else row[0]


def apply_commit(connection: sqlite3.Connection, commit: Commit) -> bool:
    """Check token, number and org, then write everything.

    Returns:
        False when the commit had been applied before.

    Raises:
        CommitRefused: the token or the number is not the tenure's.
        StoreForeign: the store belongs to another org.
    """
    lease = connection.execute("SELECT token, number FROM lease WHERE id = 1").fetchone()
    if lease is None or lease[0] != commit.token or lease[1] not in {commit.number - 1, commit.number}:
        raise CommitRefused(commit.number, holder_of(connection))
    if lease[1] == commit.number:
        return False
    connection.execute("INSERT OR IGNORE INTO meta VALUES ('org', ?)", (commit.org_id,))
    org = connection.execute("SELECT value FROM meta WHERE name = 'org'").fetchone()[0]
    if org != commit.org_id:
        raise StoreForeign(
            f"the store belongs to org {org}, not to {commit.org_id}: set another store.url for this org"
        )
    # An upsert updates the row in place; REPLACE deletes and inserts it with its index, at five times the cost.
    _insert(
        connection,
        "INSERT INTO states VALUES {} ON CONFLICT (record_id) DO UPDATE SET data = excluded.data",
        [(item_id, data) for item_id, data in commit.states.items() if data is not None],
    )
    connection.executemany(
        "DELETE FROM states WHERE record_id = ?",
        [(item_id,) for item_id, data in commit.states.items() if data is None],
    )
    _insert(
        connection,
        "INSERT INTO journal (id, type, tracker_id, data) VALUES {}",
        [(record.id, record.type, record.tracker_id, record.data) for record in commit.journal],
    )
    put_channels(connection, commit.channels)
    connection.executemany(
        "INSERT OR IGNORE INTO ingest_dead_letters (id, channel, position, reason, detail, raw, at_ms) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (
                dead_letter.id,
                dead_letter.channel,
                dead_letter.position,
                dead_letter.reason,
                dead_letter.detail,
                dead_letter.raw,
                dead_letter.at_ms,
            )
            for dead_letter in commit.dead_letters
        ],
    )
    connection.executemany(
        "DELETE FROM timers WHERE key = ?",
        [(key,) for key, due_ms in commit.timers.items() if due_ms is None],
    )
    connection.executemany(
        "INSERT INTO timers VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET due_ms = excluded.due_ms",
        [(key, due_ms) for key, due_ms in commit.timers.items() if due_ms is not None],
    )
    if commit.reconcile_tasks:
        connection.executemany(
            "DELETE FROM tasks WHERE id = ?",
            [(item_id,) for item_id, data in commit.reconcile_tasks.items() if data is None],
        )
        connection.executemany(
            "INSERT OR REPLACE INTO tasks VALUES (?, ?)",
            [(item_id, data) for item_id, data in commit.reconcile_tasks.items() if data is not None],
        )
    if commit.history_at_ms is not None:
        _append_history(connection, commit.channels, commit.history_at_ms)
    if commit.epochs is not None:
        epochs = orjson.dumps([asdict(epoch) for epoch in commit.epochs]).decode()
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('epochs', ?)", (epochs,))
    connection.execute("UPDATE lease SET number = ? WHERE id = 1", (commit.number,))
    return True


def _insert(connection: sqlite3.Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows in order, many per statement.

    Every step of a statement releases the interpreter's lock and has to reacquire it, for which it waits while the event loop is busy: one
    row at a time, a commit of 500 changes would wait a thousand times.
    """
    start = 0
    for size in _ROWS_PER_STATEMENT:
        while len(rows) - start >= size:
            placeholders = "(" + ", ".join("?" * len(rows[start])) + ")"
            values = [value for row in rows[start : start + size] for value in row]
            connection.execute(statement.format(", ".join([placeholders] * size)), values)
            start += size


def put_channels(connection: sqlite3.Connection, channels: Mapping[str, ChannelState]) -> None:
    """Write the state of channels."""
    connection.executemany(
        "INSERT OR REPLACE INTO channels VALUES (?, ?)",
        [(channel, orjson.dumps(asdict(state))) for channel, state in channels.items()],
    )


def _append_history(connection: sqlite3.Connection, channels: Mapping[str, ChannelState], at_ms: int) -> None:
    """Append to the history of positions, and drop its oldest entries."""
    (offset,) = connection.execute(
        "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'journal'), 0)"
    ).fetchone()
    connection.executemany(
        "INSERT INTO positions (channel, position, at_ms, offset) VALUES (?, ?, ?, ?)",
        [
            (channel, state.position, at_ms, offset)
            for channel, state in channels.items()
            if state.position is not None
        ],
    )
    connection.execute(
        "DELETE FROM positions WHERE seq <= (SELECT max(seq) FROM positions) - ?", (HISTORY_KEPT,)
    )


def apply_cursor(
    connection: sqlite3.Connection,
    tenure: Tenure,
    handler: str,
    cursor: SavedCursor,
    dead_letters: Sequence[HandlerDeadLetter],
    blocked_runs: Mapping[str | None, SavedBlockedRun | None],
) -> None:
    """Check token, revision and journal end, then write a cursor.

    Its dead letters and blocked runs are written with it.

    Raises:
        CommitRefused: the token or the revision is another one, or the cursor lies past the journal's end.
    """
    lease = connection.execute("SELECT token FROM lease WHERE id = 1").fetchone()
    if lease is None or lease[0] != tenure.token:
        raise CommitRefused(cursor.revision, holder_of(connection))
    stored = connection.execute("SELECT revision, data FROM places WHERE handler = ?", (handler,)).fetchone()
    revision = 0 if stored is None else stored[0]
    if stored is not None and (revision, stored[1]) == (cursor.revision, cursor.data):
        return
    last = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'journal'").fetchone()
    if revision != cursor.revision - 1 or cursor.through > (0 if last is None else last[0]):
        raise CommitRefused(cursor.revision, holder_of(connection))
    connection.execute(
        "INSERT OR REPLACE INTO places VALUES (?, ?, ?)", (handler, cursor.revision, cursor.data)
    )
    _put_dead_letters(connection, dead_letters)
    connection.executemany(
        "DELETE FROM parked WHERE handler = ? AND run = ?",
        [(handler, tracker_id or "") for tracker_id, row in blocked_runs.items() if row is None],
    )
    connection.executemany(
        "INSERT OR REPLACE INTO parked VALUES (?, ?, ?, ?)",
        [
            (handler, tracker_id or "", row.first, encode_blocked_run(row))
            for tracker_id, row in blocked_runs.items()
            if row is not None
        ],
    )


def forget_cursor(connection: sqlite3.Connection, handler: str) -> None:
    """Remove a cursor with its blocked runs."""
    connection.execute("DELETE FROM places WHERE handler = ?", (handler,))
    connection.execute("DELETE FROM parked WHERE handler = ?", (handler,))


def resolve_stored_dead_letters(
    connection: sqlite3.Connection,
    handler: str,
    removed: Sequence[str],
    failed_again: Sequence[HandlerDeadLetter],
) -> None:
    """Remove or update dead letters, and remove the redrive marks of both."""
    ids = [
        (handler, event_id)
        for event_id in (*removed, *(dead_letter.event_id for dead_letter in failed_again))
    ]
    connection.executemany("DELETE FROM dead_letter_retries WHERE handler = ? AND event_id = ?", ids)
    connection.executemany(
        "DELETE FROM handler_dead_letters WHERE handler = ? AND event_id = ?", ids[: len(removed)]
    )
    _put_dead_letters(connection, failed_again)


def _put_dead_letters(connection: sqlite3.Connection, dead_letters: Sequence[HandlerDeadLetter]) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO handler_dead_letters VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (d.handler, d.event_id, d.offset, d.tracker_id, d.type, d.attempts, d.error, d.at_ms, d.data)
            for d in dead_letters
        ],
    )
