"""The real store, its threads taken out: what a thread did happens as a step of the loop, some time later, and may go wrong.

One thread writes, one reads, each does one thing after the other. What was handed to a thread waits for its turn; then the disk may fail,
the transaction may be applied and the caller told that it was not, or everything stands still for seconds. A killed process's transaction
was applied whole or never began, which is what SQLite promises; a frozen one's threads stand still too.

Whatever is executed is told to a witness in the moment in which it is, before anybody hears of it.
"""

import asyncio
import os
import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from consumer.errors import StoreUnavailable
from consumer.ports.commit import Commit
from consumer.ports.delivery import SavedCursor
from consumer.ports.lease import Tenure
from consumer.stores.error_hints import with_hint
from consumer.stores.sqlite.sqlite_store import SqliteStore
from tests.simulation.loop import Process


@dataclass(frozen=True)
class Deed:
    """What is asked of the store.

    Attributes:
        name: of the method.
        facts: its arguments.
    """

    name: str
    facts: tuple[Any, ...] = ()


READING = Deed("read")
_DEED: ContextVar[Deed] = ContextVar("deed", default=READING)


class Disk(Protocol):
    """What the world does to a store."""

    def delay_s(self) -> float:
        """How long the next one takes."""
        ...

    def fault(self, deed: Deed) -> str | None:
        """What goes wrong with it: ``fails``, ``stands still``, ``applied, and said to have failed``; mostly nothing."""
        ...

    def leaves(self, process: Process) -> None:
        """It gives up whatever it holds, whether the store hears of it or not."""
        ...

    def executed(self, process: Process, deed: Deed, result: Any, connection: sqlite3.Connection) -> None:
        """The store has done it (``result`` is an exception where it refused)."""
        ...


class _InMemory(SqliteStore):
    """The real store, on a file that is memory and is gone with its last connection."""

    def __init__(self, path: Path, **named: Any) -> None:
        super().__init__(path, **named)
        self._connections: list[sqlite3.Connection] = []

    def _connect(self, database: str, *, uri: bool) -> sqlite3.Connection:
        connection = super()._connect(f"file:/{self._path.name}?vfs=memdb", uri=True)
        self._connections.append(connection)
        return connection

    def close_files(self) -> None:
        """The world has ended; also for a process that died between forgetting a connection and closing it."""
        for connection in self._connections:
            connection.close()


class Outside(_InMemory):
    """Somebody else's hand on the file, who waits for nobody: a person with a command, and the verdict."""

    async def _run(self, thread: Any, work: Callable[[], Any]) -> Any:
        return work()

    async def _write(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        assert self._writer is not None
        self._writer.execute("BEGIN IMMEDIATE")
        result = work(self._writer)
        self._writer.execute("COMMIT")
        return result


class SimulatedStore(_InMemory):
    """One process's hand on the file.

    Args:
        path: of the file.
        process: whose.
        disk: what the world does to it.
        wall_ms: the machine's clock.
    """

    def __init__(self, path: Path, process: Process, disk: Disk, wall_ms: Callable[[], int]) -> None:
        super().__init__(path, wall_ms=wall_ms)
        self._process = process
        self._disk = disk
        self._gone = False
        self._waiting: dict[Any, deque[tuple[asyncio.Future[Any], Callable[[], Any], Deed]]] = {
            self._write_thread: deque(),
            self._read_thread: deque(),
        }
        self._busy: set[Any] = set()

    def left_behind(self) -> None:
        """What the kernel does when a process ends, however: its lock is free."""
        if self._lock._fd is not None:
            os.close(self._lock._fd)
            self._lock._fd = None

    def close_files(self) -> None:
        """The world has ended."""
        self._gone = True
        self.left_behind()
        super().close_files()

    # ------------------------------------------------------------ the threads

    async def _run(self, thread: Any, work: Callable[[], Any]) -> Any:
        future = asyncio.get_running_loop().create_future()
        self._waiting[thread].append((future, work, _DEED.get()))
        if thread not in self._busy:
            self._next(thread)
        try:
            return await future
        except sqlite3.Error as error:
            raise StoreUnavailable(self.url, with_hint(error)) from error

    def _next(self, thread: Any) -> None:
        self._busy.discard(thread)
        if self._waiting[thread]:
            self._busy.add(thread)
            future, work, deed = self._waiting[thread].popleft()
            delay_s = self._disk.delay_s()
            fault = None if deed.name == "open" else self._disk.fault(deed)
            if fault == "stands still":
                delay_s += 5
            loop = asyncio.get_running_loop()
            if delay_s:
                loop.call_later(delay_s, self._execute, thread, future, work, deed, fault)
            else:
                loop.call_soon(self._execute, thread, future, work, deed, fault)

    def _execute(
        self,
        thread: Any,
        future: asyncio.Future[Any],
        work: Callable[[], Any],
        deed: Deed,
        fault: str | None,
    ) -> None:
        self._next(thread)
        if future.cancelled():
            return
        if fault == "fails":
            future.set_exception(sqlite3.OperationalError("disk I/O error"))
            return
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - the caller's
            future.set_exception(error)
            result = error
        else:
            if fault == "applied, and said to have failed":
                future.set_exception(sqlite3.OperationalError("database is locked"))
            else:
                future.set_result(result)
        if deed is not READING and self._writer is not None:
            self._disk.executed(self._process, deed, result, self._writer)

    # ------------------------------------------------------------ what is watched

    async def _write(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        if self._gone:
            raise StoreUnavailable(self.url, "this world has ended")
        return await super()._write(work)

    async def _read(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        if self._gone:
            raise StoreUnavailable(self.url, "this world has ended")
        return await super()._read(work)

    async def _as(self, deed: Deed, asked: Callable[[], Awaitable[Any]]) -> Any:
        told = _DEED.set(deed)
        try:
            return await asked()
        finally:
            _DEED.reset(told)

    async def open(self) -> None:
        await self._as(Deed("open"), super().open)

    async def acquire(self, holder: str, lease_ms: int) -> Tenure | None:
        asked = super().acquire
        won: Tenure | None = await self._as(
            Deed("acquire", (holder, lease_ms)), lambda: asked(holder, lease_ms)
        )
        return won

    async def renew(self, tenure: Tenure, number: int, lease_ms: int) -> None:
        asked = super().renew
        await self._as(Deed("renew", (tenure, number, lease_ms)), lambda: asked(tenure, number, lease_ms))

    async def release(self, tenure: Tenure) -> None:
        asked = super().release
        self._disk.leaves(self._process)
        await self._as(Deed("release", (tenure,)), lambda: asked(tenure))

    async def commit(self, commit: Commit) -> bool:
        asked = super().commit
        return bool(await self._as(Deed("commit", (commit,)), lambda: asked(commit)))

    async def save_cursor(
        self,
        tenure: Tenure,
        handler: str,
        cursor: SavedCursor,
        dead_letters: Any = (),
        blocked_runs: Any = None,
    ) -> None:
        asked = super().save_cursor
        rows = blocked_runs or {}
        await self._as(
            Deed("save_place", (tenure, handler, cursor, tuple(dead_letters), dict(rows))),
            lambda: asked(tenure, handler, cursor, dead_letters, rows),
        )

    async def resolve_dead_letters(self, handler: str, removed: Any, failed_again: Any = ()) -> None:
        asked = super().resolve_dead_letters
        await self._as(
            Deed("settle_dead_letters", (handler, tuple(removed), tuple(failed_again))),
            lambda: asked(handler, removed, failed_again),
        )
