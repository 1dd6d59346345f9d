"""What a row that REST answered with means, beside what the stream has told."""

import pytest

from consumer.clock import iso
from consumer.domain.lifecycle import OrgInfo, interpret
from consumer.domain.record_state import RecordState
from consumer.domain.row_diff import (
    ROW_FIELDS,
    Row,
    interpret_row,
    read_row,
)
from tests.support.builders.changes import (
    COMMIT_MS,
    ORG,
    RUN,
    RUN_1,
    STEP,
    STEP_1,
    USER,
    change,
)

THERE = OrgInfo(ORG, "https://acme.my.salesforce.com")
SECOND = 1_000


def at(seconds: int) -> str:
    return iso(COMMIT_MS + seconds * SECOND)


def row(seconds: int, entity: str = RUN, record_id: str = RUN_1, **fields) -> Row:
    """As REST writes it: dates with an offset instead of Z."""
    told = {
        "attributes": {"type": entity},
        "Id": record_id,
        "SystemModstamp": at(seconds).replace("Z", "+0000"),
        "LastModifiedDate": at(seconds).replace("Z", "+0000"),
        "LastModifiedById": USER,
        **fields,
    }
    return read_row(entity, told)


def told(state: RecordState | None, kind: str, commit: int, **fields) -> tuple[RecordState, list[str]]:
    """The state after a change that the stream told, modified and committed in second ``commit``."""
    fields = {"LastModifiedDate": at(commit), **fields} if kind != "DELETE" else {}
    one = change(kind, RUN, RUN_1, fields, commit=commit)
    after, events = interpret(one, (0, commit, 1), state, state, THERE, late=False)
    return after, [event["type"] for event in events]


def compared(one: Row, state: RecordState | None, origin: str = "gap"):
    after, events = interpret_row(one, state, state, THERE, origin)
    return after, [event["type"] for event in events], events


@pytest.fixture
def running() -> RecordState:
    return told(None, "CREATE", 1, State="Running", OwnerId=USER, TargetId="00QWP0000001AbC2AU")[0]


FULL = {"OwnerId": USER, "TargetId": "00QWP0000001AbC2AU"}


def test_everything_that_travels_is_asked_for_and_nothing_calculated():
    assert {"Id", "SystemModstamp", "State", "LastModifiedDate"} <= set(ROW_FIELDS[STEP])
    assert not {"SecondsOverdue", "IsActionTaken", "ActionCadenceName"} & set(ROW_FIELDS[STEP])


def test_what_a_row_says_new_is_told_with_where_it_comes_from(running):
    after, types, events = compared(row(5, State="Paused", **FULL), running)
    assert types == ["run.paused"]
    (event,) = events
    assert (event["origin"], event["before"]["State"], event["after"]["State"]) == (
        "gap",
        "Running",
        "Paused",
    )
    assert event["id"] == f"{ORG}/{RUN_1}/{at(5)}/gap/run.paused"
    assert "transaction" not in event
    assert event["time"] == at(5)
    assert after.get("State") == "Paused"


def test_a_row_that_says_nothing_new_changes_nothing_but_what_it_covers(running):
    after, types, _ = compared(row(1, State="Running", **FULL), running)
    assert types == []
    assert after is not None
    assert after.row_ms == COMMIT_MS + SECOND
    again, types, _ = compared(row(1, State="Running", **FULL), after)
    assert (again, types) == (None, [])


def test_a_row_older_than_what_is_known_is_useless(running):
    paused, _ = told(running, "UPDATE", 9, State="Paused")
    assert compared(row(5, State="Running", **FULL), paused) == (None, [], [])


def test_a_field_that_became_empty_is_told(running):
    waiting, _ = told(running, "UPDATE", 2, ScheduledResumeDateTime=at(900))
    after, types, _ = compared(row(6, State="Running", **FULL), waiting)
    assert types == ["run.resume_changed"]
    assert after.get("ScheduledResumeDateTime") is None


def test_a_record_that_nobody_knew_is_told_from_its_beginning():
    after, types, events = compared(row(5, State="Running", **FULL), None, "repair")
    assert types == ["run.enrolled", "run.started"]
    assert "before" not in events[0]
    assert after.image is not None


def test_a_change_that_a_row_covers_is_told_late_and_writes_nothing(running):
    reconciled, _, _ = compared(row(8, State="Complete", CompletionReason="NoMoreSteps", **FULL), running)
    late, types = told(reconciled, "UPDATE", 6, State="Paused")
    assert late.get("State") == "Complete"
    assert types == ["run.paused"]
    one = change("UPDATE", RUN, RUN_1, {"LastModifiedDate": at(6), "State": "Paused"}, commit=6)
    _, events = interpret(one, (0, 6, 1), reconciled, reconciled, THERE, late=False)
    assert [event["late"] for event in events] == [True]
    assert "before" not in events[0]


def test_a_change_after_the_row_is_an_ordinary_one(running):
    reconciled, _, _ = compared(row(5, State="Paused", **FULL), running)
    after, types = told(reconciled, "UPDATE", 6, State="Running")
    assert types == ["run.resumed"]
    assert after.get("State") == "Running"


def test_a_row_that_is_older_than_what_is_known_in_part_tells_the_rest_and_no_news():
    sparse, _ = told(None, "UPDATE", 9, State="Paused", LastModifiedDate=at(9))
    after, types, _ = compared(row(5, State="Running", DaisyChainIteration=2, **FULL), sparse)
    assert types == []
    assert (after.get("State"), after.get("DaisyChainIteration")) == ("Paused", 2)
    assert after.image is not None, "what the row lacks is empty"
    between, _ = told(after, "UPDATE", 7, OwnerId="005000000000007AAA", LastModifiedDate=at(7))
    assert between.get("OwnerId") == "005000000000007AAA", "a change between the two is newer than the row"
    before, _ = told(after, "UPDATE", 3, DaisyChainIteration=1, LastModifiedDate=at(3))
    assert before.get("DaisyChainIteration") == 2, "one before the row stands in it"


def test_a_row_that_is_older_than_what_is_known_whole_says_nothing(running):
    newer, _ = told(running, "UPDATE", 9, State="Paused", LastModifiedDate=at(9))
    assert compared(row(5, State="Running", **FULL), newer)[0] is None


def test_what_is_gone_is_deleted_once(running):
    gone = Row(RUN, RUN_1, COMMIT_MS + 9 * SECOND, {}, is_deleted=True)
    after, types, _ = compared(gone, running)
    assert types == ["run.deleted"]
    assert after.is_deleted
    assert compared(gone, after)[1] == []


def test_what_is_gone_and_was_never_known_is_no_news():
    _, types, _ = compared(Row(RUN, RUN_1, COMMIT_MS, {}, is_deleted=True), None)
    assert types == []


def test_what_is_there_again_is_restored(running):
    deleted, _ = told(running, "DELETE", 3)
    after, types, _ = compared(row(9, State="Running", **FULL), deleted)
    assert types == ["run.restored"]
    assert not after.is_deleted


def test_the_flag_that_says_what_state_says_is_no_news(running):
    _, types, _ = compared(row(5, State="Running", IsTrackerActive=True, **FULL), running)
    assert types == []


def test_a_state_with_a_row_survives_the_store(running):
    reconciled, _, _ = compared(row(8, State="Paused", **FULL), running)
    stored = RecordState.decode(reconciled.encode())
    assert stored.row_ms == reconciled.row_ms
    assert stored.values() == reconciled.values()


def test_a_step_s_row_names_its_run():
    run, _ = told(None, "CREATE", 1, State="Running", ActionCadenceId="77CWP0000001AbC2AU")
    step = row(5, STEP, STEP_1, State="Active", ActionCadenceTrackerId=RUN_1, StepType="MakeACall")
    _, events = interpret_row(step, None, run, THERE, "repair")
    assert [event["type"] for event in events] == ["step.created", "step.activated"]
    assert {event["tracker_id"] for event in events} == {RUN_1}
