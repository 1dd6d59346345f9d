"""What Salesforce loses or forgets is mended: the service on a simulated org that swallows, blurs and forgets events."""

import asyncio
import json
import signal
import time
from pathlib import Path

import pytest

from consumer.domain.reconcile_task import ReconcileTask
from consumer.domain.record_state import RecordState
from consumer.domain.row_diff import ROW_FIELDS, read_row
from consumer.sandbox import (
    STEP_TRACKER,
    TRACKER,
    CometdOptions,
    FaultOptions,
    OrgClock,
    Sandbox,
    SandboxOptions,
)
from consumer.sandbox.schema import rest_value
from tests.support.processes.connection import Link, connected
from tests.support.processes.service_process import ServiceProcess

pytestmark = pytest.mark.long

SPEED = 60
"""A minute of org time passes in a second."""
SETTINGS = {"CADENCE_REPAIR__SWEEP": "3m", "CADENCE_STATE__HYDRATE": "false"}


def options(**faults: float) -> SandboxOptions:
    return SandboxOptions(
        clock=OrgClock(speed=SPEED),
        faults=FaultOptions(**faults),
        cometd=CometdOptions(poll_timeout_ms=500),
    )


def held_by_salesforce(sandbox: Sandbox) -> dict[str, dict | None]:
    """Record id to what Salesforce would answer, in the form of change events; None for what is deleted."""
    org, now = sandbox.org, sandbox.org.clock()
    found: dict[str, dict | None] = {}
    for entity in (TRACKER, STEP_TRACKER):
        for record_id, record in org.records[entity].items():
            fields = {name: rest_value(entity, record, name, now) for name in ROW_FIELDS[entity]}
            found[record_id] = None if record["IsDeleted"] else dict(read_row(entity, fields).values)
    return found


def content(values: dict | None) -> dict | None:
    """A record without who changed it last, and when."""
    stamps = ("LastModifiedDate", "LastModifiedById")
    return None if values is None else {name: one for name, one in values.items() if name not in stamps}


async def known_here(link: Link, record_ids: list[str]) -> dict[str, dict | None]:
    """Record id to what the service knows, null fields left out; None for what it calls deleted."""
    store = link.store()
    await store.open()
    try:
        stored = await store.states(record_ids)
    finally:
        await store.aclose()
    states = {record_id: RecordState.decode(data) for record_id, data in stored.items()}
    return {
        record_id: None
        if state.is_deleted
        else {
            name: value
            for name, value in state.values().items()
            if value is not None and name in ROW_FIELDS[state.entity]
        }
        for record_id, state in states.items()
        if state.exists
    }


async def differences(link: Link) -> list[str]:
    wanted = held_by_salesforce(link.sandbox)
    known = await known_here(link, list(wanted))
    return [
        record_id
        for record_id, values in wanted.items()
        if (record_id in known or values is not None) and known.get(record_id, "unknown") != values
    ]


async def agree(link: Link, within_s: float = 40) -> None:
    """Wait until the service knows of every record what Salesforce holds."""
    deadline = time.monotonic() + within_s
    while left := await differences(link):
        assert link.service.process.returncode is None, link.service.errors()[-3000:]
        if time.monotonic() > deadline:
            wanted, known = held_by_salesforce(link.sandbox), await known_here(link, left[:1])
            raise AssertionError(
                f"{len(left)} records differ; {left[0]}:\n{wanted[left[0]]}\n{known}\n{link.service.errors()[-2000:]}"
            )
        await asyncio.sleep(0.25)


async def all_reconciled(link: Link, within_s: float = 40) -> None:
    """Wait until no task is under way: what is known may be right before the last of them has looked."""
    store = link.store()
    await store.open()
    try:
        async with asyncio.timeout(within_s):
            while any(
                not ReconcileTask.decode(data).is_waiting for data in (await store.reconcile_tasks()).values()
            ):
                await asyncio.sleep(0.1)
    finally:
        await store.aclose()


def counted(link: Link, **wanted: object) -> dict[str, int]:
    """Sums over the reports of tasks that are done."""
    done = [
        line
        for line in link.logged("reconcile_task_completed")
        if all(line[name] == value for name, value in wanted.items())
    ]
    return {name: sum(line[name] for line in done) for name in ("fetched", "changed", "events")} | {
        "tasks": len(done)
    }


async def ends_well(link: Link) -> list[dict]:
    link.service.signal(signal.SIGTERM)
    assert await link.service.ended() == 0, link.service.errors()[-3000:]
    assert "Traceback" not in link.service.errors()
    journal = await link.journal()
    ids = [event["id"] for event in journal]
    assert len(ids) == len(set(ids)), "an event is in the journal twice"
    return journal


async def test_a_change_that_salesforce_never_published_is_found_by_the_next_sweep(tmp_path: Path) -> None:
    async with connected(tmp_path, options=options(), **SETTINGS) as link:
        world, org = link.sandbox.world, link.sandbox
        known = world.enrol()
        await link.caught_up()
        org.faults.inject("suppress", times=1_000)
        world.pause(known)
        unknown = world.enrol()
        org.faults.clear()
        await agree(link)
        journal = await ends_well(link)
        found = [event for event in journal if event.get("origin") == "repair" and event.get("record_id")]
        assert {(event["type"], event["record_id"]) for event in found} >= {
            ("run.paused", known),
            ("run.enrolled", unknown),
        }
        reports = [event["after"] for event in journal if event["type"] == "system.repaired"]
        assert sum(report["changed"] for report in reports) == len({event["record_id"] for event in found})


async def test_gaps_anywhere_among_the_changes_of_a_record_are_reconciled(tmp_path: Path) -> None:
    async with connected(
        tmp_path, options=options(gap=0.15), **SETTINGS | {"CADENCE_REPAIR__SWEEP": "0"}
    ) as link:
        for _ in range(12):
            link.sandbox.world.advance(40)
            await asyncio.sleep(0.1)
        assert link.sandbox.faults.counters["gap"] > 40
        await agree(link)
        await all_reconciled(link)
        journal = await ends_well(link)
    origins = {event.get("origin", "stream") for event in journal}
    assert {"stream", "gap"} <= origins
    gaps = [event for event in journal if event["type"] == "system.gap"]
    repaired = [event for event in journal if event["type"] == "system.repaired"]
    assert len(gaps) == len(repaired)


async def test_an_overflow_is_reconciled_by_what_was_stamped_about_then(tmp_path: Path) -> None:
    async with connected(tmp_path, options=options(), **SETTINGS | {"CADENCE_REPAIR__SWEEP": "0"}) as link:
        world = link.sandbox.world
        runs = world.enrol_many(2_500)  # and as many steps
        await link.caught_up()
        link.sandbox.faults.inject("overflow")
        world.pause(*runs)
        await agree(link)
        await all_reconciled(link)
        journal = await ends_well(link)
    paused = [event for event in journal if event["type"] == "run.paused"]
    assert {event["record_id"] for event in paused} == set(runs)
    assert len(paused) == len(runs)


@pytest.mark.parametrize("hours", [1, 12], ids=["on the first morning", "all the time"])
async def test_what_happened_while_the_service_was_down_for_four_days_is_reconciled(
    tmp_path: Path, hours: int
) -> None:
    """What happened on the first morning has left the bus, so repair alone tells it; of the rest the stream tells the last three days."""
    clock = OrgClock(speed=SPEED)
    leap = 0

    def org_time() -> int:
        return clock() + leap

    made = SandboxOptions(clock=org_time, cometd=CometdOptions(poll_timeout_ms=500))
    async with connected(tmp_path, options=made, **SETTINGS | {"CADENCE_REPAIR__SWEEP": "0"}) as link:
        world = link.sandbox.world
        world.advance(300)
        await link.caught_up()
        link.service.signal(signal.SIGKILL)
        await link.service.ended()
        before, seen = held_by_salesforce(link.sandbox), len(await link.journal())
        for _ in range(8):
            leap += hours * 3_600_000
            world.advance(60)
        # Half of what is gone is in the recycle bin, the rest only in the delete log.
        for number, run in enumerate([*world._ended[-30:]]):
            if number == 15:
                link.sandbox.org.empty_recycle_bin()
            if not link.sandbox.org.records[TRACKER][run]["IsDeleted"]:
                world.delete(run)
        leap += (96 - 8 * hours) * 3_600_000
        after = held_by_salesforce(link.sandbox)
        await link.service.start()
        await link.service.ready()
        await agree(link, 60)
        await all_reconciled(link)
        journal = (await ends_well(link))[seen:]
    gaps = [event["after"] for event in journal if event["type"] == "system.gap"]
    assert {gap["kind"] for gap in gaps} == {"EXPIRED_POSITION"}
    assert len(gaps) == 2, "one for each channel"
    reports = [event["after"] for event in journal if event["type"] == "system.repaired"]
    assert {report["entity"] for report in reports} == {TRACKER, STEP_TRACKER}
    # What was never heard of and is gone again is nobody's news, and so is what was changed and changed back.
    changed = {
        one
        for one in after
        if content(after[one]) != content(before.get(one)) and not (after[one] is None and one not in before)
    }
    gone = {one for one in changed if after[one] is None}
    assert len(gone) > 30
    told = [event for event in journal if "record_id" in event]
    assert {event["record_id"] for event in told} >= changed, "each missing transition is told"
    reconciled = {event["record_id"] for event in told if event.get("origin") == "repair"}
    deleted = {event["record_id"] for event in told if event["type"].endswith(".deleted")}
    assert deleted >= gone
    assert sum(report["changed"] for report in reports) == len(reconciled)
    if hours == 1:
        assert reconciled == changed, "the report counts what the ledger says, and nothing else"
        assert sum(report["deleted"] for report in reports) == len(gone)


async def test_what_the_allocation_does_not_bear_waits_until_the_rolling_day_has_moved_on(
    tmp_path: Path,
) -> None:
    clock = OrgClock(speed=SPEED)
    leap = 0
    allowed = 100_000
    made = SandboxOptions(
        clock=lambda: clock() + leap, daily_deliveries=allowed, cometd=CometdOptions(poll_timeout_ms=500)
    )
    async with connected(
        tmp_path, options=made, backoff={"quota_ms": 500}, **SETTINGS | {"CADENCE_REPAIR__SWEEP": "0"}
    ) as link:
        world = link.sandbox.world
        world.advance(200)
        await link.caught_up()
        link.service.signal(signal.SIGKILL)
        await link.service.ended()
        leap += 80 * 3_600_000
        world.advance(300)
        link.sandbox.delivery_quota.count(allowed - 50)  # another subscriber of the org took the rest
        await link.service.start()
        body = await link.service.ready(wanted=False)
        async with asyncio.timeout(20):
            while "allocation_guard" not in json.dumps(body):
                await asyncio.sleep(0.1)
                body = await link.service.ready(wanted=False)
        assert not link.logged("session_opened"), "not one event was spent"
        leap += 25 * 3_600_000
        await link.service.ready()
        await agree(link)
        await ends_well(link)
        assert sum(reason == "allocation_guard" for reason in link.ends()) < 40, "it did not hammer"


async def test_somebody_can_have_everything_since_a_time_reconciled(tmp_path: Path) -> None:
    clock = OrgClock(speed=SPEED)
    made = SandboxOptions(clock=clock, cometd=CometdOptions(poll_timeout_ms=500))
    async with connected(tmp_path, options=made, **SETTINGS | {"CADENCE_REPAIR__SWEEP": "0"}) as link:
        known = link.sandbox.world.enrol()
        await link.caught_up()
        link.sandbox.faults.inject("suppress", times=100)
        link.sandbox.world.pause(known)
        link.sandbox.faults.clear()
        await asyncio.sleep(150 / SPEED)  # what is younger than two minutes is left to the stream
        command = ServiceProcess(link.service._environment, tmp_path, "repair", "--since", "1h", "--json")
        async with command:
            assert await command.ended(30) == 0, command.errors()
        reports = [json.loads(line) for line in command.out.read_text().splitlines()]
        assert {(report["entity"], report["changed"]) for report in reports} == {
            (TRACKER, 1),
            (STEP_TRACKER, 1),
        }
        await agree(link)
        await ends_well(link)
