"""Each call of each sink's client raises once: what the sink remembers is undone, and every event arrives all the same."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import asyncpg
import orjson
import pytest
import redis
import redis.asyncio.connection
from aiohttp import ClientSession, web

from handlers import jsonl, kafka
from tests.support.servers.kafka_cluster import KafkaCluster, header
from tests.support.servers.postgres_server import PostgresServer
from tests.support.servers.redis_server import RedisServer

MOST_CALLS = 60


class Faults:
    """Counts calls, and lets one of them raise."""

    def __init__(self, error: Callable[[], Exception]) -> None:
        self._error = error
        self._lock = threading.Lock()
        self.calls = 0
        self.number = 0
        self.raised = ""

    def arm(self, number: int) -> None:
        self.calls, self.number, self.raised = 0, number, ""

    def count(self, name: str) -> None:
        with self._lock:
            self.calls += 1
            fails = self.calls == self.number
        if fails:
            self.raised = name
            raise self._error()

    def wrap(self, function: Any) -> Any:
        def faulty(*arguments: Any, **named: Any) -> Any:
            self.count(function.__name__)
            return function(*arguments, **named)

        return faulty


class FaultyModule:
    """Module of which some functions are counted."""

    def __init__(self, module: Any, faults: Faults, *names: str) -> None:
        self._module = module
        for name in names:
            setattr(self, name, faults.wrap(getattr(module, name)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


@pytest.fixture
def events(new_run):
    stories = [new_run().enrol().begin_step().events for _ in range(2)]
    return [event for together in zip(*stories, strict=True) for event in together]


async def check(faults, feed_of, ids_of, events):
    """Deliver once for each call of the client, and compare what has arrived."""
    failed = set()
    for number in range(1, MOST_CALLS):
        sink = feed_of(number)
        faults.arm(number)
        for _ in range(3):
            try:
                report = await sink.deliver(events)
            except Exception as error:
                if not faults.raised:
                    raise
                failed.add(f"{faults.raised} ({type(error).__name__} when opened)")
                continue
            break
        if not faults.raised:
            assert number > 1
            return failed
        failed.add(faults.raised)
        assert report.dead_letters == [], f"call {number}, {faults.raised}"
        faults.arm(0)
        arrived = ids_of(number)
        assert set(arrived) == {event.id for event in events}, f"call {number}, {faults.raised}"
        for run in {event.tracker_id for event in events}:
            mine = [event.id for event in events if event.tracker_id == run]
            once = list(dict.fromkeys(each for each in arrived if each in mine))
            assert once == mine, f"call {number}, {faults.raised}: out of order"
    raise AssertionError(f"more than {MOST_CALLS} calls")


async def test_every_call_of_the_operating_system_in_jsonl(tmp_path, monkeypatch, feed, events):
    faults = Faults(lambda: OSError("disk full"))
    monkeypatch.setattr(
        jsonl,
        "os",
        FaultyModule(os, faults, "open", "write", "fsync", "fstat", "pread", "close", "ftruncate"),
    )

    def ids_of(number):
        files = sorted(tmp_path.glob(f"{number}.jsonl*"), reverse=True)
        lines = b"".join(each.read_bytes() for each in files).splitlines()
        return [orjson.loads(line)["id"] for line in lines if line]

    def feed_of(number):
        return feed(
            "jsonl", settings={"path": str(tmp_path / f"{number}.jsonl"), "max_bytes": 1_500, "keep": 9}
        )

    assert await check(faults, feed_of, ids_of, events) >= {"open", "write", "fsync", "fstat"}


@pytest.mark.parametrize(
    "error", [lambda: BufferError("queue full"), lambda: RuntimeError("closed"), lambda: UnicodeError("odd")]
)
async def test_every_call_of_the_producer_in_kafka(monkeypatch, feed, events, error):
    faults = Faults(error)

    class FaultyProducer(kafka.Producer):
        def produce(self, *arguments, **named):
            faults.count("produce")
            return super().produce(*arguments, **named)

        def list_topics(self, *arguments, **named):
            faults.count("list_topics")
            return super().list_topics(*arguments, **named)

        def flush(self, *arguments):
            faults.count("flush")
            return super().flush(*arguments)

    monkeypatch.setattr(kafka, "Producer", FaultyProducer)
    clusters = {}
    with ExitStack() as stack:

        def feed_of(number):
            clusters[number] = stack.enter_context(KafkaCluster())
            return feed("kafka", settings={"servers": clusters[number].servers, "timeout": 3.0})

        def ids_of(number):
            return [header(one, "ce_id") for one in clusters[number].records()]

        assert "produce" in await check(faults, feed_of, ids_of, events)


async def test_a_poll_that_raises_does_not_leave_kafka_without_confirmations(monkeypatch, feed, events):
    class FaultyProducer(kafka.Producer):
        polls = 0

        def poll(self, *arguments):
            FaultyProducer.polls += 1
            if FaultyProducer.polls == 1:
                raise RuntimeError("a callback has raised")
            return super().poll(*arguments)

    monkeypatch.setattr(kafka, "Producer", FaultyProducer)
    with KafkaCluster() as cluster:
        report = await feed("kafka", settings={"servers": cluster.servers, "timeout": 3.0}).deliver(events)
        assert report.dead_letters == []
        assert {header(one, "ce_id") for one in cluster.records()} == {event.id for event in events}


async def test_every_call_of_the_connection_in_redis_stream(tmp_path, monkeypatch, feed, events):
    faults = Faults(lambda: redis.ConnectionError("cut"))
    connection = redis.asyncio.connection.AbstractConnection
    for name in ("send_packed_command", "read_response"):
        monkeypatch.setattr(connection, name, faults.wrap(getattr(connection, name)))
    server = RedisServer(tmp_path)
    server.start()
    try:
        with redis.Redis(port=server.port, decode_responses=True) as client:

            def ids_of(number):
                return [fields["id"] for _, fields in client.xrange(f"stream-{number}")]

            def feed_of(number):
                return feed("redis_stream", settings={"url": server.url, "stream": f"stream-{number}"})

            assert await check(faults, feed_of, ids_of, events) >= {"send_packed_command", "read_response"}
    finally:
        server.stop(signal.SIGKILL)


async def test_every_statement_in_postgres(monkeypatch, feed, events):
    faults = Faults(lambda: asyncpg.InterfaceError("connection is closed"))
    for name in ("execute", "executemany", "fetch", "fetchval"):
        monkeypatch.setattr(
            asyncpg.connection.Connection, name, faults.wrap(getattr(asyncpg.connection.Connection, name))
        )
    server = PostgresServer()
    server.make()
    server.start()
    try:
        arrived = {}

        def feed_of(number):
            return feed("postgres", settings={"dsn": server.dsn, "schema": f"s{number}"})

        failed = set()
        for number in itertools.count(1):
            faults.arm(number)
            for _ in range(3):
                try:
                    report = await feed_of(number).deliver(events)
                except asyncpg.InterfaceError:
                    continue
                break
            if not faults.raised:
                break
            failed.add(faults.raised)
            faults.arm(0)
            connection = await asyncpg.connect(server.dsn)
            rows = await connection.fetch(f"SELECT id FROM s{number}.events ORDER BY ordinal")
            await connection.close()
            arrived = {row["id"] for row in rows}
            assert (report.dead_letters, arrived) == ([], {event.id for event in events}), faults.raised
        assert failed >= {"execute", "executemany", "fetch", "fetchval"}
    finally:
        server.remove()


async def test_every_call_of_the_session_in_webhook(monkeypatch, feed, events):
    faults = Faults(lambda: OSError("no route"))
    for name in ("post",):
        monkeypatch.setattr(ClientSession, name, faults.wrap(getattr(ClientSession, name)))
    got: dict[str, list[str]] = {}

    async def receive(request):
        value = await request.json()
        got.setdefault(request.path, []).append(value["id"])
        return web.Response()

    app = web.Application()
    app.router.add_post("/{number}", receive)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"

        def feed_of(number):
            return feed("webhook", settings={"url": f"{url}/{number}", "secrets": ["whsec_" + "b" * 44]})

        assert await check(faults, feed_of, lambda number: got[f"/{number}"], events) == {"post"}
    finally:
        await runner.cleanup()
