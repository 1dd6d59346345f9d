"""What only a file can do wrong: not be there at first, be locked, stay behind in pieces."""

import contextlib
import sqlite3
import threading

import pytest

from consumer.errors import CommitRefused, StoreEmpty, StoreForeign, StoreUnavailable
from consumer.ports.commit import Commit
from consumer.stores.sqlite import sqlite_connections
from consumer.stores.sqlite.file_lock import FileLock
from consumer.stores.sqlite.schema import FORMAT
from consumer.stores.sqlite.sqlite_store import SqliteStore

ORG = "00DWP0000001234MAA"


async def test_a_store_that_could_not_be_opened_can_be_opened_when_its_folder_is_there(tmp_path):
    store = SqliteStore(tmp_path / "later" / "cadence.db")
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="its folder is missing"):
            await store.open()
    (tmp_path / "later").mkdir()
    await store.open()
    assert await store.acquire("one", 1_000) is not None
    await store.aclose()


async def test_after_an_orderly_end_the_file_alone_holds_everything(tmp_path):
    path = tmp_path / "cadence.db"
    store = SqliteStore(path)
    await store.open()
    tenure = await store.acquire("one", 1_000)
    await store.commit(Commit(tenure.token, 1, ORG, states={"r": b"state"}))
    await store.aclose()
    assert not (tmp_path / "cadence.db-wal").exists()
    copy = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    assert copy.execute("SELECT data FROM states").fetchall() == [(b"state",)]
    copy.close()


@contextlib.asynccontextmanager
async def replicas(path, number, **options):
    """Stores as that many processes have them: the lock is by open file, so one process is as good as three."""
    stores = [SqliteStore(path, **options) for _ in range(number)]
    try:
        for store in stores:
            await store.open()
        yield stores
    finally:
        for store in stores:
            await store.aclose()


async def test_the_lease_of_a_dead_process_is_taken_at_once(tmp_path):
    async with replicas(tmp_path / "cadence.db", 2) as (one, two):
        assert await one.acquire("one", 60_000) is not None
        assert await two.acquire("two", 60_000) is None
        one._lock.release()  # as the kernel does
        assert await two.acquire("two", 60_000) is not None


async def test_a_lease_is_over_in_the_millisecond_in_which_it_ends(tmp_path):
    now_ms = 1_000_000
    async with replicas(tmp_path / "cadence.db", 2, wall_ms=lambda: now_ms) as (one, two):
        assert await one.acquire("one", 50) is not None
        now_ms += 49
        assert await two.acquire("two", 50) is None
        assert (await two.lease()).holder == "one"
        now_ms += 1
        assert (await two.lease()).holder is None
        assert await two.acquire("two", 50) is not None


async def test_a_frozen_holder_that_goes_on_does_not_oust_the_one_that_took_over(tmp_path):
    async with replicas(tmp_path / "cadence.db", 3) as (one, two, three):
        frozen = await one.acquire("one", 0)  # its lease runs out, and its process still has the lock
        holder = await two.acquire("two", 60_000)
        with pytest.raises(CommitRefused):
            await one.commit(Commit(frozen.token, 1, ORG))
        await one.release(frozen)
        assert await one.acquire("one", 60_000) is None
        assert await three.acquire("three", 60_000) is None
        await two.commit(Commit(holder.token, 1, ORG))


async def test_who_took_over_from_a_frozen_holder_has_the_lock_once_that_one_let_go(tmp_path):
    async with replicas(tmp_path / "cadence.db", 3) as (one, two, three):
        frozen = await one.acquire("one", 0)
        holder = await two.acquire("two", 60_000)
        await one.release(frozen)
        await two.renew(holder, 0, 60_000)
        assert await three.acquire("three", 60_000) is None
        two._lock.release()  # killed
        assert await three.acquire("three", 60_000) is not None


async def test_a_replica_that_waits_keeps_the_lock_from_nobody(tmp_path):
    async with replicas(tmp_path / "cadence.db", 3) as (one, two, three):
        await one.acquire("one", 0)
        holder = await two.acquire("two", 60_000)
        one._lock.release()  # killed while frozen: the lock is free, and two has none
        assert await three.acquire("three", 60_000) is None
        await two.renew(holder, 0, 60_000)
        two._lock.release()
        assert await one.acquire("one", 60_000) is not None


async def test_a_file_of_a_newer_format_is_refused_by_who_writes_and_by_who_looks(tmp_path):
    path = tmp_path / "cadence.db"
    store = SqliteStore(path)
    await store.open()
    await store.aclose()
    with contextlib.closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT * FROM meta").fetchall() == [("format", str(FORMAT))]
        other.execute("UPDATE meta SET value = ?", (str(FORMAT + 1),))
        other.commit()
    for read_only in (False, True):
        newer = SqliteStore(path, read_only=read_only)
        with pytest.raises(StoreForeign, match=f"cadence.db has format {FORMAT + 1}; .* up to {FORMAT}:"):
            await newer.open()
        await newer.aclose()


@pytest.mark.parametrize(("asked", "pragma"), [("normal", 1), ("full", 2)])
async def test_a_commit_waits_for_the_disk_when_it_is_asked_to(tmp_path, asked, pragma):
    store = SqliteStore(tmp_path / "cadence.db", synchronous=asked)
    await store.open()
    assert await store._write(lambda writer: writer.execute("PRAGMA synchronous").fetchone()) == (pragma,)
    assert await store._read(lambda reader: reader.execute("PRAGMA query_only").fetchone()) is not None
    with pytest.raises(StoreUnavailable, match=r"cadence\.db.*read-?only"):
        await store._read(lambda reader: reader.execute("DELETE FROM meta"))
    await store.aclose()


async def test_each_connection_lives_on_a_thread_of_its_own(tmp_path):
    opened = {}

    class Watched(SqliteStore):
        def _open_writer(self):
            opened["writer"] = threading.current_thread()
            super()._open_writer()

        def _open_reader(self):
            opened["reader"] = threading.current_thread()
            super()._open_reader()

    store = Watched(tmp_path / "cadence.db")
    await store.open()
    for _ in range(3):
        assert await store._write(lambda _: threading.current_thread()) is opened["writer"]
        assert await store._read(lambda _: threading.current_thread()) is opened["reader"]
    assert opened["writer"] is not opened["reader"]
    assert opened["writer"].name.startswith("store-write")
    assert opened["reader"].name.startswith("store-read")
    await store.aclose()


async def test_many_states_are_asked_for_in_few_queries(tmp_path):
    store = SqliteStore(tmp_path / "cadence.db")
    await store.open()
    asked = []
    await store._read(lambda reader: reader.set_trace_callback(asked.append))
    assert await store.states([f"r{number}" for number in range(1_200)]) == {}
    assert len(asked) == 3
    await store.aclose()


async def test_tables_that_cannot_be_made_are_told_and_leave_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_connections, "SCHEMA", ("CREATE TABLE made (x)", "CREATE TABLE"))
    store = SqliteStore(tmp_path / "cadence.db")
    with pytest.raises(StoreUnavailable, match="incomplete input"):
        await store.open()
    await store.aclose()
    with contextlib.closing(sqlite3.connect(tmp_path / "cadence.db")) as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == []


async def test_a_store_that_is_closed_or_only_looks_says_so(tmp_path):
    path = tmp_path / "cadence.db"
    looking = SqliteStore(path, read_only=True)
    with pytest.raises(StoreEmpty, match=r"cadence\.db.*the file does not exist yet"):
        await looking.open()
    await looking.aclose()
    store = SqliteStore(path)
    await store.open()
    looking = SqliteStore(path, read_only=True)
    await looking.open()
    with pytest.raises(StoreUnavailable, match=r"cadence\.db.*it is closed or open for reading only"):
        await looking.move({})
    await looking.aclose()
    await store.aclose()
    with pytest.raises(StoreUnavailable, match=r"cadence\.db.*it is closed$"):
        await store.bounds()


async def test_who_could_not_write_the_lease_keeps_the_lock_from_nobody(tmp_path):
    path = tmp_path / "cadence.db"
    store = SqliteStore(path)
    with pytest.raises(StoreUnavailable):
        await store.acquire("one", 60_000)
    other = FileLock(tmp_path / "cadence.db.lock")
    assert other.acquire() == ""
    other.release()
    await store.aclose()
