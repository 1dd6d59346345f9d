"""One soak: the processes, what is looked at while it goes on, and the verdict."""

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp

from consumer.stores.redis.redis_store import RedisStore
from consumer.stores.sqlite.sqlite_store import SqliteStore
from tests.benchmarks.stream import FIRST_REPLAY_ID
from tests.rounds.soak.checksum import Sum
from tests.rounds.soak.world import CHANNEL
from tests.support.processes.memory import Memory
from tests.support.processes.service_process import ServiceProcess
from tests.support.servers.redis_server import RedisServer

__all__ = ["Soak", "SoakOptions", "soak"]


@dataclass(frozen=True)
class SoakOptions:
    """How fast everything goes.

    Attributes:
        rate: change events a second.
        changes: change events of one repetition of the world, about.
        day_s: how long a day of the world takes.
        cut_s: between two sessions that are cut.
        expire_s: between two walks through what may be forgotten.
        page_ms: between two pages of such a walk.
        trim_s: between two looks at the journal.
        sample_s: between two looks at the memory.
        journal_bytes: how much of the journal is kept.
        backoff: other waits between two sessions than the command has.
    """

    rate: float = 500.0
    changes: int = 1_000
    day_s: float = 24.0
    cut_s: float = 90.0
    expire_s: float = 30.0
    page_ms: int = 20
    trim_s: float = 20.0
    sample_s: float = 10.0
    journal_bytes: int = 50_000_000
    backoff: Mapping[str, int] = field(default_factory=dict)


@dataclass
class Soak:
    """What it came to.

    Attributes:
        store: which.
        seconds: how long events came.
        changes: change events that were published.
        events: lifecycle events that the handler got of them.
        others: timers and what concerns no run.
        repetitions: of the world.
        wrong: repetitions whose checksum is not what it must be, or that have none or two.
        cuts: sessions that were cut.
        memory: of the process.
        trimmed: entries that the journal let go of.
        records: that were known at last.
        most_records: that were known at some time.
    """

    store: str
    seconds: float = 0.0
    changes: int = 0
    events: int = 0
    others: int = 0
    repetitions: int = 0
    wrong: list[str] = field(default_factory=list)
    cuts: int = 0
    memory: Memory = field(default_factory=Memory)
    trimmed: int = 0
    records: int = 0
    most_records: int = 0

    @property
    def ok(self) -> bool:
        """Whether everything came once and in order, and nothing grew."""
        return not self.wrong and not self.memory.grows

    def __str__(self) -> str:
        verdict = (
            f"checksum: all {self.repetitions} repetitions are what the oracle says"
            if not self.wrong
            else "\n".join(
                (f"checksum: WRONG in {len(self.wrong)} of {self.repetitions} repetitions:", *self.wrong[:10])
            )
        )
        return "\n".join(
            (
                (
                    f"{self.store}: {self.changes} change events in {self.seconds:.0f} s ({self.changes / self.seconds:.0f} a second),"
                    f" {self.events} lifecycle events and {self.others} others, {self.cuts} sessions cut, {self.trimmed} journal entries let go of,"
                    f" {self.records} records known ({self.most_records} at most)"
                ),
                str(self.memory) + (" - IT GROWS" if self.memory.grows else ""),
                verdict,
            )
        )


def verdict(sums: list[Sum], repetitions: int, wanted: Sum) -> list[str]:
    """What is wrong with the sums that a handler made of so many repetitions, each of which must be ``wanted``."""
    wrong, met = [], set()
    for one in sums:
        if one.repetition in met:
            wrong.append(f"repetition {one.repetition}: {one.events} events came when it was over")
        elif one.events != wanted.events:
            wrong.append(f"repetition {one.repetition}: {one.events} events instead of {wanted.events}")
        elif one.digest != wanted.digest:
            wrong.append(f"repetition {one.repetition}: other events, or another order")
        met.add(one.repetition)
    wrong += [f"repetition {one}: nothing of it" for one in range(repetitions) if one not in met]
    return wrong


class _Bus:
    """The bus as a process."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.url = url
        self._http = http

    async def figures(self) -> dict[str, Any]:
        async with self._http.get(f"{self.url}/figures") as answer:
            return dict(await answer.json())

    async def end(self) -> dict[str, Any]:
        async with self._http.post(f"{self.url}/end") as answer:
            return dict(await answer.json())


@asynccontextmanager
async def _bus(pace: SoakOptions) -> AsyncIterator[_Bus]:
    options = {"rate": pace.rate, "changes": pace.changes, "day_s": pace.day_s, "cut_s": pace.cut_s}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.rounds.soak.bus", json.dumps(options)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(120), aiohttp.ClientSession() as http:
            url = json.loads(await process.stdout.readline())["url"]
        async with aiohttp.ClientSession() as http:
            yield _Bus(url, http)
    finally:
        process.stdin.close()
        await process.wait()


class _Service(ServiceProcess):
    """The command that looks more often for what may be forgotten."""

    async def start(self) -> Self:
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.rounds.soak.command"),
                cwd=self.folder, env=self._environment, stdout=out, stderr=err, stdin=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        return self


def _settings(bus: _Bus, store_url: str, folder: Path, pace: SoakOptions) -> dict[str, str]:
    often = {
        "expire_ms": round(pace.expire_s * 1000),
        "page_ms": pace.page_ms,
        "backoff": dict(pace.backoff),
        "trim_ms": round(pace.trim_s * 1000),
    }
    return {
        "OFTEN": json.dumps(often),
        "CADENCE_SALESFORCE__AUTH": "access_token",
        "CADENCE_SALESFORCE__ACCESS_TOKEN": "soak",
        "CADENCE_SALESFORCE__INSTANCE_URL": bus.url,
        "CADENCE_CHANNELS": json.dumps([CHANNEL]),
        "CADENCE_STORE__URL": store_url,
        "CADENCE_REPLAY__START": "earliest",
        "CADENCE_REPAIR__SWEEP": "0",
        "CADENCE_STATE__RETENTION": "4d",
        "CADENCE_JOURNAL__MAX_BYTES": str(pace.journal_bytes),
        "CADENCE_LOG__FORMAT": "json",
        "CADENCE_HANDLERS__ROLLING__USE": "tests.rounds.soak.handler:Rolling",
        "CADENCE_HANDLERS__ROLLING__START": "earliest",
        "CADENCE_HANDLERS__ROLLING__SETTINGS__FOLDER": str(folder),
    }


async def soak(
    folder: Path, store: str, seconds: float, pace: SoakOptions, say: Callable[[str], None]
) -> Soak:
    """Feed the service for so long, let it finish, and compare.

    Args:
        folder: for everything that is written.
        store: ``redis`` or ``sqlite``.
        seconds: how long.
        pace: how fast.
        say: told a line a minute.
    """
    redis = RedisServer(folder / "redis") if store == "redis" else None
    if redis is not None:
        await asyncio.to_thread(redis.start)
    try:
        url = redis.url if redis is not None else f"sqlite:///{folder / 'cadence.db'}"
        async with _bus(pace) as bus, _Service(_settings(bus, url, folder, pace), folder) as service:
            outcome = Soak(store)
            await service.ready(within_s=60)
            looking = (
                RedisStore(url, shown_url=url, prefix="cadence", read_only=True)
                if redis is not None
                else SqliteStore(folder / "cadence.db", read_only=True)
            )
            await looking.open()
            try:
                await _watch(outcome, service, bus, looking, seconds, pace, folder, say)
                await _finish(outcome, service, bus, folder)
                outcome.records = (await looking.size()).records
                outcome.trimmed = (await looking.bounds())[0] - 1
            finally:
                await looking.aclose()
            return outcome
    finally:
        if redis is not None:
            await asyncio.to_thread(redis.stop)


async def _watch(
    outcome: Soak,
    service: ServiceProcess,
    bus: _Bus,
    store: RedisStore | SqliteStore,
    seconds: float,
    pace: SoakOptions,
    folder: Path,
    say: Callable[[str], None],
) -> None:
    assert service.process is not None
    began = told = time.monotonic()
    events = 0
    while (passed := time.monotonic() - began) < seconds:
        size = outcome.memory.sample(passed, service.process.pid)
        assert service.process.returncode is None, service.errors()[-3000:]
        kept = await store.size()
        outcome.most_records = max(outcome.most_records, kept.records)
        if time.monotonic() - told >= 60:
            now, figures = _now(folder), await bus.figures()
            behind = figures["due"] - max(0, now["last"] + 1 - FIRST_REPLAY_ID)
            say(
                f"{passed / 60:5.1f} min  {now['events']:>9} events  {(now['events'] - events) / (time.monotonic() - told):>6.0f}/s"
                f"  {behind:>6} changes behind  {size / 1e6:6.1f} MB  journal {kept.journal_bytes / 1e6:6.1f} MB  {kept.records:>6} records"
            )
            told, events = time.monotonic(), now["events"]
        await asyncio.sleep(min(pace.sample_s, seconds - passed))
    outcome.seconds = time.monotonic() - began
    outcome.memory.sample(outcome.seconds, service.process.pid)


async def _finish(outcome: Soak, service: ServiceProcess, bus: _Bus, folder: Path) -> None:
    """Let the repetition under way be the last, wait for all of it, stop in order and compare."""
    figures = await bus.end()
    wanted = Sum(0, figures["events"], figures["digest"])
    outcome.repetitions, outcome.changes = figures["total"] // figures["size"], figures["total"]
    await _nothing_comes(folder, outcome.repetitions * wanted.events, within_s=60 + figures["size"] / 5)
    outcome.cuts = (await bus.figures())["cuts"]
    service.signal(signal.SIGTERM)
    code = await service.ended()
    now = _now(folder)
    outcome.events, outcome.others = now["events"], now["others"]
    over = folder / "folded.jsonl"
    lines = over.read_text().splitlines() if over.exists() else []
    sums = [Sum(**one) for one in (*map(json.loads, lines), *now["open"])]
    outcome.wrong = verdict(sums, outcome.repetitions, wanted)
    if code:
        outcome.wrong.append(f"the service ended with {code}: {service.errors()[-2000:]}")


async def _nothing_comes(folder: Path, wanted: int, within_s: float) -> None:
    """Wait until the handler has as many events as it must, or none has come for half a minute; what is missing then is missing."""
    until, last, still_since = time.monotonic() + within_s, -1, time.monotonic()
    while time.monotonic() < until:
        events = _now(folder)["events"]
        if events != last:
            last, still_since = events, time.monotonic()
        if events >= wanted or time.monotonic() - still_since > 30:
            return
        await asyncio.sleep(0.5)


def _now(folder: Path) -> dict[str, Any]:
    path = folder / "now.json"
    return (
        dict(json.loads(path.read_text()))
        if path.exists()
        else {"events": 0, "others": 0, "last": 0, "open": []}
    )
