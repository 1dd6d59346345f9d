"""The Redis stream, on a real server: in order, once, bounded, and whole or not at all."""

import signal

import pytest
import redis

from consumer import LifecycleEvent
from consumer.errors import SettingsError
from tests.support.servers.redis_server import RedisServer


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    one = RedisServer(tmp_path_factory.mktemp("redis-stream"))
    one.start()
    yield one
    one.stop(signal.SIGKILL)


@pytest.fixture
def client(server):
    with redis.Redis(port=server.port, decode_responses=True, socket_timeout=5) as one:
        one.flushdb()
        yield one


@pytest.fixture
def kit(server, client, feed):
    def make(section=None, **settings):
        return feed("redis_stream", settings={"url": server.url, **settings}, **(section or {}))

    return make


def ids(client, stream="cadence-events"):
    return [fields["id"] for _, fields in client.xrange(stream)]


async def test_an_entry_is_the_event_with_its_run_as_key(kit, client, new_run):
    run = new_run().enrol().begin_step()
    await kit().deliver(run.events)
    entries = [fields for _, fields in client.xrange("cadence-events")]
    assert [entry["id"] for entry in entries] == [event.id for event in run.events]
    assert {entry["key"] for entry in entries} == {run.tracker_id}
    assert [entry["type"] for entry in entries] == [event.type for event in run.events]
    assert [LifecycleEvent.from_json(entry["event"].encode()) for entry in entries] == run.events


async def test_killed_replayed_and_repeated_events_stand_there_once(kit, client, new_run):
    run = new_run().enrol().begin_step().complete_step().end()
    sink = kit()
    await sink.deliver(run.events[:3], kills=[1, 2])
    for dead in sink.killed:
        await dead.close()
    await sink.deliver(run.events)
    await sink.replay(run.events)
    assert ids(client) == [event.id for event in run.events]


async def test_what_is_forgotten_is_appended_again(kit, client, new_run):
    event = new_run().enrol().events[0]
    await kit().deliver([event])
    (_, score), *_ = client.zrange("{cadence-events}:ids", 0, -1, withscores=True)
    client.zadd("{cadence-events}:ids", {event.id: score - 3_600_001})
    await kit(remember_hours=2).deliver([event])
    assert ids(client) == [event.id]
    await kit(remember_hours=1).deliver([event])
    assert ids(client) == [event.id] * 2


async def test_the_stream_is_bounded(kit, client, new_run):
    events = [event for _ in range(300) for event in new_run().enrol().events]
    await kit(maxlen=100).deliver(events)
    kept = ids(client)
    assert 100 <= len(kept) <= 200  # "~" cuts whole nodes of a hundred
    assert kept == [event.id for event in events][-len(kept) :]


async def test_a_runs_events_are_in_one_partition_in_order(kit, client, new_run):
    runs = [new_run().enrol().end() for _ in range(20)]
    await kit(partitions=4).deliver(
        [event for pair in zip(*(r.events for r in runs), strict=True) for event in pair]
    )
    found = {number: ids(client, f"cadence-events:{number}") for number in range(4)}
    assert sum(map(len, found.values())) == 60
    assert all(found.values())
    for run in runs:
        mine = [event.id for event in run.events]
        homes = [[one for one in stream if one in mine] for stream in found.values()]
        assert max(homes, key=len) == mine


async def test_a_key_of_another_kind_is_left_as_it_is(kit, client, new_run):
    client.set("{cadence-events}:ids", "somebody's")
    report = await kit(section={"max_attempts": 1}).deliver(new_run().enrol().events[:1])
    assert "is a string and not a zset" in report.dead_letters[0][1]
    assert ids(client) == []


async def test_a_redis_that_is_full_takes_all_of_a_batch_or_nothing(kit, client, new_run):
    run = new_run().enrol().end()
    client.config_set("maxmemory", "1")
    try:
        report = await kit(section={"max_attempts": 1}).deliver(run.events)
    finally:
        client.config_set("maxmemory", "0")
    assert len(report.dead_letters) == 3
    assert (client.exists("cadence-events"), client.exists("{cadence-events}:ids")) == (0, 0)
    await kit().deliver(run.events)
    assert ids(client) == [event.id for event in run.events]


def test_the_address_is_checked_and_its_password_is_not_shown(feed):
    from handlers.redis_stream import RedisStream

    with pytest.raises(SettingsError, match="must begin with redis://") as error:
        feed("redis_stream", settings={"url": "http://:hunter2@x"})
    assert "hunter2" not in str(error.value)
    assert "hunter2" not in repr(RedisStream.Settings(url="redis://:hunter2@x"))
