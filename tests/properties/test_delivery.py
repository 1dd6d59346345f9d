"""What holds for every order of settling and every behaviour of a handler."""

from __future__ import annotations

import asyncio
from collections import Counter

import looptime
import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.delivery.place import Place
from consumer.plugin import Failed, Reject, Retry
from tests.unit.delivery.memory_store import MemoryStore
from tests.unit.delivery.world import Batches, World, loaded, record


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_place_never_passes_an_unsettled_offset_and_survives_any_number_of_restarts(data):
    offsets = sorted(data.draw(st.sets(st.integers(1, 80), max_size=40), label="journal"))
    unwanted = (
        set(data.draw(st.lists(st.sampled_from(offsets), max_size=10), label="unwanted"))
        if offsets
        else set()
    )
    settled: set[int] = set()
    place = Place(0)
    for _ in range(data.draw(st.integers(1, 4), label="lives")):
        reader = iter([offset for offset in offsets if offset > place.offset])
        outstanding: list[int] = []
        for step in data.draw(st.lists(st.integers(0, 5), max_size=60), label="steps"):
            if step < 3 and (offset := next(reader, None)) is not None:
                if offset in unwanted:
                    place.passed(offset)
                elif place.taken(offset):
                    assert offset not in settled, "what is settled is not taken again"
                    outstanding.append(offset)
                else:
                    assert offset in settled, "only what is settled is left out"
            elif outstanding:
                offset = outstanding.pop(data.draw(st.integers(0, len(outstanding) - 1)))
                place.settled(offset)
                settled.add(offset)
            for offset in offsets:
                if offset <= place.offset:
                    assert offset in settled or offset in unwanted
            assert place.outstanding == len(outstanding)
            covered = [offset for offset in offsets if any(a <= offset <= b for a, b in place.ranges())]
            assert {o for o in settled if o > place.offset} <= set(covered)
            assert set(covered) <= settled | unwanted
        data_ = place.snapshot()
        assert Place.load(data_).snapshot() == data_
        place = Place.load(data_)


BEHAVIOUR = st.sampled_from(["done", "done", "raise", "retry", "reject", "hang", "slow"])


@given(
    runs=st.lists(st.integers(0, 4), min_size=1, max_size=25),
    plans=st.lists(st.lists(BEHAVIOUR, min_size=1, max_size=4), min_size=1, max_size=25),
    concurrency=st.integers(1, 5),
    on_failure=st.sampled_from(["dead_letter", "skip"]),
    window=st.integers(1, 30),
)
@settings(max_examples=60, deadline=None)
def test_every_event_ends_exactly_once_and_runs_keep_their_order(
    runs, plans, concurrency, on_failure, window
):
    ended: dict[int, list[str]] = {}
    ends: Counter[str] = Counter()

    async def handle(event, ctx):
        plan = plans[int(event.id[1:]) % len(plans)]
        match plan[min(ctx.attempt, len(plan)) - 1]:
            case "raise":
                raise OSError
            case "retry":
                raise Retry(after=3)
            case "reject":
                raise Reject("no")
            case "hang":
                await asyncio.Event().wait()
            case "slow":
                await asyncio.sleep(2)
        ends[event.id] += 1
        ended.setdefault(runs[int(event.id[1:])], []).append(event.id)

    async def scenario():
        store = MemoryStore()
        world = World(store, await store.acquire("test", 1))
        world.observer.__dict__["dead_lettered"] = lambda _, entry, *__: ended.setdefault(
            runs[int(entry.id[1:])], []
        ).append(entry.id)
        world.observer.__dict__["skipped"] = world.observer.__dict__["dead_lettered"]
        await world.publish(*(record(n, f"run-{run}") for n, run in enumerate(runs)))
        one = loaded(handle, concurrency=concurrency, on_failure=on_failure, max_attempts=3, timeout=5)
        async with world.delivering(one, window=window):
            await world.settled_through(len(runs))
        return store

    store = virtually(scenario())
    for run, ids in ended.items():
        assert ids == [f"e{n}" for n, of in enumerate(runs) if of == run]
    assert sum(map(len, ended.values())) == len(runs)
    assert set(ends.values()) <= {1}
    letters = [letter.event_id for letter in store.letters]
    assert len(letters) == len(set(letters))
    assert not set(letters) & set(ends)


@given(
    runs=st.lists(st.integers(0, 4), min_size=1, max_size=30),
    poison=st.sets(st.integers(0, 29), max_size=4),
    blamed=st.booleans(),
    batch_max=st.integers(1, 12),
    concurrency=st.integers(1, 3),
)
@settings(max_examples=60, deadline=None)
def test_in_batches_exactly_the_poison_ends_in_the_dead_letters(runs, poison, blamed, batch_max, concurrency):
    poisoned = {f"e{n}" for n in poison if n < len(runs)}

    def act(events):
        bad = {event.id for event in events} & poisoned
        if bad and blamed:
            sink.done += [event.id for event in events if event.id not in bad]
            raise Failed(dict.fromkeys(bad, "poison"))
        if bad:
            raise OSError

    sink = Batches(act, batch_max)

    async def scenario():
        store = MemoryStore()
        world = World(store, await store.acquire("test", 1))
        await world.publish(*(record(n, f"run-{run}") for n, run in enumerate(runs)))
        async with world.delivering(loaded(sink, max_attempts=2, concurrency=concurrency)):
            await world.settled_through(len(runs))
        return store

    store = virtually(scenario())
    assert {letter.event_id for letter in store.letters} == poisoned
    assert sorted(sink.done) == sorted({f"e{n}" for n in range(len(runs))} - poisoned)
    assert orjson.loads(store.saved["h"].data)["settled"] == []
    for run in set(runs):
        order = [id_ for id_ in sink.done if runs[int(id_[1:])] == run]
        if not blamed:
            assert order == sorted(order, key=lambda id_: int(id_[1:]))


def virtually(coroutine):
    """Run it in a fresh loop whose time is virtual."""
    loop = looptime.new_event_loop()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.close()
