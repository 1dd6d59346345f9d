"""What a handler author may believe, through the real ingest on a real store: in both channel set-ups, and in both arrival orders.

Messages arrive in the order in which they were committed, or all at once in the opposite order.
"""

import asyncio

import orjson
import pytest

from consumer.clock import iso
from consumer.domain.lifecycle_events import LifecycleEvent
from tests.model.stores import SqliteStores
from tests.support.builders.changes import COMMIT_MS, RUN, RUN_1, RUN_2, STEP, STEP_1, STEP_2, message
from tests.support.builders.worlds import BOTH, SETUPS, Arrival, World, consume

RUNNING = {"State": "Running", "TargetId": "00QWP0000001AbCAAX", "OwnerId": "005WP000000M6o1YAC"}
ACTIVE = {"State": "Active", "ActionCadenceTrackerId": RUN_1, "StepType": "MakeACall", "StepTitle": "Call"}
BOUNCED = "TARGET_EMAIL_BOUNCED"


def at(seconds):
    return iso(COMMIT_MS + seconds * 1_000)


@pytest.fixture(params=SETUPS, ids=["one channel", "two channels"])
def channels(request):
    return request.param


@pytest.fixture(params=[False, True], ids=["in order", "backwards"])
def backwards(request):
    return request.param


@pytest.fixture
def told(tmp_path, channels, backwards):
    """The events of a story, given as (kind, entity, record, fields): each a transaction, a second apart, unless it says otherwise."""

    def announce(*story):
        messages = []
        for number, (kind, entity, record, fields, *where) in enumerate(story, 1):
            commit, sequence = where or (number, 1)
            messages.append(
                message(
                    kind, entity, record, fields, commit=commit, sequence=sequence, position=f"p{number}",
                    channel=BOTH if channels == (BOTH,) else None,
                )
            )  # fmt: skip
        every = list(range(len(messages)))
        answers = [(0, every[::-1])] if backwards else [(0, [one]) for one in every]

        async def play():
            stores = SqliteStores(tmp_path)
            store = await stores.fresh()
            try:
                journal = await consume(store, World(channels, messages), Arrival(answers, None))
            finally:
                await stores.drop(store)
            return [LifecycleEvent.from_journal(orjson.dumps(event)) for event in journal]

        return asyncio.run(play())

    return announce


def types(events):
    return [event.type for event in events]


def of_commit(events, number):
    return [event for event in events if event.transaction and event.transaction.commit_number == number]


ENROL = ("CREATE", RUN, RUN_1, RUNNING)
CALL = ("CREATE", STEP, STEP_1, ACTIVE)


@pytest.mark.parametrize(("entity", "record"), [(RUN, RUN_1), (STEP, STEP_1)])
def test_a_deleted_record_has_no_after_and_its_last_state_before(told, entity, record):
    *_, deleted = told(ENROL, CALL, ("DELETE", entity, record, {}))
    assert deleted.type.endswith(".deleted")
    assert deleted.after is None
    assert deleted.before.state == ("Running" if entity == RUN else "Active")
    assert deleted.target_id == (RUNNING["TargetId"])


@pytest.mark.parametrize(
    "end", [("UPDATE", RUN, RUN_1, {"State": "Complete"}), ("DELETE", RUN, RUN_1, {})], ids=["ended", "deleted"]
)  # fmt: skip
def test_a_step_whose_run_is_over_is_not_overdue_though_its_own_end_was_not_heard(told, end):
    due = ("CREATE", STEP, STEP_1, {**ACTIVE, "DueDateTime": at(4)})
    assert "step.overdue" in types(told(ENROL, due))
    assert "step.overdue" not in types(told(ENROL, due, end))


def test_a_step_that_was_overdue_before_its_run_ended_is_told_first(told):
    due = ("CREATE", STEP, STEP_1, {**ACTIVE, "DueDateTime": at(2.5)})
    events = told(
        ENROL, due, ("UPDATE", RUN, RUN_1, {"State": "Complete", "CompletionReason": "NoMoreSteps"}, 4, 1)
    )
    assert types(events)[-2:] == ["step.overdue", "run.ended.finished"]


def test_a_run_that_returns_takes_its_steps_along(told):
    due = ("CREATE", STEP, STEP_1, {**ACTIVE, "DueDateTime": at(6)})
    events = told(ENROL, due, ("DELETE", RUN, RUN_1, {}), ("UNDELETE", RUN, RUN_1, RUNNING))
    assert types(events)[-1] == "step.overdue"


def test_no_resume_is_due_once_the_run_has_ended(told):
    paused = ("UPDATE", RUN, RUN_1, {"State": "Paused", "ScheduledResumeDateTime": at(6)})
    assert "run.resume_due" in types(told(ENROL, paused))
    assert "run.resume_due" not in types(told(ENROL, paused, ("UPDATE", RUN, RUN_1, {"State": "Complete"})))


def test_the_end_of_a_wait_changes_no_schedule(told):
    waits = ("UPDATE", RUN, RUN_1, {"CurrentStepId": STEP_1, "ScheduledResumeDateTime": at(900)})
    moves = ("UPDATE", RUN, RUN_1, {"CurrentStepId": STEP_2, "ScheduledResumeDateTime": None})
    events = told(ENROL, waits, moves)
    assert types(events)[2:] == ["run.advanced", "run.waiting", "run.advanced"]


def test_the_end_of_a_pause_changes_no_schedule_and_a_pause_without_an_end_does(told):
    paused = ("UPDATE", RUN, RUN_1, {"State": "Paused", "ScheduledResumeDateTime": at(900)})
    resumed = ("UPDATE", RUN, RUN_1, {"State": "Running", "ScheduledResumeDateTime": None})
    assert types(told(ENROL, paused, resumed))[2:] == ["run.paused", "run.resumed"]
    forever = ("UPDATE", RUN, RUN_1, {"ScheduledResumeDateTime": None})
    assert types(told(ENROL, paused, forever))[2:] == ["run.paused", "run.resume_changed"]


def test_a_value_that_is_sent_again_says_nothing_in_whatever_spelling(told):
    due = ("CREATE", STEP, STEP_1, {**ACTIVE, "DueDateTime": "2026-02-01T10:00:00.000Z"})
    again = {"DueDateTime": "2026-02-01T10:00:00Z", "StepTitle": "Call", "CompletionReason": None}
    assert of_commit(told(ENROL, due, ("UPDATE", STEP, STEP_1, again)), 3) == []
    owner = ("UPDATE", RUN, RUN_1, {"OwnerId": RUNNING["OwnerId"][:15], "RelatedToId": None})
    assert of_commit(told(ENROL, owner), 2) == []


def test_of_fields_some_of_which_are_sent_again_only_the_others_changed(told):
    (event,) = of_commit(told(ENROL, ("UPDATE", RUN, RUN_1, {**RUNNING, "OwnerId": "005WP000000M6o2YAC"})), 2)
    assert (event.type, event.changed) == ("run.reassigned", ("OwnerId",))


@pytest.mark.parametrize("step_first", [True, False])
def test_an_advance_says_to_which_step_and_from_which(told, step_first):
    moved = ("UPDATE", RUN, RUN_1, {"CurrentStepId": STEP_2})
    mail = {
        **ACTIVE,
        "StepType": "SendAnEmail",
        "StepTitle": "Mail",
        "ActionCadenceStepId": "8HEWP0000001AbCAAX",
    }
    step = ("CREATE", STEP, STEP_2, mail)
    events = told(
        ENROL, CALL, ("UPDATE", RUN, RUN_1, {"CurrentStepId": STEP_1}),
        (*(step if step_first else moved), 4, 1), (*(moved if step_first else step), 4, 2),
    )  # fmt: skip
    first, second = (event for event in events if event.type == "run.advanced")
    assert (first.step_tracker_id, first.step_title, first.from_step_tracker_id) == (STEP_1, "Call", None)
    assert (second.step_tracker_id, second.step_title, second.step_type, second.cadence_step_id) == (
        STEP_2, "Mail", "SendAnEmail", "8HEWP0000001AbCAAX",
    )  # fmt: skip
    assert second.from_step_tracker_id == STEP_1


def test_a_creation_says_what_it_already_shows(told):
    born = {**RUNNING, "State": "Error", "RelatedToId": "006WP0000001AbCAAX", "ErrorMessage": "no access"}
    events = told(("CREATE", RUN, RUN_1, born))
    assert types(events) == ["run.enrolled", "run.failed", "run.attributed"]
    assert events[1].error.message == "no access"
    done = {
        **ACTIVE,
        "State": "Completed",
        "ActionTakenDateTime": at(0),
        "CompletionReason": "AutomaticallyCompleted",
    }
    assert types(told(("CREATE", STEP, STEP_1, done))) == [
        "step.created", "step.action_taken", "step.ended.completed",
    ]  # fmt: skip


def test_another_error_of_a_failed_step_is_a_failure_again(told):
    failed = ("UPDATE", STEP, STEP_1, {"State": "Error", "ErrorCode": "RETRY_LATER"})
    first, second = told(ENROL, CALL, failed, ("UPDATE", STEP, STEP_1, {"ErrorCode": BOUNCED}))[-2:]
    assert (first.type, second.type) == ("step.failed", "step.failed")
    assert (second.error.code, second.error.kind, second.before.error_code) == (
        BOUNCED,
        "prospect data",
        "RETRY_LATER",
    )


@pytest.mark.parametrize("step_first", [True, False])
def test_a_run_fails_for_the_reason_of_its_step(told, step_first):
    step = ("UPDATE", STEP, STEP_1, {"State": "Error", "ErrorCode": BOUNCED})
    run = ("UPDATE", RUN, RUN_1, {"State": "Error", "ErrorMessage": "a step failed"})
    events = told(
        ENROL, CALL, (*(step if step_first else run), 3, 1), (*(run if step_first else step), 3, 2),
    )  # fmt: skip
    (failed,) = (event for event in events if event.type == "run.failed")
    assert (failed.error.code, failed.error.kind, failed.error.message) == (
        BOUNCED,
        "prospect data",
        "a step failed",
    )


def test_a_run_fails_for_the_reason_of_its_last_failed_step_or_an_unknown_one(told):
    fails = ("UPDATE", RUN, RUN_1, {"State": "Error"})
    step = ("UPDATE", STEP, STEP_1, {"State": "Error", "ErrorCode": BOUNCED})
    assert (
        told(ENROL, CALL, step, ("UPDATE", STEP, STEP_1, {"State": "Active"}), fails)[-1].error.code
        == BOUNCED
    )
    unknown = told(ENROL, CALL, fails)[-1].error
    assert (unknown.code, unknown.kind) == (None, "unknown")


def test_a_reason_that_arrives_after_the_end_corrects_the_ending(told):
    other, right = told(
        ENROL,
        ("UPDATE", RUN, RUN_1, {"State": "Complete"}),
        ("UPDATE", RUN, RUN_1, {"CompletionReason": "LeadConverted", "CompletionDisposition": "Success"}),
    )[-2:]
    assert (other.type, other.supersedes, other.outcome) == ("run.ended.other", None, "unknown")
    assert (right.type, right.supersedes, right.reason) == ("run.ended.converted", other.id, "LeadConverted")
    assert (right.disposition, right.outcome) == ("Success", "won")


def test_a_reason_that_arrives_after_the_end_of_a_step_corrects_it_too(told):
    completed, skipped = told(
        ENROL,
        CALL,
        ("UPDATE", STEP, STEP_1, {"State": "Completed"}),
        ("UPDATE", STEP, STEP_1, {"CompletionReason": "ManuallySkipped"}),
    )[-2:]
    assert (completed.type, skipped.type) == ("step.ended.completed", "step.ended.skipped")
    assert skipped.supersedes == completed.id


def test_a_restored_record_says_every_difference_to_what_was_known(told):
    same = told(ENROL, ("DELETE", RUN, RUN_1, {}), ("UNDELETE", RUN, RUN_1, RUNNING))
    assert types(same)[-2:] == ["run.deleted", "run.restored"]
    assert same[-1].before is None
    other = {**RUNNING, "State": "Paused", "OwnerId": "005WP000000M6o2YAC"}
    events = told(ENROL, ("DELETE", RUN, RUN_1, {}), ("UNDELETE", RUN, RUN_1, other))
    assert types(events)[-3:] == ["run.restored", "run.paused", "run.reassigned"]


def test_an_ending_counts_what_became_of_the_steps_and_says_how_long_it_took(told):
    done = {"State": "Completed", "CompletionReason": "ManuallyCompleted"}
    events = told(
        ENROL, CALL, ("UPDATE", STEP, STEP_1, {"State": "Error"}), ("UPDATE", STEP, STEP_1, done),
        ("CREATE", STEP, STEP_2, ACTIVE), ("UPDATE", STEP, STEP_2, {**done, "CompletionReason": "ManuallySkipped"}),
        ("UPDATE", RUN, RUN_1, {"State": "Complete", "CompletionReason": "NoMoreSteps"}),
    )  # fmt: skip
    ended = events[-1]
    assert (ended.steps_completed, ended.steps_skipped, ended.steps_failed) == (1, 1, 1)
    assert (ended.duration, ended.outcome) == (6, "unknown")
    (completed,) = (event for event in events if event.type == "step.ended.completed")
    assert (completed.duration, completed.was_overdue) == (2, False)


def test_a_step_that_was_overdue_says_so_when_it_ends(told):
    due = ("CREATE", STEP, STEP_1, {**ACTIVE, "DueDateTime": at(2.5)})
    done = ("UPDATE", STEP, STEP_1, {"State": "Completed"}, 5, 1)
    *_, overdue, ended = told(ENROL, due, done)
    assert (overdue.type, ended.type, ended.was_overdue) == ("step.overdue", "step.ended.completed", True)


def test_a_gap_reports_apart_from_records(told):
    (gap,) = told(("GAP_UPDATE", RUN, [RUN_1, RUN_2], {}))
    assert (gap.type, gap.after, gap.entity) == ("system.gap", None, None)
    assert (gap.report.entity, gap.report.kind, gap.report.record_ids) == (RUN, "GAP_UPDATE", (RUN_1, RUN_2))


@pytest.mark.parametrize("kind", ["GAP_UPDATE", "UPDATE"])
def test_a_wildcard_among_named_records_is_a_gap_too(told, kind):
    events = told(ENROL, (kind, RUN, [RUN_1, "0qB*"], {"State": "Paused"} if kind == "UPDATE" else {}))
    (gap,) = (event for event in events if event.type == "system.gap")
    assert gap.report.record_ids == (RUN_1, "0qB*")
