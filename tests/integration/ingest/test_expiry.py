"""What is forgotten, when, and what may not get lost by it: the real ingest on SQLite, in virtual time."""

import asyncio
import json

import pytest

from consumer.clock import iso
from consumer.domain.record_state import RecordState
from consumer.domain.state_retention import ExpiryCutoff
from consumer.domain.target_runs import key_of
from consumer.errors import CadenceError
from consumer.ingest.batch import Batch
from consumer.ingest.state_expiry import PAGE_SIZE, ExpiryProposal
from consumer.ports.observers.reconcile_events import StatesCounted
from consumer.ports.source import FetchedItem
from tests.support.builders.changes import (
    COMMIT_MS,
    RUN,
    RUN_1,
    RUN_2,
    STEP,
    STEP_1,
    STEP_2,
    message,
)
from tests.support.rigs.ingest import tenure

pytestmark = pytest.mark.looptime

DAY = 86_400_000
TARGET = "00QWP0000001AbC2AU"
OTHER = "0qBWP0000001AbZ2AU"
RETENTION = {"retention_ms": 30 * DAY}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cadence.db"


def at(days):
    return COMMIT_MS + int(days * DAY)


class Told:
    """A stream whose commits are numbered as they are written down."""

    def __init__(self):
        self.number = 0

    def __call__(self, days, kind, entity, record_id, **fields):
        self.number += 1
        return message(kind, entity, record_id, fields, commit=self.number, commit_ms=at(days))


async def told(rig, days, *messages):
    """An answer, and time until it is committed."""
    await rig.answer(*messages, server_ms=at(days))
    journal = rig.witness.total("changes") + len(messages)
    await until(rig, days, lambda: rig.witness.total("changes") >= journal)


async def until(rig, days, true):
    for _ in range(1_000):
        if true():
            return
        await asyncio.sleep(0.25)
        await rig.answer(server_ms=at(days))
    raise AssertionError("it did not come true")


async def walked(rig, days):
    """The next walk is over."""
    rig.witness.clear(StatesCounted)
    for _ in range(20_000):
        if rig.witness.census:
            return
        await asyncio.sleep(1)
        await rig.answer(server_ms=at(days))
    raise AssertionError("nobody walked")


async def known(rig):
    found, cursor = await rig.store.walk(None, 100)
    assert cursor is None
    return {key for key, _ in found}


async def story(rig, change_at, *, run=RUN_1, step=STEP_1, ended=1.0):
    """A run with a step, ended on a day."""
    await told(
        rig,
        0,
        change_at(0, "CREATE", RUN, run, State="Running", TargetId=TARGET),
        change_at(0, "CREATE", STEP, step, State="Active", ActionCadenceTrackerId=run),
    )
    if ended is not None:
        await told(rig, ended, change_at(ended, "UPDATE", RUN, run, State="Complete"))


async def test_an_ended_run_and_its_steps_go_after_the_retention_and_no_sooner(path):
    change_at = Told()
    async with tenure(path, **RETENTION) as rig:
        await rig.open()
        await story(rig, change_at)
        await told(rig, 30, change_at(30, "CREATE", RUN, OTHER, State="Running"))
        await walked(rig, 30)
        assert await known(rig) == {RUN_1, STEP_1, OTHER, key_of(TARGET)}
        assert rig.witness.census == {"run": 2, "step": 1, "target": 1}
        await told(rig, 31.1, change_at(31.1, "UPDATE", RUN, OTHER, State="Paused"))
        await walked(rig, 31.1)
        assert await known(rig) == {OTHER}, (
            "the run, its step that never ended by itself, and the target's list"
        )
        assert rig.witness.expired == 2
        assert rig.witness.census["run"] == 1


async def test_a_run_that_has_not_ended_stays_however_long_and_so_do_its_steps(path):
    change_at = Told()
    async with tenure(path, **RETENTION) as rig:
        await rig.open()
        await story(rig, change_at, ended=None)
        await told(rig, 1, change_at(1, "UPDATE", STEP, STEP_1, State="Completed"))
        await told(rig, 400, change_at(400, "CREATE", RUN, OTHER, State="Running"))
        await walked(rig, 400)
        assert await known(rig) >= {RUN_1, STEP_1}


async def test_a_step_that_is_heard_of_keeps_its_run(path):
    change_at = Told()
    async with tenure(path, **RETENTION) as rig:
        await rig.open()
        await story(rig, change_at)
        await told(rig, 25, change_at(25, "UPDATE", STEP, STEP_1, StepTitle="Call"))
        await told(rig, 40, change_at(40, "CREATE", RUN, OTHER, State="Running"))
        await walked(rig, 40)
        assert await known(rig) >= {RUN_1, STEP_1}


async def test_tombstones_and_notes_about_gaps_go_with_their_identities_whatever_the_retention(path):
    change_at = Told()
    async with tenure(path, retention_ms=None) as rig:
        await rig.open()
        await story(rig, change_at)
        await told(rig, 1, change_at(1, "DELETE", RUN, RUN_1), change_at(1, "DELETE", STEP, STEP_1))
        await told(rig, 1, change_at(1, "GAP_UPDATE", RUN, RUN_2))
        await told(rig, 4.9, change_at(4.9, "CREATE", RUN, OTHER, State="Running"))
        await walked(rig, 4.9)
        assert await known(rig) >= {RUN_1, STEP_1, f"gap/{RUN_2}"}
        await told(rig, 5.1, change_at(5.1, "UPDATE", RUN, OTHER, State="Complete"))
        await walked(rig, 5.1)
        assert await known(rig) == {OTHER}
        await told(rig, 500, change_at(500, "CREATE", RUN, RUN_2, State="Running"))
        await walked(rig, 500)
        assert await known(rig) == {OTHER, RUN_2}, "without a retention what has ended is kept"


async def test_what_was_redelivered_until_it_went_was_a_duplicate(path):
    change_at = Told()
    async with tenure(path, retention_ms=4 * DAY) as rig:
        await rig.open()
        await story(rig, change_at, ended=0)
        again = change_at(0.5, "UPDATE", RUN, RUN_1, CompletionDisposition="Bad Data")
        await told(rig, 0.5, again)
        await told(rig, 4.4, change_at(4.4, "CREATE", RUN, OTHER, State="Running"))
        await walked(rig, 4.4)
        again = json.loads(json.dumps(again))
        again["data"]["event"]["replayId"] = 999
        await told(rig, 4.4, again)
        assert rig.witness.total("duplicates") == 1
        assert (await rig.types()).count("run.disposition_set") == 1


async def test_a_change_that_waits_when_its_run_is_proposed_finds_what_was_known(path):
    change_at = Told()
    async with tenure(path, **RETENTION) as rig:
        await rig.open()
        await story(rig, change_at)
        await told(rig, 32, change_at(32, "CREATE", RUN, OTHER, State="Running"))
        # Held back for ordering, and nothing but max_hold lets it go; the proposal waits less long than that.
        await rig.answer(
            change_at(33, "UPDATE", STEP, STEP_1, StepTitle="Call", ActionCadenceTrackerId=RUN_1),
            server_ms=at(33),
        )
        await asyncio.sleep(4)
        await rig.ingest.loop._handle(
            FetchedItem(ExpiryProposal((STEP_1, RUN_1), ExpiryCutoff.at(at(33), 30 * DAY)), 0)
        )
        await rig.ingest.loop._row_applier.process()
        assert await known(rig) >= {RUN_1, STEP_1}
        await until(rig, 33, lambda: rig.witness.total("changes") == 5)
        last = (await rig.journal())[-1]
        assert (last["type"], last["before"]["State"]) == ("step.updated", "Active")


async def test_a_run_that_came_back_after_it_was_proposed_stays(path):
    change_at = Told()
    async with tenure(path, **RETENTION) as rig:
        await rig.open()
        await story(rig, change_at)
        await told(rig, 40, change_at(40, "UPDATE", RUN, RUN_1, State="Running"))
        await rig.buffer.put(
            FetchedItem(
                ExpiryProposal((RUN_1, STEP_1), ExpiryCutoff.at(at(40), 30 * DAY)), rig.clock.monotonic_ms()
            )
        )
        await until(rig, 40, rig.ingest.state_expiry._resolved.is_set)
        assert await known(rig) >= {RUN_1, STEP_1}


class Down:
    """REST that does not answer until it is told to."""

    down = True

    async def rows_with_time(self, entity, ids, fields):
        if self.down:
            raise CadenceError("REST does not answer")
        stamp = iso(at(1))
        return {
            one: {
                "Id": one,
                "SystemModstamp": stamp,
                "LastModifiedDate": stamp,
                "State": "Complete",
                "TargetId": TARGET,
            }
            for one in ids
        }, at(50)

    async def page(self, soql):
        raise CadenceError("REST does not answer")


async def test_nothing_is_forgotten_while_a_gap_is_open(path):
    change_at, rest = Told(), Down()
    async with tenure(path, record_source=rest, sweep_ms=None, **RETENTION) as rig:
        await rig.open()
        await story(rig, change_at)
        await told(rig, 45, change_at(45, "GAP_UPDATE", RUN, RUN_1))
        for _ in range(200):
            await asyncio.sleep(1)
            await rig.answer(server_ms=at(45))
        assert rig.witness.census == {}, "the walk was given up"
        assert await known(rig) >= {RUN_1, STEP_1}
        rest.down = False
        await walked(rig, 45)
        assert await known(rig) == {f"gap/{RUN_1}"}


async def test_a_later_change_of_a_forgotten_run_is_told_like_the_first_of_an_unknown_one(path):
    change_at = Told()

    class Rows:
        async def rows(self, entity, ids, fields):
            return {one: {"TargetId": TARGET, "ActionCadenceId": None} for one in ids if entity == RUN}

    async with tenure(path, rows=Rows(), **RETENTION) as rig:
        await rig.open()
        await story(rig, change_at)
        await told(rig, 40, change_at(40, "CREATE", RUN, OTHER, State="Running"))
        await walked(rig, 40)
        assert await known(rig) == {OTHER}
        await told(rig, 41, change_at(41, "UPDATE", RUN, RUN_1, CompletionDisposition="Bad Data"))
        last = (await rig.journal())[-1]
        assert (last["type"], last["target_id"], last["record_id"]) == ("run.disposition_set", TARGET, RUN_1)
        assert last["before"] == {"TargetId": TARGET}, "what was looked up, and nothing that was forgotten"
        assert "late" not in last
        state = RecordState.decode((await rig.store.states([RUN_1]))[RUN_1])
        assert state.get("State") is None, "nothing that was forgotten comes back from memory"
        assert key_of(TARGET) in await known(rig)


async def test_proposals_come_a_page_at_a_time_and_everything_goes(path):
    change_at = Told()
    runs = [f"0qB{number:012d}AAA" for number in range(2 * PAGE_SIZE + 50)]
    async with tenure(path, **RETENTION) as rig:
        await rig.open()
        await told(rig, 0, change_at(0, "CREATE", RUN, runs, State="Running"))
        await until(rig, 0, lambda: rig.witness.total("changes") == len(runs))
        await told(rig, 1, change_at(1, "UPDATE", RUN, runs, State="Complete"))
        await until(rig, 1, lambda: rig.witness.total("changes") == 2 * len(runs))
        await told(rig, 40, change_at(40, "CREATE", RUN, OTHER, State="Running"))
        sizes = []
        put = rig.buffer.put

        async def spied(item):
            if isinstance(item, FetchedItem):
                sizes.append(len(item.page.keys))
            await put(item)

        rig.buffer.put = spied
        await walked(rig, 40)
        assert await known(rig) == {OTHER}
        assert rig.witness.expired == len(runs) == sum(sizes)
        assert max(sizes) <= PAGE_SIZE


async def test_states_of_an_older_release_go_by_their_last_modified_date(path):
    change_at = Told()
    async with tenure(path, **RETENTION) as rig:
        await rig.open()
        await told(rig, 0, change_at(0, "CREATE", RUN, RUN_1, State="Complete", LastModifiedDate=iso(at(0))))
        await told(rig, 0, change_at(0, "CREATE", RUN, RUN_2, State="Complete"))
    old = {}
    async with tenure(path, **RETENTION) as rig:
        for record_id, data in (await rig.store.states([RUN_1, RUN_2])).items():
            value = json.loads(data)
            value["s"] = {}
            del value["m"]
            old[record_id] = json.dumps(value).encode()
        nothing = Batch(rig.ingest.loop._org())
        commit = rig.ingest.commits.draft(nothing)
        commit.states = old
        await rig.ingest.commits.apply(commit, nothing, began_ms=0)
        await rig.open()
        await told(rig, 40, change_at(40, "CREATE", RUN, OTHER, State="Running"))
        await walked(rig, 40)
        assert await known(rig) == {OTHER, RUN_2}, (
            "when the other was last heard of is not known, so it stays"
        )


@pytest.mark.parametrize("step", [STEP_1, STEP_2])
async def test_a_step_whose_run_is_not_known_goes_when_it_has_ended(path, step):
    change_at = Told()
    async with tenure(path, **RETENTION) as rig:
        await rig.open()
        state = "Completed" if step == STEP_2 else "Active"
        await told(rig, 0, change_at(0, "CREATE", STEP, step, State=state))
        await told(rig, 40, change_at(40, "CREATE", RUN, OTHER, State="Running"))
        await walked(rig, 40)
        assert (step in await known(rig)) == (step == STEP_1)
