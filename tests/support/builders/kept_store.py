"""Stores that version 0.1 wrote, put back where a service can open them, and the org that it wrote them about.

The org is told again rather than kept: the same seed, clock and story make the same records under the same ids, the same replay ids and the
same refresh tokens. To it, 0.1 stopped a moment ago.
"""

import base64
import contextlib
import gzip
import json
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
from redis.asyncio import Redis

from consumer.sandbox import (
    STEP_TRACKER,
    TRACKER,
    CometdOptions,
    ManualClock,
    OAuthOptions,
    Sandbox,
    SandboxOptions,
)
from tests.support.processes.service_process import settings_for

DATA = Path(__file__).parents[2] / "data" / "store_0_1"
PREFIX = "cadence"
MINUTE = 60_000
DAY = 24 * 60 * MINUTE
CADENCE = "Event Follow-up"
"""Begins with a call and waits for nothing."""

NOTE = '''\
"""Writes down what it is given; `crm` stumbles first over the runs that trouble.json names."""

import asyncio
import json
from pathlib import Path

from consumer import Context, LifecycleEvent, Reject, handler


@handler(on="*")
async def note(event: LifecycleEvent, ctx: Context) -> None:
    trouble = Path("trouble.json")
    of_runs = json.loads(trouble.read_text()) if ctx.handler == "crm" and trouble.exists() else {}
    match of_runs.get(event.tracker_id):
        case "hangs":
            await asyncio.sleep(3600)
        case "fails":
            raise RuntimeError("the CRM is being repaired")
        case "refused" if event.type in ("run.enrolled", "step.activated"):
            raise Reject("the CRM knows no such person")
    if event.type == "step.created":
        async with ctx.once(event.id) as first:
            write(event, ctx, first)
    else:
        write(event, ctx, None)


def write(event: LifecycleEvent, ctx: Context, first: bool | None) -> None:
    line = {"id": event.id, "run": event.tracker_id, "type": event.type, "replayed": ctx.replayed, "first": first}
    with Path(f"{ctx.handler}.jsonl").open("a") as out:
        out.write(json.dumps(line) + "\\n")
'''


# ---------------------------------------------------------------- the org


class KeptOrg:
    """The simulated org of the kept stores.

    Attributes:
        clock: its time, which moves only when it is told to.
        sandbox: not open yet.
        runs: those that have a part of their own, by name.
    """

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.sandbox = Sandbox(
            SandboxOptions(
                seed=101,
                clock=self.clock,
                cometd=CometdOptions(poll_timeout_ms=500),
                oauth=OAuthOptions(rotate_refresh_tokens=True),
            )
        )
        self.runs: dict[str, str] = {}

    def story(self) -> Iterator[str]:
        """Everything that happened, in chapters; whoever needs to do something between them stops there."""
        world, clock, runs = self.sandbox.world, self.clock, self.runs
        runs["refused"] = world.enrol(CADENCE)
        world.enrol_many(3)
        yield "begun"
        for _ in range(90):
            clock.advance(MINUTE // 4)
            world.advance()
        for name in ("blocked", "hanging", "late", "gap", "deleted", "restored", "removed", "due"):
            clock.advance(MINUTE)
            runs[name] = world.enrol(CADENCE)
        runs["chained"] = world.enrol("Outbound Prospecting")
        clock.advance(MINUTE)
        yield "busy"
        world.reassign(runs["late"])
        yield "a change is late"
        world.pause(runs["late"])
        yield "its younger sibling came first"
        clock.advance(MINUTE)
        world.open_step(runs["gap"])
        clock.advance(MINUTE)
        yield "a gap"
        for run in ("deleted", "restored"):
            world.delete(runs[run])
        clock.advance(MINUTE)
        world.undelete(runs["restored"])
        world.remove(runs["removed"], "Not Interested")
        clock.advance(MINUTE)
        world.attribute(runs["removed"])
        runs["next in the chain"] = world.chain(runs["chained"])
        world.complete_step(runs["blocked"])
        world.fail(runs["blocked"], "MAIL_PROVIDER_RATE_LIMIT_REACHED")
        for data in ({"payload": "?"}, {"payload": {"ChangeEventHeader": {"entityName": TRACKER}}}):
            self.sandbox.bus.inject({"schema": "kept", **data}, entity=TRACKER)
        self.sandbox.bus.inject({"schema": "kept", "payload": None}, entity=STEP_TRACKER)
        yield "deleted, chained, unreadable"
        clock.advance(3 * DAY)  # what was to be done meanwhile is overdue
        yield "three days later"
        organization = self.sandbox.org.records["Organization"][self.sandbox.org.organization_id]
        organization["InstanceName"] = "WP2S"
        self.sandbox.org._commit_number = 2_000_000_000
        yield "moved to another instance"
        for run in world.enrol_many(4, CADENCE):
            clock.advance(MINUTE // 4)
            world.complete_step(run)
        world.retry(runs["blocked"])
        world.complete_step(runs["blocked"])
        world.reassign(runs["hanging"])
        world.complete_step(runs["hanging"])
        clock.advance(MINUTE)
        world.change_due(runs["due"], self._at(20 * MINUTE))
        world.enrol(CADENCE)
        yield "the end"

    def _at(self, ahead_ms: int) -> int:
        return self.sandbox.org.now_second() + ahead_ms

    async def tell_again(self, refreshes: int) -> None:
        """Everything up to the moment when 0.1 stopped; the sandbox must be open.

        Args:
            refreshes: how often 0.1 had its refresh token replaced.
        """
        for _ in self.story():
            pass
        known, token = self.sandbox.credentials, self.sandbox.credentials.refresh_token
        async with aiohttp.ClientSession() as http:
            for _ in range(refreshes):
                form = {"grant_type": "refresh_token", "client_id": known.client_id, "refresh_token": token}
                async with http.post(f"{self.sandbox.url}/services/oauth2/token", data=form) as answer:
                    token = (await answer.json())["refresh_token"]

    def settings(self, folder: Path, store_url: str, **more: str) -> dict[str, str]:
        """The service's environment; nothing of what is kept is too old for it."""
        handlers = {f"CADENCE_HANDLERS__{name}__USE": "note:note" for name in ("CRM", "FEED", "LAKE")}
        return settings_for(
            self.sandbox,
            folder,
            CADENCE_STORE__URL=store_url,
            CADENCE_STORE__PREFIX=PREFIX,
            CADENCE_SALESFORCE__AUTH="refresh_token",
            CADENCE_SALESFORCE__REFRESH_TOKEN=self.sandbox.credentials.refresh_token,
            CADENCE_ORDERING__LATENESS="300ms",
            CADENCE_STATE__RETENTION="0",
            CADENCE_JOURNAL__MAX_AGE="36500d",
            CADENCE_SHUTDOWN__GRACE="2s",
            CADENCE_HANDLERS__CRM__MAX_ATTEMPTS="1000000",
            **handlers,
            **more,
        )


# ---------------------------------------------------------------- the stores


def restore_sqlite(path: Path) -> None:
    """Put the kept SQLite file at ``path``."""
    with gzip.open(DATA / "store_0_1.db.gz") as kept, path.open("wb") as file:
        shutil.copyfileobj(kept, file)
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE once SET at_ms = ?", (_now_ms(),))
        rows = db.execute("SELECT handler, run, data FROM parked").fetchall()
        db.executemany(
            "UPDATE parked SET data = ? WHERE handler = ? AND run = ?",
            [(_due_now(data), handler, run) for handler, run, data in rows],
        )


async def restore_redis(url: str) -> None:
    """Write the kept keys into an empty Redis, as they were."""
    keys = json.loads(gzip.decompress((DATA / "store_0_1.redis.json.gz").read_bytes()))
    async with Redis.from_url(url) as redis:
        assert await redis.dbsize() == 0
        for name, key in keys.items():
            await _write(redis, name, key["type"], key)
        async for name in redis.scan_iter("*:once:*"):
            await redis.zadd(name, dict.fromkeys(await redis.zrange(name, 0, -1), _now_ms()))
        async for name in redis.scan_iter("*:parked:*"):
            rows = await redis.hgetall(name)
            await redis.hset(name, mapping={run: _due_now(data) for run, data in rows.items()})


def _now_ms() -> int:
    """Marks of ``ctx.once`` are good for 30 days of this machine's time: they are made anew, whenever the test runs."""
    return time.time_ns() // 1_000_000


def _due_now(blocked_run: bytes) -> bytes:
    """A blocked run whose next attempt is not awaited, whatever this machine takes for today."""
    return json.dumps({**json.loads(blocked_run), "due_ms": 0}).encode()


async def _write(redis: Any, name: str, kind: str, key: dict[str, Any]) -> None:
    def raw(value: Any) -> Any:
        return base64.b64decode(value)

    match kind:
        case "string":
            await redis.set(name, raw(key["value"]))
        case "hash":
            await redis.hset(name, mapping={raw(field): raw(value) for field, value in key["value"]})
        case "list":
            await redis.rpush(name, *map(raw, key["value"]))
        case "set":
            await redis.sadd(name, *map(raw, key["value"]))
        case "zset":
            await redis.zadd(name, {raw(member): score for member, score in key["value"]})
        case "stream":
            for entry_id, fields in key["value"]:
                await redis.xadd(name, {raw(field): raw(value) for field, value in fields}, id=entry_id)
            await redis.execute_command("XSETID", name, key["last_id"], "ENTRIESADDED", key["entries_added"],
                                        "MAXDELETEDID", key["max_deleted_id"])  # fmt: skip
        case _:
            raise AssertionError(f"{name} is a {kind}")


async def dump_redis(url: str) -> dict[str, Any]:
    """Every key with its type and exact content, bytes as base64; what :func:`restore_redis` reads."""

    def text(value: bytes) -> str:
        return base64.b64encode(value).decode()

    keys: dict[str, Any] = {}
    async with Redis.from_url(url) as redis:
        for name in sorted(await redis.keys("*")):
            assert await redis.ttl(name) == -1, f"{name!r} expires"
            kind = (await redis.type(name)).decode()
            key: dict[str, Any] = {"type": kind}
            match kind:
                case "string":
                    key["value"] = text(await redis.get(name))
                case "hash":
                    found = await redis.hgetall(name)
                    key["value"] = [[text(field), text(found[field])] for field in sorted(found)]
                case "list":
                    key["value"] = [text(value) for value in await redis.lrange(name, 0, -1)]
                case "set":
                    key["value"] = sorted(map(text, await redis.smembers(name)))
                case "zset":
                    pairs = await redis.zrange(name, 0, -1, withscores=True)
                    key["value"] = [[text(member), score] for member, score in pairs]
                case "stream":
                    info = await redis.xinfo_stream(name)
                    key["last_id"] = info["last-generated-id"].decode()
                    key["entries_added"] = info["entries-added"]
                    key["max_deleted_id"] = info["max-deleted-entry-id"].decode()
                    entries = await redis.xrange(name)
                    key["value"] = [
                        [entry_id.decode(), [[text(field), text(value)] for field, value in fields.items()]]
                        for entry_id, fields in entries
                    ]
            keys[name.decode()] = key
    return keys
