"""5,000 random schedules on real stores: no violation of guarantees 1 to 4. A failing seed: ``python -m tests.model --seed N --store S``."""

import tempfile
from pathlib import Path

import pytest

from consumer.ingest import committer, pipeline
from tests.model.__main__ import memory_folder
from tests.model.schedule import FAULTS, run_schedule
from tests.model.stores import RedisStores, SqliteStores
from tests.redis_server import RedisServer

CHUNK = 250


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
    for module, name in (
        (committer, "_FIRST_RETRY_MS"),
        (committer, "_LONGEST_RETRY_MS"),
        (pipeline, "_LOAD_AGAIN_MS"),
    ):
        monkeypatch.setattr(module, name, 0)


async def play(stores, first):
    total = dict.fromkeys(("commits", "crash", "session", "lease", "rollback", "replay", *FAULTS), 0)
    for seed in range(first, first + CHUNK):
        try:
            figures = await run_schedule(seed, stores)
        except AssertionError as error:
            error.add_note(f"replay it: python -m tests.model --seed {seed}")
            raise
        for name, count in figures.items():
            total[name] += count
    assert all(total.values()), f"a misfortune never happened, so nothing was proven: {total}"


@pytest.mark.long
@pytest.mark.parametrize("first", range(0, 2_500, CHUNK))
async def test_schedules_on_sqlite(first):
    with tempfile.TemporaryDirectory(dir=memory_folder()) as folder:
        await play(SqliteStores(Path(folder)), first)


@pytest.mark.long
@pytest.mark.parametrize("first", range(2_500, 5_000, CHUNK))
async def test_schedules_on_redis(server, first):
    stores = RedisStores(server.url)
    try:
        await play(stores, first)
    finally:
        await stores.aclose()


async def test_a_seed_replays_exactly():
    with tempfile.TemporaryDirectory(dir=memory_folder()) as folder:
        stores = SqliteStores(Path(folder))
        assert [await run_schedule(seed, stores) for seed in range(5)] == [
            await run_schedule(seed, stores) for seed in range(5)
        ]
