"""What changes mean, decided without a store: given states go in, changed states, events and tasks come out."""

import json

import pytest

from consumer.domain.lifecycle import OrgInfo
from consumer.domain.record_state import IDENTITY_RETENTION_MS, RecordState
from consumer.domain.target_runs import TargetRuns
from consumer.ingest.batch import LoadedStates, Part
from consumer.ingest.interpret import BIRTH_SLACK_MS, gap_key, interpret_changes
from consumer.ingest.positions import PositionEntry
from consumer.ports.commit import ChannelState
from tests.support.builders.changes import (
    COMMIT_MS,
    ORG,
    RUN,
    RUN_1,
    RUN_2,
    RUN_CHANNEL,
    STEP,
    STEP_1,
    change,
    changes,
)

THE_ORG = OrgInfo(ORG, "https://acme.my.salesforce.com")
TARGET = "00QWP0000001AbC2AU"
DUE = "2026-01-01T10:00:05.000Z"


def part(one):
    header = one.header
    return Part(one, (0, header.commit_number, header.sequence_number), PositionEntry("7", 1))


def decide(loaded, *some, channels=None):
    return interpret_changes([part(one) for one in some], loaded, channels or {}, THE_ORG)


def types(batch):
    return [record.type for record in batch.journal]


def enrol(commit=1, run=RUN_1, **fields):
    return change("CREATE", RUN, run, {"State": "Running", **fields}, commit=commit)


def test_each_decision_sees_the_one_before_and_only_what_changed_is_written():
    loaded = LoadedStates({RUN_1: None, RUN_2: RecordState(RUN, RUN_2)})
    batch = decide(loaded, enrol(), change("UPDATE", RUN, RUN_1, {"State": "Paused"}, commit=2))
    assert types(batch) == ["run.enrolled", "run.started", "run.paused"]
    assert batch.events == {"run.enrolled": 1, "run.started": 1, "run.paused": 1}
    assert set(batch.states) == {RUN_1}
    assert batch.states[RUN_1] is loaded.records[RUN_1]
    assert batch.states[RUN_1].get("State") == "Paused"
    assert batch.newest_commit_ms == loaded.newest_commit_ms == COMMIT_MS + 2_000


def test_what_is_known_is_not_touched_by_a_decision():
    known = RecordState(RUN, RUN_1)
    before = known.encode()
    decide(LoadedStates({RUN_1: known}), enrol())
    assert known.encode() == before


def test_a_duplicate_writes_nothing():
    loaded = LoadedStates({RUN_1: None})
    decide(loaded, enrol())
    again = decide(loaded, enrol())
    assert (again.duplicates, again.states, again.journal, again.timers) == (1, {}, [], {})


def test_a_step_raises_the_greatest_key_of_its_run_and_what_comes_below_it_is_late():
    loaded = LoadedStates({STEP_1: None, RUN_1: None})
    batch = decide(loaded, change("CREATE", STEP, STEP_1, {"ActionCadenceTrackerId": RUN_1}, commit=5))
    assert batch.states[RUN_1].highest_key == (0, 5, 1)
    late = decide(loaded, change("UPDATE", RUN, RUN_1, {"State": "Paused"}, commit=4))
    assert late.late == 1
    assert json.loads(late.journal[0].data)["late"] is True


def test_a_change_from_before_the_birth_of_its_channel_is_ignored():
    born = {RUN_CHANNEL: ChannelState(COMMIT_MS + 1_000 + BIRTH_SLACK_MS + 1)}
    batch = decide(LoadedStates({RUN_1: None}), enrol(), channels=born)
    assert (batch.ignored, batch.states, batch.journal) == (1, {}, [])
    born = {RUN_CHANNEL: ChannelState(COMMIT_MS + 1_000 + BIRTH_SLACK_MS)}
    assert decide(LoadedStates({RUN_1: None}), enrol(), channels=born).ignored == 0


def test_a_change_whose_identity_would_be_forgotten_is_read_again_not_repeated():
    newest_ms = COMMIT_MS + 1_000 + IDENTITY_RETENTION_MS
    loaded = LoadedStates({RUN_1: None}, newest_commit_ms=newest_ms + 1)
    batch = decide(loaded, enrol())
    assert (types(batch), batch.states) == (["system.gap"], {})
    assert [task.ids for task in batch.reconcile_tasks.values()] == [(RUN_1,)]
    assert (
        types(decide(LoadedStates({RUN_1: None}, newest_commit_ms=newest_ms), enrol()))[0] == "run.enrolled"
    )


def test_a_gap_is_journaled_once_with_the_task_that_reads_its_records():
    gaps = changes("GAP_UPDATE", RUN, [RUN_1, RUN_2], commit=3)
    loaded = LoadedStates({RUN_1: None, RUN_2: None, gap_key(gaps[0]): None})
    batch = decide(loaded, *gaps)
    assert types(batch) == ["system.gap"]
    assert [task.ids for task in batch.reconcile_tasks.values()] == [(RUN_1, RUN_2)]
    assert set(batch.states) == {f"gap/{RUN_1}"}
    again = decide(loaded, *gaps)
    assert (again.duplicates, again.journal, again.reconcile_tasks) == (1, [], {})


@pytest.mark.parametrize("kind", ["GAP_OVERFLOW", "GAP_UPDATE"])
def test_a_gap_that_names_no_record_is_read_by_its_time(kind):
    record_id = "000000000000000AAA" if kind == "GAP_UPDATE" else RUN_1
    gap = change(kind, RUN, record_id, commit=3)
    batch = decide(LoadedStates({record_id: None, gap_key(gap): None}), gap)
    (task,) = batch.reconcile_tasks.values()
    assert task.ids == ()
    assert task.since_ms < COMMIT_MS + 3_000


def test_a_run_is_listed_with_its_target_and_linked_to_the_run_before_it():
    chain = {"TargetId": TARGET}
    loaded = LoadedStates({RUN_1: None, RUN_2: None}, {TARGET: TargetRuns(TARGET)})
    batch = decide(
        loaded,
        enrol(**chain, DaisyChainIteration=1),
        enrol(2, RUN_2, **chain, DaisyChainIteration=2),
    )
    assert batch.targets == loaded.targets
    assert [run for run, _ in batch.targets[TARGET].runs] == [RUN_1, RUN_2]
    assert batch.states[RUN_2].previous == RUN_1


def test_a_run_that_was_looked_up_is_listed_by_the_first_change_of_it_or_of_a_step():
    loaded = LoadedStates(
        {STEP_1: None, RUN_1: RecordState(RUN, RUN_1)},
        {TARGET: TargetRuns(TARGET)},
        {RUN_1: {"TargetId": TARGET}},
    )
    batch = decide(loaded, change("CREATE", STEP, STEP_1, {"ActionCadenceTrackerId": RUN_1}, commit=5))
    assert [run for run, _ in batch.targets[TARGET].runs] == [RUN_1]
    assert loaded.run_lookups == {}


def test_a_timer_that_was_due_before_the_next_change_fires_before_it():
    loaded = LoadedStates({STEP_1: None, RUN_1: None})
    active = {"State": "Active", "ActionCadenceTrackerId": RUN_1, "DueDateTime": DUE}
    first = decide(loaded, change("CREATE", STEP, STEP_1, active, commit=1))
    assert list(first.timers) == [f"{STEP_1}/step.overdue"]
    assert None not in first.timers.values()
    done = decide(loaded, change("UPDATE", STEP, STEP_1, {"State": "Completed"}, commit=9))
    assert types(done)[0] == "step.overdue"
    assert done.timers == {f"{STEP_1}/step.overdue": None}


def test_names_of_cadences_go_into_the_events():
    loaded = LoadedStates({RUN_1: None}, cadence_names={"77E": "Outbound"})
    batch = decide(loaded, enrol(ActionCadenceId="77E"))
    assert json.loads(batch.journal[0].data)["cadence_name"] == "Outbound"
