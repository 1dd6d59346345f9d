"""kill -9 of the real command while runs are blocked, dead letters lie there and a replay is under way: every place survives."""

import asyncio
import json
import random
import signal
from collections import defaultdict
from dataclasses import dataclass

import pytest

from consumer.delivery.cursor import Cursor
from consumer.sandbox import Sandbox, SandboxOptions
from consumer.stores.sqlite.sqlite_store import SqliteStore
from tests.acceptance.test_kill import journal_of
from tests.oracle import compare, expected
from tests.support.processes.service_process import ServiceProcess, settings_for

KILLS = 4
PICKY = """
import asyncio, json, os, zlib
from consumer import Context, LifecycleEvent, Reject, Retry, handler

OUT = os.open("told.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT)


@handler(on="*")
async def picky(event: LifecycleEvent, ctx: Context) -> None:
    kind = zlib.crc32((event.tracker_id or "").encode()) % 5
    if not os.path.exists("healed"):
        if kind == 0:
            raise Retry(after=0.5, reason="not yet")
        if kind == 1 and event.type == "run.enrolled":
            raise Reject("never")
        if ctx.replayed:
            await asyncio.sleep(0.15)  # so that kills find it under way
    line = {"id": event.id, "run": event.tracker_id, "replayed": ctx.replayed}
    os.write(OUT, json.dumps(line).encode() + b"\\n")
"""


@dataclass
class Snapshot:
    """What the store says of the handler."""

    offset: int
    blocked_runs: dict
    dead_letters: dict
    replay: dict
    """Order to how far it is."""
    replay_blocked_runs: dict
    through: int
    """Where the last replay is to end."""


async def look(path):
    store = SqliteStore(path, read_only=True)
    await store.open()
    try:
        saved = await store.cursor("picky")
        pending_commands = (await store.pending_commands(["picky"]))["picky"]
        replay, replay_blocked_runs = {}, {}
        for command in pending_commands.commands:
            cursor = await store.cursor(command.cursor)
            replay[command.id] = 0 if cursor is None else Cursor.load(cursor.data).offset
            replay_blocked_runs |= {row.tracker_id: row for row in await store.blocked_runs(command.cursor)}
        return Snapshot(
            0 if saved is None else Cursor.load(saved.data).offset,
            {row.tracker_id: row for row in await store.blocked_runs("picky")},
            {
                dead_letter.event_id: dead_letter
                for dead_letter in await store.handler_dead_letters("picky", 10_000)
            },
            replay,
            replay_blocked_runs,
            max((command.through for command in pending_commands.commands), default=0),
        )
    finally:
        await store.aclose()


def told(folder):
    return [json.loads(line) for line in (folder / "told.jsonl").read_bytes().splitlines()]


async def until(service, true, within_s=40):
    async with asyncio.timeout(within_s):
        while not await true():
            assert service.process.returncode is None, service.errors()[-3000:]
            await asyncio.sleep(0.05)


@pytest.mark.long
@pytest.mark.timeout(200)
async def test_blocked_runs_dead_letters_and_a_replay_survive_kills_where_they_were(tmp_path):
    dice = random.Random(6)
    path = tmp_path / "cadence.db"
    (tmp_path / "picky.py").write_text(PICKY)
    async with Sandbox(SandboxOptions(seed=6)) as sandbox:
        environment = settings_for(
            sandbox,
            tmp_path,
            CADENCE_HANDLERS__PICKY__USE="picky:picky",
            CADENCE_HANDLERS__PICKY__START="earliest",
            CADENCE_HANDLERS__PICKY__MAX_ATTEMPTS="1000000",
            CADENCE_HANDLERS__PICKY__CONCURRENCY="4",
        )
        sandbox.world.advance(60)

        async def command(*words):
            async with ServiceProcess(environment, tmp_path, *words) as process:
                assert await process.ended() == 0, process.errors()

        async with ServiceProcess(environment, tmp_path) as service:
            await service.ready()

            async def is_a_mess():
                now = await look(path)
                return now.blocked_runs and now.dead_letters and now.offset > 100

            await until(service, is_a_mess)
            await command("replay", "--handler", "picky", "--from-offset", "1", "--no-wait")

            async def is_under_way():
                return any(offset > 10 for offset in (await look(path)).replay.values())

            await until(service, is_under_way)
            service.signal(signal.SIGKILL)
            await service.ended()

        before = await look(path)
        ((command_id, first_progress),) = before.replay.items()
        progress = [first_progress]
        for _ in range(KILLS - 1):
            sandbox.world.advance(10)
            async with ServiceProcess(environment, tmp_path) as service:
                lines = len(told(tmp_path))

                async def has_gone_on(before=before, lines=lines):
                    now = await look(path)
                    tried = all(
                        run in now.blocked_runs and now.blocked_runs[run].attempts > row.attempts
                        for run, row in before.blocked_runs.items()
                    )
                    return (
                        tried
                        and now.replay.get(command_id, 0) > before.replay[command_id]
                        and len(told(tmp_path)) > lines
                    )

                await until(service, has_gone_on)
                await asyncio.sleep(dice.uniform(0, 0.3))
                service.signal(signal.SIGKILL)
                await service.ended()
            now = await look(path)
            for run, row in before.blocked_runs.items():
                assert now.blocked_runs[run].first == row.first, f"{run} was blocked elsewhere"
                assert now.blocked_runs[run].attempts > row.attempts, "a restart goes on counting"
            for run, row in before.replay_blocked_runs.items():
                assert now.replay_blocked_runs[run].first == row.first
            assert before.dead_letters.keys() <= now.dead_letters.keys(), "a dead letter is gone"
            assert now.replay[command_id] > before.replay[command_id], "the replay began anew"
            assert now.offset >= before.offset
            progress.append(now.replay[command_id])
            before = now

        sandbox.settle()
        expectation = expected(sandbox.ledger.messages(), sandbox.org.organization_id)
        blocked_runs, dead = set(before.blocked_runs), set(before.dead_letters)
        assert not {line["run"] for line in told(tmp_path)} & blocked_runs, "what fails was told to nobody"
        (tmp_path / "healed").touch()
        async with ServiceProcess(environment, tmp_path) as service:

            async def is_healed():
                now = await look(path)
                if now.blocked_runs or now.replay or not now.dead_letters:
                    return False
                return expectation.ids <= {line["id"] for line in told(tmp_path)} | now.dead_letters.keys()

            await until(service, is_healed)
            dead |= (await look(path)).dead_letters.keys()
            assert not dead & {line["id"] for line in told(tmp_path) if not line["replayed"]}
            await command("dead-letters", "redrive", "--handler", "picky", "--all")

            async def is_empty():
                return not (await look(path)).dead_letters

            await until(service, is_empty)
            service.signal(signal.SIGTERM)
            assert await service.ended() == 0, service.errors()[-3000:]

    journal = await journal_of(path)
    assert compare(expectation, journal).ok
    of_runs, got = defaultdict(list), defaultdict(list)
    for event in journal:
        of_runs[event.get("tracker_id")].append(event["id"])
    for line in told(tmp_path):
        if not line["replayed"] and line["id"] not in got[line["run"]]:
            got[line["run"]].append(line["id"])
    for run, ids in of_runs.items():
        # Dead letters come when somebody says so, behind what was told meanwhile.
        assert [one for one in got[run] if one not in dead] == [one for one in ids if one not in dead]
        assert set(got[run]) == set(ids), "something was lost"
    again = [line["id"] for line in told(tmp_path) if line["replayed"]]
    stretch = {event["id"] for event in journal[: before.through]}
    assert len(stretch) > 100
    assert stretch <= set(again) | dead, "the replay passed something over"
    print(
        f"{KILLS} kills: {len(blocked_runs)} runs blocked, {len(dead)} dead letters, replay at {progress}, "
        f"{len(again) - len(set(again))} of {len(again)} replayed twice"
    )
