"""Per run in order, between runs side by side, and nobody waits for somebody else's trouble. Time is virtual."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from consumer.plugin import Retry
from consumer.ports.observers.handler_events import HandlerOpenFailed
from tests.support.rigs.delivery import (
    Log,
    loaded,
    record,
    until,
)

pytestmark = pytest.mark.looptime


async def test_events_of_one_run_arrive_in_journal_order_while_runs_are_delivered_side_by_side(world):
    log, at_once, most = Log(), set(), 0

    async def handle(event, ctx):
        nonlocal most
        assert event.tracker_id not in at_once, "two calls of one run at once"
        at_once.add(event.tracker_id)
        most = max(most, len(at_once))
        await asyncio.sleep(0.1 if int(event.id[1:]) % 3 else 0.3)
        log.note(event)
        at_once.discard(event.tracker_id)

    await world.publish(*(record(n, f"run-{n % 10}") for n in range(200)))
    async with world.delivering(loaded(handle, concurrency=4)):
        await world.acknowledged_through(200)
    assert most == 4
    assert set(log.counts.values()) == {1}
    for run in range(10):
        assert log.runs[f"run-{run}"] == [f"e{n}" for n in range(run, 200, 10)]


async def test_order_per_run_holds_when_attempts_fail(world):
    log, failures = Log(), set()

    async def handle(event, ctx):
        await asyncio.sleep(0.01)
        if int(event.id[1:]) % 7 == 0 and ctx.attempt < 3:
            failures.add(event.id)
            raise OSError("down")
        log.note(event)

    await world.publish(*(record(n, f"run-{n % 5}") for n in range(100)))
    async with world.delivering(loaded(handle)):
        await world.acknowledged_through(100)
    assert len(failures) == 15
    for run in range(5):
        assert log.runs[f"run-{run}"] == [f"e{n}" for n in range(run, 100, 5)]


async def test_a_failing_event_holds_back_later_events_of_its_own_run_and_of_no_other(world):
    log, healed = Log(), asyncio.Event()

    async def handle(event, ctx):
        if event.id == "e0" and not healed.is_set():
            raise OSError("down")
        log.note(event)

    await world.publish(*(record(n, "bad" if n % 2 == 0 else f"good-{n}") for n in range(1_000)))
    async with world.delivering(loaded(handle, max_attempts=1_000)):
        await until(lambda: len(log.ids) == 500)
        assert "bad" not in log.runs
        healed.set()
        await world.acknowledged_through(1_000)
    assert log.runs["bad"] == [f"e{n}" for n in range(0, 1_000, 2)]


async def test_events_without_a_run_share_a_lane_in_order(world):
    log = Log()

    async def handle(event, ctx):
        await asyncio.sleep(0.5 if event.id == "e0" else 0)
        log.note(event)

    await world.publish(*(record(n, None, "system.gap") for n in range(5)))
    async with world.delivering(loaded(handle)):
        await world.acknowledged_through(5)
    assert log.ids == ["e0", "e1", "e2", "e3", "e4"]


async def test_a_failing_a_hanging_and_a_slow_handler_change_nothing_for_a_healthy_one(world):
    times = {}

    async def healthy(event, ctx):
        times[event.id] = asyncio.get_running_loop().time()

    async def failing(event, ctx):
        raise OSError("down")

    async def hanging(event, ctx):
        await asyncio.Event().wait()

    async def slow(event, ctx):
        await asyncio.sleep(20)

    others = [loaded(failing, "failing"), loaded(hanging, "hanging"), loaded(slow, "slow")]
    async with world.delivering(loaded(healthy, "healthy"), *others, window=100):
        await asyncio.sleep(1)
        began = asyncio.get_running_loop().time()
        await world.publish(*(record(n, f"run-{n % 50}") for n in range(2_000)))
        await world.acknowledged_through(2_000, "healthy")
    assert len(times) == 2_000
    assert max(times.values()) - began < 1


async def test_a_handler_whose_open_fails_is_opened_again_while_the_others_run(world):
    from consumer.plugin import Handler

    class Shy(Handler):
        opens = 0

        async def open(self, settings, ctx):
            self.opens += 1
            if self.opens == 1:
                raise OSError("no route")
            if self.opens == 2:
                await asyncio.Event().wait()
            if self.opens == 3:
                raise asyncio.CancelledError

        async def handle(self, event, ctx):
            log.note(event)

    log, other, shy = Log(), Log(), Shy()
    await world.publish(record(0))
    async with world.delivering(loaded(shy, "shy"), loaded(other, "other")):
        await until(lambda: other.ids == ["e0"], 1)
        assert world.observer.facts(HandlerOpenFailed)[0][0] == "shy"
        await until(lambda: log.ids == ["e0"], 60)
    assert shy.opens == 4
    assert [str(error) for _, error, _ in world.observer.facts(HandlerOpenFailed)] == [
        "no route",
        "not done after 30 s, and cancelled",
        "something that it awaited was cancelled",
    ]


async def test_a_handler_that_awaits_nothing_leaves_the_others_their_turn(world):
    first, second = Log(), Log()
    await world.publish(*(record(n, f"run-{n}") for n in range(1_000)))
    behind = []

    async def greedy(event, ctx):
        first.note(event)
        behind.append(len(first.ids) - len(second.ids))

    async with world.delivering(loaded(greedy, "greedy"), loaded(second, "second")):
        await world.acknowledged_through(1_000, "greedy")
        await world.acknowledged_through(1_000, "second")
    assert max(behind) < 900


async def test_rate_spaces_events_evenly(world):
    times = []

    async def handle(event, ctx):
        times.append(asyncio.get_running_loop().time())

    await world.publish(*(record(n, f"run-{n}") for n in range(50)))
    async with world.delivering(loaded(handle, rate=10)):
        await world.acknowledged_through(50)
    assert times[-1] - times[0] == pytest.approx(4.9, abs=0.05)
    assert max(b - a for a, b in itertools.pairwise(times)) < 0.15


async def test_memory_is_bounded_by_the_window(world):
    gate = asyncio.Event()

    async def handle(event, ctx):
        if event.id == "e0":
            await gate.wait()
        log.note(event)

    log = Log()
    await world.publish(*(record(n, f"run-{n}") for n in range(500)))
    async with world.delivering(loaded(handle, timeout=10_000), window=100):
        await until(lambda: len(log.ids) == 99)
        await asyncio.sleep(5)
        assert len(log.ids) == 99, "nothing beyond the window"
        gate.set()
        await world.acknowledged_through(500)
    assert set(log.counts.values()) == {1}


async def test_retry_after_holds_the_run_that_long(world):
    times = {}

    async def handle(event, ctx):
        times.setdefault(event.id, []).append(asyncio.get_running_loop().time())
        if event.id == "e0" and ctx.attempt == 1:
            raise Retry(after=90, reason="429")

    await world.publish(record(0), record(1), record(2, "other"))
    async with world.delivering(loaded(handle)):
        await world.acknowledged_through(3)
    assert times["e0"][1] - times["e0"][0] == pytest.approx(90, abs=0.01)
    assert times["e1"][0] >= times["e0"][1]
    assert times["e2"][0] - times["e0"][0] < 0.01
