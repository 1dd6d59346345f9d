"""``step.overdue`` and ``run.resume_due``: durable, exactly once, never a false alarm. Salesforce's time is what answers say."""

import pytest

from consumer.clock import iso
from tests.support.builders.changes import (
    COMMIT_MS,
    RUN,
    RUN_1,
    STEP,
    STEP_1,
    message,
)
from tests.support.rigs.ingest import tenure

pytestmark = pytest.mark.looptime

DUE_MS = COMMIT_MS + 3_600_000
REPLAY = {"ActionCadenceTrackerChangeEvent": "-2", "ActionCadenceStepTrackerChangeEvent": "-2"}

enrol = message("CREATE", RUN, RUN_1, {"State": "Running", "OwnerId": "005"}, commit=1, sequence=1)
step = message(
    "CREATE",
    STEP,
    STEP_1,
    {"State": "Active", "ActionCadenceTrackerId": RUN_1, "DueDateTime": iso(DUE_MS)},
    commit=1,
    sequence=2,
)


def done(at_ms):
    fields = {
        "State": "Completed",
        "CompletionReason": "ManuallyCompleted",
        "ActionTakenDateTime": iso(at_ms),
    }
    return message("UPDATE", STEP, STEP_1, fields, commit=5, commit_ms=at_ms)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cadence.db"


async def settle(rig, server_ms):
    """Polls are answered without events until ``server_ms``."""
    for _ in range(8):
        await rig.answer(server_ms=server_ms - 1_500)
        await rig.pass_nothing(250)
    await rig.answer(server_ms=server_ms)
    await rig.pass_nothing(250)


async def test_a_step_is_overdue_once_salesforces_time_is_past_due(path):
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(enrol, step)
        await settle(rig, DUE_MS)
        assert "step.overdue" not in await rig.types(), "due, but lateness has not passed"
        await settle(rig, DUE_MS + 1_000)
        event = (await rig.journal())[-1]
        assert (event["type"], event["time"], event["origin"]) == ("step.overdue", iso(DUE_MS), "timer")
        assert (event["tracker_id"], event["owner_id"], event["record_id"]) == (RUN_1, "005", STEP_1)
        assert "position" not in event
        await settle(rig, DUE_MS + 3_600_000)
        assert (await rig.types()).count("step.overdue") == 1


async def test_it_fires_once_even_over_restarts_and_further_changes(path):
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(enrol, step)
        await settle(rig, DUE_MS + 1_000)
    async with tenure(path) as rig:
        await rig.open(**REPLAY)
        await rig.answer(
            message("UPDATE", STEP, STEP_1, {"StepTitle": "x"}, commit=9, commit_ms=DUE_MS + 2_000)
        )
        await settle(rig, DUE_MS + 10_000)
        assert (await rig.types()).count("step.overdue") == 1
        assert await rig.store.timers(2**53, 10) == []


async def test_downtime_over_the_due_time_with_the_completion_before_it_is_no_false_alarm(path):
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(enrol, step)
        await settle(rig, COMMIT_MS + 5_000)
    async with tenure(path) as rig:
        await rig.open(**REPLAY)
        await rig.answer(done(DUE_MS - 1_000), server_ms=DUE_MS + 7_200_000)
        await settle(rig, DUE_MS + 7_205_000)
        assert "step.overdue" not in await rig.types()
        assert (await rig.types())[-1] == "step.ended.completed"


async def test_downtime_over_the_due_time_with_the_completion_after_it_is_told_late_but_told(path):
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(enrol, step)
        await settle(rig, COMMIT_MS + 5_000)
    async with tenure(path) as rig:
        await rig.open(**REPLAY)
        await rig.answer(server_ms=DUE_MS + 3_600_000)
        await settle(rig, DUE_MS + 3_602_000)
        await rig.answer(done(DUE_MS + 7_200_000), server_ms=DUE_MS + 7_200_000)
        await settle(rig, DUE_MS + 7_205_000)
        assert (await rig.types())[-3:] == ["step.overdue", "step.action_taken", "step.ended.completed"]


async def test_downtime_over_the_due_time_and_the_completion_after_it_misses_no_alarm(path):
    """Both are past when the service comes back: the completion itself says that nothing was done when it was due."""
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(enrol, step)
        await settle(rig, COMMIT_MS + 5_000)
    async with tenure(path) as rig:
        await rig.open(**REPLAY)
        await rig.answer(enrol, step, done(DUE_MS + 3_600_000), server_ms=DUE_MS + 7_200_000)
        await settle(rig, DUE_MS + 7_205_000)
        journal = await rig.journal()
        assert [event["type"] for event in journal[-3:]] == [
            "step.overdue",
            "step.action_taken",
            "step.ended.completed",
        ]
        overdue = journal[-3]
        assert (overdue["time"], overdue["origin"]) == (iso(DUE_MS), "timer")
        assert overdue["after"]["State"] == "Active"
        assert await rig.store.timers(2**53, 10) == []
    async with tenure(path) as rig:
        await rig.open(**REPLAY)
        await rig.answer(enrol, step, done(DUE_MS + 3_600_000), server_ms=DUE_MS + 9_000_000)
        await settle(rig, DUE_MS + 9_005_000)
        assert len(await rig.journal()) == len(journal), "and once"


async def test_an_alarm_has_the_same_id_whether_it_was_told_in_time_or_after_a_downtime(path, tmp_path):
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(enrol, step)
        await settle(rig, DUE_MS + 1_000)
        in_time = (await rig.journal())[-1]
    async with tenure(tmp_path / "other.db") as rig:
        await rig.open()
        await rig.answer(enrol, step, done(DUE_MS + 1_000), server_ms=DUE_MS + 7_200_000)
        await settle(rig, DUE_MS + 7_205_000)
        assert (await rig.journal())[-3] == in_time


async def test_a_completion_in_the_second_of_the_due_time_is_in_time(path):
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(enrol, step, done(DUE_MS), server_ms=DUE_MS + 7_200_000)
        await settle(rig, DUE_MS + 7_205_000)
        assert "step.overdue" not in await rig.types()


async def test_a_due_time_that_is_moved_after_it_passed_was_missed_and_is_watched_again(path):
    moved = message(
        "UPDATE", STEP, STEP_1, {"DueDateTime": iso(DUE_MS + 600_000)}, commit=5, commit_ms=DUE_MS + 60_000
    )
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(enrol, step, moved, server_ms=DUE_MS + 7_200_000)
        await settle(rig, DUE_MS + 7_205_000)
        told = [(event["type"], event["time"]) for event in (await rig.journal())[-3:]]
        assert told == [
            ("step.overdue", iso(DUE_MS)),
            ("step.due_changed", iso(DUE_MS + 60_000)),
            ("step.overdue", iso(DUE_MS + 600_000)),
        ]


async def test_a_late_change_raises_no_alarm_about_what_it_did_not_see(path):
    """Done, and given a due time in the past afterwards, which arrived first: it never was overdue."""
    created = message(
        "CREATE", STEP, STEP_1, {"State": "Active", "ActionCadenceTrackerId": RUN_1}, commit=1, sequence=2
    )
    backdated = message(
        "UPDATE", STEP, STEP_1, {"DueDateTime": iso(COMMIT_MS)}, commit=9, commit_ms=DUE_MS + 9_000
    )
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(enrol, created, backdated, server_ms=DUE_MS + 90_000)
        await rig.pass_nothing(6_000)
        await rig.answer(done(DUE_MS), server_ms=DUE_MS + 90_000)
        await rig.pass_nothing(6_000)
        assert (await rig.types())[-2:] == ["step.action_taken", "step.ended.completed"]
        assert "step.overdue" not in await rig.types()


async def test_downtime_over_a_scheduled_resume_tells_that_it_was_due_before_it_tells_the_resume(path):
    paused = message(
        "UPDATE", RUN, RUN_1, {"State": "Paused", "ScheduledResumeDateTime": iso(DUE_MS)}, commit=2
    )
    resumed = message(
        "UPDATE", RUN, RUN_1, {"State": "Running", "ScheduledResumeDateTime": None}, commit=5, commit_ms=DUE_MS + 90_000
    )  # fmt: skip
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(enrol, paused)
        await settle(rig, COMMIT_MS + 5_000)
    async with tenure(path) as rig:
        await rig.open(**REPLAY)
        await rig.answer(resumed, server_ms=DUE_MS + 7_200_000)
        await settle(rig, DUE_MS + 7_205_000)
        assert (await rig.types())[-2:] == ["run.resume_due", "run.resumed"]


async def test_a_backlog_says_nothing_about_what_is_due(path):
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(enrol, step)
        await settle(rig, COMMIT_MS + 5_000)
        other = message("UPDATE", RUN, RUN_1, {"Custom__c": 1}, commit=3, commit_ms=COMMIT_MS + 10_000)
        await rig.answer(other, server_ms=DUE_MS + 7_200_000)
        await rig.pass_nothing(8_000)
        assert (await rig.types())[-1] == "run.updated"
        assert "step.overdue" not in await rig.types(), "what follows in the backlog may be the completion"


async def test_a_clock_that_jumps_here_fires_nothing(path):
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(enrol, step)
        await settle(rig, COMMIT_MS + 5_000)
        await rig.pass_nothing(24 * 3_600_000, every=600_000)
        assert "step.overdue" not in await rig.types()


@pytest.mark.parametrize(
    "change",
    [
        {"State": "Completed", "CompletionReason": "ManuallySkipped"},
        {"State": "Cancelled"},
        {"State": "Paused"},
        {"DueDateTime": None},
        {"ActionTakenDateTime": iso(COMMIT_MS + 60_000)},
    ],
)
async def test_the_right_changes_cancel_it(path, change):
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(
            enrol, step, message("UPDATE", STEP, STEP_1, change, commit=2, commit_ms=COMMIT_MS + 60_000)
        )
        await settle(rig, DUE_MS + 60_000)
        assert "step.overdue" not in await rig.types()
        assert await rig.store.timers(2**53, 10) == []


async def test_deletion_cancels_it_and_a_new_due_date_moves_it(path):
    async with tenure(path) as rig:
        await rig.open()
        moved = message(
            "UPDATE",
            STEP,
            STEP_1,
            {"DueDateTime": iso(DUE_MS + 600_000)},
            commit=2,
            commit_ms=COMMIT_MS + 60_000,
        )
        await rig.answer(enrol, step, moved)
        await settle(rig, DUE_MS + 60_000)
        assert "step.overdue" not in await rig.types()
        await settle(rig, DUE_MS + 660_000)
        assert (await rig.journal())[-1]["time"] == iso(DUE_MS + 600_000)
        again = message(
            "UPDATE",
            STEP,
            STEP_1,
            {"DueDateTime": iso(DUE_MS + 900_000)},
            commit=8,
            commit_ms=DUE_MS + 661_000,
        )
        await rig.answer(
            again,
            message("DELETE", STEP, STEP_1, commit=9, commit_ms=DUE_MS + 662_000),
            server_ms=DUE_MS + 662_000,
        )
        await settle(rig, DUE_MS + 2_000_000)
        assert (await rig.types()).count("step.overdue") == 1


async def test_a_paused_run_says_when_it_should_resume(path):
    paused = message(
        "UPDATE", RUN, RUN_1, {"State": "Paused", "ScheduledResumeDateTime": iso(DUE_MS)}, commit=2
    )
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(enrol, paused)
        await settle(rig, DUE_MS + 1_000)
        assert (await rig.types())[-1] == "run.resume_due"


async def test_the_next_poll_is_answered_when_the_next_timer_is_due(path):
    async with tenure(path) as rig:
        await rig.open()
        assert rig.ingest.plan.poll_within_ms() is None
        await rig.answer(enrol, step)
        await settle(rig, DUE_MS - 10_000)
        assert 11_000 <= rig.ingest.plan.poll_within_ms() <= 12_000


async def test_a_completion_that_has_arrived_and_is_held_back_comes_first(path):
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(enrol, step)
        await settle(rig, COMMIT_MS + 5_000)
        await rig.answer(done(DUE_MS - 1_000), server_ms=DUE_MS + 1_500)
        await rig.answer(server_ms=DUE_MS + 5_000)
        await rig.pass_nothing(500)
        assert "step.overdue" not in await rig.types(), (
            "the change that cancels it is on its way to the commit"
        )
        await settle(rig, DUE_MS + 60_000)
        assert "step.overdue" not in await rig.types()


async def test_a_step_that_leaves_and_comes_back_is_not_overdue_twice_for_one_due_time(path):
    paused = message("UPDATE", STEP, STEP_1, {"State": "Paused"}, commit=8, commit_ms=DUE_MS + 20_000)
    active = message("UPDATE", STEP, STEP_1, {"State": "Active"}, commit=9, commit_ms=DUE_MS + 21_000)
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(enrol, step)
        await settle(rig, DUE_MS + 1_000)
        await rig.answer(paused, active, server_ms=DUE_MS + 22_000)
        await settle(rig, DUE_MS + 60_000)
        assert (await rig.types()).count("step.overdue") == 1


async def test_a_due_time_that_comes_back_is_told_once(path):
    """Due, moved, due again, and moved back to the first: the same alarm has the same id, and an id stands in the journal once."""

    def moved(due_ms, at_ms, commit):
        return message("UPDATE", STEP, STEP_1, {"DueDateTime": iso(due_ms)}, commit=commit, commit_ms=at_ms)

    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(
            enrol,
            step,
            moved(DUE_MS + 60_000, DUE_MS + 1_000, 5),
            moved(DUE_MS, DUE_MS + 70_000, 6),
            message("UPDATE", STEP, STEP_1, {"State": "Cancelled"}, commit=7, commit_ms=DUE_MS + 80_000),
            server_ms=DUE_MS + 90_000,
        )
        await settle(rig, DUE_MS + 95_000)
        alarms = [event["time"] for event in await rig.journal() if event["type"] == "step.overdue"]
        assert alarms == [iso(DUE_MS), iso(DUE_MS + 60_000)]
