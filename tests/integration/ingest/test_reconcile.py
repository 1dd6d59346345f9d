"""Reconcile tasks on the way through the real ingest, in virtual time: what is fetched when, and what it may not disturb."""

import pytest

from consumer.clock import iso
from consumer.domain.reconcile_task import ReconcileTask, window_task
from consumer.domain.record_state import RecordState
from consumer.errors import CadenceError
from consumer.ingest.reconcile.fetch import PAGE_SIZE, SNAPSHOT_PAGE_SIZE
from consumer.ports.salesforce import DeletedLog, RecordPage
from tests.support.builders.changes import (
    COMMIT_MS,
    RUN,
    RUN_1,
    RUN_2,
    RUN_CHANNEL,
    STEP,
    STEP_1,
    USER,
    message,
)
from tests.support.rigs.ingest import tenure

pytestmark = pytest.mark.looptime

FULL = {"OwnerId": USER, "TargetId": "00QWP0000001AbC2AU"}


class Org:
    """What REST answers with: rows by id, of which each says when it was stamped."""

    def __init__(self):
        self.rows = {}
        self.log = []
        self.down = False
        self.forbidden = None
        self.pages_left = 1_000
        self.server_ms = COMMIT_MS + 3_600_000
        self.asked = []

    def has(self, record_id, second, **fields):
        stamp = iso(COMMIT_MS + second * 1_000)
        self.rows[record_id] = {
            "Id": record_id,
            "SystemModstamp": stamp,
            "LastModifiedDate": stamp,
            "LastModifiedById": USER,
            **fields,
        }

    async def rows_with_time(self, entity, ids, fields):
        self.asked.append(tuple(ids))
        if self.down or entity == self.forbidden:
            raise CadenceError("REST does not answer")
        return {one: self.rows[one] for one in ids if one in self.rows}, self.server_ms

    async def count(self, soql):
        return sum(one.startswith(self._prefix(soql)) for one in self.rows)

    async def deleted(self, entity, since_ms, until_ms):
        self.asked.append(("deleted", entity, since_ms, until_ms))
        if self.down:
            raise CadenceError("REST does not answer")
        return DeletedLog(
            sorted(one for one in self.log if one[1].startswith(self._prefix(f"FROM {entity} ")))
        )

    @staticmethod
    def _prefix(soql):
        return "0qB" if f"FROM {RUN}" in soql else "8HF"

    async def page(self, soql):
        self.asked.append(soql)
        self.pages_left -= 1
        if self.down or self.pages_left < 0:
            raise CadenceError("REST does not answer")
        after = soql.partition("AND Id > '")[2].partition("'")[0]
        limit = int(soql.rpartition("LIMIT ")[2])
        found = sorted(one for one in self.rows if one.startswith(self._prefix(soql)) and one > after)
        return RecordPage([{**self.rows[one], "IsDeleted": False} for one in found[:limit]], self.server_ms)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cadence.db"


def gap(kind, ids, commit, position=None, entity=RUN):
    return message(kind, entity, ids, commit=commit, position=position)


async def state_of(rig, record_id):
    found = await rig.store.states([record_id])
    return RecordState.decode(found[record_id]) if record_id in found else None


async def reconciled(rig, reconcile_tasks=1):
    """Let time pass until so many tasks are done; the store's thread sets the pace."""
    for _ in range(600):
        await rig.pass_time(250)
        if (await rig.types()).count("system.repaired") >= reconcile_tasks:
            return
    raise AssertionError(await rig.types())


async def enrolled(rig):
    await rig.open()
    fields = {"State": "Running", "LastModifiedDate": iso(COMMIT_MS + 1_000), **FULL}
    await rig.answer(message("CREATE", RUN, RUN_1, fields, commit=1))
    while "run.enrolled" not in await rig.types():
        await rig.pass_time(250)


async def test_a_gap_is_fetched_and_what_differs_is_told(path):
    org = Org()
    org.has(RUN_1, 5, State="Paused", **FULL)
    async with tenure(path, record_source=org) as rig:
        await enrolled(rig)
        await rig.answer(gap("GAP_UPDATE", RUN_1, 5))
        await reconciled(rig)
        assert await rig.types() == [
            "run.enrolled",
            "run.started",
            "system.gap",
            "run.paused",
            "system.repaired",
        ]
        journal = await rig.journal()
        assert journal[3]["origin"] == "gap"
        assert journal[4]["after"] == {
            "reason": "gap",
            "entity": RUN,
            "fetched": 1,
            "changed": 1,
            "deleted": 0,
            "events": 1,
        }
        assert await rig.store.reconcile_tasks() == {}
        assert rig.witness.pending == {}


async def test_positions_never_wait_for_rest_that_is_down_for_ten_minutes(path):
    org = Org()
    org.down = True
    org.has(RUN_1, 5, State="Paused", **FULL)
    async with tenure(path, record_source=org) as rig:
        await enrolled(rig)
        await rig.answer(gap("GAP_UPDATE", RUN_1, 5, position=51))
        await rig.pass_time(2_000)
        await rig.answer(message("CREATE", RUN, RUN_2, {"State": "Running"}, commit=6, position=61))
        await rig.pass_time(600_000, every=2_000)
        assert (await rig.store.channels())[RUN_CHANNEL].position == "61"
        assert list(await rig.store.reconcile_tasks()) == [f"gap/{RUN_CHANNEL}/51"]
        assert 10 < len(rig.witness.reconcile_failed) < 30, "it asks again, and does not hammer"
        assert max(wait for _, wait in rig.witness.reconcile_failed) == 60_000
        assert "run.paused" not in await rig.types()
        org.down = False
        await reconciled(rig)
        assert (await rig.types())[-2:] == ["run.paused", "system.repaired"]


async def test_a_task_survives_the_tenure_that_began_it(path):
    org = Org()
    org.down = True
    async with tenure(path, record_source=org) as rig:
        await enrolled(rig)
        await rig.answer(gap("GAP_UPDATE", RUN_1, 5))
        await rig.pass_time(2_000)
    org.down = False
    org.has(RUN_1, 5, State="Paused", **FULL)
    async with tenure(path, record_source=org) as rig:
        await rig.open()
        await reconciled(rig)
        assert (await rig.types())[-2:] == ["run.paused", "system.repaired"]


async def test_a_merged_gap_is_one_task_for_all_its_records(path):
    org = Org()
    org.has(RUN_1, 5, State="Paused", **FULL)
    org.has(RUN_2, 5, State="Running", **FULL)
    async with tenure(path, record_source=org) as rig:
        await enrolled(rig)
        await rig.answer(gap("GAP_UPDATE", [RUN_1, RUN_2], 5))
        await reconciled(rig)
        assert (await rig.types())[2:] == [
            "system.gap",
            "run.paused",
            "run.enrolled",
            "run.started",
            "system.repaired",
        ]
        assert org.asked == [(RUN_1, RUN_2)]


async def test_a_record_that_was_deleted_meanwhile_is_told_as_deleted(path):
    async with tenure(path, record_source=Org()) as rig:
        await enrolled(rig)
        await rig.answer(gap("GAP_UPDATE", RUN_1, 5))
        await reconciled(rig)
        assert (await rig.types())[-2:] == ["run.deleted", "system.repaired"]
        assert (await state_of(rig, RUN_1)).is_deleted


async def test_a_row_that_is_too_fresh_is_asked_for_again_five_times_at_most(path):
    org = Org()
    org.has(RUN_1, 5, State="Paused", **FULL)
    org.server_ms = COMMIT_MS + 6_000
    async with tenure(path, record_source=org) as rig:
        await enrolled(rig)
        await rig.answer(gap("GAP_UPDATE", RUN_1, 5))
        await rig.pass_time(4_000)
        assert "run.paused" not in await rig.types()
        org.server_ms = COMMIT_MS + 7_000
        await reconciled(rig)
        assert "run.paused" in await rig.types()
        asked = len(org.asked)
        org.server_ms = COMMIT_MS + 6_000
        await rig.answer(gap("GAP_UPDATE", RUN_1, 9))
        await reconciled(rig, 2)
        assert len(org.asked) - asked == 6
        assert await rig.store.reconcile_tasks() == {}


async def test_a_window_is_read_page_by_page_and_each_page_is_committed_with_the_next(path):
    org = Org()
    ids = sorted(f"0qBWP{number:010d}2AA" for number in range(2 * PAGE_SIZE + 50))
    for one in ids:
        org.has(one, 60, State="Running", **FULL)
    async with tenure(path, record_source=org) as rig:
        await rig.open()
        task = window_task("repair", "by hand", RUN, COMMIT_MS, 0)
        await rig.store.add_reconcile_task(task.id, task.encode())
        await reconciled(rig)
        assert len([one for one in org.asked if isinstance(one, str)]) == 3
        types = await rig.types()
        assert types.count("run.enrolled") == len(ids)
        assert types[-1] == "system.repaired"
        (report,) = [event["after"] for event in await rig.journal() if event["type"] == "system.repaired"]
        assert (report["fetched"], report["changed"]) == (len(ids), len(ids))


async def test_a_tenure_that_ends_in_the_middle_of_a_window_goes_on_at_its_page(path):
    org = Org()
    ids = sorted(f"0qBWP{number:010d}2AA" for number in range(3 * PAGE_SIZE))
    for one in ids:
        org.has(one, 60, State="Running", **FULL)
    task = window_task("repair", "by hand", RUN, COMMIT_MS, 0)
    async with tenure(path, record_source=org) as rig:
        await rig.open()
        await rig.store.add_reconcile_task(task.id, task.encode())
        org.pages_left = 1
        kept = b""
        for _ in range(600):
            await rig.pass_time(250)
            kept = (await rig.store.reconcile_tasks())[task.id]
            if ReconcileTask.decode(kept).fetched:
                break
    begun = ReconcileTask.decode(kept).fetched
    assert begun == PAGE_SIZE
    org.pages_left, org.asked = 1_000, []
    async with tenure(path, record_source=org) as rig:
        await rig.open()
        await reconciled(rig)
        types = await rig.types()
        assert types.count("run.enrolled") == len(ids)
        assert await rig.store.reconcile_tasks() == {}


async def test_a_row_that_cannot_be_read_leaves_its_record_as_it_was_and_is_told(path):
    org = Org()
    org.has(RUN_1, 5, State="Paused", **FULL)
    org.rows[RUN_1]["DaisyChainIteration"] = "many"
    async with tenure(path, record_source=org) as rig:
        await enrolled(rig)
        await rig.answer(gap("GAP_UPDATE", RUN_1, 5))
        await reconciled(rig)
        assert (await state_of(rig, RUN_1)).get("State") == "Running"
        ((record_id, why),) = rig.witness.unread
        assert record_id == RUN_1
        assert "DaisyChainIteration" in why


async def test_a_step_that_only_a_row_tells_of_belongs_to_its_run(path):
    org = Org()
    org.has(STEP_1, 5, State="Active", ActionCadenceTrackerId=RUN_1, StepType="MakeACall")
    async with tenure(path, record_source=org) as rig:
        await enrolled(rig)
        await rig.answer(gap("GAP_CREATE", STEP_1, 5, entity=STEP))
        await reconciled(rig)
        events = [event for event in await rig.journal() if event["type"].startswith("step.")]
        assert [event["type"] for event in events] == ["step.created", "step.activated"]
        assert {event["tracker_id"] for event in events} == {RUN_1}


@pytest.mark.parametrize("record_ids", [RUN_1, [RUN_1, RUN_2], "000000000000000AAA"])
async def test_a_gap_that_is_delivered_again_is_journaled_and_fetched_once(path, record_ids):
    org = Org()
    org.has(RUN_1, 5, State="Paused", **FULL)
    kind = "GAP_OVERFLOW" if record_ids == "000000000000000AAA" else "GAP_UPDATE"
    async with tenure(path, record_source=org) as rig:
        await enrolled(rig)
        await rig.answer(gap(kind, record_ids, 5, position=51))
        while not {"system.repaired", "system.overflow"} & set(await rig.types()):
            await rig.pass_time(250)
        asked = len(org.asked)
        await rig.lose()
        await rig.open(ActionCadenceTrackerChangeEvent="51")
        await rig.answer(gap(kind, record_ids, 5, position=51))
        await rig.pass_time(20_000)
    async with tenure(path, record_source=org) as rig:
        await rig.open(ActionCadenceTrackerChangeEvent="51")
        await rig.answer(gap(kind, record_ids, 5, position=51))
        await rig.pass_time(20_000)
        ids = [event["id"] for event in await rig.journal()]
        assert len(ids) == len(set(ids))
        assert len(org.asked) == asked
        assert rig.witness.total("duplicates") == 1


async def test_what_has_left_the_recycle_bin_is_told_by_the_delete_log(path):
    org = Org()
    org.server_ms = COMMIT_MS + 3_600_000
    ids = sorted(f"0qBWP{number:010d}2AA" for number in range(PAGE_SIZE + 30))
    async with tenure(path, record_source=org) as rig:
        await rig.open()
        for start in range(0, len(ids), 115):
            await rig.answer(
                *(
                    message("CREATE", RUN, one, {"State": "Running", **FULL}, commit=1 + start + at)
                    for at, one in enumerate(ids[start : start + 115])
                )
            )
        while (await rig.types()).count("run.enrolled") < len(ids):
            await rig.pass_time(250)
        org.log = [(COMMIT_MS + 60_000 + at // 50 * 1_000, one) for at, one in enumerate(ids)]
        org.log.append((COMMIT_MS + 60_000, "0qBWP000000UNKNOWN"))
        task = window_task("repair", "by hand", RUN, COMMIT_MS, 0)
        await rig.store.add_reconcile_task(task.id, task.encode())
        await reconciled(rig)
        types = await rig.types()
        assert types.count("run.deleted") == len(ids)
        report = (await rig.journal())[-1]["after"]
        assert (report["changed"], report["deleted"]) == (len(ids), len(ids))
        assert "deletions_known_since" not in report
        assert await state_of(rig, "0qBWP000000UNKNOWN") is None, "what nobody knew is not told as gone"


async def test_a_window_says_since_when_deletions_can_be_known(path):
    org = Org()
    org.server_ms = COMMIT_MS + 40 * 86_400_000
    async with tenure(path, record_source=org) as rig:
        await enrolled(rig)
        task = window_task("repair", "by hand", RUN, COMMIT_MS, 0)
        await rig.store.add_reconcile_task(task.id, task.encode())
        await rig.answer(server_ms=org.server_ms)
        await reconciled(rig)
        report = (await rig.journal())[-1]["after"]
        assert report["deletions_known_since"][:10] > iso(COMMIT_MS + 24 * 86_400_000)[:10]
        ((_, _, since_ms, _),) = [one for one in org.asked if one[0] == "deleted"]
        assert org.server_ms - since_ms < 15 * 86_400_000


async def test_a_task_that_fails_for_ever_keeps_no_other_waiting(path):
    org = Org()
    org.has(RUN_1, 5, State="Paused", **FULL)
    org.forbidden = STEP
    async with tenure(path, record_source=org) as rig:
        await enrolled(rig)
        await rig.answer(gap("GAP_UPDATE", STEP_1, 4, position=41, entity=STEP))
        await rig.pass_time(130_000, every=1_000)
        failed = len(rig.witness.reconcile_failed)
        assert failed > 5
        await rig.answer(gap("GAP_UPDATE", RUN_1, 5, position=51))
        await rig.pass_time(6_000)
        assert "run.paused" in await rig.types()
        assert len(rig.witness.reconcile_failed) - failed <= 1


async def test_rest_that_is_down_is_not_asked_by_every_task_in_turn(path):
    org = Org()
    org.down = True
    async with tenure(path, record_source=org) as rig:
        await enrolled(rig)
        await rig.answer(*(gap("GAP_UPDATE", RUN_1, 5 + at, position=50 + at) for at in range(100)))
        await rig.pass_time(600_000, every=2_000)
        assert len(await rig.store.reconcile_tasks()) == 100
        assert len(rig.witness.reconcile_failed) < 40


async def test_a_page_waits_for_what_is_held_of_its_own_records_and_for_nothing_else(path):
    org = Org()
    ids = sorted(f"0qBWP{number:010d}2AA" for number in range(10 * PAGE_SIZE))
    for one in ids:
        org.has(one, 60, State="Running", **FULL)
    org.has(RUN_1, 5, State="Paused", LastModifiedDate=iso(COMMIT_MS + 5_000), **FULL)
    async with tenure(path, record_source=org) as rig:
        await enrolled(rig)
        # The stream never rests: something is held at every moment.
        await rig.answer(gap("GAP_UPDATE", RUN_1, 5, position=51))
        task = window_task("repair", "by hand", RUN, COMMIT_MS, 0)
        await rig.store.add_reconcile_task(task.id, task.encode())
        fields = {"State": "Paused", "LastModifiedDate": iso(COMMIT_MS + 5_000)}
        await rig.answer(message("UPDATE", RUN, RUN_1, fields, commit=6, position=61))
        for number in range(80):
            await rig.answer(message("UPDATE", RUN, RUN_2, {"State": "Running"}, commit=10 + number))
            await rig.pass_nothing(250)
        types = await rig.types()
        assert types.count("run.enrolled") > 9 * PAGE_SIZE, "twenty seconds are enough for ten pages"
        assert types.count("run.paused") == 1
        (paused,) = [event for event in await rig.journal() if event["type"] == "run.paused"]
        assert paused.get("origin", "stream") == "stream", "what was held of the record came first"


# ---------------------------------------------------------------- snapshots


async def snapshots(rig, number):
    for _ in range(600):
        await rig.pass_time(250)
        if (await rig.types()).count("system.snapshot") >= number:
            return
    raise AssertionError(await rig.types())


async def test_the_first_session_of_a_new_store_reads_everything_in_silence(path):
    org = Org()
    org.has(RUN_1, 5, State="Running", **FULL)
    org.has(STEP_1, 5, State="Active", ActionCadenceTrackerId=RUN_1, DueDateTime=iso(COMMIT_MS))
    async with tenure(path, record_source=org, snapshot="initial") as rig:
        await rig.open()
        await snapshots(rig, 2)
        assert (await state_of(rig, RUN_1)).get("State") == "Running"
        assert await rig.store.timers(2**53, 10) == []
        assert await rig.types() == ["system.snapshot"] * 2, "not even what is overdue is told"
        await rig.answer(message("UPDATE", RUN, RUN_1, {"State": "Paused"}, commit=9))
        await rig.pass_time(2_000)
        (paused,) = [event for event in await rig.journal() if event["type"] == "run.paused"]
        assert paused["before"]["State"] == "Running", "what it was before is known from the snapshot"
    asked = len(org.asked)
    async with tenure(path, record_source=org, snapshot="initial") as rig:
        await rig.open()
        await rig.pass_time(5_000)
        assert len(org.asked) == asked, "a store that is not new any more is not read again"


async def test_a_snapshot_is_told_where_that_is_wanted(path):
    org = Org()
    org.has(RUN_1, 5, State="Running", **FULL)
    async with tenure(path, record_source=org, snapshot="initial", snapshot_emit=True) as rig:
        await rig.open()
        await snapshots(rig, 2)
        told = [(event["type"], event["origin"]) for event in await rig.journal()]
        assert told == [
            ("system.snapshot", "snapshot"),
            ("run.enrolled", "snapshot"),
            ("run.started", "snapshot"),
            ("system.snapshot", "snapshot"),
        ]


async def test_a_snapshot_never_overwrites_what_the_stream_told_since(path):
    org = Org()
    org.has(RUN_1, 5, State="Running", **FULL)
    async with tenure(path, record_source=org, snapshot="initial") as rig:
        await rig.open()
        stamp = iso(COMMIT_MS + 8_000)
        await rig.answer(
            message("UPDATE", RUN, RUN_1, {"State": "Paused", "LastModifiedDate": stamp}, commit=8)
        )
        await snapshots(rig, 2)
        assert (await state_of(rig, RUN_1)).get("State") == "Paused"


async def test_a_tenure_that_ends_in_the_middle_of_a_snapshot_goes_on_at_its_page(path):
    org = Org()
    ids = sorted(f"0qBWP{number:010d}2AA" for number in range(SNAPSHOT_PAGE_SIZE + 300))
    for one in ids:
        org.has(one, 60, State="Running", **FULL)
    org.pages_left = 2
    async with tenure(path, record_source=org, snapshot="initial") as rig:
        await rig.open()
        while not rig.witness.reconcile_failed:
            await rig.pass_time(250)
        assert (
            sum(ReconcileTask.decode(one).fetched for one in (await rig.store.reconcile_tasks()).values())
            >= SNAPSHOT_PAGE_SIZE
        )
    org.pages_left, org.asked = 1_000, []
    async with tenure(path, record_source=org, snapshot="initial") as rig:
        await rig.open()
        await snapshots(rig, 2)
        assert sum(report["fetched"] for _, report in rig.witness.done) == len(ids)
        known, _ = await rig.store.walk(None, 10_000)
        assert {one for one, _ in known} >= set(ids)
        assert await rig.store.reconcile_tasks() == {}


async def test_a_record_that_is_being_changed_is_read_again_after_the_snapshot(path):
    org = Org()
    org.has(RUN_1, 5, State="Running", **FULL)
    org.has(RUN_2, 60, State="Running", **FULL)
    org.server_ms = COMMIT_MS + 61_000
    async with tenure(path, record_source=org, snapshot="initial") as rig:
        await rig.open()
        await snapshots(rig, 2)
        assert await state_of(rig, RUN_2) is None, "a row of this second may not be the last word"
        assert any(task_id.startswith("snapshot/") for task_id in await rig.store.reconcile_tasks())
        org.server_ms = COMMIT_MS + 63_000
        await rig.pass_time(3_000)
        assert (await state_of(rig, RUN_2)).get("State") == "Running"
        assert await rig.store.reconcile_tasks() == {}
        assert await rig.types() == ["system.snapshot"] * 2


async def test_after_a_downtime_longer_than_any_log_remembers_everything_is_read_and_what_is_gone_is_told(
    path,
):
    org = Org()
    long_after_ms = COMMIT_MS + 20 * 86_400_000
    async with tenure(path, record_source=org) as rig:
        await rig.open()
        await rig.answer(
            message("CREATE", RUN, RUN_1, {"State": "Running", **FULL}, commit=1),
            message("CREATE", RUN, RUN_2, {"State": "Running", **FULL}, commit=2),
        )
        while "run.enrolled" not in await rig.types():
            await rig.pass_time(250)
    org.has(RUN_1, 86_400 * 3, State="Paused", **FULL)
    org.server_ms = long_after_ms
    async with tenure(
        path, record_source=org, snapshot="when_needed", on_expired="repair", lateness_ms=100
    ) as rig:
        await rig.ingest.plan.refused(RUN_CHANNEL, "99", "not known any more", long_after_ms)
        await rig.open()
        await rig.answer(server_ms=long_after_ms)
        await snapshots(rig, 1)
        events = await rig.journal()
        told = [(event["type"], event["record_id"]) for event in events if event.get("origin") == "repair"]
        assert sorted(told) == [("run.deleted", RUN_2), ("run.paused", RUN_1)]
        assert events[-1]["after"] == {
            "reason": "snapshot",
            "entity": RUN,
            "fetched": 2,
            "changed": 2,
            "deleted": 1,
            "events": 2,
        }
