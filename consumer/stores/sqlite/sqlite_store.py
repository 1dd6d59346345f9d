"""The embedded store: one SQLite file, no server.

Two connections, each on a thread of its own: one writes (a commit is one transaction), one reads, so that a handler reading the journal
never waits behind a commit. The file is in WAL mode with ``synchronous=NORMAL``: it survives ``kill -9`` of the process; a power failure
may take the last commits back *together* with their positions (``?synchronous=full`` in the URL prevents that, at the price of one disk
flush a commit).

The lease is the same rule as everywhere (a fresh random token; every commit checks token and number) plus a lock on ``<file>.lock``
(``file_lock.py``): whoever gets it signed by the holder knows that the holder, on this machine, is dead, and need not wait for the lease to
run out.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeVar

import orjson

from consumer.errors import CommitRefused, StoreEmpty, StoreForeign, StoreUnavailable
from consumer.ports.commit import (
    ChannelState,
    Commit,
    Epoch,
    IngestDeadLetter,
    PastPosition,
)
from consumer.ports.delivery import (
    HandlerCommand,
    HandlerDeadLetter,
    PendingCommands,
    SavedBlockedRun,
    SavedCursor,
)
from consumer.ports.journal import JournalEntry
from consumer.ports.lease import LeaseState, Tenure
from consumer.ports.store import StoreSize
from consumer.stores.encoding import (
    ONCE_MARKS_KEPT,
    commands_of,
    decode_blocked_run,
    decode_channel,
    decode_channels,
    encode_channels,
)
from consumer.stores.error_hints import with_hint
from consumer.stores.journal_signal import JournalSignal
from consumer.stores.sqlite.file_lock import FileLock
from consumer.stores.sqlite.schema import FORMAT, SCHEMA
from consumer.stores.sqlite.transactions import (
    apply_commit,
    apply_cursor,
    forget_cursor,
    holder_of,
    now_ms,
    put_channels,
    resolve_stored_dead_letters,
)

__all__ = ["SqliteStore"]

T = TypeVar("T")


_BUSY_MS: Final = 5_000
_CACHE_KIB: Final = 8_000
"""Of the writer; with SQLite's own 2,000 a commit that updates records all over the file waits for reads half of its time."""
_TRIM_BATCH: Final = 1_000
"""Journal entries removed in one transaction."""
_IDS_PER_QUERY: Final = 500
"""Ids per query; SQLite allows 32,766 parameters, older builds 999."""


class SqliteStore:
    """One SQLite file as a store.

    Args:
        path: of the file; its folder must exist.
        synchronous: ``normal`` or ``full``.
        read_only: for commands that only look: never creates, writes or locks.
        wall_ms: the wall clock of this machine, which leases are counted in.
    """

    def __init__(
        self,
        path: Path,
        *,
        synchronous: str = "normal",
        read_only: bool = False,
        wall_ms: Callable[[], int] = now_ms,
    ) -> None:
        self._path = path
        self._synchronous = synchronous
        self._read_only = read_only
        self._wall_ms = wall_ms
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._write_thread = ThreadPoolExecutor(1, thread_name_prefix="store-write")
        self._read_thread = ThreadPoolExecutor(1, thread_name_prefix="store-read")
        self._lock = FileLock(Path(f"{path}.lock"))
        self._journal_signal = JournalSignal()

    @property
    def url(self) -> str:
        """``sqlite:///`` and the path."""
        return f"sqlite:///{self._path}"

    # ------------------------------------------------------------ opening and closing

    async def open(self) -> None:
        """Create or open the file.

        Raises:
            StoreUnavailable: it cannot be opened, or does not exist when only reading.
            StoreForeign: it is of a newer format.
        """
        try:
            if not self._read_only:
                await self._run(self._write_thread, self._open_writer)
            await self._run(self._read_thread, self._open_reader)
        except BaseException:
            await self._disconnect()  # and no more: whoever opens it tries again
            raise

    async def warnings(self) -> list[str]:
        """Nothing about a file can be configured to forget checkpoints."""
        return []

    async def write_problems(self) -> list[str]:
        """Whether the file could be written to, or be made where it is to be."""
        return await asyncio.to_thread(self._write_problems)

    def _write_problems(self) -> list[str]:
        folder = self._path.parent
        if not folder.is_dir():
            return [f"the folder {folder} does not exist: create it, or name another in store.url"]
        # The files of the write-ahead log come and go beside it.
        if not os.access(folder, os.W_OK | os.X_OK):
            return [f"the folder {folder} cannot be written to: give {_user()} the right to"]
        if self._path.exists():
            try:
                self._path.open("r+b").close()
            except OSError as error:
                return [
                    f"{self._path} cannot be written to ({error.strerror}): give {_user()} the right to, or name another file in store.url"
                ]
        return []

    def _open_writer(self) -> None:
        connection = self._writer = self._connect(str(self._path), uri=False)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={'FULL' if self._synchronous == 'full' else 'NORMAL'}")
        connection.execute("PRAGMA temp_store=MEMORY")
        connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in SCHEMA:
                connection.execute(statement)
            connection.execute("INSERT OR IGNORE INTO meta VALUES ('format', ?)", (str(FORMAT),))
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        self._check_format(connection)

    def _open_reader(self) -> None:
        if self._read_only and not self._path.exists():
            raise StoreEmpty(self.url, "there is no such file yet; it appears when the service has run")
        connection = self._reader = self._connect(f"file:{self._path}?mode=ro", uri=True)
        self._check_format(connection)

    def _connect(self, database: str, *, uri: bool) -> sqlite3.Connection:
        return sqlite3.connect(
            database, uri=uri, isolation_level=None, check_same_thread=False, timeout=_BUSY_MS / 1000
        )

    def _check_format(self, connection: sqlite3.Connection) -> None:
        row = connection.execute("SELECT value FROM meta WHERE name = 'format'").fetchone()
        if row is not None and int(row[0]) > FORMAT:
            raise StoreForeign(
                f"store {self.url} is of format {row[0]}; this version reads up to {FORMAT}: run the newer release"
            )

    async def aclose(self) -> None:
        """Close both connections and give the lock back."""
        await self._disconnect()
        for thread in (self._write_thread, self._read_thread):
            thread.shutdown(wait=False)
        self._lock.release()

    async def _disconnect(self) -> None:
        # The writer last: it moves what is in the write-ahead log into the file, so that the file alone can be copied.
        for thread, name in ((self._read_thread, "_reader"), (self._write_thread, "_writer")):
            connection: sqlite3.Connection | None = getattr(self, name)
            if connection is not None:
                setattr(self, name, None)
                await self._run(thread, connection.close)

    async def _run(self, thread: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(thread, work)
        except sqlite3.Error as error:
            raise StoreUnavailable(self.url, with_hint(error)) from error

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` as one transaction."""

        def transaction() -> T:
            connection = self._writer
            if connection is None:
                raise StoreUnavailable(self.url, "it is closed or was opened for reading only")
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            return result

        # A cancelled caller must not leave: whether the transaction was applied has to be known.
        return await asyncio.shield(self._run(self._write_thread, transaction))

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._reader
        if connection is None:
            raise StoreUnavailable(self.url, "it is closed")
        return await self._run(self._read_thread, lambda: work(connection))

    # ------------------------------------------------------------ lease

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
        """Prolong the lease if token and number are still ours."""

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
            self._lock.write_token(
                tenure.token
            )  # won while a frozen process had the lock, which it has let go of by now

    async def release(self, tenure: Tenure) -> None:
        """Leave the lease to the next."""

        def leave(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE lease SET holder = NULL, expires_ms = 0 WHERE id = 1 AND token = ?", (tenure.token,)
            )

        try:
            await self._write(leave)
        finally:
            self._lock.release()

    async def lease(self) -> LeaseState:
        """Who holds it."""

        def select(connection: sqlite3.Connection) -> LeaseState:
            row = connection.execute("SELECT holder, expires_ms, number FROM lease WHERE id = 1").fetchone()
            if row is None:
                return LeaseState(None, 0, 0)
            return LeaseState(row[0] if row[1] > self._wall_ms() else None, row[1], row[2])

        return await self._read(select)

    # ------------------------------------------------------------ ingest

    async def commit(self, commit: Commit) -> bool:
        """Apply a commit as one transaction, if token and number say so."""
        applied = await self._write(lambda connection: apply_commit(connection, commit))
        if applied and commit.journal:
            self._journal_signal.notify()
        return applied

    async def states(self, record_ids: Sequence[str]) -> dict[str, bytes]:
        """The encoded states of those that are known."""

        def select(connection: sqlite3.Connection) -> dict[str, bytes]:
            found: dict[str, bytes] = {}
            for start in range(0, len(record_ids), _IDS_PER_QUERY):
                chunk = record_ids[start : start + _IDS_PER_QUERY]
                placeholders = ",".join("?" * len(chunk))
                query = f"SELECT record_id, data FROM states WHERE record_id IN ({placeholders})"  # noqa: S608 - marks only
                found.update(connection.execute(query, chunk))
            return found

        return await self._read(select)

    async def walk(self, cursor: str | None, limit: int) -> tuple[list[tuple[str, bytes]], str | None]:
        """Some states, in the order of their keys, and where to go on."""

        def select(connection: sqlite3.Connection) -> list[tuple[str, bytes]]:
            query = "SELECT record_id, data FROM states WHERE record_id > ? ORDER BY record_id LIMIT ?"
            return connection.execute(query, (cursor or "", limit)).fetchall()

        found = await self._read(select)
        return found, found[-1][0] if len(found) == limit else None

    async def channels(self) -> dict[str, ChannelState]:
        """Every remembered channel."""

        def select(connection: sqlite3.Connection) -> dict[str, ChannelState]:
            rows = connection.execute("SELECT channel, data FROM channels").fetchall()
            return {channel: decode_channel(data) for channel, data in rows}

        return await self._read(select)

    async def org_id(self) -> str | None:
        """The org this store belongs to."""

        def select(connection: sqlite3.Connection) -> str | None:
            row = connection.execute("SELECT value FROM meta WHERE name = 'org'").fetchone()
            return None if row is None else str(row[0])

        return await self._read(select)

    async def epochs(self) -> list[Epoch]:
        """Every epoch of commit numbers."""

        def select(connection: sqlite3.Connection) -> list[Epoch]:
            row = connection.execute("SELECT value FROM meta WHERE name = 'epochs'").fetchone()
            return [] if row is None else [Epoch(**value) for value in orjson.loads(row[0])]

        return await self._read(select)

    async def timers(self, until_ms: int, limit: int) -> list[tuple[str, int]]:
        """What is due."""

        def select(connection: sqlite3.Connection) -> list[tuple[str, int]]:
            return connection.execute(
                "SELECT key, due_ms FROM timers WHERE due_ms <= ? ORDER BY due_ms, key LIMIT ?",
                (until_ms, limit),
            ).fetchall()

        return await self._read(select)

    async def reconcile_tasks(self) -> dict[str, bytes]:
        """Every reconcile task."""
        return await self._read(
            lambda connection: dict(connection.execute("SELECT id, data FROM tasks").fetchall())
        )

    async def add_reconcile_task(self, task_id: str, data: bytes) -> None:
        """Add one that a person wants."""
        await self._write(
            lambda connection: connection.execute(
                "INSERT OR IGNORE INTO tasks VALUES (?, ?)", (task_id, data)
            )
        )

    async def ingest_dead_letters(self, limit: int) -> list[IngestDeadLetter]:
        """The newest, oldest first."""

        def select(connection: sqlite3.Connection) -> list[IngestDeadLetter]:
            rows = connection.execute(
                "SELECT id, channel, position, reason, detail, raw, at_ms FROM ingest_dead_letters ORDER BY seq DESC LIMIT ?",
                (limit,),
            ).fetchall()
            return [IngestDeadLetter(*row) for row in reversed(rows)]

        return await self._read(select)

    # ------------------------------------------------------------ secrets

    async def secret(self, name: str) -> str | None:
        """What was kept under a name."""

        def select(connection: sqlite3.Connection) -> str | None:
            row = connection.execute("SELECT value FROM meta WHERE name = ?", (f"secret:{name}",)).fetchone()
            return None if row is None else str(row[0])

        return await self._read(select)

    async def save_secret(self, name: str, value: str) -> None:
        """Keep a value under a name."""
        await self._write(
            lambda connection: connection.execute(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)", (f"secret:{name}", value)
            )
        )

    # ------------------------------------------------------------ checkpoints

    async def history(self, channel: str | None, limit: int) -> list[PastPosition]:
        """Where channels once were."""

        def select(connection: sqlite3.Connection) -> list[PastPosition]:
            rows = connection.execute(
                "SELECT channel, position, at_ms, offset FROM positions WHERE ?1 IS NULL OR channel = ?1 ORDER BY seq DESC LIMIT ?2",
                (channel, limit),
            ).fetchall()
            return [PastPosition(*row) for row in reversed(rows)]

        return await self._read(select)

    async def save_checkpoint(self, name: str, channels: Mapping[str, ChannelState]) -> None:
        """Keep positions under a name."""
        data = encode_channels(channels)
        await self._write(
            lambda connection: connection.execute(
                "INSERT OR REPLACE INTO checkpoints VALUES (?, ?)", (name, data)
            )
        )

    async def saved_checkpoints(self) -> dict[str, dict[str, ChannelState]]:
        """Every named checkpoint."""

        def select(connection: sqlite3.Connection) -> dict[str, dict[str, ChannelState]]:
            rows = connection.execute("SELECT name, data FROM checkpoints ORDER BY name").fetchall()
            return {name: decode_channels(data) for name, data in rows}

        return await self._read(select)

    async def move(self, channels: Mapping[str, ChannelState]) -> None:
        """Put channels elsewhere and end the tenure under way."""

        def put(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE lease SET token = ?, number = 0, holder = NULL, expires_ms = 0 WHERE id = 1",
                (secrets.token_hex(16),),
            )
            put_channels(connection, channels)

        await self._write(put)

    # ------------------------------------------------------------ journal

    async def read(self, after: int, limit: int) -> list[JournalEntry]:
        """Entries past ``after``."""

        def select(connection: sqlite3.Connection) -> list[JournalEntry]:
            rows = connection.execute(
                "SELECT offset, id, type, tracker_id, data FROM journal WHERE offset > ? ORDER BY offset LIMIT ?",
                (after, limit),
            ).fetchall()
            return [JournalEntry(*row) for row in rows]

        return await self._read(select)

    async def bounds(self) -> tuple[int, int]:
        """First and last offset."""

        def select(connection: sqlite3.Connection) -> tuple[int, int]:
            first, last = connection.execute(
                "SELECT (SELECT min(offset) FROM journal), (SELECT seq FROM sqlite_sequence WHERE name = 'journal')"
            ).fetchone()
            last = last or 0
            return (first if first is not None else last + 1), last

        return await self._read(select)

    async def wait(self, after: int, timeout_ms: int) -> bool:
        """Wait for an entry past ``after``."""
        return await self._journal_signal.wait(self._last, after, timeout_ms)

    async def _last(self) -> int:
        return (await self.bounds())[1]

    async def read_run(self, tracker_id: str, first: int = 0) -> list[JournalEntry]:
        """The entries of one run."""

        def select(connection: sqlite3.Connection) -> list[JournalEntry]:
            rows = connection.execute(
                "SELECT offset, id, type, tracker_id, data FROM journal WHERE tracker_id = ? AND offset >= ? ORDER BY offset",
                (tracker_id, first),
            ).fetchall()
            return [JournalEntry(*row) for row in rows]

        return await self._read(select)

    async def size(self) -> StoreSize:
        """Bytes of the file in use and of the journal as its newest entries suggest, how many records, and the room that is left."""

        def select(connection: sqlite3.Connection) -> StoreSize:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            (unused,) = connection.execute("PRAGMA freelist_count").fetchone()
            (page,) = connection.execute("PRAGMA page_size").fetchone()
            first, last = connection.execute("SELECT min(offset), max(offset) FROM journal").fetchone()
            (each,) = connection.execute(
                "SELECT avg(length(data) + length(id) + 64) FROM (SELECT id, data FROM journal ORDER BY offset DESC LIMIT 1000)"
            ).fetchone()
            journal = 0 if first is None else int((last - first + 1) * each)
            (records,) = connection.execute("SELECT count(*) FROM states").fetchone()
            used, free = (pages - unused) * page, shutil.disk_usage(self._path.parent).free
            return StoreSize(used, journal, used + unused * page + free, records, free)

        return await self._read(select)

    async def trim(self, tenure: Tenure, through: int) -> None:
        """Remove the front of the journal; the file keeps its size and uses the room again."""

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

    # ------------------------------------------------------------ places

    async def cursor(self, handler: str) -> SavedCursor | None:
        """Where a handler is."""

        def select(connection: sqlite3.Connection) -> SavedCursor | None:
            row = connection.execute(
                "SELECT revision, data FROM places WHERE handler = ?", (handler,)
            ).fetchone()
            return None if row is None else SavedCursor(*row)

        return await self._read(select)

    async def cursors(self) -> dict[str, SavedCursor]:
        """Where every handler is."""

        def select(connection: sqlite3.Connection) -> dict[str, SavedCursor]:
            rows = connection.execute("SELECT handler, revision, data FROM places").fetchall()
            return {handler: SavedCursor(revision, data) for handler, revision, data in rows}

        return await self._read(select)

    async def blocked_runs(self, handler: str) -> list[SavedBlockedRun]:
        """The runs that are parked for a handler."""

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
        """Compare-and-set a place with its dead letters and parked runs under the tenure's token."""
        await self._write(
            lambda connection: apply_cursor(connection, tenure, handler, cursor, dead_letters, blocked_runs)
        )

    async def handler_dead_letters(self, handler: str | None, limit: int) -> list[HandlerDeadLetter]:
        """The newest, oldest first."""

        def select(connection: sqlite3.Connection) -> list[HandlerDeadLetter]:
            rows = connection.execute(
                "SELECT handler, event_id, offset, tracker_id, type, attempts, error, at_ms, data FROM handler_dead_letters"
                " WHERE ?1 IS NULL OR handler = ?1 ORDER BY at_ms DESC, offset DESC LIMIT ?2",
                (handler, limit),
            ).fetchall()
            return [HandlerDeadLetter(*row) for row in reversed(rows)]

        return await self._read(select)

    async def redrive_dead_letters(self, handler: str, event_ids: Sequence[str]) -> None:
        """Mark letters to be delivered again."""

        def mark(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "INSERT OR IGNORE INTO dead_letter_retries SELECT handler, event_id FROM handler_dead_letters"
                " WHERE handler = ? AND event_id = ?",
                [(handler, event_id) for event_id in event_ids],
            )

        await self._write(mark)

    async def redrives(self, handler: str, limit: int) -> list[HandlerDeadLetter]:
        """Those that are marked."""

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
        """Remove or keep letters, and their marks."""
        await self._write(
            lambda connection: resolve_stored_dead_letters(connection, handler, removed, failed_again)
        )

    # ------------------------------------------------------------ what is asked of handlers

    async def pending_commands(self, handlers: Sequence[str]) -> dict[str, PendingCommands]:
        """What is asked of handlers."""

        def select(connection: sqlite3.Connection) -> dict[str, PendingCommands]:
            rows = connection.execute("SELECT data FROM orders").fetchall()
            commands = [HandlerCommand(**orjson.loads(data)) for (data,) in rows]
            dead_letters, redrives = (
                dict(connection.execute(f"SELECT handler, count(*) FROM {table} GROUP BY handler").fetchall())  # noqa: S608
                for table in ("handler_dead_letters", "dead_letter_retries")
            )
            return {
                each: PendingCommands(
                    commands_of(commands, each), dead_letters.get(each, 0), redrives.get(each, 0)
                )
                for each in handlers
            }

        return await self._read(select)

    async def put_command(self, command: HandlerCommand) -> None:
        """Ask something of a handler."""
        data = orjson.dumps(asdict(command))
        await self._write(
            lambda connection: connection.execute(
                "INSERT OR REPLACE INTO orders VALUES (?, ?, ?)", (command.id, command.handler, data)
            )
        )

    async def remove_command(self, command: HandlerCommand, *, progress: bool = True) -> None:
        """Forget an order, and its progress."""

        def remove(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM orders WHERE id = ?", (command.id,))
            if progress:
                forget_cursor(connection, command.cursor)

        await self._write(remove)

    async def was_done(self, handler: str, key: str, since_ms: int) -> bool:
        """Whether it is marked."""
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
        """Mark it, and forget old ones."""

        def mark(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO once VALUES (?, ?, ?)", (handler, key, at_ms))
            connection.execute("DELETE FROM once WHERE handler = ? AND at_ms < ?", (handler, since_ms))
            connection.execute(
                "DELETE FROM once WHERE rowid <= (SELECT max(rowid) FROM once) - ?", (ONCE_MARKS_KEPT,)
            )

        await self._write(mark)

    async def forget_handler(self, handler: str) -> None:
        """Forget everything about a handler."""

        def forget(connection: sqlite3.Connection) -> None:
            for (command_id,) in connection.execute(
                "SELECT id FROM orders WHERE handler = ?", (handler,)
            ).fetchall():
                forget_cursor(connection, f"{handler}/{command_id}")
            forget_cursor(connection, handler)
            for table in ("orders", "handler_dead_letters", "dead_letter_retries", "once"):
                connection.execute(f"DELETE FROM {table} WHERE handler = ?", (handler,))  # noqa: S608 - known names

        await self._write(forget)


def _user() -> str:
    """Who this process runs as, for people."""
    return f"user {os.geteuid()}"
