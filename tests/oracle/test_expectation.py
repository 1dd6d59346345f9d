import copy
from typing import Any

import pytest

from tests.oracle import Expectation, expected
from tests.oracle.story import T0, Story
from tests.oracle.wire import RUN, STEP

Types = list[tuple[str, bool]]


@pytest.fixture
def story() -> Story:
    return Story()


def means(story: Story) -> Expectation:
    return expected(story.messages, "00D")


def types(expectation: Expectation, run: str = "r1") -> list[str]:
    return [event.type for event in expectation.runs.get(run, ())]


def after_states(entity: str, *states: tuple[str, dict[str, Any]] | str) -> Types:
    """The events of the last of a series of states; the first is that of the CREATE."""
    story = Story()
    for index, each in enumerate(states):
        state, fields = (each, {}) if isinstance(each, str) else each
        story.add("UPDATE" if index else "CREATE", entity, "r1", State=state, **fields)
    last = 100 * len(states)
    return [(e.type, e.missed) for e in means(story).runs.get("r1", ()) if e.commit_number == last]


def test_an_enrolment_is_enrolled_and_started_and_its_first_step_created_and_activated(story: Story) -> None:
    story.add("CREATE", RUN, "r1", State="Running", OwnerId="005A", ActionCadenceId="77C1", TargetId="00Q1")
    story.add(
        "CREATE",
        STEP,
        "s1",
        same_transaction=True,
        State="Active",
        ActionCadenceTrackerId="r1",
        ActionCadenceId="77C1",
        TargetId="00Q1",
    )
    expectation = means(story)
    assert [event.id for event in expectation.runs["r1"]] == [
        "00D/ActionCadenceTracker/r1/000-1/100/1/run.enrolled",
        "00D/ActionCadenceTracker/r1/000-1/100/1/run.started",
        "00D/ActionCadenceStepTracker/s1/000-1/100/2/step.created",
        "00D/ActionCadenceStepTracker/s1/000-1/100/2/step.activated",
    ]
    last = expectation.runs["r1"][-1]
    assert (last.tracker_id, last.record_id, last.owner_id) == ("r1", "s1", "005A")
    assert (last.cadence_id, last.target_id, last.missed) == ("77C1", "00Q1", False)
    assert (last.commit_number, last.sequence_number, last.commit_ms) == (100, 2, T0 + 1000)
    assert list(expectation.runs) == ["r1"]


def test_a_run_that_starts_on_a_wait_step_waits(story: Story) -> None:
    story.add("CREATE", RUN, "r1", State="Running", ScheduledResumeDateTime="2026-01-05T10:00:00.000Z")
    assert types(means(story)) == ["run.enrolled", "run.started", "run.waiting"]


def test_a_run_created_as_initializing_starts_later(story: Story) -> None:
    story.add("CREATE", RUN, "r1", State="Initializing")
    story.add("UPDATE", RUN, "r1", State="Running")
    assert types(means(story)) == ["run.enrolled", "run.started"]


def test_a_move_of_the_current_step_with_a_new_owner_is_two_events_in_the_documented_order(
    story: Story,
) -> None:
    story.add("CREATE", RUN, "r1", State="Running", OwnerId="005A")
    story.add("UPDATE", RUN, "r1", OwnerId="005B", CurrentStepId="s2", LastCompletedStepId="s1")
    expectation = means(story)
    assert types(expectation) == ["run.enrolled", "run.started", "run.advanced", "run.reassigned"]
    assert [event.owner_id for event in expectation.runs["r1"]] == ["005A", "005A", "005B", "005B"]


def test_every_part_of_a_rich_update_is_told_in_order(story: Story) -> None:
    story.add("CREATE", RUN, "r1", State="Paused")
    story.add(
        "UPDATE",
        RUN,
        "r1",
        CompletionDisposition="Success",
        RelatedToId="006A",
        RelatedToAttributionType="Maturation",
        OwnerId="005B",
        ScheduledResumeDateTime="2026-01-05T10:00:00.000Z",
        CurrentStepId="s2",
        State="Running",
    )
    assert types(means(story))[2:] == [
        "run.resumed",
        "run.advanced",
        "run.waiting",
        "run.reassigned",
        "run.attributed",
        "run.disposition_set",
    ]


def test_pause_and_resume_say_nothing_of_the_resume_time_they_carry(story: Story) -> None:
    story.add("CREATE", RUN, "r1", State="Running")
    story.add("UPDATE", RUN, "r1", State="Paused", ScheduledResumeDateTime="2026-01-05T10:00:00.000Z")
    story.add("UPDATE", RUN, "r1", ScheduledResumeDateTime="2026-01-06T10:00:00.000Z")
    story.add("UPDATE", RUN, "r1", State="Running", ScheduledResumeDateTime=None)
    assert types(means(story))[2:] == ["run.paused", "run.resume_changed", "run.resumed"]


def test_an_ending_is_one_event_however_much_it_writes(story: Story) -> None:
    story.add("CREATE", RUN, "r1", State="Running")
    story.add(
        "UPDATE",
        RUN,
        "r1",
        State="Complete",
        CompletionReason="ManuallyRemoved",
        CompletionDisposition="Success",
        CurrentStepId="s9",
        ScheduledResumeDateTime=None,
    )
    story.add("UPDATE", RUN, "r1", CompletionDisposition="Duplicate")
    assert types(means(story))[2:] == ["run.ended.removed", "run.disposition_set"]


@pytest.mark.parametrize(
    ("reason", "ending"),
    [
        ("NoMoreSteps", "finished"),
        ("AutomaticallyExited", "exited"),
        ("AutomaticallyExitedDeletedStep", "exited"),
        ("AutomaticallyExitedInvalidParentStep", "exited"),
        ("ManuallyRemoved", "removed"),
        ("ManuallyRemovedNoAccess", "removed"),
        ("LeadConverted", "converted"),
        ("DaisyChained", "chained"),
        ("SomethingNew", "other"),
        (None, "other"),
    ],
)
def test_a_run_ends_by_its_reason(reason: str | None, ending: str) -> None:
    told = after_states(RUN, "Running", ("Complete", {"CompletionReason": reason}))
    assert told == [(f"run.ended.{ending}", False)]


def test_a_reason_told_before_the_ending_counts() -> None:
    told = after_states(RUN, ("Running", {"CompletionReason": "LeadConverted"}), "Complete")
    assert told == [("run.ended.converted", False)]


@pytest.mark.parametrize(
    ("states", "told"),
    [
        (("Initializing", "Running"), [("run.started", False)]),
        (("Initializing", "Error"), [("run.failed", False)]),
        (("Initializing", "Paused"), [("run.paused", True)]),
        (("Running", "Initializing"), [("run.updated", False)]),
        (("Running", "Hibernating"), [("run.updated", False)]),
        (("Running", "Paused"), [("run.paused", False)]),
        (("Paused", "Running"), [("run.resumed", False)]),
        (("Paused", "Error"), [("run.failed", False)]),
        (("Error", "Running"), [("run.recovered", False)]),
        (("Error", "Paused"), [("run.recovered", True), ("run.paused", True)]),
        (("Error", "Complete"), [("run.ended.other", False)]),
        (("Complete", "Running"), [("run.started", True)]),
        (("Complete", "Error"), [("run.failed", True)]),
        (("Running", "Running"), []),
        (("Running", "Processing"), []),
        (("Running", "Processing", "Running"), []),
        (("Running", "Processing", "Paused"), [("run.paused", False)]),
        (("Processing", "Running"), [("run.started", False)]),
        (("Paused",), [("run.enrolled", True), ("run.paused", True)]),
        (("Initializing",), [("run.enrolled", False)]),
    ],
)
def test_a_state_of_a_run_is_told_by_the_state_announced_before(states: tuple[str, ...], told: Types) -> None:
    assert after_states(RUN, *states) == told


@pytest.mark.parametrize(
    ("states", "told"),
    [
        (("Scheduled", "Active"), [("step.activated", False)]),
        (("Active", "InProgress"), [("step.in_progress", False)]),
        (("Active", "Scheduled"), [("step.scheduled", False)]),
        (("Scheduled", "Queued"), [("step.queued", False)]),
        (("InProgress", "Queued"), [("step.queued", True)]),
        (("InProgress", "Active"), [("step.activated", False)]),
        (("Active", "Paused"), [("step.paused", False)]),
        (("Paused", "Active"), [("step.resumed", False)]),
        (("Paused", "Queued"), [("step.resumed", False), ("step.queued", False)]),
        (("Error", "Active"), [("step.recovered", False)]),
        (("Error", "Scheduled"), [("step.recovered", False), ("step.scheduled", False)]),
        (("Error", "Paused"), [("step.recovered", True), ("step.paused", True)]),
        (("Paused", "Error"), [("step.failed", True)]),
        (("Active", "Error"), [("step.failed", False)]),
        (("Active", "Cancelled"), [("step.ended.cancelled", False)]),
        (("Completed", "Active"), [("step.activated", True)]),
        (("Cancelled", "Active"), [("step.activated", True)]),
        (("Active", "Completed"), [("step.ended.completed", False)]),
        (("InProgress",), [("step.created", True), ("step.in_progress", True)]),
        (("Queued",), [("step.created", False), ("step.queued", False)]),
        (("Active", "Active"), []),
        (("Active", "Napping"), [("step.updated", False)]),
        (("Active", "Napping", "Active"), [("step.updated", False)]),
    ],
)
def test_a_state_of_a_step_is_told_by_the_state_announced_before(
    states: tuple[str, ...], told: Types
) -> None:
    assert after_states(STEP, *states) == told


RUN_MATRIX = """
(new)         Initializing+ Running+ Paused- Complete- Error-
Initializing  Running+ Paused- Complete+ Error+
Running       Paused+ Complete+ Error+
Paused        Running+ Complete+ Error+
Error         Running+ Paused- Complete+
Complete      Running- Paused- Error-
"""
STEP_MATRIX = """
(new)       Active+ InProgress- Scheduled+ Queued+ Paused- Completed- Cancelled- Error-
Active      InProgress+ Scheduled+ Queued+ Paused+ Completed+ Cancelled+ Error+
InProgress  Active+ Scheduled- Queued- Paused+ Completed+ Cancelled+ Error+
Scheduled   Active+ InProgress- Queued+ Paused+ Completed+ Cancelled+ Error+
Queued      Active+ InProgress- Scheduled- Paused+ Completed+ Cancelled+ Error+
Paused      Active+ InProgress+ Scheduled+ Queued+ Completed+ Cancelled+ Error-
Error       Active+ InProgress+ Scheduled+ Queued+ Paused- Completed+ Cancelled+
Completed   Active- InProgress- Scheduled- Queued- Paused- Cancelled- Error-
Cancelled   Active- InProgress- Scheduled- Queued- Paused- Completed- Error-
"""


@pytest.mark.parametrize(
    ("entity", "before", "after"),
    [
        (entity, row.split()[0], after)
        for entity, matrix in ((RUN, RUN_MATRIX), (STEP, STEP_MATRIX))
        for row in matrix.strip().splitlines()
        for after in row.split()[1:]
    ],
)
def test_transitions_outside_the_legal_list_are_marked_missed(entity: str, before: str, after: str) -> None:
    told = after_states(entity, *([] if before == "(new)" else [before]), after[:-1])
    assert told
    assert {missed for _, missed in told} == {after[-1] == "-"}


@pytest.mark.parametrize("state", ["Initializing", "Running", "Paused", "Complete", "Error", "Hibernating"])
def test_a_state_of_a_run_written_again_says_nothing(state: str) -> None:
    assert after_states(RUN, state, state) == []


@pytest.mark.parametrize(
    "state", ["Active", "InProgress", "Scheduled", "Queued", "Paused", "Completed", "Cancelled", "Error"]
)
def test_a_state_of_a_step_written_again_says_nothing(state: str) -> None:
    assert after_states(STEP, state, state) == []


@pytest.mark.parametrize("field", ["RelatedToId", "RelatedToAttributionType"])
def test_either_part_of_the_related_record_attributes(story: Story, field: str) -> None:
    story.add("UPDATE", RUN, "r1", changed=[field], RelatedToId="006A", RelatedToAttributionType="Maturation")
    assert types(means(story)) == ["run.attributed"]


@pytest.mark.parametrize(
    ("reason", "ending"),
    [
        ("ManuallySkipped", "skipped"),
        ("AutomaticallyExited", "exited"),
        ("ManuallyCompleted", "completed"),
        ("AutomaticallyCompleted", "completed"),
        (None, "completed"),
    ],
)
def test_a_step_ends_by_its_reason(reason: str | None, ending: str) -> None:
    told = after_states(STEP, "Active", ("Completed", {"CompletionReason": reason}))
    assert told == [(f"step.ended.{ending}", False)]


def test_a_step_tells_action_state_due_and_start_in_that_order(story: Story) -> None:
    story.add("CREATE", STEP, "s1", State="Active", ActionCadenceTrackerId="r1")
    story.add(
        "UPDATE",
        STEP,
        "s1",
        ScheduledStartDateTime=None,
        DueDateTime=None,
        State="Completed",
        ActionTakenDateTime="2026-01-01T11:00:00.000Z",
    )
    story.add("UPDATE", STEP, "s1", ActionTakenDateTime=None)
    assert types(means(story))[2:] == [
        "step.action_taken",
        "step.ended.completed",
        "step.due_changed",
        "step.start_changed",
        "step.updated",
    ]


def test_the_first_thing_seen_of_a_record_leaves_the_state_before_open(story: Story) -> None:
    story.add("UPDATE", RUN, "r1", State="Running")
    story.add("UPDATE", RUN, "r2", State="Paused")
    story.add("UPDATE", STEP, "s1", State="Active", ActionCadenceTrackerId="r2")
    story.add("UPDATE", STEP, "s1", State="Queued")
    expectation = means(story)
    assert types(expectation) == ["run.updated"]
    assert types(expectation, "r2") == ["run.paused", "step.updated", "step.queued"]
    assert not any(event.missed for event in expectation.events)


def test_bookkeeping_alone_says_nothing_and_another_field_says_updated(story: Story) -> None:
    story.add("CREATE", RUN, "r1", State="Initializing")
    story.add("UPDATE", RUN, "r1", LastModifiedById="005B")
    story.add("UPDATE", RUN, "r1", LastCompletedStepId="s1")
    story.add("UPDATE", RUN, "r1", State="Processing", Custom__c=1)
    assert [(e.type, e.commit_number) for e in means(story).runs["r1"]] == [
        ("run.enrolled", 100),
        ("run.updated", 300),
        ("run.updated", 400),
    ]


def test_enrichment_says_nothing_and_fills_only_what_is_unknown_and_may_be_filled(story: Story) -> None:
    story.add("CREATE", RUN, "r1", State="Running", OwnerId="005A", TargetId="00Q1")
    story.add(
        "UPDATE",
        RUN,
        "r1",
        changed=["LastCompletedStepId"],
        LastCompletedStepId="s1",
        OwnerId="005B",
        TargetId="00Q2",
        ActionCadenceId="77C1",
        State="Paused",
    )
    expectation = means(story)
    assert types(expectation)[2:] == ["run.updated"]
    assert expectation.states["r1"] == {
        "LastModifiedDate": "-",
        "State": "Running",
        "OwnerId": "005A",
        "TargetId": "00Q1",
        "LastCompletedStepId": "s1",
        "ActionCadenceId": "77C1",
    }


def test_an_update_without_changed_fields_wrote_its_whole_body(story: Story) -> None:
    story.add("CREATE", RUN, "r1", State="Running")
    story.add("UPDATE", RUN, "r1", changed=[], State="Paused")
    del story.add("UPDATE", RUN, "r1", OwnerId="005B")["data"]["payload"]["ChangeEventHeader"][
        "changedFields"
    ]
    assert types(means(story))[2:] == ["run.paused", "run.reassigned"]


def test_a_merged_event_is_one_change_for_each_record(story: Story) -> None:
    story.add("CREATE", RUN, "r1", State="Running")
    story.add("CREATE", RUN, "r2", State="Running")
    story.add("UPDATE", RUN, "r1", "r2", State="Paused")
    expectation = means(story)
    assert types(expectation) == types(expectation, "r2") == ["run.enrolled", "run.started", "run.paused"]
    assert expectation.runs["r2"][-1].id == "00D/ActionCadenceTracker/r2/000-3/300/1/run.paused"


def test_a_change_published_again_is_the_same_change(story: Story) -> None:
    story.add("CREATE", RUN, "r1", State="Running")
    again = copy.deepcopy(story.add("UPDATE", RUN, "r1", State="Paused"))
    again["data"]["event"]["replayId"] = 9999
    again["channel"] = "/data/ChangeEvents"
    again["data"]["payload"]["TargetId"] = "what enrichment says by now"
    story.add("UPDATE", RUN, "r1", State="Running")
    story.messages.append(again)
    expectation = means(story)
    assert types(expectation)[2:] == ["run.paused", "run.resumed"]
    assert "TargetId" not in expectation.states["r1"]


def test_the_order_of_publication_does_not_matter(story: Story) -> None:
    story.add("CREATE", RUN, "r1", State="Running", OwnerId="005A")
    story.add("CREATE", STEP, "s1", same_transaction=True, State="Active", ActionCadenceTrackerId="r1")
    story.add("UPDATE", STEP, "s1", State="Completed", CompletionReason="ManuallySkipped")
    story.add("UPDATE", RUN, "r1", same_transaction=True, State="Complete", CompletionReason="NoMoreSteps")
    in_order = means(story)
    story.messages.reverse()
    assert means(story) == in_order
    assert types(in_order)[-2:] == ["step.ended.skipped", "run.ended.finished"]


def test_gaps_are_listed_once_and_change_nothing(story: Story) -> None:
    story.add("CREATE", RUN, "r1", State="Running")
    gap = story.add("GAP_UPDATE", RUN, "r1")
    story.messages.append(copy.deepcopy(gap))
    story.add("GAP_OVERFLOW", STEP, "000000000000000AAA")
    expectation = means(story)
    assert [(each.kind, each.record_ids) for each in expectation.gaps] == [
        ("GAP_UPDATE", ("r1",)),
        ("GAP_OVERFLOW", ("000000000000000AAA",)),
    ]
    assert types(expectation) == ["run.enrolled", "run.started"]
    assert expectation.bad == []


def test_what_is_no_usable_change_event_is_listed_and_changes_nothing(story: Story) -> None:
    story.add("CREATE", RUN, "r1", State="Running")

    def broken(**header: Any) -> dict[str, Any]:
        message = copy.deepcopy(story.messages[0])
        message["data"]["payload"]["ChangeEventHeader"].update(header)
        return message

    bad: list[Any] = [
        broken(entityName="Account"),
        broken(changeType="SNAPSHOT"),
        broken(recordIds=[]),
        broken(recordIds="r1"),
        broken(recordIds=[1]),
        broken(commitNumber="100"),
        broken(sequenceNumber=True),
        broken(commitTimestamp=None),
        broken(transactionKey=None),
        broken(changedFields="State"),
        {"channel": "/data/ChangeEvents", "data": {"payload": {"State": "Running"}}},
        {"channel": "/data/ChangeEvents", "data": "text"},
        "text",
    ]
    expectation = expected([*bad, *story.messages], "00D")
    assert expectation.bad == bad
    assert types(expectation) == ["run.enrolled", "run.started"]


def test_delete_keeps_the_fields_and_undelete_replaces_them(story: Story) -> None:
    story.add("CREATE", RUN, "r1", State="Running", OwnerId="005A", ErrorMessage="x")
    story.add("CREATE", RUN, "r2", State="Running", OwnerId="005A")
    story.add("DELETE", RUN, "r1", "r2")
    story.add("UNDELETE", RUN, "r1", State="Paused", OwnerId="005B")
    story.add("UPDATE", RUN, "r1", State="Running")
    expectation = means(story)
    assert types(expectation)[2:] == ["run.deleted", "run.restored", "run.resumed"]
    assert types(expectation, "r2")[2:] == ["run.deleted"]
    assert expectation.deleted == {"r2"}
    assert expectation.states["r1"] == {"LastModifiedDate": "-", "State": "Running", "OwnerId": "005B"}
    assert expectation.states["r2"]["OwnerId"] == "005A"


def test_the_run_of_a_step_is_told_anywhere_in_its_story_or_it_is_its_own(story: Story) -> None:
    story.add("UPDATE", STEP, "s1", DueDateTime=None)
    story.add("UPDATE", STEP, "s1", changed=["State"], State="Queued", ActionCadenceTrackerId="r1")
    story.add("DELETE", STEP, "s2")
    story.add("UPDATE", STEP, "s1", changed=["LastModifiedDate"], ActionCadenceTrackerId="r9")
    expectation = means(story)
    assert types(expectation) == ["step.due_changed", "step.queued"]
    assert types(expectation, "s2") == ["step.deleted"]
    assert not expectation.changes["00D/ActionCadenceStepTracker/s2/000-3/300/1"].is_run_known
