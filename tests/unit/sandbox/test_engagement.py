from typing import Any

import pytest

from consumer.sandbox import (
    STEP_TRACKER,
    TRACKER,
    EngagementOptions,
    IllegalTransition,
    ManualClock,
    Org,
    World,
    WorldOptions,
)
from consumer.sandbox.cadences import Catalogue
from consumer.sandbox.change_events import ChangeEvent

Transactions = list[list[ChangeEvent]]


def run_of(world: World, run: str) -> dict[str, Any]:
    return world.org.get(TRACKER, run)


def step_of(world: World, step: str) -> dict[str, Any]:
    return world.org.get(STEP_TRACKER, step)


def current(world: World, run: str) -> dict[str, Any]:
    return step_of(world, run_of(world, run)["CurrentStepId"])


def test_enrolling_creates_a_running_tracker_and_its_first_active_step_in_one_transaction(
    world: World, committed: Transactions
) -> None:
    run = world.enrol("Outbound Prospecting", target="00QWP000001xYz12AE", owner=world.users[0])
    assert [(each.entity, each.sequence_number) for each in committed[0]] == [(TRACKER, 1), (STEP_TRACKER, 2)]
    record = run_of(world, run)
    assert (record["State"], record["IsTrackerActive"], record["DaisyChainIteration"]) == ("Running", True, 1)
    assert (record["TargetId"], record["OwnerId"]) == ("00QWP000001xYz12AE", world.users[0])
    step = current(world, run)
    assert (step["State"], step["StepType"], step["ActionCadenceTrackerId"]) == ("Active", "SendAnEmail", run)


def test_a_bulk_enrolment_is_one_transaction(world: World, committed: Transactions) -> None:
    runs = world.enrol_many(200, "Event Follow-up")
    assert len(runs) == 200
    assert [len(events) for events in committed] == [400]
    assert [each.sequence_number for each in committed[0]] == list(range(1, 401))


def test_completing_a_step_closes_it_creates_the_next_and_moves_the_run(
    world: World, committed: Transactions
) -> None:
    run = world.enrol("Event Follow-up")
    first = current(world, run)["Id"]
    following = world.complete_step(run)
    assert [(each.entity, each.payload["ChangeEventHeader"]["changeType"]) for each in committed[-1]] == [
        (STEP_TRACKER, "UPDATE"),
        (STEP_TRACKER, "CREATE"),
        (TRACKER, "UPDATE"),
    ]
    assert (step_of(world, first)["State"], step_of(world, first)["CompletionReason"]) == (
        "Completed",
        "ManuallyCompleted",
    )
    assert run_of(world, run)["CurrentStepId"] == following
    assert run_of(world, run)["LastCompletedStepId"] == first


def test_a_skipped_step_is_completed_with_reason_manually_skipped(world: World) -> None:
    run = world.enrol("Event Follow-up")
    first = current(world, run)["Id"]
    world.skip_step(run)
    assert (step_of(world, first)["State"], step_of(world, first)["CompletionReason"]) == (
        "Completed",
        "ManuallySkipped",
    )


def test_an_automatic_email_is_scheduled_queued_and_completed(world: World) -> None:
    run = world.enrol("Inbound Demo Request")
    step = current(world, run)
    states = [step["State"]]
    world.queue_email(run)
    states.append(step_of(world, step["Id"])["State"])
    world.complete_step(run)
    states.append(step_of(world, step["Id"])["State"])
    assert states == ["Scheduled", "Queued", "Completed"]
    assert step_of(world, step["Id"])["CompletionReason"] == "AutomaticallyCompleted"


def test_a_wait_step_says_on_the_run_until_when_and_clears_it_afterwards(
    world: World, clock: ManualClock
) -> None:
    run = world.enrol("Outbound Prospecting")
    world.complete_step(run)
    assert current(world, run)["StepType"] == "Wait"
    assert run_of(world, run)["ScheduledResumeDateTime"] == clock() + 2 * 86_400_000
    world.complete_step(run)
    assert run_of(world, run)["ScheduledResumeDateTime"] is None


def test_a_failed_step_puts_the_run_in_error_and_a_retry_brings_both_back(world: World) -> None:
    run = world.enrol("Inbound Demo Request")
    step = world.fail(run, "TARGET_EMAIL_BOUNCED", "bounced")
    assert (run_of(world, run)["State"], run_of(world, run)["ErrorMessage"]) == ("Error", "bounced")
    assert (step_of(world, step)["State"], step_of(world, step)["ErrorCode"]) == (
        "Error",
        "TARGET_EMAIL_BOUNCED",
    )
    world.retry(run)
    assert (run_of(world, run)["State"], run_of(world, run)["ErrorMessage"]) == ("Running", None)
    assert (step_of(world, step)["State"], step_of(world, step)["ErrorCode"]) == ("Scheduled", None)


def test_pausing_and_resuming_touch_run_and_step(world: World, clock: ManualClock) -> None:
    run = world.enrol("Event Follow-up")
    (step,) = world.pause(run, resume_at=clock() + 1000)
    assert run_of(world, run)["ScheduledResumeDateTime"] == clock() + 1000
    assert (step_of(world, step)["State"], step_of(world, step)["WasEverPaused"]) == ("Paused", True)
    world.resume(run)
    assert (run_of(world, run)["State"], run_of(world, run)["ScheduledResumeDateTime"]) == ("Running", None)
    assert step_of(world, step)["State"] == "Active"


@pytest.mark.parametrize(
    ("ending", "reason", "step_state"),
    [
        ("remove", "ManuallyRemoved", "Cancelled"),
        ("exit", "AutomaticallyExited", "Completed"),
        ("convert", "LeadConverted", "Cancelled"),
    ],
)
def test_each_ending_completes_the_run_with_its_reason(
    world: World, ending: str, reason: str, step_state: str
) -> None:
    run = world.enrol("Event Follow-up")
    step = current(world, run)["Id"]
    getattr(world, ending)(run)
    record = run_of(world, run)
    assert (record["State"], record["CompletionReason"], record["IsTrackerActive"]) == (
        "Complete",
        reason,
        False,
    )
    assert step_of(world, step)["State"] == step_state
    assert run not in world.open_runs


def test_the_last_step_ends_the_run_with_no_more_steps(world: World) -> None:
    run = world.enrol("Event Follow-up")
    assert [world.complete_step(run) is None for _ in range(3)] == [False, False, True]
    assert run_of(world, run)["CompletionReason"] == "NoMoreSteps"


def test_a_daisy_chain_ends_one_run_and_starts_another_in_the_same_transaction(
    world: World, committed: Transactions
) -> None:
    run = world.enrol("Outbound Prospecting")
    for _ in range(4):
        world.complete_step(run)
    assert run_of(world, run)["CompletionReason"] == "DaisyChained"
    (following,) = world.open_runs
    assert run_of(world, following)["DaisyChainIteration"] == 2
    assert run_of(world, following)["TargetId"] == run_of(world, run)["TargetId"]
    assert {each.payload["ChangeEventHeader"]["changeType"] for each in committed[-1]} == {"CREATE", "UPDATE"}
    assert len({each.commit_number for each in committed[-1]}) == 1


def test_repeating_a_step_makes_a_new_step_tracker_of_the_same_step(world: World) -> None:
    run = world.enrol("Event Follow-up")
    first = current(world, run)
    again = step_of(world, world.repeat_step(run))
    assert again["Id"] != first["Id"]
    assert (again["ActionCadenceStepId"], again["GoToStepIterationCount"]) == (
        first["ActionCadenceStepId"],
        1,
    )


def test_attributes_owner_due_and_disposition_change_alone(world: World, committed: Transactions) -> None:
    run = world.enrol("Event Follow-up")
    committed.clear()
    world.reassign(run)
    world.attribute(run, attribution="Maturation")
    world.change_due(run)
    world.set_disposition(run, "Success")
    changed = [event.payload["ChangeEventHeader"]["changedFields"][1:] for (event,) in committed]
    assert changed == [
        ["OwnerId"],
        ["RelatedToId", "RelatedToAttributionType"],
        ["DueDateTime"],
        ["CompletionDisposition"],
    ]


def test_deleting_a_run_takes_its_steps_along_and_undeleting_brings_them_back(
    world: World, committed: Transactions
) -> None:
    run = world.enrol("Event Follow-up")
    world.complete_step(run)
    world.delete(run)
    tracker, steps = committed[-1]
    assert tracker.payload["ChangeEventHeader"]["recordIds"] == [run]
    assert len(steps.payload["ChangeEventHeader"]["recordIds"]) == 2
    world.undelete(run)
    assert run_of(world, run)["State"] == "Running"
    assert world.open_runs == (run,)


def test_what_the_state_does_not_allow_is_refused_and_changes_nothing(
    world: World, committed: Transactions
) -> None:
    run = world.enrol("Event Follow-up")
    for call in ("resume", "retry", "queue_email"):
        with pytest.raises(IllegalTransition, match="its state is"):
            world.invoke(call, run)
    world.remove(run)
    for call in ("complete_step", "pause", "exit", "fail", "reassign"):
        with pytest.raises(IllegalTransition, match="Complete"):
            world.invoke(call, run)
    assert len(committed) == 2


def world_with(clock: ManualClock, committed: Transactions, options: EngagementOptions) -> World:
    org = Org(clock=clock)
    org.on_commit = committed.append
    return World(org, Catalogue(org), WorldOptions(engagement=options))


def test_runs_can_be_initialized_first_and_started_in_a_second_transaction(
    clock: ManualClock, committed: Transactions
) -> None:
    world = world_with(clock, committed, EngagementOptions(initial_state="Initializing"))
    run = world.enrol("Event Follow-up")
    states = [
        [each.payload.get("State") for each in events if each.entity == TRACKER] for events in committed
    ]
    assert states == [["Initializing"], ["Running"]]
    assert world.complete_step(run) is not None


def test_processing_can_surface_in_a_transaction_of_its_own(
    clock: ManualClock, committed: Transactions
) -> None:
    world = world_with(clock, committed, EngagementOptions(processing_surfaces=True))
    world.pause(world.enrol("Event Follow-up"))
    states = [event.payload["State"] for events in committed for event in events if event.entity == TRACKER]
    assert states == ["Running", "Processing", "Paused"]
