"""Handlers that do their worst in a running service: it lives, they alone fail, and readiness says which of them does not run."""

import asyncio
import json
from collections import defaultdict

import pytest

from consumer.sandbox import Sandbox, SandboxOptions
from tests.acceptance.test_kill import journal_of, live
from tests.support.processes.service_process import ServiceProcess, settings_for

HOSTILE = """
import asyncio, logging, os, sys, threading, time
from pathlib import Path
from consumer import BatchHandler, Handler, handler


class Silent(Exception):
    def __str__(self):
        raise SystemExit(3)
    __repr__ = __str__


async def leave():
    sys.exit(4)


async def act(number, ctx):
    match number % 12:
        case 0:
            raise ValueError("bad \\\\ud83d text")
        case 1:
            sys.exit(2)
        case 2:
            asyncio.get_running_loop().call_later(0.05, asyncio.current_task().cancel)
            await asyncio.sleep(1)
        case 3:
            raise Silent
        case 4:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(leave())
        case 5:
            asyncio.get_running_loop().call_soon(sys.exit, 5)
            raise KeyboardInterrupt
        case 6:
            ctx.log.error("bad \\\\ud83d", value=Silent(), loop=[ctx], exc_info=Silent())
            logging.getLogger("x").error("%d", "no number")
            raise GeneratorExit
        case 7:
            threading.Thread(target=lambda: ctx.log.error("from a thread", value=Silent())).start()
            raise BaseExceptionGroup("bad \\\\ud83d", [Silent(), SystemExit(6)])
        case 8:
            time.sleep(0.2)
            raise ValueError("x" * 5_000_000)
        case 9:
            asyncio.current_task().cancel()
        case 10:
            await ctx.http.close()
            raise asyncio.CancelledError
        case 11:
            await asyncio.sleep(3_600)


class Hostile(Handler):
    on = ("*",)
    calls = 0

    async def handle(self, event, ctx):
        Hostile.calls += 1
        event.__dict__.update(type="nonsense", tracker_id=None, position=None)
        await act(Hostile.calls, ctx)


class Unopened(Handler):
    on = ("*",)

    async def open(self, settings, ctx):
        sys.exit("no \\\\ud83d such file")

    async def handle(self, event, ctx):
        pass


class Good(BatchHandler):
    on = ("*",)

    async def open(self, settings, ctx):
        self.out = open("good.jsonl", "ab", buffering=0)

    async def handle_batch(self, events, ctx):
        self.out.write(b"".join(event.to_json() + b"\\\\n" for event in events))


@handler(on="*")
async def poison(event, ctx):
    number = int(event.position.replay_id) if event.position else 0
    with open("poison.txt", "a") as out:
        out.write(f"{event.id} {ctx.attempt}\\\\n")
    if event.type == "run.enrolled" and Path("poisoned").exists() and event.id == Path("poisoned").read_text():
        os._exit(9)
""".replace("\\\\", "\\")


def ids_of(path):
    by_run = defaultdict(list)
    for line in path.read_bytes().splitlines():
        event = json.loads(line)
        by_run[event.get("tracker_id")].append(event["id"])
    return by_run


@pytest.mark.long
@pytest.mark.timeout(180)
async def test_a_service_with_hostile_handlers_lives_and_says_which_does_not_run(tmp_path):
    (tmp_path / "hostile.py").write_text(HOSTILE)
    good = tmp_path / "good.jsonl"
    async with Sandbox(SandboxOptions(seed=5)) as sandbox:
        environment = settings_for(
            sandbox,
            tmp_path,
            CADENCE_HANDLERS__HOSTILE__USE="hostile:Hostile",
            CADENCE_HANDLERS__HOSTILE__START="earliest",
            CADENCE_HANDLERS__HOSTILE__TIMEOUT="1s",
            CADENCE_HANDLERS__HOSTILE__CONCURRENCY="4",
            CADENCE_HANDLERS__HOSTILE__MAX_ATTEMPTS="2",
            CADENCE_HANDLERS__HOSTILE__DEAD_LETTER_LIMIT="100000",
            CADENCE_HANDLERS__UNOPENED__USE="hostile:Unopened",
            CADENCE_HANDLERS__GOOD__USE="hostile:Good",
            CADENCE_HANDLERS__GOOD__START="earliest",
            CADENCE_HANDLERS__FILE__USE="jsonl",
            CADENCE_HANDLERS__FILE__START="earliest",
            CADENCE_HANDLERS__FILE__SETTINGS__PATH=str(tmp_path / "file.jsonl"),
        )
        world = asyncio.create_task(live(sandbox))
        async with ServiceProcess(environment, tmp_path) as service:
            body = await service.ready(wanted=False)
            async with asyncio.timeout(60):
                while service.errors().count('"handler_failed"') < 40 or not good.exists():
                    assert service.process.returncode is None, service.errors()[-3_000:]
                    await asyncio.sleep(0.1)
            status, body = await service.get("/readyz")
            world.cancel()
            await asyncio.sleep(2)
            assert service.process.returncode is None, service.errors()[-3_000:]
            service.signal(15)
            assert await service.ended(30) == 0, service.errors()[-3_000:]
    assert status == 503
    assert any("Handler unopened cannot open" in reason and "\\ud83d" in reason for reason in body["reasons"])
    journal = defaultdict(list)
    for event in await journal_of(tmp_path / "cadence.db"):
        journal[event.get("tracker_id")].append(event["id"])
    assert ids_of(good) == journal
    assert ids_of(tmp_path / "file.jsonl") == journal
    for line in service.errors().splitlines():
        assert json.loads(line)["event"], line
