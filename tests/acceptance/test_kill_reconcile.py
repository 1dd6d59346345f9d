"""A reconcile task of any kind that is killed in the middle, again and again, goes on at its page and ends as if it had not been.

RECONCILE_KILLS=10 pytest -s tests/acceptance/test_kill_reconcile.py      (make reconcile-kills)
"""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from consumer.domain.reconcile_task import ReconcileTask, window_task
from consumer.sandbox import STEP_TRACKER, TRACKER, CometdOptions, OrgClock, SandboxOptions
from consumer.stores.sqlite.sqlite_store import SqliteStore
from tests.acceptance.test_reconcile import agree, ends_well
from tests.support.processes.connection import Link, connected

pytestmark = pytest.mark.long

ROUNDS = int(os.environ.get("RECONCILE_KILLS", "1"))
RUNS = 250 * ROUNDS + 100
"""More pages than kills, of 200 rows each; a snapshot's pages are larger, and it has runs and steps."""
SPEED = 60
DAY_MS = 86_400_000
SETTINGS = {"CADENCE_STATE__HYDRATE": "false", "CADENCE_SNAPSHOT__MODE": "when_needed"}


class Cause:
    """What happens while nobody is there.

    Args:
        kind: the reason of the task that it causes.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.leap = 0
        self.settings = SETTINGS | {"CADENCE_REPAIR__SWEEP": "1m" if kind == "sweep" else "0"}

    async def happens(self, link: Link, runs: list[str]) -> None:
        org, world = link.sandbox, link.sandbox.world
        match self.kind:
            case "gap" | "overflow":
                org.faults.inject(self.kind, times=1)
            case "sweep" | "repair":
                org.faults.inject("suppress", times=100_000)
        since_ms = org.org.clock()
        world.pause(*runs)
        org.faults.clear()
        if self.kind == "expired":
            self.leap += 4 * DAY_MS
        elif self.kind == "snapshot":
            self.leap += 20 * DAY_MS
        elif self.kind in {"sweep", "repair"}:
            self.leap += 600_000  # what is younger than two minutes is left to the stream
        if self.kind == "repair":
            store = SqliteStore(link.folder / "cadence.db")
            await store.open()
            for entity in (TRACKER, STEP_TRACKER):
                task = window_task("repair", "by hand", entity, since_ms, 0)
                await store.add_reconcile_task(task.id, task.encode())
            await store.aclose()

    async def progress(self, link: Link) -> tuple[int, int]:
        """How far tasks of this kind have come: rows read by those under way, and how many are under way."""
        store = link.store()
        await store.open()
        reconcile_tasks = [ReconcileTask.decode(data) for data in (await store.reconcile_tasks()).values()]
        await store.aclose()
        mine = [task for task in reconcile_tasks if task.reason == self.kind and not task.is_waiting]
        return sum(task.fetched for task in mine), len(mine)


@pytest.mark.parametrize("kind", ["gap", "overflow", "expired", "sweep", "repair", "snapshot"])
async def test_a_task_that_is_killed_in_the_middle_goes_on_at_its_page(tmp_path: Path, kind: str) -> None:
    cause, clock = Cause(kind), OrgClock(speed=SPEED)
    options = SandboxOptions(
        clock=lambda: clock() + cause.leap, rest_ms=60, cometd=CometdOptions(poll_timeout_ms=500)
    )
    async with connected(tmp_path, options=options, **cause.settings) as link:
        runs = link.sandbox.world.enrol_many(RUNS * (4 if kind == "snapshot" else 1))
        await link.caught_up()
        link.service.signal(signal.SIGKILL)
        await link.service.ended()
        await cause.happens(link, runs)
        await link.service.start()
        killed, seen = 0, 0
        deadline = time.monotonic() + 30 + 10 * ROUNDS
        while killed < ROUNDS:
            assert time.monotonic() < deadline, link.service.errors()[-3000:]
            fetched, under_way = await cause.progress(link)
            if fetched > seen and under_way:
                link.service.signal(signal.SIGKILL)
                await link.service.ended()
                killed, seen = killed + 1, fetched
                await link.service.start()
            elif seen and not under_way:
                break
            await asyncio.sleep(0.01)
        print(f"{kind}: killed {killed} times, the last time after {seen} rows")
        assert killed == ROUNDS, "it was over before"
        await link.service.ready()
        await agree(link, 60)
        async with asyncio.timeout(30):
            while (await cause.progress(link))[1]:
                await asyncio.sleep(0.05)
        journal = await ends_well(link)
    paused = sorted(event["record_id"] for event in journal if event["type"] == "run.paused")
    assert paused == sorted(runs), "every run was paused once"
    # What is read twice because a kill came between the page and its commit is counted once.
    reports = [event["after"] for event in journal if event["type"] in {"system.repaired", "system.snapshot"}]
    told = {
        event["record_id"]
        for event in journal
        if event.get("origin", "stream") != "stream" and "record_id" in event
    }
    assert sum(report["changed"] for report in reports) == len(told)
