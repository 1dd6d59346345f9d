"""Which proposed states are removed, decided without a store."""

import pytest

from consumer.domain.lifecycle import OrgInfo
from consumer.domain.record_state import RecordState
from consumer.domain.state_retention import ExpiryCutoff
from consumer.domain.target_runs import TargetRuns
from consumer.ingest.batch import LoadedStates
from consumer.ingest.expire import expire
from tests.support.builders.changes import ORG, RUN, RUN_1, RUN_2, STEP, STEP_1

THE_ORG = OrgInfo(ORG, "https://acme.my.salesforce.com")
DAY = 86_400_000
NOW = 1_000 * DAY
CUTOFF = ExpiryCutoff.at(NOW, 30 * DAY)
KEY = (0, 1, 1)
TARGET = "00Q"


def run(run_id=RUN_1, state="Complete", age=40):
    fields = {"State": (state, KEY), "TargetId": (TARGET, KEY)}
    return RecordState(RUN, run_id, fields, KEY, announced=(state, KEY), last_activity_ms=NOW - age * DAY)


def step(age=40):
    fields = {
        "State": ("Active", KEY),
        "ActionCadenceTrackerId": (RUN_1, KEY),
        "DueDateTime": ("2026-01-01T10:00:05.000Z", KEY),
    }
    return RecordState(STEP, STEP_1, fields, KEY, announced=("Active", KEY), last_activity_ms=NOW - age * DAY)


def loaded(*states, runs=()):
    targets = {TARGET: TargetRuns(TARGET, tuple((one, None) for one in runs))} if runs else {}
    return LoadedStates({state.record_id: state for state in states}, targets)


def test_an_ended_run_goes_with_its_steps_their_timers_and_its_place_in_the_list_of_the_target():
    known = loaded(run(), step(), runs=(RUN_1, RUN_2))
    batch = expire([STEP_1, RUN_1], known, CUTOFF, (), THE_ORG)
    assert batch.states == {STEP_1: None, RUN_1: None}
    assert batch.timers == {f"{STEP_1}/step.overdue": None}
    assert batch.targets[TARGET].runs == ((RUN_2, None),)
    last = expire([RUN_1], loaded(run(), runs=(RUN_1,)), CUTOFF, (), THE_ORG)
    assert last.targets == {TARGET: None}


@pytest.mark.parametrize("waiting", [RUN_1, STEP_1])
def test_a_record_with_an_uncommitted_change_stays_and_so_do_the_steps_of_such_a_run(waiting):
    batch = expire([STEP_1], loaded(run(), step()), CUTOFF, {waiting}, THE_ORG)
    assert (batch.states, batch.timers) == ({}, {})


def test_what_was_proposed_and_is_not_expirable_by_now_stays():
    alive = loaded(run(state="Running"), step(), runs=(RUN_1,))
    batch = expire([RUN_1, STEP_1, RUN_2], alive, CUTOFF, (), THE_ORG)
    assert (batch.states, batch.timers, batch.targets) == ({}, {}, {})
