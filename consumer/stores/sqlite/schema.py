"""Tables of the SQLite store.

Ordinary rowid tables: ``WITHOUT ROWID`` is several times slower with values of a kilobyte. ``AUTOINCREMENT`` keeps journal offsets growing
after retention has removed the newest rows.
"""

from __future__ import annotations

from typing import Final

__all__ = ["FORMAT", "SCHEMA"]

FORMAT: Final = 1
"""Version of these tables; migrating them is code with a test."""

SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    (
        "CREATE TABLE IF NOT EXISTS lease (id INTEGER PRIMARY KEY CHECK (id = 1), token TEXT NOT NULL, number INTEGER NOT NULL,"
        " holder TEXT, expires_ms INTEGER NOT NULL)"
    ),
    "CREATE TABLE IF NOT EXISTS states (record_id TEXT PRIMARY KEY, data BLOB NOT NULL)",
    (
        "CREATE TABLE IF NOT EXISTS journal (offset INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, type TEXT NOT NULL,"
        " tracker_id TEXT, data BLOB NOT NULL)"
    ),
    "CREATE INDEX IF NOT EXISTS journal_run ON journal (tracker_id, offset)",
    "CREATE TABLE IF NOT EXISTS channels (channel TEXT PRIMARY KEY, data BLOB NOT NULL)",
    (
        "CREATE TABLE IF NOT EXISTS ingest_dead_letters (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,"
        " channel TEXT NOT NULL, position TEXT, reason TEXT NOT NULL, detail TEXT NOT NULL, raw BLOB NOT NULL, at_ms INTEGER NOT NULL)"
    ),
    "CREATE TABLE IF NOT EXISTS places (handler TEXT PRIMARY KEY, revision INTEGER NOT NULL, data BLOB NOT NULL)",
    (
        "CREATE TABLE IF NOT EXISTS parked (handler TEXT NOT NULL, run TEXT NOT NULL, first INTEGER NOT NULL, data BLOB NOT NULL,"
        " PRIMARY KEY (handler, run))"
    ),
    (
        "CREATE TABLE IF NOT EXISTS handler_dead_letters (handler TEXT NOT NULL, event_id TEXT NOT NULL, offset INTEGER NOT NULL,"
        " tracker_id TEXT, type TEXT NOT NULL, attempts INTEGER NOT NULL, error TEXT NOT NULL, at_ms INTEGER NOT NULL,"
        " data BLOB NOT NULL, PRIMARY KEY (handler, event_id))"
    ),
    "CREATE TABLE IF NOT EXISTS dead_letter_retries (handler TEXT NOT NULL, event_id TEXT NOT NULL, PRIMARY KEY (handler, event_id))",
    "CREATE TABLE IF NOT EXISTS once (handler TEXT NOT NULL, key TEXT NOT NULL, at_ms INTEGER NOT NULL, PRIMARY KEY (handler, key))",
    "CREATE INDEX IF NOT EXISTS once_at ON once (handler, at_ms)",
    "CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, handler TEXT NOT NULL, data BLOB NOT NULL)",
    (
        "CREATE TABLE IF NOT EXISTS positions (seq INTEGER PRIMARY KEY AUTOINCREMENT, channel TEXT NOT NULL, position TEXT NOT NULL,"
        " at_ms INTEGER NOT NULL, offset INTEGER NOT NULL)"
    ),
    "CREATE TABLE IF NOT EXISTS checkpoints (name TEXT PRIMARY KEY, data BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS timers (key TEXT PRIMARY KEY, due_ms INTEGER NOT NULL)",
    "CREATE INDEX IF NOT EXISTS timers_due ON timers (due_ms)",
    "CREATE TABLE IF NOT EXISTS tasks (id TEXT PRIMARY KEY, data BLOB NOT NULL)",
)
