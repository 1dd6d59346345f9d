"""A store that 0.1 wrote is read as 0.1 read it, and the service goes on where 0.1 stopped, in SQLite and in Redis.

Only commands and what handlers are given are looked at, so that names inside may change; what people see under another name today is said
in ``NOW_CALLED``.
"""

import asyncio
import contextlib
import hashlib
import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.builders.kept_store import (
    CADENCE,
    DATA,
    MINUTE,
    NOTE,
    KeptOrg,
    restore_redis,
    restore_sqlite,
)
from tests.support.processes.service_process import ServiceProcess
from tests.support.servers.redis_server import RedisServer

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]

EXPECTED = json.loads((DATA / "expected.json").read_text())
NOW_CALLED = {
    "parked": "blocked_runs",
    "retried": "attempts",
    "retries": "redrives",
    "orders": "commands",
    "unreadable": "ingest_dead_letters",
}
"""Key of a JSON answer in 0.1 to the same in this version, such as ``"standing": "status"``."""
MOVING = {"at_ms", "age_ms", "behind_ms", "headroom_ms", "bytes", "limit"}
"""Keys whose values depend on when and where one looks."""

SEVERAL = """
import contextlib, functools, json, runpy, sys
import typer.main

typer.main.get_command = functools.cache(typer.main.get_command)  # most of the time goes into that
for words in json.loads(sys.argv[1]):
    sys.argv = ["consumer", *words]
    with contextlib.suppress(SystemExit):
        runpy.run_module("consumer", run_name="__main__")
    print("null", flush=True)
"""
"""Commands in one process, which takes seconds rather than minutes; a line with null ends what each of them prints."""


def as_now(said: Any) -> Any:
    """What 0.1 said, in today's words, without what moves."""
    if isinstance(said, list):
        return [as_now(each) for each in said]
    if isinstance(said, dict):
        return {now_called(name): as_now(one) for name, one in said.items() if name not in MOVING}
    return said


def now_called(name: str) -> str:
    return NOW_CALLED.get(name, name)


def so_far(said: Any, was: Any) -> Any:
    """Of what is said now, what 0.1 said too: there may be more."""
    if isinstance(was, dict) and isinstance(said, dict):
        return {name: so_far(said.get(name, "not said"), one) for name, one in was.items()}
    if isinstance(was, list) and isinstance(said, list) and len(was) == len(said):
        return list(map(so_far, said, was))
    return said


def same(said: Any, was: Any) -> None:
    """Check that everything that 0.1 said is still said."""
    was = as_now(was)
    assert so_far(said, was) == was


@dataclass
class Kept:
    """A restored store.

    Attributes:
        org: it tells again what the store was written about; not open yet.
        folder: where the service works.
        url: of the store.
        said: what 0.1 said of this one.
    """

    org: KeptOrg
    folder: Path
    url: str
    said: dict[str, Any]

    def process(self, *words: str) -> ServiceProcess:
        return ServiceProcess(self.org.settings(self.folder, self.url), self.folder, *words)

    async def command(self, *words: str) -> list[dict[str, Any]]:
        async with self.process(*words) as process:
            assert await process.ended() == 0, process.errors()
            return [json.loads(line) for line in process.out.read_text().splitlines()]

    async def several(self, commands: list[list[str]]) -> list[list[dict[str, Any]]]:
        """What each of the commands prints."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SEVERAL, json.dumps(commands),
            cwd=self.folder, env=self.process()._environment, stdout=subprocess.PIPE,
        )  # fmt: skip
        out, _ = await process.communicate()
        lines = iter(json.loads(line) for line in out.splitlines())
        return [list(iter(lines.__next__, None)) for _ in commands]

    async def status(self) -> dict[str, Any]:
        (answer,) = await self.command("status", "--json")
        return answer

    async def journal(self, first: int = 1) -> list[dict[str, Any]]:
        return await self.command("tail", "--json", "--no-follow", "--from-offset", str(first))

    def given(self, handler: str) -> list[dict[str, Any]]:
        """What a handler wrote down."""
        path = self.folder / f"{handler}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture(params=["sqlite", "redis"])
async def kept(request, tmp_path):
    (tmp_path / "note.py").write_text(NOTE)
    with contextlib.ExitStack() as stack:
        if request.param == "sqlite":
            restore_sqlite(tmp_path / "cadence.db")
            url = f"sqlite:///{tmp_path / 'cadence.db'}"
        else:
            server = RedisServer(tmp_path / "redis")
            server.start()
            stack.callback(server.stop)
            await restore_redis(server.url)
            url = server.url
        yield Kept(KeptOrg(), tmp_path, url, EXPECTED[request.param])


def digest(events: list[dict[str, Any]]) -> str:
    """Of offset, id and type of each; the journal begins at 1 and has no holes."""
    lines = (f"{offset} {event['id']} {event['type']}\n" for offset, event in enumerate(events, 1))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


async def test_what_0_1_wrote_is_read_as_0_1_read_it(kept):
    said, journal, records = kept.said, EXPECTED["journal"], EXPECTED["records"]
    commands = {
        "status": "status --json",
        "dead_letters": "dead-letters list --json",
        "checkpoint": "checkpoint show --json",
        "history": "checkpoint history -n 1000 --json",
        "journal": "tail --json --no-follow --earliest",
        **{offset: f"tail --json --no-follow --count 1 --from-offset {offset}" for offset in journal["at"]},
        **{record_id: f"state show {record_id} --json" for record_id in records},
    }
    answers = dict(
        zip(commands, await kept.several([each.split() for each in commands.values()]), strict=True)
    )

    same(answers["status"], [said["status"]])
    for name in ("dead_letters", "checkpoint", "history"):
        same(answers[name], said[name])
    assert len(answers["journal"]) == journal["last"]
    assert digest(answers["journal"]) == journal["sha256"]
    assert {offset: answers[offset][0]["id"] for offset in journal["at"]} == journal["at"]
    same(
        {record_id: answers[record_id] for record_id in records}, {one: [was] for one, was in records.items()}
    )


async def test_the_service_goes_on_where_0_1_stopped(kept):
    org, said, last = kept.org, kept.said, EXPECTED["journal"]["last"]
    world, runs = org.sandbox.world, org.runs
    before = await kept.journal()
    async with org.sandbox:
        await org.tell_again(EXPECTED["refreshes"])
        assert (org.clock(), org.sandbox.status()["tip"], runs) == (
            EXPECTED["org_ms"], EXPECTED["tip"], EXPECTED["runs"],
        ), "the sandbox tells another story than it told 0.1: its replay ids mean nothing to the kept store"  # fmt: skip
        async with kept.process() as service:

            async def until(what, true, within_s=60):
                deadline = time.monotonic() + within_s
                while not await true():
                    assert service.process.returncode is None, service.errors()[-3000:]
                    assert time.monotonic() < deadline, (
                        f"not within {within_s} s: {what}\n{service.errors()[-3000:]}"
                    )
                    await asyncio.sleep(0.2)

            # Signed in with the refresh token that 0.1 kept: the one in the settings is used up.
            await service.ready()
            world.complete_step(runs["gap"])
            new = world.enrol(CADENCE)

            async def is_journaled():
                return {runs["gap"], new} <= {
                    event.get("tracker_id") for event in await kept.journal(last + 1)
                }

            await until("what happens now is journaled", is_journaled)
            org.clock.advance(26 * 60 * MINUTE)
            due = {key for key, due_ms in EXPECTED["timers"].items() if due_ms <= org.clock() - MINUTE}
            assert due

            async def is_overdue():
                return due <= {
                    f"{each.get('record_id')}/{each['type']}" for each in await kept.journal(last + 1)
                }

            await until("the timers of 0.1 fire", is_overdue)

            async def is_done():
                now = await kept.status()
                crm, feed = now["handlers"][:2]
                return crm["lag"] == feed["lag"] == 0 and not any(
                    each[now_called(name)] for each in (crm, feed) for name in ("parked", "orders", "retries")
                ) and all(task["waiting"] and task["due_ms"] > org.clock() for task in now["tasks"])  # fmt: skip

            await until("blocked runs, replay, redelivered dead letters and tasks are done", is_done)
            service.signal(signal.SIGTERM)
            assert await service.ended() == 0, service.errors()[-3000:]

    after = await kept.journal()
    ids = [event["id"] for event in after]
    assert ids[:last] == [event["id"] for event in before], "the old journal is what it was"
    assert len(set(ids)) == len(ids), "nothing was journaled twice"
    assert (await kept.journal(last + 1))[0]["id"] == ids[last], "it goes on at the next offset"
    fresh = ids[last:]
    types = [event["type"] for event in after[last:]]
    assert "system.gap" not in types, "Salesforce was asked for what follows the kept positions"
    assert types.count("system.repaired") == sum(not task["waiting"] for task in said["status"]["tasks"])

    def at(offsets):
        return [ids[offset - 1] for offset in offsets]

    crm = [line["id"] for line in kept.given("crm")]
    assert sorted(crm) == sorted([*at(said["crm_waiting"]), *at(said["crm_retried"]), *fresh]), (
        "what was blocked or unfinished comes once, a dead letter that was to be retried too, and nothing that was acknowledged"
    )
    blocked = [line["id"] for line in kept.given("crm") if line["run"] == runs["blocked"]]
    assert blocked == [each for each in ids if each in blocked], "in order"
    feed = kept.given("feed")
    unread = at(range(said["handlers"]["feed"]["offset"] + 1, last + 1))
    acknowledged = {
        each
        for first, to in said["handlers"]["feed"]["acknowledged_above"]
        for each in at(range(first, to + 1))
    }
    assert sorted(line["id"] for line in feed if not line["replayed"]) == sorted(
        [*(each for each in unread if each not in acknowledged), *fresh]
    )
    replayed = [line for line in feed if line["replayed"]]
    assert sorted(line["id"] for line in replayed) == sorted(at(said["feed_replay"]["left"]))
    assert {line["first"] for line in replayed if line["type"] == "step.created"} == {False}, (
        "done once is done"
    )
    assert kept.given("lake") == [], "who was paused stays paused"

    now = await kept.status()
    assert now["org_id"] == said["status"]["org_id"]
    assert now["holder"] is None
    assert now["journal"]["last"] == len(ids)
    positions = {channel["channel"]: channel["position"] for channel in now["channels"]}
    assert positions == {each: str(org.sandbox.ledger.replay_ids(channel=each)[-1]) for each in positions}
    lake = now["handlers"][2]
    assert (lake["handler"], lake["offset"]) == ("lake", said["handlers"]["lake"]["offset"])
    assert lake[now_called("orders")] == ["paused"]
    dead_letters = await kept.command("dead-letters", "list", "--json")
    assert len(dead_letters) == len(said["dead_letters"]) - len(said["crm_retried"])
