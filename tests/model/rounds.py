"""Many schedules on one kind of store."""

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from consumer.backoff import Backoff
from consumer.ingest import commits, pipeline
from tests.model.schedule import run_schedule
from tests.model.stores import RedisStores, SqliteStores
from tests.support.servers.redis_server import RedisServer

WAITS = (
    (commits, "_BACKOFF", Backoff(0, 0)),
    (pipeline, "_LOAD_RETRY_MS", 0),
)
"""What the service waits for in real time before it asks a store again; nobody does here."""


def memory_folder() -> Path | None:
    return Path("/dev/shm") if Path("/dev/shm").is_dir() else None


@asynccontextmanager
async def on_sqlite() -> AsyncIterator[SqliteStores]:
    with tempfile.TemporaryDirectory(dir=memory_folder()) as folder:
        yield SqliteStores(Path(folder))


@asynccontextmanager
async def on_redis() -> AsyncIterator[RedisStores]:
    with tempfile.TemporaryDirectory(dir=memory_folder()) as folder:
        server = RedisServer(Path(folder))
        server.start()
        stores = RedisStores(server.url)
        try:
            yield stores
        finally:
            await stores.aclose()
            server.stop()


STORES = {"sqlite": on_sqlite, "redis": on_redis}


async def play(store: str, seeds: Iterable[int], *, verbose: bool) -> Counter[str]:
    for module, name, nothing in WAITS:
        assert hasattr(module, name), f"{module.__name__} waits by another name"
        setattr(module, name, nothing)
    total: Counter[str] = Counter()
    async with STORES[store]() as stores:
        for seed in seeds:
            try:
                total.update(await run_schedule(seed, stores, print if verbose else None))
            except Exception as error:
                error.add_note(f"python -m tests.model --seed {seed} --store {store} -v")
                raise
    return total


def chunk(store: str, verbose: bool, first: int, last: int) -> tuple[Counter[str], str | None]:
    """Seeds from ``first`` to before ``last``; what happened, and the first violation."""
    try:
        return asyncio.run(play(store, range(first, last), verbose=verbose)), None
    except Exception as error:  # noqa: BLE001 - whatever it is, its seed is wanted
        return Counter(), f"{type(error).__name__}: {error}\n" + "\n".join(error.__notes__)
