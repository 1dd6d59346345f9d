"""What is loaded for a decision, from where, and what stays in memory afterwards."""

import pytest

from consumer.clock import SystemClock
from consumer.domain.lifecycle import OrgInfo
from consumer.domain.record_state import RecordState
from consumer.domain.row_diff import Row
from consumer.domain.target_runs import TargetRuns, key_of
from consumer.errors import StoreUnavailable
from consumer.ingest.batch import Batch, LoadedStates, Part
from consumer.ingest.positions import PositionEntry
from consumer.ingest.states.lookup import RecordLookup
from consumer.ingest.states.repository import StateRepository
from tests.support.builders.changes import COMMIT_MS, ORG, RUN, RUN_1, RUN_2, STEP, STEP_1, change

KEY = (0, 1, 1)
TARGET = "00QWP0000001AbC2AU"


class Store:
    """States by key; counts what it is asked for."""

    def __init__(self, **states):
        self.data, self.asked, self.down = states, [], False

    async def states(self, keys):
        if self.down:
            raise StoreUnavailable("redis://x", "timed out")
        self.asked.append(set(keys))
        return {key: self.data[key].encode() for key in keys if key in self.data}


class Rest:
    """Answers every look-up with the same fields."""

    def __init__(self, **fields):
        self.fields, self.asked = fields, []

    async def rows(self, entity, ids, fields):
        self.asked.append(set(ids))
        return dict.fromkeys(ids, self.fields)


def repository(store, rest=None, **options):
    return StateRepository(store, RecordLookup(rest, SystemClock(), None), **options)


def part(*args, **kwargs):
    return Part(change(*args, **kwargs), KEY, PositionEntry("7", 1))


def batch(**parts):
    return Batch(OrgInfo(ORG, "https://acme.my.salesforce.com"), **parts)


def run(run_id=RUN_1, **fields):
    return RecordState(RUN, run_id, {name: (value, KEY) for name, value in fields.items()}, KEY)


def step(run_id=RUN_1):
    return RecordState(STEP, STEP_1, {"ActionCadenceTrackerId": (run_id, KEY)}, KEY)


def of(loaded: LoadedStates, record_id):
    state = loaded.records[record_id]
    return state and state.encode()


async def test_a_step_is_loaded_with_its_run_whether_the_change_names_it_or_its_state_does():
    store = Store(**{STEP_1: step(), RUN_1: run()})
    named = await repository(store).load(
        [part("UPDATE", STEP, STEP_1, {"ActionCadenceTrackerId": RUN_1}, commit=2)]
    )
    assert store.asked == [{STEP_1, RUN_1}]
    known = await repository(store).load([part("UPDATE", STEP, STEP_1, {"State": "Active"}, commit=2)])
    assert store.asked[1:] == [{STEP_1}, {RUN_1}]
    for loaded in (named, known):
        assert of(loaded, STEP_1) == step().encode()
        assert of(loaded, RUN_1) == run().encode()


async def test_what_was_loaded_or_is_known_to_be_absent_is_not_asked_for_again():
    store = Store(**{RUN_1: run(TargetId=TARGET)})
    states = repository(store)
    parts = [part("UPDATE", RUN, one, {"State": "Paused"}, commit=2) for one in (RUN_1, RUN_2)]
    await states.load(parts)
    loaded = await states.load(parts)
    assert store.asked == [{RUN_1, RUN_2}]
    assert (of(loaded, RUN_1), of(loaded, RUN_2)) == (run(TargetId=TARGET).encode(), None)


async def test_what_a_batch_changed_is_what_the_next_one_finds():
    store = Store(**{RUN_1: run()})
    states, paused = repository(store), run(State="Paused")
    parts = [part("CREATE", RUN, RUN_1, {"TargetId": TARGET}, commit=2)]
    loaded = await states.load(parts)
    loaded.records[RUN_1] = paused
    assert of(await states.load(parts), RUN_1) == run().encode(), "not before it is written back"
    listed = TargetRuns(TARGET, ((RUN_1, None),))
    states.write_back(batch(states={RUN_1: paused}, targets={TARGET: listed}, newest_commit_ms=COMMIT_MS))
    loaded = await states.load(parts)
    assert of(loaded, RUN_1) == paused.encode()
    assert loaded.targets == {TARGET: listed}
    assert loaded.newest_commit_ms == states.newest_commit_ms == COMMIT_MS
    states.write_back(batch(newest_commit_ms=COMMIT_MS - 1))
    assert states.newest_commit_ms == COMMIT_MS


async def test_what_a_batch_changed_stays_however_little_may_be_kept_and_the_rest_goes():
    store = Store(**{RUN_1: run(), RUN_2: run(RUN_2)})
    states = repository(store, cache_weight=1)
    parts = [part("UPDATE", RUN, one, {"State": "Paused"}, commit=2) for one in (RUN_1, RUN_2)]
    await states.load(parts)
    states.write_back(batch(states={RUN_1: run()}))
    await states.load(parts)
    assert store.asked == [{RUN_1, RUN_2}, {RUN_2}]


async def test_rows_are_read_past_memory_and_change_only_what_is_there():
    store = Store(**{STEP_1: step(), RUN_1: run(), key_of(TARGET): TargetRuns(TARGET, ((RUN_1, None),))})
    states = repository(store)
    await states.load([part("UPDATE", RUN, RUN_1, {"State": "Paused"}, commit=2)])
    rows = [Row(STEP, STEP_1, COMMIT_MS, {}), Row(RUN, RUN_2, COMMIT_MS, {"TargetId": TARGET})]
    store.asked.clear()
    loaded = await states.load_rows(rows)
    assert set(loaded.records) == {STEP_1, RUN_1, RUN_2}
    assert RUN_1 in loaded.targets[TARGET]
    assert store.asked == [{STEP_1, RUN_2}, {key_of(TARGET)}], "the run is in memory"
    states.write_back(
        batch(
            states={RUN_1: run(State="Paused"), RUN_2: run(RUN_2)},
            targets={TARGET: TargetRuns(TARGET, ((RUN_1, None), (RUN_2, None)))},
        ),
        only_cached=True,
    )
    store.asked.clear()
    loaded = await states.load_rows(
        [Row(RUN, one, COMMIT_MS, {"TargetId": TARGET}) for one in (RUN_1, RUN_2)]
    )
    assert of(loaded, RUN_1) == run(State="Paused").encode()
    assert store.asked == [{RUN_2}, {key_of(TARGET)}]


async def test_what_was_removed_is_not_found_in_memory():
    store = Store(**{RUN_1: run(TargetId=TARGET), key_of(TARGET): TargetRuns(TARGET, ((RUN_1, None),))})
    states = repository(store)
    parts = [part("CREATE", RUN, RUN_1, {"TargetId": TARGET}, commit=2)]
    await states.load(parts)
    loaded = await states.load_expirable([RUN_1])
    assert (set(loaded.records), set(loaded.targets)) == ({RUN_1}, {TARGET})
    states.write_back(batch(states={RUN_1: None}, targets={TARGET: None}), only_cached=True)
    store.data.clear()
    loaded = await states.load(parts)
    assert loaded.records == {RUN_1: None}
    assert loaded.targets[TARGET].runs == ()


async def test_timers_are_loaded_with_their_records_and_the_runs_of_these():
    store = Store(**{STEP_1: step(), RUN_1: run()})
    loaded = await repository(store).load_timers([(f"{STEP_1}/step.overdue", 5)])
    assert set(loaded.records) == {STEP_1, RUN_1}


async def test_an_unseen_step_is_looked_up_and_its_run_is_loaded():
    store, rest = Store(**{RUN_1: run(TargetId=TARGET)}), Rest(ActionCadenceTrackerId=RUN_1, StepTitle="Call")
    loaded = await repository(store, rest).load([part("UPDATE", STEP, STEP_1, {"State": "Active"}, commit=2)])
    assert rest.asked == [{STEP_1}]
    assert loaded.run_id_of(STEP_1) == RUN_1
    assert of(loaded, RUN_1) == run(TargetId=TARGET).encode()
    assert loaded.run_lookups == {}


async def test_an_unseen_run_is_looked_up_once_and_handed_over_when_everything_is_loaded():
    store, rest = Store(), Rest(TargetId=TARGET)
    states = repository(store, rest)
    parts = [part("UPDATE", RUN, RUN_1, {"State": "Paused"}, commit=2)]

    async def fails_for_targets(keys, ask=store.states):
        store.down = key_of(TARGET) in keys
        return await ask(keys)

    store.states = fails_for_targets
    with pytest.raises(StoreUnavailable):
        await states.load(parts)
    del store.states
    store.down = False
    loaded = await states.load(parts)
    assert loaded.run_lookups == {RUN_1: {"TargetId": TARGET}}, "though the first attempt had asked"
    assert set(loaded.targets) == {TARGET}
    assert rest.asked == [{RUN_1}]
    assert (await states.load(parts)).run_lookups == {}


async def test_runs_are_not_looked_up_where_that_is_switched_off():
    rest = Rest(TargetId=TARGET)
    await repository(Store(), rest, hydrate=False).load(
        [part("UPDATE", RUN, RUN_1, {"State": "Paused"}, commit=2)]
    )
    assert rest.asked == []
