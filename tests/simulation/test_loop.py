"""What a process of the simulation is: killed it does nothing more, frozen it does nothing for now, and a seed decides who goes first."""

import asyncio
import random

import pytest

from tests.simulation.loop import Loop, Process


def run(loop):
    while loop.step():
        pass


@pytest.fixture
def loop():
    with Loop(random.Random(1)) as loop:
        yield loop


def test_time_passes_when_nobody_has_anything_to_do(loop):
    times = []

    async def main():
        for seconds in (3_600, 0, 1):
            await asyncio.sleep(seconds)
            times.append(loop.time())

    began = loop.time()
    loop.start(Process("a"), main())
    run(loop)
    assert [at - began for at in times] == [3_600, 3_600, 3_601]


def test_of_a_killed_process_not_even_a_finally_runs_while_the_world_lasts():
    done = []
    with Loop(random.Random(1)) as loop:

        async def child():
            try:
                await asyncio.sleep(1)
            finally:
                done.append("child")

        async def main():
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(child())
                    await asyncio.sleep(5)
            finally:
                done.append("main")

        process = Process("a")
        loop.start(process, main())
        loop.call_later(0.5, setattr, process, "alive", False)
        run(loop)
        assert done == []
    assert sorted(done) == ["child", "main"], "taken apart when the world has ended"


def test_a_frozen_process_finds_everything_that_came_due_when_it_goes_on(loop):
    told = []

    async def main(name):
        for _ in range(3):
            await asyncio.sleep(1)
            told.append((name, round(loop.time() - began)))

    began = loop.time()
    frozen, other = Process("frozen"), Process("other")
    loop.start(frozen, main("frozen"))
    loop.start(other, main("other"))
    loop.call_later(1.5, setattr, frozen, "frozen", True)
    loop.call_later(9.75, loop.thaw, frozen)
    run(loop)
    assert [at for name, at in told if name == "other"] == [1, 2, 3]
    assert [at for name, at in told if name == "frozen"] == [1, 10, 11]


@pytest.mark.parametrize("shuffled", [True, False])
def test_a_seed_decides_who_goes_first_and_in_every_run_the_same(shuffled):
    def order(seed):
        told = []
        with Loop(random.Random(seed), shuffled=shuffled) as loop:

            async def one(name):
                for _ in range(3):
                    await asyncio.sleep(0)
                    told.append(name)

            for name in "abcde":
                loop.start(Process(name), one(name))
            run(loop)
        return "".join(told)

    orders = {order(seed) for seed in range(20)}
    assert all(order(seed) in orders for seed in range(20))
    assert len(orders) == (20 if shuffled else 1)
    if not shuffled:
        assert orders == {"abcdeabcdeabcde"}


def test_tasks_have_the_same_order_in_a_set_wherever_they_are_in_memory(loop):
    async def nothing():
        await asyncio.sleep(0)

    tasks = [loop.start(Process("a"), nothing()) for _ in range(100)]
    assert list({*tasks[::-1]}) == tasks
    run(loop)
