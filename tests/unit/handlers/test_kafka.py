"""The Kafka topic, on librdkafka's brokers: keyed by run, in order, nothing lost, whatever the brokers do."""

import asyncio
import json
from collections import Counter, defaultdict

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from consumer import LifecycleEvent
from consumer.errors import SettingsError
from handlers import kafka
from tests.support.servers.kafka_cluster import KafkaCluster, header

NOT_LEADER, TIMED_OUT, NOT_ENOUGH_REPLICAS, CUT, TOPIC_FORBIDDEN = 6, 7, 19, -195, 29


@pytest.fixture
def cluster():
    with KafkaCluster() as one:
        yield one


@pytest.fixture
def kit(cluster, feed):
    def make(section=None, **settings):
        return feed("kafka", settings={"servers": cluster.servers, **settings}, **(section or {}))

    return make


def runs_of(new_run, count):
    """Events of several runs, mixed as a journal mixes them."""
    stories = [new_run().enrol().begin_step().complete_step().end().events for _ in range(count)]
    return [event for events in zip(*stories, strict=True) for event in events]


def assert_complete_and_in_order(records, events):
    """Every event is there, in its run's partition, and nothing of a run is there before what comes before it."""
    wanted, seen, places = defaultdict(list), defaultdict(list), defaultdict(set)
    for event in events:
        wanted[event.tracker_id].append(event.id)
    for record in records:
        run = record.key().decode()
        places[run].add(record.partition())
        if (one := header(record, "ce_id")) not in seen[run]:
            seen[run].append(one)
    assert seen == wanted
    assert all(len(partitions) == 1 for partitions in places.values())


async def test_a_record_is_a_cloud_event_with_the_run_as_key(kit, cluster, new_run):
    run = new_run().enrol().begin_step()
    await kit().deliver(run.events)
    records = cluster.records()
    assert {record.key().decode() for record in records} == {run.tracker_id}
    for record, event in zip(records, run.events, strict=True):
        assert header(record, "content-type").startswith("application/cloudevents+json")
        assert header(record, "ce_type") == f"cadence.{event.type}"
        read = JSONFormat().read(CloudEvent, record.value())
        assert (read.get_id(), read.get_subject()) == (event.id, event.tracker_id)
        assert header(record, "ce_id") == event.id
        assert LifecycleEvent.from_json(json.dumps(read.get_data()).encode()) == event


async def test_runs_are_spread_over_partitions_and_each_stays_in_one(kit, cluster, new_run):
    events = runs_of(new_run, 30)
    report = await kit().deliver(events)
    records = cluster.records()
    assert len(records) == len(events)
    assert len({record.partition() for record in records}) > 1
    assert_complete_and_in_order(records, events)
    assert all(attempt.error is None for attempt in report.attempts)


@pytest.mark.parametrize(
    "errors",
    [
        [NOT_LEADER, TIMED_OUT, NOT_ENOUGH_REPLICAS],
        [CUT, CUT, CUT],
        [TIMED_OUT, CUT, NOT_LEADER, CUT, TIMED_OUT, NOT_ENOUGH_REPLICAS],
    ],
)
async def test_what_brokers_refuse_for_now_arrives_once_and_in_order(kit, cluster, new_run, errors):
    events = runs_of(new_run, 20)
    sink = kit()
    await sink.deliver(events[:20])
    cluster.fail(errors)
    await sink.deliver(events[20:])
    records = cluster.records()
    assert_complete_and_in_order(records, events)
    assert len(records) == len(events), "the producer is idempotent"


async def test_a_refusal_that_the_producer_does_not_repeat_holds_the_rest_of_the_run_back(
    kit, cluster, new_run
):
    events = runs_of(new_run, 12)
    sink = kit({"max_attempts": 50})
    await sink.deliver(events[:1])
    cluster.fail([TOPIC_FORBIDDEN] * 2)
    report = await sink.deliver(events[1:])
    assert any("TOPIC_AUTHORIZATION_FAILED" in (attempt.error or "") for attempt in report.attempts)
    assert any("waits for" in (attempt.error or "") for attempt in report.attempts)
    assert report.dead_letters == []
    records = cluster.records()
    assert_complete_and_in_order(records, events)
    assert len(records) == len(events)


async def test_a_broker_that_is_gone_holds_back_its_runs_alone(kit, cluster, new_run):
    for partition in range(cluster.partitions):
        cluster.leads(partition, 1 + partition % 2)
    events = runs_of(new_run, 16)
    sink = kit({"max_attempts": 2}, timeout=0.3)
    await sink.deliver(events[:16])
    cluster.down(1)
    report = await sink.deliver(events[16:32])
    stuck = {event.tracker_id for event, _ in report.dead_letters}
    assert 0 < len(stuck) < 16
    cluster.up(1)
    records = cluster.records()
    there = {header(record, "ce_id") for record in records}
    assert there >= {event.id for event in events[:32] if event.tracker_id not in stuck}
    assert max(Counter(header(record, "ce_id") for record in records).values()) == 1, (
        "nothing was sent again for others' sake"
    )


async def test_brokers_that_come_back_find_everything_once(feed, cluster, new_run):
    class Interrupted(kafka.Kafka):
        batch_max, calls = 50, 0

        async def handle_batch(self, events, ctx):
            self.calls += 1
            if self.calls == 4:
                cluster.down()
                asyncio.get_running_loop().call_later(1.0, cluster.up)  # longer than an attempt waits
            await super().handle_batch(events, ctx)

    events = runs_of(new_run, 40)
    settings = {"servers": cluster.servers, "timeout": 0.2}
    report = await feed(Interrupted, settings=settings, max_attempts=200).deliver(events)
    assert any("not confirmed within 0.2 s" in (attempt.error or "") for attempt in report.attempts)
    assert report.dead_letters == []
    records = cluster.records()
    assert_complete_and_in_order(records, events)
    assert len(records) == len(events), "what was under way was waited for, not sent again"


async def test_an_event_that_kafka_will_never_take_is_put_aside_and_its_run_goes_on(kit, cluster, new_run):
    run = new_run().enrol().begin_step().complete_step().end()
    events = list(run.events)
    events[2] = events[2].model_copy(update={"reason": "x" * 2_000_000})
    report = await kit({"max_attempts": 2}, compression="none").deliver(events)
    ((event, why),) = report.dead_letters
    assert (event.id, "MSG_SIZE_TOO_LARGE" in why) == (events[2].id, True)
    assert [header(record, "ce_id") for record in cluster.records()] == [
        event.id for event in events if event.id != events[2].id
    ]


async def test_kills_repeat_and_lose_nothing(kit, cluster, new_run):
    events = runs_of(new_run, 5)
    sink = kit()
    await sink.deliver(events, kills=[1, 2, 4])
    for dead in sink.killed:
        await dead.close()
    records = cluster.records()
    assert_complete_and_in_order(records, events)
    assert len(records) > len(events), "nothing came twice, so it proves nothing"


async def test_a_server_that_is_not_there_is_told_when_it_opens(feed, new_run, monkeypatch):
    monkeypatch.setattr(kafka, "OPEN_S", 0.3)
    with pytest.raises(Exception, match=r"_TRANSPORT|_TIMED_OUT|Failed to get metadata|broker"):
        await feed("kafka", settings={"servers": "127.0.0.1:1"}).deliver(new_run().enrol().events)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"servers": ""}, "settings.servers"),
        ({"options": {"acks": "0"}}, "remove acks: ordering and durability"),
        ({"options": {"message.timeout.ms": "5"}}, "remove message.timeout.ms: ordering and durability"),
        ({"username": "u", "password": "p"}, "username needs security sasl_ssl or sasl_plaintext"),
        ({"security": "sasl_ssl"}, "these need a username"),
        ({"username": "u", "security": "sasl_ssl"}, "set both username and password, or neither"),
        ({"topic": "a b"}, "settings.topic"),
    ],
)
async def test_wrong_settings_are_told(feed, settings, told):
    with pytest.raises(SettingsError, match=told):
        feed("kafka", settings={"servers": "kafka:9092", **settings})
