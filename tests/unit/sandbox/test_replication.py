"""What changed, what was deleted, and what is left: the shapes and limits that the REST API Developer Guide shows."""

from collections.abc import AsyncIterator

import pytest

from consumer.sandbox import STEP_TRACKER, TRACKER, ManualClock, Sandbox, SandboxOptions
from consumer.sandbox.errors import UnknownRecord
from consumer.sandbox.schema import rest_time
from tests.support.rigs.bayeux_client import BayeuxClient
from tests.unit.sandbox.test_rest import DATA, Rest

MINUTE = 60_000
DAY = 24 * 60 * MINUTE


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def org(clock: ManualClock) -> AsyncIterator[Sandbox]:
    async with Sandbox(SandboxOptions(clock=clock, daily_requests=20, daily_deliveries=5)) as running:
        yield running


@pytest.fixture
async def rest(org: Sandbox) -> AsyncIterator[Rest]:
    made = Rest(org)
    yield made
    await made.http.close()


async def window(rest: Rest, what: str, start: int, end: int, entity: str = TRACKER):
    path = f"{DATA}/sobjects/{entity}/{what}/"
    return await rest.get(path, start=rest_time(start), end=rest_time(end))


async def test_updated_names_what_changed_in_the_window_and_where_to_go_on(org, rest, clock) -> None:
    begin = clock()
    first = org.world.enrol()
    clock.advance(10 * MINUTE)
    second = org.world.enrol()
    clock.advance(90_000)
    status, body = await window(rest, "updated", begin, clock() + DAY)
    assert (status, body["ids"]) == (200, [first, second])
    assert body["latestDateCovered"] == rest_time(clock() // MINUTE * MINUTE)
    _, later = await window(rest, "updated", begin + 5 * MINUTE, clock() + DAY)
    assert later["ids"] == [second]


async def test_seconds_are_ignored(org, rest, clock) -> None:
    run = org.world.enrol()
    clock.advance(5 * MINUTE)
    _, body = await window(rest, "updated", clock() - 5 * MINUTE + 59_000, clock())
    assert body["ids"] == [run]


async def test_deleted_names_what_is_gone_with_its_time(org, rest, clock) -> None:
    run = org.world.enrol()
    step = org.org.get(TRACKER, run)["CurrentStepId"]
    org.world.finish(run)
    clock.advance(MINUTE)
    org.world.delete(run)
    at = clock()
    clock.advance(2 * MINUTE)
    _, body = await window(rest, "deleted", at, clock())
    assert body["deletedRecords"] == [{"id": run, "deletedDate": rest_time(at)}]
    assert {"earliestDateAvailable", "latestDateCovered"} < body.keys()
    _, steps = await window(rest, "deleted", at, clock(), STEP_TRACKER)
    assert step in {one["id"] for one in steps["deletedRecords"]}
    _, live = await window(rest, "updated", at - 10 * MINUTE, clock())
    assert live["ids"] == []


async def test_what_leaves_the_recycle_bin_is_in_the_delete_log_alone(org, rest, clock) -> None:
    run = org.world.enrol()
    org.world.finish(run)
    clock.advance(MINUTE)
    at = clock()
    org.world.delete(run)
    clock.advance(2 * MINUTE)
    assert (await rest.query(f"SELECT Id FROM {TRACKER}", "queryAll"))["totalSize"] == 1
    org.org.empty_recycle_bin()
    assert (await rest.query(f"SELECT Id FROM {TRACKER}", "queryAll"))["totalSize"] == 0
    _, body = await window(rest, "deleted", at, clock())
    assert [one["id"] for one in body["deletedRecords"]] == [run]
    with pytest.raises(UnknownRecord):
        org.world.undelete(run)


@pytest.mark.parametrize(("what", "days"), [("updated", 30), ("deleted", 15)])
async def test_what_is_out_of_reach_is_refused(rest, clock, what, days) -> None:
    assert (await window(rest, what, clock() - days * DAY + MINUTE, clock()))[0] == 200
    status, body = await window(rest, what, clock() - days * DAY - MINUTE, clock())
    assert (status, body[0]["errorCode"]) == (400, "INVALID_REPLICATION_DATE")


async def test_an_empty_window_and_a_bad_date_are_refused(rest, clock) -> None:
    assert (await window(rest, "updated", clock(), clock()))[1][0]["errorCode"] == "INVALID_REPLICATION_DATE"
    status, body = await rest.get(
        f"{DATA}/sobjects/{TRACKER}/updated/", start="yesterday", end=rest_time(clock())
    )
    assert (status, body[0]["errorCode"]) == (400, "INVALID_DATE")


async def test_limits_count_down_with_every_delivery_and_recover_after_a_day(org, rest, clock) -> None:
    async with BayeuxClient(org) as client:
        await client.handshake()
        await client.connect()
        await client.subscribe("/data/ChangeEvents")
        org.world.enrol_many(2)
        delivered = len((await client.connect())[:-1])
        assert delivered
        _, limits = await rest.get(f"{DATA}/limits")
        assert limits["DailyDeliveredPlatformEvents"] == {"Max": 5, "Remaining": 5 - delivered}
    clock.advance(DAY + 1)
    _, limits = await rest.get(f"{DATA}/limits")
    assert limits["DailyDeliveredPlatformEvents"]["Remaining"] == 5


async def test_beyond_the_daily_requests_everything_is_refused(rest) -> None:
    for _ in range(20):
        assert (await rest.get(f"{DATA}/limits"))[0] == 200
    status, body = await rest.get(f"{DATA}/limits")
    assert (status, body[0]["errorCode"]) == (403, "REQUEST_LIMIT_EXCEEDED")


async def test_a_suppressed_event_is_in_the_org_and_never_on_the_bus(org) -> None:
    before = len(org.ledger)
    org.faults.inject("suppress", times=100)
    run = org.world.enrol()
    assert org.org.get(TRACKER, run)["State"] == "Running"
    assert len(org.ledger) == before
