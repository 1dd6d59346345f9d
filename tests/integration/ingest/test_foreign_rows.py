"""Rows and pages that cannot be used: each is isolated and reported, and a task that fails by them is set aside and ends nothing."""

import pytest

from consumer.clock import iso
from consumer.domain.reconcile_task import ReconcileTask
from consumer.errors import UnusableAnswer
from consumer.ingest.reconcile import apply
from consumer.ingest.reconcile.fetch import SNAPSHOT_PAGE_SIZE
from consumer.ports.observers.reconcile_events import ReconcileFetchFailed, ReconcileTaskRecovered
from consumer.ports.salesforce import DeletedLog, RecordPage
from tests.integration.ingest.test_reconcile import FULL, Org, enrolled, gap, reconciled, snapshots, state_of
from tests.support.builders.changes import COMMIT_MS, RUN, RUN_1, RUN_2, STEP, STEP_1
from tests.support.rigs.ingest import tenure

pytestmark = pytest.mark.looptime

INJECTED = "x' OR (Name LIKE 'a%') OR Id > 'zzz"
BAD_ROWS = [
    {},
    {"foo": 1},
    {"Id": RUN_2, "SystemModstamp": "never"},
    {"Id": RUN_2, "SystemModstamp": 7},
    {"Id": RUN_2, "SystemModstamp": "9999-12-31T23:59:59.000-2300"},
    {"Id": RUN_2, "SystemModstamp": "0001-01-01T00:00:00.000Z"},
    {"Id": INJECTED, "SystemModstamp": iso(COMMIT_MS)},
    {"Id": "001*", "SystemModstamp": iso(COMMIT_MS)},
    {"Id": {"a": 1}, "SystemModstamp": iso(COMMIT_MS)},
    {"Id": RUN_2, "SystemModstamp": iso(COMMIT_MS), "State": {"a": [1]}},
]


class OddOrg(Org):
    """The same org, whose pages hold more rows than it knows."""

    def __init__(self, odd_rows=()):
        super().__init__()
        self.odd_rows = list(odd_rows)
        self.failure = None
        self.failing = RUN

    async def page(self, soql):
        answer = await super().page(soql)
        return RecordPage([*self.odd_rows, *answer.records, *self.odd_rows], answer.server_ms)

    async def rows_with_time(self, entity, ids, fields):
        if self.failure is not None and entity == self.failing:
            raise self.failure
        return await super().rows_with_time(entity, ids, fields)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cadence.db"


async def test_rows_that_cannot_be_used_are_reported_and_take_no_other_with_them(path):
    org = OddOrg(BAD_ROWS)
    org.has(RUN_1, -10, State="Paused", **FULL)
    async with tenure(path, record_source=org, snapshot="initial") as rig:
        await rig.open()
        await snapshots(rig, 2)
        assert (await state_of(rig, RUN_1)).get("State") == "Paused"
        assert await state_of(rig, RUN_2) is None
        # Each page has them before and behind its rows; the pages are one of either object.
        assert len(rig.witness.unread) == 4 * len(BAD_ROWS)
        assert not any("LIKE" in str(each) for each in org.asked)


@pytest.mark.parametrize("row", [*BAD_ROWS, {"Id": RUN_2, "SystemModstamp": "bad"}])
async def test_a_page_without_a_row_to_go_on_from_ends_the_reading_and_not_the_tenure(path, row):
    org = OddOrg([row] * SNAPSHOT_PAGE_SIZE)
    async with tenure(path, record_source=org, snapshot="initial") as rig:
        await rig.open()
        await rig.pass_time(60_000)
        pages = [each for each in org.asked if "SELECT Id" in str(each)]
        assert 6 <= len(pages) <= 12, "three tries of each object, then rarely"
        tasks = [ReconcileTask.decode(each) for each in (await rig.store.reconcile_tasks()).values()]
        assert {task.error for task in tasks if task.is_snapshot} == {
            f"a page of {2 * SNAPSHOT_PAGE_SIZE} rows of {entity} has none after which the next could begin"
            for entity in (RUN, STEP)
        }
        org.odd_rows = []
        await rig.pass_time(700_000, every=5_000)
        assert (await rig.types()).count("system.snapshot") == 2, "it is tried again, rarely"


@pytest.mark.parametrize(
    "failure", [KeyError("Id"), TypeError("unhashable"), RecursionError("deep"), UnusableAnswer("no rows")]
)
async def test_whatever_an_answer_does_to_the_code_its_task_is_set_aside_and_the_others_go_on(path, failure):
    org = OddOrg()
    org.has(RUN_1, 5, State="Paused", **FULL)
    org.has(STEP_1, 5, State="Active", ActionCadenceTrackerId=RUN_1, **FULL)
    org.failure = failure
    async with tenure(path, record_source=org) as rig:
        await enrolled(rig)
        await rig.answer(gap("GAP_UPDATE", RUN_1, 5), gap("GAP_CREATE", STEP_1, 6, entity=STEP))
        await reconciled(rig)
        await rig.pass_time(20_000)
        failed = rig.witness.of(ReconcileFetchFailed)
        assert [event.set_aside for event in failed] == [False, False, True]
        assert failed[-1].retry_after_ms == 600_000
        (task,) = [
            task
            for task in map(ReconcileTask.decode, (await rig.store.reconcile_tasks()).values())
            if task.reason == "gap"
        ]
        assert task.error is not None
        org.failure = None
        await rig.pass_time(700_000, every=5_000)
        assert [event.task for event in rig.witness.of(ReconcileTaskRecovered)] == [task.id]
        assert "run.paused" in await rig.types()


async def test_rows_that_cannot_be_compared_concern_their_task_alone(path, monkeypatch):
    org = OddOrg()
    org.has(RUN_1, 5, State="Paused", **FULL)
    compare, broken = apply.compare_rows, [True]

    def compare_rows(rows, *rest, **more):
        if rows and broken:
            raise TypeError("unhashable type: 'dict'")
        return compare(rows, *rest, **more)

    monkeypatch.setattr(apply, "compare_rows", compare_rows)
    async with tenure(path, record_source=org) as rig:
        await enrolled(rig)
        await rig.answer(gap("GAP_UPDATE", RUN_1, 5))
        await rig.pass_time(20_000)
        assert [event.set_aside for event in rig.witness.of(ReconcileFetchFailed)] == [False, False, True]
        (task,) = [
            task
            for task in map(ReconcileTask.decode, (await rig.store.reconcile_tasks()).values())
            if task.reason == "gap"
        ]
        assert task.error == "TypeError: unhashable type: 'dict'"
        broken.clear()
        await rig.pass_time(700_000, every=5_000)
        assert "run.paused" in await rig.types()


async def test_a_row_that_cannot_be_used_is_no_deletion(path):
    org = OddOrg()
    org.has(RUN_1, 5, State="Paused", **FULL)
    org.rows[RUN_1] = {}
    async with tenure(path, record_source=org) as rig:
        await enrolled(rig)
        await rig.answer(gap("GAP_UPDATE", RUN_1, 5))
        await reconciled(rig)
        assert "run.deleted" not in await rig.types()
        assert [record_id for record_id, _ in rig.witness.unread] == [RUN_1]


async def test_a_page_that_is_not_whole_is_not_the_last(path):
    class Batched(Org):
        async def page(self, soql):
            answer = await super().page(soql)
            return RecordPage(answer.records[:1], answer.server_ms, len(answer.records) <= 1)

        async def deleted(self, entity, since_ms, until_ms):
            return DeletedLog([], (("?", "not a date"),))

    org = Batched()
    org.has(RUN_1, -10, State="Paused", **FULL)
    org.has(RUN_2, -10, State="Paused", **FULL)
    async with tenure(path, record_source=org, snapshot="initial") as rig:
        await rig.open()
        await snapshots(rig, 2)
        assert (
            (await state_of(rig, RUN_1)).get("State") == (await state_of(rig, RUN_2)).get("State") == "Paused"
        )
