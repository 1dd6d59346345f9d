"""What changes mean, case by case; the long walks are compared with an independent oracle elsewhere."""

import pytest

from consumer.domain.lifecycle import OrgInfo, interpret
from consumer.domain.record_state import RecordState
from tests.support.builders.changes import (
    ORG,
    RUN,
    RUN_1,
    STEP,
    STEP_1,
    STEP_2,
    change,
)

THE_ORG = OrgInfo(ORG, "https://acme.my.salesforce.com")


def walk(entity, record_id, *steps, late=False):
    """Types of each step's events: a step is (kind, fields)."""
    state, told = None, []
    run = RecordState(RUN, RUN_1)
    for commit, (kind, fields) in enumerate(steps, start=1):
        key = (0, commit, 1)
        state, events = interpret(
            change(kind, entity, record_id, fields, commit=commit), key, state, run, THE_ORG, late=late
        )
        told.append([event["type"] + ("!" if event.get("missed_transitions") else "") for event in events])
    return told


def run(*steps):
    return walk(RUN, RUN_1, *steps)


def step(*steps):
    return walk(STEP, STEP_1, *steps)


RUNNING = ("CREATE", {"State": "Running", "OwnerId": "005", "TargetId": "00Q", "CurrentStepId": STEP_1})
ACTIVE = ("CREATE", {"State": "Active", "ActionCadenceTrackerId": RUN_1, "StepType": "MakeACall"})


def test_enrolment_enrols_and_starts():
    assert run(RUNNING) == [["run.enrolled", "run.started"]]


def test_initializing_starts_later():
    assert run(("CREATE", {"State": "Initializing"}), ("UPDATE", {"State": "Running"})) == [
        ["run.enrolled"],
        ["run.started"],
    ]


def test_processing_announces_nothing_and_hides_nothing():
    assert run(
        RUNNING, ("UPDATE", {"State": "Processing"}), ("UPDATE", {"State": "Running"}),
        ("UPDATE", {"State": "Processing"}), ("UPDATE", {"State": "Paused"}),
    ) == [["run.enrolled", "run.started"], [], [], [], ["run.paused"]]  # fmt: skip


def test_a_record_created_in_a_transitional_state_or_in_none_is_still_new_afterwards():
    for born in ({"State": "Processing"}, {"OwnerId": "005"}):
        assert run(("CREATE", born), ("UPDATE", {"State": "Running"})) == [["run.enrolled"], ["run.started"]]
    assert step(("CREATE", {"StepType": "MakeACall"}), ("UPDATE", {"State": "Active"}))[1] == [
        "step.activated"
    ]


def test_pause_and_resume():
    assert run(
        RUNNING,
        ("UPDATE", {"State": "Paused", "ScheduledResumeDateTime": "2026-01-08T13:00:00.000Z"}),
        ("UPDATE", {"ScheduledResumeDateTime": "2026-01-09T13:00:00.000Z"}),
        ("UPDATE", {"State": "Running", "ScheduledResumeDateTime": None}),
    )[1:] == [["run.paused"], ["run.resume_changed"], ["run.resumed"]]


def test_moving_to_a_wait_step_advances_then_waits():
    assert run(RUNNING, ("UPDATE", {"CurrentStepId": STEP_2, "ScheduledResumeDateTime": "2026-01-08T13:00:00.000Z"}))[1] == [
        "run.advanced", "run.waiting",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "ending"),
    [
        ("NoMoreSteps", "finished"), ("AutomaticallyExited", "exited"), ("AutomaticallyExitedDeletedStep", "exited"),
        ("AutomaticallyExitedInvalidParentStep", "exited"), ("ManuallyRemoved", "removed"), ("ManuallyRemovedNoAccess", "removed"),
        ("LeadConverted", "converted"), ("DaisyChained", "chained"), ("SomethingNew", "other"), (None, "other"),
    ],
)  # fmt: skip
def test_an_ending_is_named_by_its_reason_and_the_step_pointer_is_part_of_it(reason, ending):
    fields = {
        "State": "Complete",
        "CompletionReason": reason,
        "CurrentStepId": None,
        "CompletionDisposition": "Success",
    }
    assert run(RUNNING, ("UPDATE", fields))[1] == [f"run.ended.{ending}"]


def test_one_update_can_say_several_things_in_the_documented_order():
    fields = {
        "CompletionDisposition": "Success", "RelatedToId": "006", "OwnerId": "005x", "CurrentStepId": STEP_2, "State": "Paused",
    }  # fmt: skip
    assert run(RUNNING, ("UPDATE", fields))[1] == [
        "run.paused", "run.advanced", "run.reassigned", "run.attributed", "run.disposition_set",
    ]  # fmt: skip


def test_anything_else_is_an_update_and_bookkeeping_is_nothing():
    assert run(
        RUNNING, ("UPDATE", {"Custom__c": 1}), ("UPDATE", {"LastModifiedDate": "2026-01-01T10:00:00.000Z"})
    )[1:] == [["run.updated"], []]


def test_transitions_that_salesforce_merged_away_are_marked():
    assert run(("CREATE", {"State": "Paused"}))[0] == ["run.enrolled!", "run.paused!"]
    assert run(("CREATE", {"State": "Initializing"}), ("UPDATE", {"State": "Paused"}))[1] == ["run.paused!"]


def test_running_without_a_known_state_before_is_not_guessed():
    assert run(("UPDATE", {"State": "Running"})) == [["run.updated"]]
    assert run(("UPDATE", {"State": "Paused"})) == [["run.paused"]]


def test_a_state_that_is_not_documented_passes_as_an_update():
    assert run(RUNNING, ("UPDATE", {"State": "Hibernating"}))[1] == ["run.updated"]


def test_deletion_and_restoration():
    assert run(RUNNING, ("DELETE", None), ("UNDELETE", {"State": "Running"}))[1:] == [
        ["run.deleted"],
        ["run.restored"],
    ]


def test_a_skipped_step_is_completed_with_a_reason():
    assert step(ACTIVE, ("UPDATE", {"State": "Completed", "CompletionReason": "ManuallySkipped"})) == [
        ["step.created", "step.activated"], ["step.ended.skipped"],
    ]  # fmt: skip


def test_taking_the_action_comes_before_the_ending():
    fields = {
        "State": "Completed",
        "CompletionReason": "ManuallyCompleted",
        "ActionTakenDateTime": "2026-01-01T12:00:00.000Z",
    }
    assert step(ACTIVE, ("UPDATE", fields))[1] == ["step.action_taken", "step.ended.completed"]


def test_resuming_a_scheduled_step_says_both():
    assert step(ACTIVE, ("UPDATE", {"State": "Paused"}), ("UPDATE", {"State": "Scheduled"}))[2] == [
        "step.resumed",
        "step.scheduled",
    ]


def test_a_failed_step_says_whose_trouble_it_is():
    key = (0, 2, 1)
    failed = change("UPDATE", STEP, STEP_1, {"State": "Error", "ErrorCode": "TARGET_EMAIL_BOUNCED"}, commit=2)
    _, (event,) = interpret(failed, key, RecordState(STEP, STEP_1), None, THE_ORG, late=False)
    assert event["error"] == {"code": "TARGET_EMAIL_BOUNCED", "kind": "prospect data"}


def test_a_late_change_says_nothing_about_before_and_is_marked():
    known = RecordState(RUN, RUN_1).with_change(
        change("CREATE", RUN, RUN_1, {"State": "Running"}, commit=1), (0, 1, 1)
    )
    known = known.with_change(change("UPDATE", RUN, RUN_1, {"State": "Complete"}, commit=9), (0, 9, 1))
    late = change("UPDATE", RUN, RUN_1, {"State": "Paused"}, commit=5)
    state, (event,) = interpret(late, (0, 5, 1), known, known, THE_ORG, late=True)
    assert event["type"] == "run.paused"
    assert event["late"] is True
    assert "before" not in event
    assert state.get("State") == "Complete"


def test_enrichment_fills_what_is_unknown_and_never_the_owner():
    sparse = change(
        "UPDATE",
        RUN,
        RUN_1,
        {"State": "Paused", "TargetId": "00Q1", "OwnerId": "005"},
        commit=1,
        changed=["State"],
    )
    state, (event,) = interpret(sparse, (0, 1, 1), None, None, THE_ORG, late=False)
    assert event["target_id"] == "00Q1"
    assert state.get("OwnerId") is None
    assert event["changed"] == ["State"]


def test_the_id_is_made_of_what_identifies_the_change():
    _, events = interpret(
        change(*("CREATE", RUN, RUN_1, {"State": "Running"}), commit=7, sequence=2, transaction="t"),
        (0, 7, 2),
        None,
        None,
        THE_ORG,
        late=False,
    )
    assert [event["id"] for event in events] == [
        f"{ORG}/{RUN}/{RUN_1}/t/7/2/run.enrolled", f"{ORG}/{RUN}/{RUN_1}/t/7/2/run.started",
    ]  # fmt: skip
