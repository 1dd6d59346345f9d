"""How delivery ends and goes on: the stop, the crash, the lost tenure."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from consumer.delivery.cursor import Cursor
from consumer.errors import CommitRefused, StoreForeign
from consumer.plugin import Handler
from consumer.ports.delivery import SavedCursor
from consumer.ports.observers.delivery_events import (
    AttemptFailed,
    CallInterrupted,
    DeadLettered,
    HandlerCallFinished,
)
from consumer.ports.observers.handler_events import (
    CursorUnsaved,
    HandlerCloseFailed,
    HandlerOpened,
    HandlerStoreUnreachable,
)
from tests.support.rigs.delivery import (
    Batches,
    Log,
    World,
    loaded,
    record,
    until,
)

pytestmark = pytest.mark.looptime


async def test_a_stop_lets_running_calls_finish_within_the_grace_and_takes_nothing_new(world):
    log, started = Log(), []

    async def handle(event, ctx):
        started.append(event.id)
        await asyncio.sleep(2)
        log.note(event)

    await world.publish(*(record(n, f"run-{n}") for n in range(10)))
    async with world.delivering(loaded(handle, concurrency=3), grace_ms=5_000):
        await until(lambda: len(started) == 3)
    assert sorted(log.ids) == ["e0", "e1", "e2"]
    assert (await world.cursor()).offset == 3, "saved at the stop"


async def test_a_call_cancelled_by_the_stop_is_no_failure_and_its_event_comes_again(world):
    log, hanging = Log(), asyncio.Event()

    async def handle(event, ctx):
        if event.id == "e1" and not hanging.is_set():
            hanging.set()
            await asyncio.sleep(3_600)
        log.note(event, ctx)

    await world.publish(record(0, "a"), record(1, "b"), record(2, "c"))
    loop = asyncio.get_running_loop()
    async with world.delivering(loaded(handle, timeout=10_000), grace_ms=3_000):
        await until(lambda: len(log.ids) == 2)
        began = loop.time()
    assert loop.time() - began == pytest.approx(3, abs=0.1)
    assert world.observer.facts(CallInterrupted) == [("h", "e1")]
    assert world.observer.count(AttemptFailed) == world.observer.count(DeadLettered) == 0
    async with world.delivering(loaded(handle)):
        await world.acknowledged_through(3)
    assert log.counts == {"e0": 1, "e1": 1, "e2": 1}
    assert log.attempts[-1] == 1


async def test_a_handler_that_swallows_its_cancellation_gets_no_further_event(world):
    log = Log()

    async def handle(event, ctx):
        log.note(event)
        try:
            await asyncio.sleep(3_600)
        except asyncio.CancelledError:
            log.note(event)

    await world.publish(record(0), record(1))
    async with world.delivering(loaded(handle, timeout=10_000), grace_ms=100):
        await until(lambda: log.ids)
    assert log.ids == ["e0", "e0"]
    assert (await world.cursor()).offset == 1, "it returned, so it is done with the event"


async def test_a_stop_does_not_wait_for_retries_that_are_due_later(world):
    async def handle(event, ctx):
        raise OSError("down")

    await world.publish(record(0))
    loop = asyncio.get_running_loop()
    async with world.delivering(loaded(handle, max_attempts=100), grace_ms=30_000):
        await until(lambda: world.observer.count(AttemptFailed) == 8)
        began = loop.time()
    assert loop.time() - began < 1
    (row,) = await world.store.blocked_runs("h")
    assert (row.first, row.attempts, row.error) == (1, 8, "OSError: down")


async def test_a_stop_while_a_handler_cannot_open_or_the_store_is_down_ends_all_the_same(world):
    class Never(Handler):
        closed = False

        async def open(self, settings, ctx):
            await asyncio.Event().wait()

        async def handle(self, event, ctx):
            raise AssertionError

        async def close(self):
            self.closed = True

    never = Never()
    async with world.delivering(loaded(never)):
        await until(lambda: world.store.saved)
    assert not never.closed, "close is for what was opened"
    world.store.unavailable = True
    async with world.delivering(loaded(Log(), "other")):
        await until(lambda: world.observer.count(HandlerStoreUnreachable, "other") > 2)


async def test_a_cursor_that_cannot_be_saved_at_the_stop_is_reported_and_ends_in_time(world):
    async def handle(event, ctx):
        world.store.unavailable = True

    await world.publish(record(0))
    loop = asyncio.get_running_loop()
    async with world.delivering(loaded(handle), grace_ms=0):
        await until(lambda: world.observer.count(HandlerCallFinished) == 1)
        began = loop.time()
    assert loop.time() - began == pytest.approx(2, abs=0.1)
    assert world.observer.facts(CursorUnsaved) == [("h", 0)]


async def test_handlers_are_closed_once_and_one_that_hangs_is_left_after_five_seconds(world):
    class Closing(Handler):
        def __init__(self, seconds):
            self.seconds, self.closes = seconds, 0

        async def handle(self, event, ctx):
            raise AssertionError

        async def close(self):
            self.closes += 1
            await asyncio.sleep(self.seconds)

    quick, stuck = Closing(0), Closing(3_600)
    loop = asyncio.get_running_loop()
    async with world.delivering(loaded(quick, "quick"), loaded(stuck, "stuck")):
        await until(lambda: world.observer.count(HandlerOpened) == 2)
        began = loop.time()
    assert loop.time() - began == pytest.approx(5, abs=0.1)
    assert (quick.closes, stuck.closes) == (1, 1)
    assert [facts[0] for facts in world.observer.facts(HandlerCloseFailed)] == ["stuck"]


async def test_the_http_session_is_made_on_demand_shared_by_a_handlers_calls_and_closed_by_the_stop(world):
    sessions = []

    async def handle(event, ctx):
        sessions.append((ctx, ctx.http))

    await world.publish(record(0), record(1))
    async with world.delivering(loaded(handle, "a"), loaded(handle, "b")):
        await world.acknowledged_through(2, "a")
        await world.acknowledged_through(2, "b")
        assert not any(session.closed for _, session in sessions)
    assert len({(ctx.handler, id(session)) for ctx, session in sessions}) == 2, "one for each handler"
    assert len({id(session) for _, session in sessions}) == 2, "which no other handler can close"
    assert all(session.closed for _, session in sessions)
    with pytest.raises(RuntimeError, match="the service has stopped"):
        _ = sessions[0][0].http


async def test_after_a_crash_everything_unsaved_comes_again_and_nothing_is_skipped(world):
    log, saved = Log(), {}

    async def handle(event, ctx):
        await asyncio.sleep(0.07)
        log.note(event)

    await world.publish(*(record(n, f"run-{n % 20}") for n in range(400)))
    for crash in range(6):
        dispatcher = world.dispatcher(loaded(handle, concurrency=7))
        running = asyncio.create_task(dispatcher.run())
        await asyncio.sleep(0.33 + crash / 10)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        cursor = await world.cursor()
        saved[crash] = cursor.offset
        assert {f"e{n - 1}" for n in range(1, cursor.offset + 1)} <= set(log.ids), "settled means delivered"
    assert sorted(saved.values()) == list(saved.values())
    async with world.delivering(loaded(handle, concurrency=7)):
        await world.acknowledged_through(400)
    assert set(log.ids) == {f"e{n}" for n in range(400)}
    assert len(log.ids) < 400 + 7 * 50
    for run in range(20):
        first_seen = list(dict.fromkeys(log.runs[f"run-{run}"]))
        assert first_seen == [f"e{n}" for n in range(run, 400, 20)]


async def test_what_was_acknowledged_above_the_offset_does_not_come_again_after_a_restart(world):
    log, gate = Log(), asyncio.Event()

    async def handle(event, ctx):
        if event.id == "e0" and not gate.is_set():
            raise OSError("down")
        log.note(event)

    await world.publish(*(record(n, f"run-{n}") for n in range(50)))
    for _ in range(3):
        async with world.delivering(loaded(handle, max_attempts=99)):
            await until(lambda: len(log.ids) == 49)
            await until(lambda: world.observer.count(AttemptFailed) > 0)
    assert [row.first for row in await world.store.blocked_runs("h")] == [1]
    gate.set()
    async with world.delivering(loaded(handle)):
        await world.acknowledged_through(50)
    assert set(log.counts.values()) == {1}


async def test_losing_the_tenure_ends_the_dispatcher_and_cancels_what_runs(world):
    log = Log()

    async def handle(event, ctx):
        if event.id == "e1":
            await asyncio.sleep(3_600)
        log.note(event)

    await world.publish(record(0, "a"), record(1, "b"))
    dispatcher = world.dispatcher(loaded(handle, timeout=10_000), loaded(Log(), "other"))
    running = asyncio.create_task(dispatcher.run())
    await until(lambda: log.ids == ["e0"])
    successor = World(world.store, await world.store.acquire("somebody else", 10_000))
    await successor.publish(record(2, "c"))
    began = asyncio.get_running_loop().time()
    with pytest.raises(CommitRefused):
        await running
    assert asyncio.get_running_loop().time() - began < 1
    await dispatcher.stop(0)
    assert world.observer.facts(CallInterrupted) == [("h", "e1")]
    assert world.observer.count(AttemptFailed) == 0
    async with successor.delivering(loaded(log)):
        await successor.acknowledged_through(3)
    assert log.counts == {"e0": 1, "e1": 1, "e2": 2}


async def test_a_cursor_moved_by_somebody_else_ends_the_dispatcher(world):
    dispatcher = world.dispatcher(loaded(Log()))
    running = asyncio.create_task(dispatcher.run())
    await until(lambda: world.store.saved)
    world.store.saved["h"] = SavedCursor(2, Cursor(0).snapshot())
    await world.publish(record(0))
    with pytest.raises(CommitRefused):
        await running


async def test_a_cursor_of_a_newer_format_is_refused(world):
    world.store.saved["h"] = SavedCursor(1, b'{"v":3}')
    with pytest.raises(StoreForeign, match="the cursor of handler 'h' cannot be read"):
        await world.dispatcher(loaded(Log())).run()


async def test_an_unavailable_store_loses_nothing_and_is_asked_again(world):
    log = Log()

    async def handle(event, ctx):
        log.note(event)
        if len(log.ids) == 30:
            world.store.unavailable = True

    await world.publish(*(record(n, f"run-{n % 5}") for n in range(60)))
    async with world.delivering(loaded(handle)):
        await until(lambda: world.observer.count(HandlerStoreUnreachable) > 5)
        world.store.unavailable = False
        await world.acknowledged_through(60)
    assert set(log.counts.values()) == {1}


async def test_cursors_are_saved_at_most_five_times_a_second_and_when_idle(world):
    async def handle(event, ctx):
        await asyncio.sleep(0.01)

    await world.publish(*(record(n) for n in range(300)))
    async with world.delivering(loaded(handle)):
        await world.acknowledged_through(300)
        await asyncio.sleep(10)
        saves = len(world.store.saves)
        assert 14 <= saves <= 18
        times = world.store.save_times[1:]
        assert min(b - a for a, b in itertools.pairwise(times)) >= 0.199
    assert len(world.store.saves) == saves, "nothing to save, nothing saved"


async def test_a_fast_handler_saves_every_five_hundred_events(world):
    sink = Batches(batch_max=100)
    await world.publish(*(record(n) for n in range(3_000)))
    async with world.delivering(loaded(sink)):
        await world.acknowledged_through(2_500, limit_s=0.1)
