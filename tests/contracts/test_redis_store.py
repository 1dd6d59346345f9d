"""What only Redis can do wrong: half-written scripts, old servers, clients that repeat commands, configurations that forget."""

import asyncio
import uuid
from importlib import resources

import pytest
import redis

from consumer.errors import StoreForeign, StoreUnavailable
from consumer.ports.commit import ChannelState, IngestDeadLetter
from consumer.ports.delivery import HandlerDeadLetter, SavedCursor
from consumer.stores.redis.redis_store import RedisStore
from tests.contracts.test_store import LEASE_MS, commit_of
from tests.support.servers.redis_server import RedisServer


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def store(server):
    store = RedisStore(server.url, shown_url=server.url, prefix=f"test-{uuid.uuid4().hex}")
    await store.open()
    yield store
    await store.aclose()


@pytest.fixture
def plain(server):
    with redis.Redis(port=server.port) as client:
        yield client


DEAD_LETTER = IngestDeadLetter("/data/x/7/ab", "/data/x", "7", "no_header", "why", b"raw", 5)


async def test_a_commit_that_would_fail_half_way_writes_nothing(store, plain):
    tenure = await store.acquire("one", LEASE_MS)
    plain.set(store._keys.ingest_dead_letters_order, "not a sorted set")
    commit = commit_of(
        tenure,
        1,
        events=3,
        states={"r": b"x"},
        channels={"/data/x": ChannelState(1, "7")},
        dead_letters=[DEAD_LETTER],
    )
    with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
        await store.commit(commit)
    assert await store.bounds() == (1, 0)
    assert await store.states(["r"]) == {}
    assert await store.channels() == {}
    plain.delete(store._keys.ingest_dead_letters_order)
    assert await store.commit(commit) is True


async def test_a_cursor_that_would_be_written_half_way_is_not_written(store, plain):
    tenure = await store.acquire("one", LEASE_MS)
    plain.set(store._keys.dead_letters_order_prefix + "h", "not a sorted set")
    dead_letter = HandlerDeadLetter("h", "id1", 4, None, "run.updated", 1, "boom", 77, b"{}")
    with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
        await store.save_cursor(tenure, "h", SavedCursor(1, b"a"), [dead_letter])
    assert await store.cursor("h") is None
    plain.delete(store._keys.dead_letters_order_prefix + "h")
    assert not plain.exists(store._keys.handler_dead_letters)


async def test_a_commit_over_the_memory_limit_fails_before_its_first_write(store, plain):
    tenure = await store.acquire("one", LEASE_MS)
    plain.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(StoreUnavailable, match="memory"):
            await store.commit(commit_of(tenure, 1, events=3, states={"r": b"x"}))
    finally:
        plain.config_set("maxmemory", "0")
    assert await store.bounds() == (1, 0)
    assert await store.states(["r"]) == {}
    assert await store.commit(commit_of(tenure, 1, events=3)) is True


async def test_everything_stands_under_one_hash_tag(store, plain, server):
    tenure = await store.acquire("one", LEASE_MS)
    await store.commit(commit_of(tenure, 1, events=3, states={"r": b"x"}, dead_letters=[DEAD_LETTER]))
    await store.save_cursor(tenure, "h", SavedCursor(1, b"a"))
    tag = store._keys.lease.removesuffix("lease").encode()
    mine = [key for key in plain.scan_iter() if tag.strip(b"{}:") in key]
    assert len(mine) >= 8
    assert all(key.startswith(tag) and tag.startswith(b"{") and tag.endswith(b"}:") for key in mine)


async def test_journal_offsets_never_repeat_even_when_everything_was_trimmed(store, plain):
    tenure = await store.acquire("one", LEASE_MS)
    await store.commit(commit_of(tenure, 1, events=3))
    plain.xtrim(store._keys.journal, maxlen=0)
    assert await store.bounds() == (4, 3)
    await store.commit(commit_of(tenure, 2, events=1))
    assert [entry.offset for entry in await store.read(0, 10)] == [4]


async def test_start_up_warns_unless_the_server_keeps_what_it_is_given(store, plain):
    assert await store.warnings() == []
    plain.config_set("maxmemory-policy", "allkeys-lru")
    plain.config_set("appendonly", "no")
    try:
        policy, aof = await store.warnings()
    finally:
        plain.config_set("maxmemory-policy", "noeviction")
        plain.config_set("appendonly", "yes")
    assert "allkeys-lru" in policy
    assert "set noeviction" in policy
    assert "appendonly no" in aof


async def test_a_server_that_would_take_no_commit_is_told_before_one_is_tried(server, store, plain, tmp_path):
    assert await store.write_problems() == []
    plain.config_set("maxmemory", "1mb")
    try:
        (full,) = await store.write_problems()
    finally:
        plain.config_set("maxmemory", "0")
    assert "is full (1048576 bytes): raise maxmemory" in full
    replica = RedisServer(tmp_path, None, "--replicaof", f"127.0.0.1 {server.port}")
    replica.start()
    try:
        other = RedisStore(replica.url, shown_url=replica.url, read_only=True)
        (told,) = await other.write_problems()
        await other.aclose()
    finally:
        replica.stop()
    assert told == f"{replica.url} is a replica, which accepts no commits: name the primary in store.url"


async def test_how_a_server_is_configured_is_seen_without_the_right_to_config(server, plain):
    plain.acl_setuser(
        "app", enabled=True, passwords=["+geheim"], keys=["*"], categories=["+@all"], commands=["-config"]
    )
    url = f"redis://app:geheim@127.0.0.1:{server.port}/0"
    store = RedisStore(url, shown_url="redis://x")
    assert await store.warnings() == []
    await store.aclose()


async def test_an_old_server_is_refused_with_a_clear_line(store, monkeypatch):
    async def info(_section):
        return {"redis_version": "6.2.14"}

    monkeypatch.setattr(store._redis, "info", info)
    with pytest.raises(StoreForeign, match=r"is Redis 6\.2\.14: upgrade it to 7\.0 or newer, or use Valkey"):
        await store.open()


async def test_a_newer_format_is_refused(store, plain):
    plain.hset(store._keys.meta, "format", "99")
    with pytest.raises(StoreForeign, match="run the newer release"):
        await store.open()


async def test_a_unix_socket_works(tmp_path):
    # The path of a socket must be short.
    server = RedisServer(tmp_path, None, "--unixsocket", f"/tmp/{uuid.uuid4().hex}.sock")
    server.start()
    path = server._options[1]
    store = RedisStore(f"unix://{path}?db=0", shown_url=f"unix://{path}")
    try:
        await store.open()
        assert await store.acquire("one", LEASE_MS) is not None
    finally:
        await store.aclose()
        server.stop()


async def test_no_password_is_ever_shown(server):
    store = RedisStore(
        f"redis://user:geheim@127.0.0.1:{server.port}/0",
        shown_url=f"redis://user:***@127.0.0.1:{server.port}/0",
    )
    with pytest.raises(StoreUnavailable) as caught:
        await store.open()
    await store.aclose()
    assert "geheim" not in str(caught.value)


def test_every_script_says_lua_so_that_a_full_or_read_only_server_refuses_it_before_it_runs():
    scripts = [one for one in resources.files("consumer.stores.redis").iterdir() if one.name.endswith(".lua")]
    assert len(scripts) >= 4
    assert [script.name for script in scripts if not script.read_text().startswith("#!lua\n")] == []


async def test_a_call_that_is_cancelled_ends_cancelled_at_whatever_moment(store):
    cancelled = 0
    for turns in range(12):
        call = asyncio.create_task(store.bounds())
        for _ in range(turns):
            await asyncio.sleep(0)
        if call.cancel():
            with pytest.raises(asyncio.CancelledError):
                await call
            cancelled += 1
    assert cancelled > 3


async def test_the_client_never_repeats_a_command_by_itself():
    """A script that timed out may have been applied; only the commit's number can tell."""
    connections = 0

    async def hang_up(reader, writer):
        nonlocal connections
        connections += 1
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    store = RedisStore(f"redis://127.0.0.1:{port}/0", shown_url="redis://x")
    try:
        with pytest.raises(StoreUnavailable):
            await store.bounds()
        assert connections == 1
    finally:
        await store.aclose()
        server.close()
        await server.wait_closed()
