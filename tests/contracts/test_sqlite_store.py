"""What only a file can do wrong: not be there at first, be locked, stay behind in pieces."""

import contextlib
import sqlite3

import pytest

from consumer.errors import CommitRefused, StoreUnavailable
from consumer.ports import Commit
from consumer.stores.sqlite import SqliteStore

ORG = "00DWP0000001234MAA"


async def test_a_store_that_could_not_be_opened_can_be_opened_when_its_folder_is_there(tmp_path):
    store = SqliteStore(tmp_path / "later" / "cadence.db")
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="folder does not exist"):
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
async def replicas(path, number):
    """Stores as that many processes have them: the lock is by open file, so one process is as good as three."""
    stores = [SqliteStore(path) for _ in range(number)]
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
        one._lock.give_back()  # as the kernel does
        assert await two.acquire("two", 60_000) is not None


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
        two._lock.give_back()  # killed
        assert await three.acquire("three", 60_000) is not None


async def test_a_replica_that_waits_keeps_the_lock_from_nobody(tmp_path):
    async with replicas(tmp_path / "cadence.db", 3) as (one, two, three):
        await one.acquire("one", 0)
        holder = await two.acquire("two", 60_000)
        one._lock.give_back()  # killed while frozen: the lock is free, and two has none
        assert await three.acquire("three", 60_000) is None
        await two.renew(holder, 0, 60_000)
        two._lock.give_back()
        assert await one.acquire("one", 60_000) is not None
