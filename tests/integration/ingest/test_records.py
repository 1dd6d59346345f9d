"""Records that come in unusual forms: many at once, without a name, deleted, restored, repeated, enrolled again; on the whole way."""

import pytest

from consumer.clock import iso
from consumer.domain.record_state import RecordState
from consumer.domain.target_runs import TargetRuns, key_of
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

LEAD, CONTACT, ACCOUNT = "00QWP000001xYz12AE", "003WP000001xYz12AE", "001WP000001xYz12AE"
CADENCE = "77CWP0000000hJV2AY"
RUNNING = {"State": "Running", "TargetId": LEAD, "ActionCadenceId": CADENCE, "OwnerId": "005WP000000M6o1YAC"}
ACTIVE = {"State": "Active", "ActionCadenceTrackerId": RUN_1, "StepType": "MakeACall", "StepTitle": "Call"}
DUE_MS = COMMIT_MS + 3_600_000


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cadence.db"


async def journal_of(path, *answers, rows=None, ms=2_500):
    """The journal after messages, or lists of messages that share an answer."""
    async with tenure(path, rows) as rig:
        await rig.open()
        for one in answers:
            await rig.answer(*(one if isinstance(one, list) else [one]))
        await rig.pass_time(ms)
        return await rig.journal()


def told(journal):
    return [(event["record_id"], event["type"]) for event in journal]


class Org:
    """Rows as REST would give them."""

    def __init__(self, known):
        self.known = known

    async def rows(self, entity, ids, fields):
        return {one: {name: self.known[one].get(name) for name in fields} for one in ids if one in self.known}


# ---------------------------------------------------------------- many records in one event


async def test_a_merged_change_is_one_event_of_each_record_with_an_id_of_its_own(path):
    created = [
        message("CREATE", RUN, one, RUNNING, commit=1, sequence=number) for number, one in enumerate((RUN_1, RUN_2), 1)
    ]  # fmt: skip
    merged = message("UPDATE", RUN, [RUN_1, RUN_2], {"OwnerId": "005WP000000M6o2YAC"}, commit=2)
    journal = (await journal_of(path, *created, merged))[-2:]
    assert told(journal) == [(RUN_1, "run.reassigned"), (RUN_2, "run.reassigned")]
    assert len({event["id"] for event in journal}) == 2
    assert {event["position"]["replay_id"] for event in journal} == {"21"}


async def test_merged_steps_go_each_to_its_own_run(path):
    created = [
        message("CREATE", STEP, step, {**ACTIVE, "ActionCadenceTrackerId": run}, commit=1, sequence=number)
        for number, (step, run) in enumerate(((STEP_1, RUN_1), (STEP_2, RUN_2)), 1)
    ]
    merged = message("UPDATE", STEP, [STEP_1, STEP_2], {"State": "Paused"}, commit=2)
    journal = (await journal_of(path, *created, merged))[-2:]
    assert [(event["record_id"], event["tracker_id"], event["type"]) for event in journal] == [
        (STEP_1, RUN_1, "step.paused"),
        (STEP_2, RUN_2, "step.paused"),
    ]


async def test_ids_of_15_characters_are_the_same_records_wherever_they_stand(path):
    create = message("CREATE", RUN, RUN_1[:15], {**RUNNING, "TargetId": LEAD[:15]}, commit=1)
    step = message("CREATE", STEP, STEP_1, {**ACTIVE, "ActionCadenceTrackerId": RUN_1[:15]}, commit=1, sequence=2)  # fmt: skip
    twice = message("UPDATE", RUN, [RUN_1[:15], RUN_1], {"OwnerId": "005"}, commit=2)
    journal = await journal_of(path, create, step, twice)
    assert {event["tracker_id"] for event in journal} == {RUN_1}
    assert {event["target_id"] for event in journal} == {LEAD}
    assert told(journal)[-1] == (RUN_1, "run.reassigned"), "one record named twice is one change"
    assert len(journal) == 5


async def test_an_enriched_group_is_one_position_and_each_message_one_change(path):
    """Enriched channels deliver a merged event as one message for each record, all with one replay id."""
    enriched = {"State": "Paused", "TargetId": LEAD, "ActionCadenceId": CADENCE, "OwnerId": "005now"}
    group = [
        message("UPDATE", RUN, one, enriched, commit=2, position="7", changed=["State"]) for one in (RUN_1, RUN_2)
    ]  # fmt: skip
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(group[0])
        await rig.answer(group[1])
        await rig.pass_time(2_500)
        journal = await rig.journal()
        assert told(journal) == [(RUN_1, "run.paused"), (RUN_2, "run.paused")]
        assert {event["target_id"] for event in journal} == {LEAD}
        assert {event["cadence_id"] for event in journal} == {CADENCE}
        assert not any("owner_id" in event for event in journal), "the owner now is not the owner then"
        assert {event["changed"][0] for event in journal} == {"State"}
        await rig.lose()
        await rig.open(ActionCadenceTrackerChangeEvent="7")
        await rig.answer(*group)
        await rig.pass_time(2_500)
        assert len(await rig.journal()) == 2


# ---------------------------------------------------------------- no record at all


async def test_a_wildcard_names_no_record_and_is_a_gap(path):
    (event,) = await journal_of(path, message("UPDATE", RUN, "0qB*", {"Custom__c": None}, commit=1))
    assert (event["type"], event["after"]["record_ids"]) == ("system.gap", ["0qB*"])
    assert "tracker_id" not in event


async def test_the_empty_id_is_an_overflow(path):
    (event,) = await journal_of(path, message("GAP_OVERFLOW", RUN, "000000000000000AAA", commit=1))
    assert (event["type"], event["entity"]) == ("system.overflow", RUN)


async def test_a_merged_gap_is_one_event_that_names_every_record(path):
    journal = await journal_of(path, message("GAP_UPDATE", RUN, [RUN_1, RUN_2], commit=1))
    assert [(event["type"], event["after"]["record_ids"]) for event in journal] == [
        ("system.gap", [RUN_1, RUN_2])
    ]


# ---------------------------------------------------------------- deleted, restored


async def test_a_deletion_tells_what_was_known_and_cancels_what_was_due(path):
    due = {**ACTIVE, "DueDateTime": iso(DUE_MS)}
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(
            message("CREATE", RUN, RUN_1, RUNNING, commit=1),
            message("CREATE", STEP, STEP_1, due, commit=1, sequence=2),
            message("DELETE", RUN, RUN_1, commit=2),
            message("DELETE", STEP, STEP_1, commit=2, sequence=2),
        )
        await rig.pass_time(2_500)
        run, step = (await rig.journal())[-2:]
        assert (run["type"], run["before"]["State"], run["target_id"]) == ("run.deleted", "Running", LEAD)
        assert (step["type"], step["tracker_id"], step["step_title"]) == ("step.deleted", RUN_1, "Call")
        assert await rig.store.timers(2**53, 10) == []


async def test_what_arrives_late_for_a_deleted_record_does_not_bring_it_back(path):
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(
            message("CREATE", RUN, RUN_1, RUNNING, commit=1), message("DELETE", RUN, RUN_1, commit=5)
        )
        await rig.pass_time(2_500)
        await rig.answer(message("UPDATE", RUN, RUN_1, {"State": "Paused"}, commit=3))
        await rig.pass_time(2_500)
        event = (await rig.journal())[-1]
        assert (event["type"], event["late"]) == ("run.paused", True)
    async with tenure(path) as rig:
        await rig.open(ActionCadenceTrackerChangeEvent="-2")
        await rig.answer(message("UPDATE", RUN, RUN_1, {"OwnerId": "005"}, commit=4))
        await rig.pass_time(2_500)
        state = RecordState.decode((await rig.store.states([RUN_1]))[RUN_1])
        assert state.is_deleted


async def test_a_restored_record_is_as_its_image_says_and_due_again(path):
    due = {**ACTIVE, "DueDateTime": iso(DUE_MS)}
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(
            message("CREATE", STEP, STEP_1, {**due, "ErrorCode": "UNKNOWN"}, commit=1),
            message("DELETE", STEP, STEP_1, commit=2),
            message("UNDELETE", STEP, STEP_1, due, commit=3),
            message("UPDATE", STEP, STEP_1, {"State": "InProgress"}, commit=4),
        )
        await rig.pass_time(2_500)
        *_, restored, opened = await rig.journal()
        assert (restored["type"], restored["tracker_id"]) == ("step.restored", RUN_1)
        assert "ErrorCode" not in opened["before"], "what an image leaves out is empty"
        assert (opened["type"], opened.get("missed_transitions")) == ("step.in_progress", None)
        assert await rig.store.timers(2**53, 10) == [(f"{STEP_1}/step.overdue", DUE_MS)]


async def test_a_deletion_of_a_record_that_was_never_seen_is_told_with_what_little_there_is(path):
    journal = await journal_of(
        path, message("DELETE", RUN, RUN_2, commit=2), message("DELETE", STEP, STEP_2, commit=3), rows=Org({})
    )
    assert told(journal) == [(RUN_2, "run.deleted"), (STEP_2, "step.deleted")]
    assert [event["tracker_id"] for event in journal] == [RUN_2, STEP_2]
    assert all("before" not in event for event in journal)


# ---------------------------------------------------------------- repeated, enrolled again, chained


async def test_a_repeated_step_has_its_number_on_every_event(path):
    again = {**ACTIVE, "GoToStepIterationCount": 2}
    journal = await journal_of(
        path,
        message("CREATE", STEP, STEP_1, {**ACTIVE, "GoToStepIterationCount": 1}, commit=1),
        message("UPDATE", STEP, STEP_1, {"State": "Completed"}, commit=2),
        message("CREATE", STEP, STEP_2, again, commit=2, sequence=2),
        message("UPDATE", STEP, STEP_2, {"State": "InProgress"}, commit=3),
    )
    assert {(event["record_id"], event["iteration"]) for event in journal} == {(STEP_1, 1), (STEP_2, 2)}


async def test_enrolling_again_after_an_ending_is_a_run_of_its_own(path):
    ended = {"State": "Complete", "CompletionReason": "NoMoreSteps", "IsTrackerActive": False}
    journal = await journal_of(
        path,
        message("CREATE", RUN, RUN_1, {**RUNNING, "DaisyChainIteration": 1}, commit=1),
        message("UPDATE", RUN, RUN_1, ended, commit=2),
        message("CREATE", RUN, RUN_2, {**RUNNING, "DaisyChainIteration": 1}, commit=3),
        message("UPDATE", RUN, RUN_1, {"CompletionDisposition": "Success"}, commit=4),
    )
    assert told(journal) == [
        (RUN_1, "run.enrolled"),
        (RUN_1, "run.started"),
        (RUN_1, "run.ended.finished"),
        (RUN_2, "run.enrolled"),
        (RUN_2, "run.started"),
        (RUN_1, "run.disposition_set"),
    ]
    assert not any("previous_tracker_id" in event for event in journal)


@pytest.mark.parametrize("target", [CONTACT, ACCOUNT, LEAD])
async def test_a_person_account_is_a_target_by_whichever_of_its_ids(path, target):
    """Which of the two ids it has is not documented: the prefix means nothing, the runs are found under it."""
    async with tenure(path) as rig:
        await rig.open()
        await rig.answer(message("CREATE", RUN, RUN_1, {**RUNNING, "TargetId": target}, commit=1))
        await rig.pass_time(2_500)
        assert {event["target_id"] for event in await rig.journal()} == {target}
        key = key_of(target)
        assert RUN_1 in TargetRuns.decode((await rig.store.states([key]))[key])


async def test_runs_that_began_before_the_service_are_found_under_their_target_too(path):
    """The first that is seen of them is an update, of themselves or of a step; the look-up says whose they are."""
    rows = Org({
        RUN_1: {"TargetId": LEAD, "ActionCadenceId": CADENCE, "DaisyChainIteration": 1},
        RUN_2: {"TargetId": LEAD, "ActionCadenceId": CADENCE, "DaisyChainIteration": 2},
        STEP_2: {"ActionCadenceTrackerId": RUN_2},
    })  # fmt: skip
    async with tenure(path, rows) as rig:
        await rig.open()
        ended = {"State": "Complete", "CompletionReason": "DaisyChained"}
        await rig.answer(message("UPDATE", RUN, RUN_1, ended, commit=1))
        await rig.pass_time(2_500)
        await rig.answer(message("UPDATE", STEP, STEP_2, {"State": "Paused"}, commit=2))
        await rig.answer(message("UPDATE", RUN, RUN_2, {"State": "Paused"}, commit=3))
        await rig.pass_time(2_500)
        key = key_of(LEAD)
        runs = TargetRuns.decode((await rig.store.states([key]))[key])
        assert runs.runs == ((RUN_1, 1), (RUN_2, 2))
        assert (await rig.journal())[-1]["previous_tracker_id"] == RUN_1


async def test_a_chain_goes_on_from_the_newest_enrolment(path):
    runs = [f"0qBWP000000{number:04d}AAA" for number in range(4)]
    journal = await journal_of(
        path,
        *(
            message("CREATE", RUN, run, {**RUNNING, "DaisyChainIteration": iteration}, commit=commit)
            for commit, (run, iteration) in enumerate(zip(runs, (1, 2, 1, 2), strict=True), 1)
        ),
    )
    previous = {event["record_id"]: event.get("previous_tracker_id") for event in journal}
    assert previous == {runs[0]: None, runs[1]: runs[0], runs[2]: None, runs[3]: runs[2]}
