"""The stores that keep one contract: a file, and real servers started here."""

import uuid

import pytest

from consumer.stores.redis.redis_store import RedisStore
from consumer.stores.sqlite.sqlite_store import SqliteStore
from tests.support.builders.commits import LEASE_MS
from tests.support.servers.redis_server import RedisServer, redis_command, valkey_command


@pytest.fixture(scope="module", params=["sqlite", "redis", "valkey"])
def server(request, tmp_path_factory):
    """The kind of store, and its server where it needs one: a real one, started here."""
    if request.param == "sqlite":
        yield None
        return
    command = redis_command() if request.param == "redis" else valkey_command()
    server = RedisServer(tmp_path_factory.mktemp(request.param), command)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def new_store(server, tmp_path):
    """Makes stores on the same data: call it twice for two replicas."""
    if server is None:
        return lambda **options: SqliteStore(tmp_path / "cadence.db", **options)
    prefix = f"test-{uuid.uuid4().hex}"
    return lambda **options: RedisStore(server.url, shown_url=server.url, prefix=prefix, **options)


@pytest.fixture
async def store(new_store):
    store = new_store()
    await store.open()
    yield store
    await store.aclose()


@pytest.fixture
async def tenure(store):
    won = await store.acquire("one", LEASE_MS)
    assert won is not None
    return won
