"""What Salesforce should never send, through the whole service: the stream goes on, nothing good is lost, what is bad is kept."""

import asyncio
import json

import orjson
import pytest

from consumer.sandbox import Sandbox, SandboxOptions
from consumer.stores.sqlite.sqlite_store import SqliteStore
from tests.support.builders.changes import COMMIT_MS, RUN, message
from tests.support.processes.service_process import ServiceProcess, settings_for

LONG = "x" * 1_000_000
MANY = [f"0qB{number:012d}AAA" for number in range(5_000)]


def of(**header):
    data = message("UPDATE", RUN, MANY[0], {"State": "Paused"}, commit=1)["data"]
    data["payload"]["ChangeEventHeader"].update(header)
    return data


def headless():
    data = of()
    del data["payload"]["ChangeEventHeader"]
    return data


BAD = {
    "no_header": headless(),
    "wrong_type": of(commitNumber="soon"),
    "unknown_entity": of(entityName="Account"),
    "unknown_change_type": of(changeType="MERGE"),
}


def good(commit, kind, record_ids, fields):
    return message(kind, RUN, record_ids, fields, commit=commit, commit_ms=COMMIT_MS)["data"]


GOOD = {
    "1 MB": good(1_082_985_000_001, "CREATE", MANY[1], {"State": "Running", "ErrorMessage": LONG}),
    "5,000 ids": good(1_082_985_000_002, "UPDATE", MANY, {"State": "Paused"}),
}
for each in (*BAD.values(), *GOOD.values()):
    del each["event"]  # the bus gives it a position


async def journal(store):
    return [json.loads(entry.data) for entry in await store.read(0, 100_000)]


async def until(condition, within_s=30):
    async with asyncio.timeout(within_s):
        while not await condition():
            await asyncio.sleep(0.1)


@pytest.fixture
async def setting(tmp_path):
    """A sandbox, the service on it, and its store opened for reading."""
    async with Sandbox(SandboxOptions()) as sandbox:
        environment = settings_for(sandbox, tmp_path, CADENCE_LOG__LEVEL="info")
        async with ServiceProcess(environment, tmp_path) as service:
            await service.ready()
            store = SqliteStore(tmp_path / "cadence.db", read_only=True)
            await store.open()
            yield sandbox, service, store
            await store.aclose()


async def test_bad_events_are_kept_with_their_bytes_and_listed_while_the_stream_goes_on(setting, tmp_path):
    sandbox, service, store = setting
    runs = [sandbox.world.enrol()]
    for data in BAD.values():
        sandbox.bus.inject(data, entity=RUN)
        runs.append(sandbox.world.enrol())
    for data in GOOD.values():
        sandbox.bus.inject(data, entity=RUN)
        runs.append(sandbox.world.enrol())

    async def everything_arrived():
        events = await journal(store)
        paused = sum(event["type"] == "run.paused" for event in events)
        enrolled = {event["tracker_id"] for event in events if event["type"] == "run.enrolled"}
        return (
            paused >= len(MANY)
            and {*runs, MANY[1]} <= enrolled
            and len(await store.ingest_dead_letters(100)) == len(BAD)
        )

    await until(everything_arrived)
    dead_letters = {dead_letter.reason: dead_letter for dead_letter in await store.ingest_dead_letters(100)}
    assert set(dead_letters) == set(BAD)
    for reason, data in BAD.items():
        kept = orjson.loads(dead_letters[reason].raw)["data"]
        assert kept.pop("event") == {"replayId": int(dead_letters[reason].position)}
        assert kept == data
    assert (await service.get("/readyz"))[0] == 200

    listing = ServiceProcess(service._environment, tmp_path, "dead-letters", "list", "--json")
    async with listing:
        assert await listing.ended() == 0, listing.errors()
    assert {json.loads(line)["reason"] for line in listing.out.read_text().splitlines()} == set(BAD)


@pytest.mark.parametrize("kind", ["malformed", "cut", "close_socket"])
async def test_an_answer_that_cannot_be_read_is_asked_for_again(setting, kind):
    sandbox, service, store = setting
    runs = [sandbox.world.enrol()]
    sandbox.faults.inject(kind, times=2)
    runs += [sandbox.world.enrol() for _ in range(5)]

    async def everything_arrived():
        return {
            event["tracker_id"] for event in await journal(store) if event["type"] == "run.enrolled"
        } == set(runs)

    await until(everything_arrived)
    events = await journal(store)
    assert len({event["id"] for event in events}) == len(events)
    assert sandbox.faults.counters[kind] == 2
    await service.ready()
