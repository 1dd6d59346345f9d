"""The same promises on the embedded store, with its threads and in real time."""

from __future__ import annotations

import asyncio

import pytest

from consumer import Reject
from consumer.errors import CommitRefused
from consumer.ports.observers.handler_events import HandlerOpened
from consumer.stores.sqlite.sqlite_store import SqliteStore
from handlers.jsonl import Jsonl
from tests.support.rigs.delivery import (
    Batches,
    Log,
    World,
    loaded,
    record,
    until,
)


@pytest.fixture
async def store(tmp_path):
    one = SqliteStore(tmp_path / "cadence.db")
    await one.open()
    yield one
    await one.aclose()


async def test_events_are_delivered_in_order_and_dead_letters_kept(world):
    log = Log()

    async def handle(event, ctx):
        if event.id == "e50":
            raise Reject("no")
        await asyncio.sleep(0)
        log.note(event)

    async with world.delivering(loaded(handle, "one"), loaded(Batches(batch_max=30), "many")):
        for start in range(0, 300, 50):
            await world.publish(*(record(n, f"run-{n % 7}") for n in range(start, start + 50)))
        await world.acknowledged_through(300, "one", 20)
        await world.acknowledged_through(300, "many", 20)
    for run in range(7):
        assert log.runs[f"run-{run}"] == [f"e{n}" for n in range(run, 300, 7) if n != 50]
    (dead_letter,) = await world.store.handler_dead_letters(None, 10)
    assert (dead_letter.handler, dead_letter.event_id, dead_letter.offset, dead_letter.error) == (
        "one",
        "e50",
        51,
        "no",
    )


async def test_after_a_crash_it_goes_on_where_it_was_saved(world):
    log = Log()

    async def handle(event, ctx):
        await asyncio.sleep(0.005)
        log.note(event)

    await world.publish(*(record(n, f"run-{n % 7}") for n in range(200)))
    running = asyncio.create_task(world.dispatcher(loaded(handle, concurrency=3)).run())
    await until(lambda: len(log.ids) > 60, 20)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    async with world.delivering(loaded(handle)):
        await world.acknowledged_through(200, limit_s=20)
    assert set(log.ids) == {f"e{n}" for n in range(200)}


async def test_a_successor_ends_it(world):
    running = asyncio.create_task(world.dispatcher(loaded(Log())).run())
    await until(lambda: world.observer.count(HandlerOpened), 20)
    await world.store.release(world.tenure)
    successor = World(world.store, await world.store.acquire("other", 10_000))
    await successor.publish(record(0))
    with pytest.raises(CommitRefused):
        async with asyncio.timeout(20):
            await running


async def test_the_jsonl_handler_writes_every_event(world, tmp_path):
    sink = Jsonl()
    one = loaded(sink, "file")
    one = type(one)(one.name, one.spec, one.types, sink, Jsonl.Settings(path=tmp_path / "events.jsonl"))
    await world.publish(*(record(n, f"run-{n % 7}") for n in range(1_200)))
    async with world.delivering(one):
        await world.acknowledged_through(1_200, "file", 20)
    assert len((tmp_path / "events.jsonl").read_bytes().splitlines()) == 1_200
