"""The ingest loop on a real SQLite store: what becomes of answers, in virtual time."""

import asyncio
import json

import pytest

from consumer.errors import StopService
from consumer.ports.commit import ChannelState
from tests.support.builders.changes import (
    COMMIT_MS,
    RUN,
    RUN_1,
    RUN_2,
    RUN_CHANNEL,
    STEP,
    STEP_1,
    STEP_CHANNEL,
    message,
)
from tests.support.rigs.ingest import CHANNELS, tenure


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cadence.db"


enrol = message("CREATE", RUN, RUN_1, {"State": "Running", "TargetId": "00Q"}, commit=1, sequence=1)
first_step = message(
    "CREATE", STEP, STEP_1, {"State": "Active", "ActionCadenceTrackerId": RUN_1}, commit=1, sequence=2
)
pause = message("UPDATE", RUN, RUN_1, {"State": "Paused"}, commit=2)
resume = message("UPDATE", RUN, RUN_1, {"State": "Running"}, commit=3)

pytestmark = pytest.mark.looptime


async def test_reordered_answers_are_journaled_in_commit_order(path):
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(resume)
        await rig.answer(first_step, pause)
        await rig.answer(enrol)
        await rig.pass_time(2_000)
        assert await rig.types() == [
            "run.enrolled", "run.started", "step.created", "step.activated", "run.paused", "run.resumed",
        ]  # fmt: skip
        assert {event["tracker_id"] for event in await rig.journal()} == {RUN_1}


async def test_a_redelivered_change_is_journaled_once_whatever_its_position(path):
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(enrol)
        await rig.pass_time(2_000)
        again = json.loads(json.dumps(enrol))
        again["data"]["event"]["replayId"] = 999
        await rig.answer(enrol, again)
        await rig.pass_time(2_000)
        assert await rig.types() == ["run.enrolled", "run.started"]
        assert rig.witness.total("duplicates") == 2


async def test_the_checkpoint_is_committed_with_its_events_and_survives_a_restart(path):
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(enrol, pause, resume)
        assert [state.position for state in (await rig.store.channels()).values() if state.position] == []
        await rig.pass_time(2_000)
        assert (await rig.store.channels())[RUN_CHANNEL].position == "31", "an answer without it followed"
        assert (await rig.ingest.plan.resume())[RUN_CHANNEL] == "31"
    async with tenure(path) as rig:
        assert await rig.ingest.plan.resume() == {RUN_CHANNEL: "31", STEP_CHANNEL: "-2"}


async def test_a_change_held_when_the_service_stops_is_not_flushed(path):
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(enrol, pause)
        await asyncio.sleep(0.1)
    async with tenure(path) as rig:
        assert await rig.types() == []
        assert (await rig.ingest.plan.resume())[RUN_CHANNEL] == "-2"
        await rig.open(ActionCadenceTrackerChangeEvent="-2", ActionCadenceStepTrackerChangeEvent="-2")
        await rig.answer(enrol, pause)
        await rig.pass_time(2_000)
        assert await rig.types() == ["run.enrolled", "run.started", "run.paused"]


async def test_time_without_a_session_releases_nothing_however_long_it_lasts(path):
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(enrol)
        await rig.lose()
        await asyncio.sleep(3_600)
        assert await rig.types() == []
        await rig.open(ActionCadenceTrackerChangeEvent="-2", ActionCadenceStepTrackerChangeEvent="-2")
        await rig.pass_time(2_000)
        assert await rig.types() == ["run.enrolled", "run.started"]


async def test_after_an_opening_a_change_waits_until_every_channel_has_caught_up(path):
    """A backlog of two channels is read unevenly: the elder change stands on the channel that is read last."""
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(resume)
        for _ in range(
            16
        ):  # polls are answered all the time, and each brings a little more of the runs' backlog
            await asyncio.sleep(0.25)
            await rig.answer(message("UPDATE", RUN, RUN_2, {"Custom__c": 1}, commit=90))
        assert await rig.types() == []
        await rig.answer(enrol, first_step)
        await rig.pass_time(2_000)
        assert (await rig.types())[:3] == ["run.enrolled", "run.started", "step.created"]
        assert rig.witness.total("late") == 0
        assert rig.witness.forced == 0


async def test_a_late_change_is_marked_and_changes_only_what_nothing_newer_wrote(path):
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(enrol, resume)
        await rig.pass_time(2_000)
        await rig.answer(pause)
        await rig.pass_time(2_000)
        late = (await rig.journal())[-1]
        assert (late["type"], late["late"]) == ("run.paused", True)
        assert "before" not in late
        assert rig.witness.total("late") == 1


async def test_a_step_is_late_by_the_greatest_key_of_its_run_even_after_a_restart(path):
    done = message("UPDATE", STEP, STEP_1, {"State": "Completed"}, commit=2, sequence=5)
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(enrol, first_step, resume)
        await rig.pass_time(2_000)
    async with tenure(path) as rig:
        await rig.open(ActionCadenceTrackerChangeEvent="-2", ActionCadenceStepTrackerChangeEvent="-2")
        await rig.answer(done)
        await rig.pass_time(2_000)
        assert (await rig.journal())[-1]["late"] is True
        assert (await rig.journal())[-1]["tracker_id"] == RUN_1


async def test_bad_events_are_kept_with_their_bytes_and_hold_nothing_up(path):
    bad = message("CREATE", RUN, RUN_2, {"State": "Running"}, commit=1, position=12)
    del bad["data"]["payload"]["ChangeEventHeader"]
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(enrol, bad, pause)
        await rig.pass_time(2_000)
        assert await rig.types() == ["run.enrolled", "run.started", "run.paused"]
        (dead_letter,) = await rig.store.ingest_dead_letters(10)
        assert (dead_letter.reason, dead_letter.position, json.loads(dead_letter.raw)) == (
            "no_header",
            "12",
            bad,
        )


async def test_a_merged_event_of_5000_records_is_one_position(path):
    ids = [f"0qB{number:012d}AAA" for number in range(5_000)]
    merged = message("UPDATE", RUN, ids, {"State": "Paused"}, commit=4)
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(merged)
        await rig.pass_time(2_000)
        assert await rig.types() == ["run.paused"] * 5_000
        assert (await rig.store.channels())[RUN_CHANNEL].position == "41"


async def test_changes_from_before_a_channels_birth_are_history(path):
    old = message("CREATE", RUN, RUN_1, {"State": "Running"}, commit=1, commit_ms=COMMIT_MS - 61_000)
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(old)
        await rig.pass_time(2_000)
        assert await rig.types() == []
        assert rig.witness.total("ignored") == 1


async def test_a_gap_is_announced_and_never_silent(path):
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(message("GAP_UPDATE", RUN, RUN_1, commit=2))
        await rig.pass_time(2_000)
        (event,) = await rig.journal()
        assert (event["type"], event["after"]) == (
            "system.gap",
            {"kind": "GAP_UPDATE", "record_ids": [RUN_1]},
        )


async def test_a_refused_position_stops_the_service_with_halt(path):
    async with tenure(path) as rig:
        await rig.open()
        with pytest.raises(StopService, match=r"replay\.on_expired"):
            await rig.ingest.plan.refused(
                RUN_CHANNEL, "77", "400::The replayId {77} you provided was invalid."
            )


@pytest.mark.parametrize(("policy", "option"), [("earliest", "-2"), ("latest", "-1")])
async def test_a_refused_position_is_announced_once_and_replaced(path, policy, option):
    async with tenure(path, on_expired=policy) as rig:
        await rig.open()
        await rig.answer(enrol, pause, resume)
        await rig.pass_time(2_000)
        rig.ingest.loop._intake.channels._known[RUN_CHANNEL] = ChannelState(
            0, "21", 0, None
        )  # not polled for long
        await rig.ingest.plan.refused(RUN_CHANNEL, "21", "invalid")
        assert (await rig.ingest.plan.resume())[RUN_CHANNEL] == option
        await rig.open(ActionCadenceTrackerChangeEvent=option, ActionCadenceStepTrackerChangeEvent="-2")
        await rig.pass_time(2_000)
        gaps = [event for event in await rig.journal() if event["type"] == "system.gap"]
        assert [gap["after"]["kind"] for gap in gaps] == ["EXPIRED_POSITION"]
        assert rig.witness.refusals == [(RUN_CHANNEL, "21", policy, True)]
    async with tenure(path, on_expired=policy) as rig:
        assert (await rig.ingest.plan.resume())[RUN_CHANNEL] == "-2", (
            "the refused position is not asked for again"
        )


async def test_a_refused_position_of_a_channel_that_was_polled_all_the_time_missed_nothing(path):
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(enrol, pause, resume)
        await rig.pass_time(2_000)
        await rig.ingest.plan.refused(RUN_CHANNEL, "21", "invalid")
        assert rig.witness.refusals == [(RUN_CHANNEL, "21", "earliest", False)]
        assert (await rig.ingest.plan.resume())[RUN_CHANNEL] == "-2"
        assert "system.gap" not in await rig.types()


async def test_at_the_limit_the_lowest_leave_and_intake_never_stops(path):
    """No channel has caught up, so nothing may go by waiting; the bound releases as many as there is no room for, in order."""
    async with tenure(path, max_held=50) as rig:
        await rig.open()
        for number in range(10):
            await rig.answer(
                *(
                    message("UPDATE", RUN, RUN_1, {"Custom__c": index}, commit=number * 100 + index + 1)
                    for index in range(40)
                )
            )
        await asyncio.sleep(0.5)
        assert len(rig.buffer) == 0
        assert await rig.types() == ["run.updated"] * (400 - 49)
        assert rig.witness.forced == 400 - 49
        assert rig.witness.total("late") == 0
        await rig.pass_time(2_000)
        assert await rig.types() == ["run.updated"] * 400
        assert rig.witness.forced == 400 - 49


async def test_three_unreadable_answers_at_the_same_position_are_kept_whatever_their_bytes_and_it_says_so(
    path,
):
    async with tenure(path) as rig:
        await rig.open()
        await rig.ingest.plan.unreadable(b"[{1", "truncated")
        await rig.ingest.plan.unreadable(b"[{2", "truncated")
        assert rig.witness.stuck == []
        await rig.ingest.plan.unreadable(b"[{", "truncated")
        assert rig.witness.stuck == ["three answers at the same positions could not be read: truncated"]
        await rig.pass_time(500)
        (dead_letter,) = await rig.store.ingest_dead_letters(10)
        assert (dead_letter.reason, dead_letter.raw) == ("unreadable_answer", b"[{")
        await rig.answer(enrol)
        await rig.pass_time(500)
        assert rig.witness.stuck == []


async def test_unreadable_answers_at_different_positions_are_faults_of_the_transport(path):
    async with tenure(path) as rig:
        await rig.open()
        for number in range(4):
            await rig.ingest.plan.unreadable(b"[{", "truncated")
            await rig.answer(message("UPDATE", RUN, RUN_1, {"State": "Paused"}, commit=number + 1))
            await rig.pass_time(2_000)
        assert rig.witness.stuck == []


async def test_an_empty_answer_of_a_session_that_has_been_open_for_a_while_shows_that_nothing_unreadable_waits(
    path,
):
    async with tenure(path) as rig:
        await rig.open()
        await rig.pass_time(500)
        await rig.ingest.plan.unreadable(b"[{", "truncated")
        await rig.ingest.plan.unreadable(b"[{", "truncated")
        await rig.pass_time(1_000)
        await rig.answer()
        await rig.pass_time(1_000)
        await rig.ingest.plan.unreadable(b"[{", "truncated")
        assert len(rig.witness.stuck) == 1, "it may have come before what waits"
        await rig.pass_time(40_000)
        await rig.answer()
        await rig.pass_time(1_000)
        assert rig.witness.stuck == []


async def test_a_message_of_a_channel_nobody_subscribed_to_is_kept_and_moves_no_checkpoint(path):
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(
            message("CREATE", RUN, RUN_2, {"State": "Running"}, commit=9, channel="/data/Other__chn"), enrol
        )
        await rig.pass_time(2_000)
        (dead_letter,) = await rig.store.ingest_dead_letters(10)
        assert dead_letter.reason == "unknown_channel"
        assert set(await rig.store.channels()) == set(CHANNELS)
        assert await rig.types() == ["run.enrolled", "run.started"]


HIGH = 10_915_705_508_285
migrated_at = COMMIT_MS + 3_600_000


def of_epoch(number, state, commit_ms):
    return message("UPDATE", RUN, RUN_1, {"State": state}, commit=number, commit_ms=commit_ms)


async def test_an_org_that_moved_begins_a_new_epoch_and_its_changes_are_not_late(path):
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(
            message("CREATE", RUN, RUN_1, {"State": "Running"}, commit=HIGH, commit_ms=COMMIT_MS)
        )
        await rig.pass_time(2_000)
        rig.instance.name = "NA2"
        await rig.answer(of_epoch(500, "Paused", migrated_at), of_epoch(501, "Running", migrated_at + 1_000))
        await rig.pass_time(2_000)
        assert [epoch.instance for epoch in await rig.store.epochs()] == ["NA1", "NA2"]
        assert await rig.types() == ["run.enrolled", "run.started", "run.paused", "run.resumed"]
        assert rig.witness.total("late") == 0
    async with tenure(path) as rig:
        await rig.open(ActionCadenceTrackerChangeEvent="-2", ActionCadenceStepTrackerChangeEvent="-2")
        await rig.answer(of_epoch(HIGH + 5, "Paused", COMMIT_MS + 5_000))
        await rig.pass_time(2_000)
        assert (await rig.journal())[-1]["late"] is True, (
            "a straggler belongs to the epoch of its commit second"
        )


async def test_a_fall_without_another_instance_is_late_and_no_epoch(path):
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(
            message("CREATE", RUN, RUN_1, {"State": "Running"}, commit=HIGH, commit_ms=COMMIT_MS)
        )
        await rig.pass_time(2_000)
        await rig.answer(of_epoch(500, "Paused", migrated_at))
        await rig.pass_time(2_000)
        assert len(await rig.store.epochs()) == 1
        assert (await rig.journal())[-1]["late"] is True


async def test_another_instance_without_a_fall_is_no_epoch(path):
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(
            message("CREATE", RUN, RUN_1, {"State": "Running"}, commit=HIGH, commit_ms=COMMIT_MS)
        )
        await rig.pass_time(500)
        rig.instance.name = "NA2"
        await rig.answer(of_epoch(HIGH - 1_000_000, "Paused", migrated_at))
        await rig.pass_time(2_000)
        assert len(await rig.store.epochs()) == 1


async def test_positions_go_into_the_history_once_a_minute(path):
    async with tenure(path) as rig:
        await rig.open()
        for number in range(12):
            await rig.answer(message("UPDATE", RUN, RUN_1, {"Custom__c": number}, commit=number + 1))
            await rig.pass_time(15_000)
        history = await rig.store.history(RUN_CHANNEL, 100)
        assert 2 <= len(history) <= 4
        assert history[-1].position in {str(number * 10 + 1) for number in range(1, 13)}


async def test_an_org_that_moved_while_nobody_looked_is_noticed_too(path):
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(
            message("CREATE", RUN, RUN_1, {"State": "Running"}, commit=HIGH, commit_ms=COMMIT_MS)
        )
        await rig.pass_time(2_000)
    async with tenure(path) as rig:
        rig.instance.name = "NA2"
        await rig.open(
            ActionCadenceTrackerChangeEvent=str(HIGH * 10 + 1), ActionCadenceStepTrackerChangeEvent="-2"
        )
        await rig.answer(of_epoch(500, "Paused", migrated_at))
        await rig.pass_time(2_000)
        assert [epoch.instance for epoch in await rig.store.epochs()] == ["NA1", "NA2"]
        assert "late" not in (await rig.journal())[-1]


async def test_what_a_second_channel_tells_of_before_the_epochs_first_change_belongs_to_it_too(path):
    created = {"State": "Active", "ActionCadenceTrackerId": RUN_1}
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(
            message("CREATE", RUN, RUN_1, {"State": "Running"}, commit=HIGH, commit_ms=COMMIT_MS)
        )
        await rig.pass_time(2_000)
        rig.instance.name = "NA2"
        await rig.answer(message("CREATE", STEP, STEP_1, created, commit=900, commit_ms=migrated_at + 2_000))
        await rig.answer(of_epoch(500, "Paused", migrated_at), of_epoch(501, "Complete", migrated_at + 1_000))
        await rig.pass_time(2_000)
        assert (await rig.types())[2:] == ["run.paused", "run.ended.other", "step.created", "step.activated"]
        assert rig.witness.total("late") == 0


async def test_a_transaction_over_two_commit_seconds_keeps_its_order(path):
    """Documented: commit timestamps may differ inside a transaction, so they order nothing."""
    last = message(
        "UPDATE", RUN, RUN_1, {"State": "Paused"}, commit=7, sequence=2, commit_ms=COMMIT_MS + 6_000
    )
    first = message(
        "CREATE", RUN, RUN_1, {"State": "Running"}, commit=7, sequence=1, commit_ms=COMMIT_MS + 7_000
    )
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(last)
        await rig.answer(first)
        await rig.pass_time(2_000)
        assert await rig.types() == ["run.enrolled", "run.started", "run.paused"]
        assert rig.witness.total("late") == 0


async def test_an_unknown_change_older_than_the_memory_of_identities_is_reported_and_not_journaled(path):
    days = 24 * 3_600_000
    old = message("UPDATE", RUN, RUN_2, {"State": "Paused"}, commit=2, commit_ms=COMMIT_MS)
    known = message("UPDATE", RUN, RUN_1, {"State": "Paused"}, commit=3, commit_ms=COMMIT_MS + 1 * days)
    now = message(
        "UPDATE", RUN, RUN_1, {"State": "Running"}, commit=9, commit_ms=COMMIT_MS + 4 * days + 60_000
    )
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(known, now)
        await rig.pass_time(2_000)
        await rig.answer(old, known)
        await rig.pass_time(2_000)
        last = (await rig.journal())[-1]
        assert (last["type"], last["after"]) == ("system.gap", {"kind": "EXPIRED", "record_ids": [RUN_2]})
        assert rig.witness.total("duplicates") == 1, "what is younger than 96 hours is still recognised"
