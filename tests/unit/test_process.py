import asyncio
import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

from consumer.process import ExitCode, on_signals, stop_on_signals, tune_interpreter

ROOT = Path(__file__).parents[2]
TWICE = """
import asyncio, os, signal
from consumer.process import stop_on_signals

async def main():
    with stop_on_signals(lambda: print("stopping", flush=True)):
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
            await asyncio.sleep(0.01)
        await asyncio.sleep(60)

asyncio.run(main())
"""


def test_exit_codes_are_those_that_scripts_know():
    assert {code.name: int(code) for code in ExitCode} == {
        "OK": 0,
        "FAILED": 1,
        "USAGE": 2,
        "UNAVAILABLE": 69,
        "NOT_PERMITTED": 77,
    }


async def test_every_signal_calls_back_until_the_end_and_none_after_it():
    seen = []
    before = signal.getsignal(signal.SIGTERM)
    with on_signals(lambda: seen.append(1)):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
            await asyncio.sleep(0.01)
    assert len(seen) == 3
    assert signal.getsignal(signal.SIGTERM) == before


async def test_the_first_signal_stops_in_order():
    stopped = asyncio.Event()
    with stop_on_signals(stopped.set):
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(5):
            await stopped.wait()


def test_the_second_signal_ends_the_process_at_once():
    done = subprocess.run(
        [sys.executable, "-c", TWICE], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (ExitCode.FAILED, "stopping\n")


def test_tuning_shortens_the_switch_interval_and_has_what_is_loaded_not_looked_at_any_more():
    before = (gc.get_threshold(), sys.getswitchinterval())
    try:
        tune_interpreter()
        assert gc.get_freeze_count() > 1_000
        assert gc.get_threshold()[0] == 20_000
        assert sys.getswitchinterval() < 0.001
    finally:
        gc.unfreeze()
        gc.set_threshold(*before[0])
        sys.setswitchinterval(before[1])


EXITING = """
import asyncio, sys
from consumer.process import run_service, stop_on_signals
from tests.support.rigs.delivery import World, loaded, record
from tests.support.rigs.memory_store import MemoryStore


async def leave():
    sys.exit(2)


async def handle(event, ctx):
    match event.id:
        case "e0":
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(leave())
        case "e1":
            await asyncio.gather(leave(), leave())
        case "e2":
            asyncio.get_running_loop().call_soon(sys.exit, 3)
            await asyncio.sleep(0.01)
        case "e3":
            asyncio.create_task(leave())
            await asyncio.sleep(0.01)


async def main():
    store = MemoryStore()
    world = World(store, await store.acquire("test", 10_000))
    await world.publish(*(record(n, f"run-{n}") for n in range(5)))
    with stop_on_signals(lambda: None):
        async with world.delivering(loaded(handle, max_attempts=1)):
            await world.acknowledged_through(5, limit_s=20)
    print(*sorted(letter.event_id for letter in store.dead_letters))


run_service(main())
print("alive")
"""


def test_the_exit_of_a_task_that_a_handler_has_started_ends_nothing_but_the_task():
    done = subprocess.run(
        [sys.executable, "-c", EXITING], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.split("\n")[:2] == ["e0 e1", "alive"], done.stderr[-3_000:]
