"""5,000 random schedules on real stores: no violation of guarantees 1 to 4. A failing seed: ``python -m tests.model --seed N --store S -v``."""

import tempfile
from collections import Counter
from pathlib import Path

import pytest

from tests.model.faults import FAULTS
from tests.model.rounds import WAITS, memory_folder
from tests.model.schedule import HAPPENINGS, run_schedule
from tests.model.stores import RedisStores, SqliteStores
from tests.support.servers.redis_server import RedisServer

CHUNK = 250
NEVER_COUNTED = {"answer", "fault"}


@pytest.fixture(scope="module")
def server():
    """One Redis for all schedules of a worker, in memory where there is a memory folder."""
    with tempfile.TemporaryDirectory(dir=memory_folder()) as folder:
        server = RedisServer(Path(folder))
        server.start()
        yield server
        server.stop()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    for module, name, nothing in WAITS:
        monkeypatch.setattr(module, name, nothing)


async def play(store, stores, first):
    total: Counter[str] = Counter()
    for seed in range(first, first + CHUNK):
        try:
            total.update(await run_schedule(seed, stores))
        except Exception as error:
            error.add_note(f"replay it: python -m tests.model --seed {seed} --store {store} -v")
            raise
    expected = {
        *HAPPENINGS,
        *FAULTS,
        "commits",
        "refused",
        "events marked late",
        "events of timers",
        "dead letters",
    } - NEVER_COUNTED
    assert not expected - set(+total), f"a misfortune never happened, so nothing was proven: {total}"


@pytest.mark.long
@pytest.mark.parametrize("first", range(0, 2_500, CHUNK))
async def test_schedules_on_sqlite(first):
    with tempfile.TemporaryDirectory(dir=memory_folder()) as folder:
        await play("sqlite", SqliteStores(Path(folder)), first)


@pytest.mark.long
@pytest.mark.parametrize("first", range(2_500, 5_000, CHUNK))
async def test_schedules_on_redis(server, first):
    stores = RedisStores(server.url)
    try:
        await play("redis", stores, first)
    finally:
        await stores.aclose()


async def test_a_seed_replays_exactly():
    with tempfile.TemporaryDirectory(dir=memory_folder()) as folder:
        stores = SqliteStores(Path(folder))
        for seed in range(20):
            once: list[str] = []
            again: list[str] = []
            await run_schedule(seed, stores, once.append)
            await run_schedule(seed, stores, again.append)
            assert once == again


async def test_a_seed_is_the_same_schedule_on_both_stores(server):
    redis = RedisStores(server.url)
    try:
        with tempfile.TemporaryDirectory(dir=memory_folder()) as folder:
            sqlite = SqliteStores(Path(folder))
            for seed in range(20):
                on_sqlite: list[str] = []
                on_redis: list[str] = []
                await run_schedule(seed, sqlite, on_sqlite.append)
                await run_schedule(seed, redis, on_redis.append)
                assert on_sqlite == on_redis
    finally:
        await redis.aclose()
