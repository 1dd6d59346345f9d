"""Any world, however it arrives: what the journal and the states of a real store then hold."""

import asyncio
import tempfile
from collections import defaultdict
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.domain.record_state import RecordState
from tests.model.rounds import memory_folder
from tests.model.stores import SqliteStores
from tests.oracle import compare, differing_states, expected
from tests.support.builders.changes import ORG
from tests.support.builders.worlds import (
    RUNS,
    STEPS,
    alarms,
    arrivals,
    consume,
    in_order,
    undisturbed,
    worlds,
)

EXAMPLES = settings(max_examples=120, deadline=None)


@pytest.fixture(scope="module")
def folder():
    with tempfile.TemporaryDirectory(dir=memory_folder()) as path:
        yield Path(path)


def played(folder, *plays):
    """The journal after each of the plays, one after the other on one store, and the states in the end."""

    async def play():
        stores = SqliteStores(folder)
        store = await stores.fresh()
        try:
            journals = [await consume(store, *one) for one in plays]
            stored = await store.states([*RUNS, *STEPS])
            states = {record: RecordState.decode(data) for record, data in stored.items()}
            return journals, states
        finally:
            await stores.drop(store)

    return asyncio.run(play())


def by_run(journal):
    told = defaultdict(list)
    for event in journal:
        told[event["tracker_id"]].append((event["id"], event["type"]))
    return told


def known(states):
    """What converges: what was told of each record, not when it was heard."""
    return {
        record: (state.fields, state.image, state.deleted, state.announced)
        for record, state in states.items()
        if state.exists
    }


@EXAMPLES
@given(data=st.data())
def test_ids_are_unique_and_every_change_is_accounted_for_once_and_states_are_final(folder, data):
    world = data.draw(worlds())
    (journal,), states = played(folder, (world, data.draw(arrivals(world))))
    ids = [event["id"] for event in journal]
    assert len(ids) == len(set(ids))
    expectation = expected(world.events, ORG)
    verdict = compare(expectation, journal)
    assert verdict.ok, str(verdict)
    values = {record: state.values() for record, state in states.items() if state.exists}
    assert differing_states(expectation, values) == []
    assert {record for record, state in states.items() if state.is_deleted} == expectation.deleted


@EXAMPLES
@given(data=st.data())
def test_a_run_without_late_and_timer_events_has_the_events_of_an_undisturbed_run(folder, data):
    world = data.draw(worlds())
    (calm,), calm_states = played(folder, (world, undisturbed(world)))
    (rough,), rough_states = played(folder, (world, data.draw(arrivals(world))))
    assert not any(event.get("late") for event in calm)
    special = {
        event["tracker_id"]
        for event in (*rough, *calm)
        if event.get("late") or event.get("origin") == "timer"
    }
    calm_runs, rough_runs = by_run(calm), by_run(rough)
    for run in calm_runs.keys() | rough_runs.keys():
        if run not in special:
            assert rough_runs[run] == calm_runs[run]
    assert known(rough_states) == known(calm_states)


@EXAMPLES
@given(data=st.data())
def test_a_full_replay_in_another_order_adds_nothing(folder, data):
    world = data.draw(worlds())
    first, again = data.draw(arrivals(world)), data.draw(arrivals(world))
    (before, after), _ = played(folder, (world, first), (world, again))
    assert after == before


@EXAMPLES
@given(data=st.data())
def test_every_step_that_was_overdue_is_told_so_once_however_long_nobody_looked(folder, data):
    world = data.draw(worlds())
    (journal,), _ = played(folder, (world, data.draw(in_order(world))))
    told = [event for event in journal if event["type"] == "step.overdue"]
    due = [
        (event["record_id"], round(datetime.fromisoformat(event["time"]).timestamp() * 1000))
        for event in told
    ]
    assert sorted(due) == sorted(alarms(world))
    assert not any(event.get("late") for event in journal)
