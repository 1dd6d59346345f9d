"""What rows change, decided without a store and without REST."""

import json

from consumer.domain.lifecycle import OrgInfo
from consumer.domain.record_state import RecordState
from consumer.domain.row_diff import Row
from consumer.domain.target_runs import TargetRuns
from consumer.ingest.batch import LoadedStates
from consumer.ingest.reconcile.compare import UnknownRecordPolicy, compare_rows
from tests.support.builders.changes import COMMIT_MS, ORG, RUN, RUN_1, STEP, STEP_1

THE_ORG = OrgInfo(ORG, "https://acme.my.salesforce.com")
AT_MS = COMMIT_MS + 60_000
TARGET = "00QWP0000001AbC2AU"


def row(entity=RUN, record_id=RUN_1, *, deleted=False, **fields):
    return Row(entity, record_id, AT_MS, fields, is_deleted=deleted)


def compare(loaded, *rows, **options):
    return compare_rows(rows, "repair", loaded, THE_ORG, **options)


def test_a_row_changes_what_differs_and_is_told_with_its_origin():
    loaded = LoadedStates({RUN_1: None}, {TARGET: TargetRuns(TARGET)})
    batch = compare(loaded, row(State="Running", TargetId=TARGET))
    assert batch.states == {RUN_1: loaded.records[RUN_1]}
    assert {json.loads(record.data)["origin"] for record in batch.journal} == {"repair"}
    assert (batch.changed_rows, batch.deleted) == (1, 0)
    assert RUN_1 in batch.targets[TARGET]
    again = compare(loaded, row(State="Running", TargetId=TARGET))
    assert (again.journal, again.changed_rows, again.targets) == ([], 0, {})


def test_a_deletion_counts_and_one_of_an_unknown_record_is_kept_only_where_that_is_wanted():
    loaded = LoadedStates({RUN_1: None})
    assert (
        compare(loaded, row(deleted=True), unknown_records=UnknownRecordPolicy(keep_tombstone=False)).states
        == {}
    )
    compare(loaded, row(State="Running"))
    gone = compare(loaded, Row(RUN, RUN_1, AT_MS + 5_000, {}, is_deleted=True))
    assert (gone.changed_rows, gone.deleted, gone.states[RUN_1].is_deleted) == (1, 1, True)


def test_unknown_records_are_silent_or_of_another_origin_as_the_policy_says():
    silent = compare(
        LoadedStates({RUN_1: None}), row(State="Running"), unknown_records=UnknownRecordPolicy(emit=False)
    )
    assert (silent.journal, silent.changed_rows, set(silent.states)) == ([], 0, {RUN_1})
    named = compare(
        LoadedStates({RUN_1: None}),
        row(State="Running"),
        unknown_records=UnknownRecordPolicy(origin="snapshot"),
    )
    assert json.loads(named.journal[0].data)["origin"] == "snapshot"


def test_what_was_due_before_an_unknown_record_was_read_does_not_come_due_now():
    overdue = row(
        STEP, STEP_1, State="Active", ActionCadenceTrackerId=RUN_1, DueDateTime="2026-01-01T10:00:05.000Z"
    )
    loaded = LoadedStates({STEP_1: None, RUN_1: None})
    batch = compare(loaded, overdue, unknown_records=UnknownRecordPolicy(fire_overdue=False), server_ms=AT_MS)
    assert batch.timers == {}
    batch = compare(LoadedStates({STEP_1: None, RUN_1: None}), overdue, server_ms=AT_MS)
    assert list(batch.timers) == [f"{STEP_1}/step.overdue"]


def test_the_run_of_a_step_is_found_by_what_is_known_where_the_row_names_none():
    run = RecordState(RUN, RUN_1, {"TargetId": (TARGET, (0, 1, 1))})
    loaded = LoadedStates({STEP_1: None, RUN_1: run})
    compare(loaded, row(STEP, STEP_1, State="Active", ActionCadenceTrackerId=RUN_1))
    batch = compare(loaded, Row(STEP, STEP_1, AT_MS + 5_000, {"State": "Completed"}))
    assert json.loads(batch.journal[0].data)["target_id"] == TARGET
