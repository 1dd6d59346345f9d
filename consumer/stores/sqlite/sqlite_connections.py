"""Connections of the SQLite store: one writer and one reader, a thread each.

A commit never delays a handler that reads the journal. The file is in WAL mode with ``synchronous=NORMAL``: it survives ``kill -9`` of the
process; a power failure may take the last commits back *together* with their positions (``?synchronous=full`` in the URL prevents that, at
the price of one disk flush per commit).
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from consumer.errors import StoreEmpty, StoreForeign, StoreUnavailable
from consumer.stores.error_hints import with_hint
from consumer.stores.journal_signal import JournalSignal
from consumer.stores.sqlite.file_lock import FileLock
from consumer.stores.sqlite.schema import FORMAT, SCHEMA
from consumer.stores.sqlite.transactions import now_ms

__all__ = ["SqliteConnections"]

T = TypeVar("T")

_BUSY_MS: Final = 5_000
_CACHE_KIB: Final = 8_000
"""Cache of the writer.

With SQLite's default of 2,000 a commit that updates records all over the file spends half of its time waiting for reads.
"""


class SqliteConnections:
    """Writer and reader of one SQLite file, with its lock file.

    Args:
        path: path of the file; its folder must exist.
        synchronous: ``normal`` or ``full``.
        read_only: for commands that only read: never creates, writes or locks.
        wall_ms: wall clock of this machine in milliseconds, by which leases expire.
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
        """Location of the store without password."""
        return f"sqlite:///{self._path}"

    async def open(self) -> None:
        """Create or open the file.

        Raises:
            StoreUnavailable: the file cannot be opened, or does not exist when opened for reading only.
            StoreForeign: a newer version wrote the file.
        """
        try:
            if not self._read_only:
                await self._run(self._write_thread, self._open_writer)
            await self._run(self._read_thread, self._open_reader)
        except BaseException:
            await self._disconnect()  # the threads stay: the caller may open the store again
            raise

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
            raise StoreEmpty(
                self.url, "the file does not exist yet; the service creates it when it first runs"
            )
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
                f"store {self.url} has format {row[0]}; this version reads up to {FORMAT}: run the newer release"
            )

    async def aclose(self) -> None:
        """Close both connections and release the lock."""
        await self._disconnect()
        for thread in (self._write_thread, self._read_thread):
            thread.shutdown(wait=False)
        self._lock.release()

    async def _disconnect(self) -> None:
        # The writer is closed last: it checkpoints the write-ahead log into the file, so that the file alone can be copied.
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
                raise StoreUnavailable(self.url, "it is closed or open for reading only")
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            return result

        # Shielded from the caller's cancellation: the caller has to learn whether the transaction was applied.
        return await asyncio.shield(self._run(self._write_thread, transaction))

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._reader
        if connection is None:
            raise StoreUnavailable(self.url, "it is closed")
        return await self._run(self._read_thread, lambda: work(connection))
