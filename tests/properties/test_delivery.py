"""What holds for every order of settling and every behaviour of a handler."""

from __future__ import annotations

import asyncio
from collections import Counter

import looptime
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.delivery.cursor import Cursor
from consumer.plugin import Failed, Reject, Retry
from consumer.ports.observers.delivery_events import DeadLettered, EventSkipped
from tests.support.rigs.delivery import (
    Batches,
    World,
    loaded,
    record,
)
from tests.support.rigs.memory_store import MemoryStore
from tests.support.rigs.observing import Recorder


class GivenUp(Recorder):
    """Adds the events that were given up to those that ended, by run."""

    def __init__(self, ended, runs):
        super().__init__()
        self._ended, self._runs = ended, runs

    def observe(self, event):
        super().observe(event)
        if isinstance(event, DeadLettered | EventSkipped):
            run = self._runs[int(event.entry.id[1:])]
            self._ended.setdefault(run, []).append(event.entry.id)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_cursor_never_passes_an_unacknowledged_offset_and_survives_any_number_of_restarts(data):
    offsets = sorted(data.draw(st.sets(st.integers(1, 80), max_size=40), label="journal"))
    unwanted = (
        set(data.draw(st.lists(st.sampled_from(offsets), max_size=10), label="unwanted"))
        if offsets
        else set()
    )
    acknowledged: set[int] = set()
    cursor = Cursor(0)
    for _ in range(data.draw(st.integers(1, 4), label="lives")):
        reader = iter([offset for offset in offsets if offset > cursor.offset])
        outstanding: list[int] = []
        for step in data.draw(st.lists(st.integers(0, 5), max_size=60), label="steps"):
            if step < 3 and (offset := next(reader, None)) is not None:
                if offset in unwanted:
                    cursor.skipped(offset)
                elif cursor.tracked(offset):
                    assert offset not in acknowledged, "what is settled is not taken again"
                    outstanding.append(offset)
                else:
                    assert offset in acknowledged, "only what is settled is left out"
            elif outstanding:
                offset = outstanding.pop(data.draw(st.integers(0, len(outstanding) - 1)))
                cursor.acknowledged(offset)
                acknowledged.add(offset)
            for offset in offsets:
                if offset <= cursor.offset:
                    assert offset in acknowledged or offset in unwanted
            assert cursor.outstanding == len(outstanding)
            covered = [offset for offset in offsets if any(a <= offset <= b for a, b in cursor.ranges())]
            assert {o for o in acknowledged if o > cursor.offset} <= set(covered)
            assert set(covered) <= acknowledged | unwanted
        data_ = cursor.snapshot()
        assert Cursor.load(data_).snapshot() == data_
        cursor = Cursor.load(data_)


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
        world.observer = GivenUp(ended, runs)
        await world.publish(*(record(n, f"run-{run}") for n, run in enumerate(runs)))
        one = loaded(handle, concurrency=concurrency, on_failure=on_failure, max_attempts=3, timeout=5)
        async with world.delivering(one, window=window):
            await world.acknowledged_through(len(runs))
        return store

    store = virtually(scenario())
    for run, ids in ended.items():
        assert ids == [f"e{n}" for n, of in enumerate(runs) if of == run]
    assert sum(map(len, ended.values())) == len(runs)
    assert set(ends.values()) <= {1}
    dead_letters = [dead_letter.event_id for dead_letter in store.dead_letters]
    assert len(dead_letters) == len(set(dead_letters))
    assert not set(dead_letters) & set(ends)


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
            await world.acknowledged_through(len(runs))
        return store

    store = virtually(scenario())
    assert {dead_letter.event_id for dead_letter in store.dead_letters} == poisoned
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


@given(
    runs=st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=30),
    plans=st.lists(st.lists(BEHAVIOUR, min_size=1, max_size=3), min_size=1, max_size=30),
    crashes=st.lists(st.integers(1, 4_000), max_size=5),
    batches=st.booleans(),
    window=st.integers(2, 30),
    max_blocked_runs=st.integers(0, 3),
)
@settings(max_examples=40, deadline=None)
def test_whatever_the_crashes_no_event_is_lost_and_runs_keep_their_order(
    runs, plans, crashes, batches, window, max_blocked_runs
):
    ended: list[str] = []
    attempts: Counter[str] = Counter()

    async def one(event, ctx):
        plan = plans[int(event.id[1:]) % len(plans)]
        attempts[event.id] += 1
        match plan[min(attempts[event.id], len(plan)) - 1]:
            case "raise":
                raise OSError
            case "retry":
                raise Retry(after=3)
            case "reject":
                ended.append(event.id)
                raise Reject("no")
            case "hang":
                if attempts[event.id] < 4:
                    await asyncio.Event().wait()
            case "slow":
                await asyncio.sleep(2)
        ended.append(event.id)

    class Many(Batches):
        async def handle_batch(self, events, ctx):
            failed = {}
            for event in events:
                try:
                    await one(event, ctx)
                except Exception as error:  # noqa: BLE001 - each has its own reason
                    failed[event.id] = error
            if failed:
                raise Failed(failed)

    async def scenario():
        store = MemoryStore()
        world = World(store, await store.acquire("test", 1))
        await world.publish(
            *(record(n, run, "run.advanced" if run else "system.gap") for n, run in enumerate(runs))
        )
        handler = loaded(
            Many(batch_max=7) if batches else one,
            concurrency=2,
            on_failure="block",
            max_attempts=3,
            timeout=30,
        )
        for crash_ms in crashes:
            running = asyncio.create_task(world.dispatcher(handler, window=window).run())
            await asyncio.sleep(crash_ms / 1_000)
            running.cancel()
            await asyncio.wait([running])
            cursor = await store.cursor("h")
            if cursor is not None:
                known = Cursor.load(cursor.data, blocked_runs=await store.blocked_runs("h"))
                gone = {f"e{n}" for n in range(known.lowest_needed_offset - 1)}
                assert gone <= set(ended), "what is no longer needed was settled"
        for plan in plans:
            plan[:] = [each for each in plan if each not in ("raise", "retry", "hang")] or ["done"]
        async with world.delivering(handler, window=window):
            await world.acknowledged_through(len(runs))
        assert store.rows == {}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("consumer.delivery.cursor.MAX_BLOCKED_RUNS", max_blocked_runs)
        virtually(scenario())
    assert set(ended) == {f"e{n}" for n in range(len(runs))}
    if not batches:
        for run in set(runs):
            first_seen = list(dict.fromkeys(id_ for id_ in ended if runs[int(id_[1:])] == run))
            assert first_seen == [f"e{n}" for n, of in enumerate(runs) if of == run]
