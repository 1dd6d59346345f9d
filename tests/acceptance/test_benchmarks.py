"""That the benchmarks measure what they say: on a few hundred events; nothing here is about time."""

import json

import pytest

from consumer.stores.sqlite.sqlite_store import SqliteStore
from tests.benchmarks import drain, running, stored, stream

LIVES = 40
VISITED = 20

pytestmark = pytest.mark.long


async def journal(path):
    store = SqliteStore(path, read_only=True)
    await store.open()
    entries = await store.read(0, 100_000)
    await store.aclose()
    return [json.loads(entry.data) for entry in entries]


async def test_what_was_filled_in_is_known_to_the_service_as_if_it_had_heard_of_it(tmp_path):
    form = await stored.form(tmp_path)
    path = tmp_path / "filled.db"
    await stored.fill(path, form, range(LIVES))
    async with running.bus(total=VISITED * 3, lives=LIVES) as server:
        # The last ones are waited for with a service that does not wait for later ones.
        await running.serve(
            server, f"sqlite:///{path}", tmp_path, VISITED * 3 - 1, CADENCE_ORDERING__LATENESS="0"
        )
    events = await journal(path)
    runs = {event["tracker_id"] for event in events}
    assert len(runs) == VISITED
    for run in runs:
        own = [event for event in events if event["tracker_id"] == run]
        assert [event["type"] for event in own] == [
            "step.action_taken",
            "step.ended.completed",
            "step.created",
            "step.activated",
            "run.advanced",
        ]
        assert not any(event.get("late") for event in own)
        assert own[0]["before"]["State"] == "Active", "the step was known"
        assert own[4]["before"]["CurrentStepId"] == own[0]["record_id"], "so was its run"


async def test_a_drain_sees_every_event_and_the_memory_of_the_process(tmp_path):
    found = await drain.measure("sqlite", 3_000, 60)
    assert found.finished
    assert found.served.counted == 3_000
    assert found.served.cpu_s > 0
    assert found.served.peak_mb >= max(one.memory_mb for one in found.served.samples) > 20


async def test_the_next_round_goes_on_where_the_last_one_ended(tmp_path):
    form = await stored.form(tmp_path)
    path = tmp_path / "filled.db"
    await stored.fill(path, form, range(LIVES))
    for number in (1, 2):
        async with running.bus(total=VISITED * 3 // 2 * number, lives=LIVES) as server:
            served = await running.serve(
                server,
                f"sqlite:///{path}",
                tmp_path,
                VISITED * 3 // 2 * number - 3,
                CADENCE_ORDERING__LATENESS="0",
            )
            assert served.counted > 0
    visited = {stream.numbered(one).decode() for one in stream.visits(LIVES, VISITED)}
    events = await journal(path)
    assert {event["tracker_id"][5:9] for event in events} <= visited
    assert len({event["id"] for event in events}) == len(events)
