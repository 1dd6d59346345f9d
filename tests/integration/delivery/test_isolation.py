"""Whatever a handler raises, or does to the task it runs in, is a failed attempt of this handler and of nobody else. Time is virtual."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from consumer.plugin import BatchHandler, Handler
from consumer.ports.observers.handler_events import (
    CancellationIgnored,
    HandlerCloseFailed,
    HandlerOpenFailed,
    HandlerResumed,
)
from tests.support.rigs.delivery import Log, loaded, record, until

pytestmark = pytest.mark.looptime


class Silent(Exception):
    """Exception that raises when its text is asked for."""

    def __str__(self):
        raise SystemExit(2)

    __repr__ = __str__


def raising(error):
    async def act():
        raise error

    return act


async def cancel_itself_later():
    asyncio.get_running_loop().call_later(0.05, asyncio.current_task().cancel)
    await asyncio.sleep(1)


async def cancel_itself_at_once():
    asyncio.current_task().cancel()


async def cancel_itself_again_and_again():
    task = asyncio.current_task()
    for _ in range(3):
        task.cancel()
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            task.cancel()


async def swallow_the_time_limit():
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(3_600)


async def ignore_the_time_limit_twice():
    for _ in range(2):
        with contextlib.suppress(BaseException):
            await asyncio.sleep(3_600)


ACTS = {
    "exit": raising(SystemExit(2)),
    "interrupt": raising(KeyboardInterrupt()),
    "generator exit": raising(GeneratorExit()),
    "cancelled": raising(asyncio.CancelledError()),
    "stop iteration": raising(StopIteration()),
    "surrogate": raising(ValueError("bad \ud83d text")),
    "silent": raising(Silent()),
    "group": raising(BaseExceptionGroup("bad \ud83d", [Silent(), SystemExit(2)])),
    "huge": raising(ValueError("x" * 10_000_000)),
    "cancel later": cancel_itself_later,
    "cancel at once": cancel_itself_at_once,
    "cancel often": cancel_itself_again_and_again,
    "swallow": swallow_the_time_limit,
    "ignore": ignore_the_time_limit_twice,
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS.keys())
@pytest.mark.parametrize("in_batches", [False, True])
async def test_it_is_a_failed_attempt_of_this_event_alone(world, act, in_batches):
    got, other, attempts = Log(), Log(), []

    async def handle(event, ctx):
        if event.id == "e1":
            attempts.append(ctx.attempt)
            await act()
            return
        got.note(event, ctx)

    class InBatches(BatchHandler):
        batch_wait = 0

        async def handle_batch(self, events, ctx):
            for event in events:
                await handle(event, ctx)

    await world.publish(*(record(n, f"run-{n % 3}") for n in range(9)))
    bad = loaded(InBatches() if in_batches else handle, "bad", max_attempts=3, timeout=10)
    async with world.delivering(bad, loaded(other, "other")):
        await world.acknowledged_through(9, "bad")
        await world.acknowledged_through(9, "other")
        for n in range(9, 12):
            await world.publish(record(n, f"run-{n % 3}"))
        await world.acknowledged_through(12, "bad")
    (dead_letter,) = world.store.dead_letters
    assert (dead_letter.handler, dead_letter.event_id) == ("bad", "e1")
    assert dead_letter.error.encode()
    assert attempts.count(3) == 1
    assert max(attempts) == 3
    assert set(got.ids) == {f"e{n}" for n in range(12)} - {"e1"}
    assert other.runs == {f"run-{k}": [f"e{n}" for n in range(k, 9, 3)] for k in range(3)} | {
        f"run-{k}": [f"e{n}" for n in range(k, 12, 3)] for k in range(3)
    }


async def test_a_cancellation_that_comes_between_calls_stops_no_worker(world):
    got = Log()

    async def handle(event, ctx):
        got.note(event)
        asyncio.get_running_loop().call_later(0.3, asyncio.current_task().cancel)

    await world.publish(*(record(n, f"run-{n}") for n in range(20)))
    async with world.delivering(loaded(handle, rate=1, max_attempts=3)):
        await world.acknowledged_through(20)
    assert got.counts == {f"e{n}": 1 for n in range(20)}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS.keys())
async def test_in_open_and_close_it_is_a_failed_opening_or_closing(world, act):
    got, other = Log(), Log()

    class Awkward(Handler):
        opens = 0

        async def open(self, settings, ctx):
            self.opens += 1
            if self.opens <= 2:
                await act()

        async def handle(self, event, ctx):
            got.note(event)

        async def close(self):
            await act()

    await world.publish(record(0))
    async with world.delivering(loaded(Awkward(), "bad", timeout=10), loaded(other, "other")):
        await until(lambda: other.ids, 1)
        await until(lambda: got.ids, 120)
    assert [facts[0] for facts in world.observer.facts(HandlerOpenFailed)] == ["bad", "bad"]
    assert [facts[0] for facts in world.observer.facts(HandlerCloseFailed)] == ["bad"]


@pytest.mark.parametrize("error", [SystemExit(2), KeyboardInterrupt(), asyncio.CancelledError(), Silent()])
async def test_in_a_predicate_it_is_a_failed_attempt(world, error):
    got = Log()

    class Choosy(Handler):
        def wants(self, event):
            if event.id == "e1":
                raise error
            return True

        async def handle(self, event, ctx):
            got.note(event)

    await world.publish(*(record(n) for n in range(3)))
    async with world.delivering(loaded(Choosy(), max_attempts=2)):
        await world.acknowledged_through(3)
    assert got.ids == ["e0", "e2"]
    assert [(dead_letter.event_id, dead_letter.attempts) for dead_letter in world.store.dead_letters] == [
        ("e1", 2)
    ]


@pytest.mark.parametrize("where", ["handle", "open"])
async def test_a_stop_does_not_wait_for_a_call_that_ignores_it(world, where):
    ending = asyncio.Event()

    async def never():
        while not ending.is_set():
            with contextlib.suppress(BaseException):
                await asyncio.sleep(3_600)

    class Deaf(Handler):
        async def open(self, settings, ctx):
            if where == "open":
                await never()

        async def handle(self, event, ctx):
            await never()

    other = Log()
    await world.publish(record(0))
    loop = asyncio.get_running_loop()
    async with world.delivering(loaded(Deaf(), "deaf"), loaded(other, "other"), grace_ms=1_000):
        await until(lambda: other.ids)
        began = loop.time()
    assert loop.time() - began < 12
    assert (await world.cursor("deaf")).offset == 0
    ending.set()
    await asyncio.sleep(7_200)


async def test_what_a_handler_does_to_its_event_and_its_session_reaches_no_other_handler(world):
    seen, sessions = [], []

    async def vandal(event, ctx):
        event.__dict__.update(type="nonsense", tracker_id=None, after=None)
        await ctx.http.close()

    async def other(event, ctx):
        seen.append((event.type, event.tracker_id))
        sessions.append(ctx.http.closed)

    await world.publish(*(record(n, "run-1") for n in range(20)))
    async with world.delivering(loaded(vandal, "vandal"), loaded(other, "other")):
        await world.acknowledged_through(20, "vandal")
        await world.acknowledged_through(20, "other")
    assert seen == [("run.advanced", "run-1")] * 20
    assert sessions == [False] * 20


async def test_an_observer_that_raises_reaches_no_handler(world):
    got = Log()

    def observe(event):
        raise RuntimeError("a metric of another type")

    world.observer.observe = observe
    await world.publish(record(0), record(1))
    async with world.delivering(loaded(got)):
        await world.acknowledged_through(2)
    assert got.ids == ["e0", "e1"]


async def test_a_call_that_does_not_end_stops_its_handler_alone_until_it_ends(world):
    got, other, ending = Log(), Log(), asyncio.Event()

    async def deaf(event, ctx):
        got.note(event, ctx)
        while event.id == "e0" and not ending.is_set():
            with contextlib.suppress(BaseException):
                await asyncio.sleep(3_600)

    await world.publish(record(0, "a"), record(1, "b"))
    spec = {"timeout": 10, "max_attempts": 1, "concurrency": 2}
    async with world.delivering(loaded(deaf, "deaf", **spec), loaded(other, "other")):
        await until(lambda: world.observer.count(CancellationIgnored), 20)
        await world.publish(*(record(n, "c") for n in range(2, 5)))
        await world.acknowledged_through(5, "other")
        await asyncio.sleep(100)
        assert got.ids == ["e0", "e1"], "nothing is taken while the call has not ended"
        ending.set()
        await world.acknowledged_through(5, "deaf")
    assert world.observer.count(HandlerResumed) == 1
    assert [(dead_letter.event_id, dead_letter.error) for dead_letter in world.store.dead_letters] == [
        ("e0", "TimedOut: not done after 10 s, and cancelled")
    ]
