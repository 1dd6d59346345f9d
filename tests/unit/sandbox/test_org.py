import json
from pathlib import Path
from typing import Any

import pytest

from consumer.sandbox import STEP_TRACKER, TRACKER, ManualClock, Org, OrgOptions, UnknownRecord, World
from consumer.sandbox.cadences import Catalogue
from consumer.sandbox.change_events import ChangeEvent

Transactions = list[list[ChangeEvent]]
SAMPLES = Path(__file__).parents[4] / "shared" / "samples" / "synthetic"
HEADER_KEYS = [
    "commitNumber",
    "commitUser",
    "sequenceNumber",
    "entityName",
    "changeType",
    "changedFields",
    "changeOrigin",
    "transactionKey",
    "commitTimestamp",
    "recordIds",
]


def header(event: ChangeEvent) -> dict[str, Any]:
    found: dict[str, Any] = event.payload["ChangeEventHeader"]
    return found


def body(event: ChangeEvent) -> dict[str, Any]:
    return {name: value for name, value in event.payload.items() if name != "ChangeEventHeader"}


def tracker(org: Org, **values: Any) -> str:
    with org.transaction() as transaction:
        return transaction.create(TRACKER, {"State": "Running", "TargetId": "00QWP0000000001AAA", **values})


def test_the_header_has_the_ten_keys_in_the_captured_order(org: Org, committed: Transactions) -> None:
    tracker(org)
    assert list(header(committed[0][0])) == HEADER_KEYS
    assert list(committed[0][0].payload)[-1] == "ChangeEventHeader"


def test_a_record_changed_twice_in_a_transaction_yields_one_event_of_first_kind_and_final_data(
    org: Org, committed: Transactions
) -> None:
    with org.transaction() as transaction:
        run = transaction.create(TRACKER, {"State": "Initializing"})
        transaction.update(TRACKER, run, State="Running")
    ((event,),) = committed
    assert header(event)["changeType"] == "CREATE"
    assert body(event)["State"] == "Running"
    assert header(event)["changedFields"] == []


def test_an_update_carries_only_what_changed_and_clearing_is_an_explicit_null(
    org: Org, committed: Transactions, clock: ManualClock
) -> None:
    run = tracker(org, ScheduledResumeDateTime=clock())
    clock.advance(61_500)
    with org.transaction() as transaction:
        transaction.update(TRACKER, run, State="Running", ScheduledResumeDateTime=None)
    (event,) = committed[1]
    assert body(event) == {"LastModifiedDate": "2026-01-01T10:01:01.000Z", "ScheduledResumeDateTime": None}
    assert header(event)["changedFields"] == ["LastModifiedDate", "ScheduledResumeDateTime"]
    assert header(event)["commitTimestamp"] % 1000 == 0


def test_last_modified_by_travels_only_when_the_modifier_changed(org: Org, committed: Transactions) -> None:
    run = tracker(org)
    for _ in range(2):
        with org.transaction(user="005WP0000000001AAA") as transaction:
            state = org.get(TRACKER, run)["State"]
            transaction.update(TRACKER, run, State="Paused" if state == "Running" else "Running")
    assert "LastModifiedById" in body(committed[1][0])
    assert "LastModifiedById" not in body(committed[2][0])


def test_an_update_that_changes_nothing_publishes_nothing(org: Org, committed: Transactions) -> None:
    run = tracker(org)
    with org.transaction() as transaction:
        transaction.update(TRACKER, run, State="Running")
    assert len(committed) == 1


def test_delete_is_a_header_alone_and_undelete_carries_everything_again(
    org: Org, committed: Transactions
) -> None:
    run = tracker(org)
    with org.transaction() as transaction:
        transaction.delete(TRACKER, run)
    with pytest.raises(UnknownRecord, match=run):
        org.get(TRACKER, run)
    with org.transaction() as transaction:
        transaction.undelete(TRACKER, run)
    assert [header(each)["changeType"] for (each,) in committed] == ["CREATE", "DELETE", "UNDELETE"]
    assert body(committed[1][0]) == {}
    assert body(committed[2][0]).keys() == body(committed[0][0]).keys()


def test_what_a_transaction_creates_and_deletes_was_never_there(org: Org, committed: Transactions) -> None:
    with org.transaction() as transaction:
        run = transaction.create(TRACKER, {"State": "Running"})
        transaction.delete(TRACKER, run)
    assert committed == []
    assert run not in org.records[TRACKER]


def test_a_transaction_that_raises_leaves_no_trace(org: Org, committed: Transactions) -> None:
    run = tracker(org)
    before = dict(org.get(TRACKER, run))
    made = set(org.records[TRACKER])

    def fail_halfway() -> None:
        with org.transaction() as transaction:
            transaction.update(TRACKER, run, State="Error")
            transaction.create(TRACKER, {"State": "Running"})
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        fail_halfway()
    assert org.get(TRACKER, run) == before
    assert set(org.records[TRACKER]) == made
    assert len(committed) == 1


def test_system_and_calculated_fields_never_travel(world: World, committed: Transactions) -> None:
    world.advance(300)
    never = {"Id", "IsDeleted", "SystemModstamp", "IsActionTaken", "SecondsOverdue", "ActionCadenceName"}
    assert not never & {name for events in committed for event in events for name in event.payload}


def test_the_same_change_to_several_records_is_one_event_with_one_sequence_number(
    world: World, committed: Transactions
) -> None:
    first, second = world.enrol("Event Follow-up"), world.enrol("Event Follow-up")
    committed.clear()
    steps = world.pause(first, second)
    ((runs, paused),) = committed
    assert header(runs)["recordIds"] == [first, second]
    assert header(paused)["recordIds"] == steps
    assert [header(each)["sequenceNumber"] for each in (runs, paused)] == [1, 2]


def test_merging_can_be_turned_off(clock: ManualClock) -> None:
    committed: Transactions = []
    org = Org(OrgOptions(merge_updates=False), clock=clock)
    world = World(org, Catalogue(org))
    runs = [world.enrol("Event Follow-up"), world.enrol("Event Follow-up")]
    org.on_commit = committed.append
    world.pause(*runs)
    assert [header(each)["recordIds"] for each in committed[0][:2]] == [[runs[0]], [runs[1]]]


def test_tracker_and_step_can_commit_separately(clock: ManualClock) -> None:
    committed: Transactions = []
    org = Org(OrgOptions(separate_transactions=True), clock=clock)
    org.on_commit = committed.append
    World(org, Catalogue(org)).enrol("Event Follow-up")
    assert [[each.entity for each in events] for events in committed] == [[TRACKER], [STEP_TRACKER]]
    assert len({header(events[0])["transactionKey"] for events in committed}) == 2


def test_entities_that_are_not_selected_leave_holes_in_the_sequence(clock: ManualClock) -> None:
    committed: Transactions = []
    org = Org(OrgOptions(selected=(STEP_TRACKER,)), clock=clock)
    org.on_commit = committed.append
    World(org, Catalogue(org)).enrol("Event Follow-up")
    assert [header(each)["sequenceNumber"] for each in committed[0]] == [2]


def test_invisible_entities_can_leave_holes_too(clock: ManualClock) -> None:
    committed: Transactions = []
    org = Org(OrgOptions(sequence_holes=1.0), clock=clock)
    org.on_commit = committed.append
    World(org, Catalogue(org)).enrol("Event Follow-up")
    assert [header(each)["sequenceNumber"] for each in committed[0]] == [2, 4]


def test_unconfirmed_fields_can_be_shown_and_hidden(clock: ManualClock) -> None:
    committed: Transactions = []
    org = Org(OrgOptions(tracker_active_in_events=False, cadence_name_in_events=True), clock=clock)
    org.on_commit = committed.append
    World(org, Catalogue(org)).enrol("Event Follow-up")
    run, step = committed[0]
    assert "IsTrackerActive" not in run.payload
    assert step.payload["ActionCadenceName"] == "Event Follow-up"


def test_commit_numbers_rise_and_transaction_keys_look_like_the_captured_ones(
    world: World, committed: Transactions
) -> None:
    world.advance(100)
    numbers = [events[0].commit_number for events in committed]
    assert numbers == sorted(set(numbers))
    keys = [header(events[0])["transactionKey"] for events in committed]
    assert len(set(keys)) == len(keys)
    assert all(
        each.startswith("000") and [len(part) for part in each.split("-")] == [8, 4, 4, 4, 12]
        for each in keys
    )


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the collected samples are not beside this checkout")
def test_events_have_the_keys_of_the_collected_samples(
    org: Org, world: World, committed: Transactions
) -> None:
    def keys(name: str) -> list[tuple[str, str, list[str]]]:
        sample = json.loads((SAMPLES / name).read_text())
        return [
            (
                payload["ChangeEventHeader"]["entityName"],
                payload["ChangeEventHeader"]["changeType"],
                list(payload),
            )
            for payload in (
                each["data"]["payload"] for each in (sample if isinstance(sample, list) else [sample])
            )
        ]

    def seen() -> list[tuple[str, str, list[str]]]:
        return [(each.entity, header(each)["changeType"], list(each.payload)) for each in committed[-1]]

    run = world.enrol("Outbound Prospecting")
    assert seen() == keys("txn_enroll.json")
    world.pause(run, world.enrol("Outbound Prospecting"), resume_at=org.now_second())
    assert seen()[0] == keys("tracker_pause_merged.json")[0]
    world.resume(run)
    assert seen()[0] == keys("tracker_resume_null.json")[0]
    other = world.enrol("Event Follow-up")
    world.complete_step(other, manual=True)
    step, created, advanced = keys("txn_step_completed.json")
    assert seen()[0] == step
    assert seen()[2] == advanced
    # A step that is done by hand has a due time, which the sample's call step lacks.
    assert [name for name in seen()[1][2] if name != "DueDateTime"] == created[2]
    world.delete(other)
    assert seen()[0] == keys("tracker_delete.json")[0]
