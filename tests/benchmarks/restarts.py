"""How long nothing happens: when the command starts, when the service is restarted, when the replica that works dies or is told to go.

*Start*: from the start of the process to its end (``--version``, ``check``), and to the first poll (``run`` on the settings of the
measurement). *Restart*: a service that was stopped in order starts again on its store while Salesforce has a backlog waiting; from the start of the process to the
first change event of the backlog in the handler. *Take-over*: pairs of replicas, each pair on keys of its own in one Redis, while events come; the holder is killed, or told to
go, and the clock stops at the first commit of the other one. A pair that waits for a lease does nothing, so the pairs wait side by side and are hit one after the other.

*Replay* is that of ``tests.rounds.replaying``: a handler is sent a journal again.
"""

import asyncio
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path

import orjson

from consumer.ports.journal import JournalStore
from consumer.stores.redis.redis_store import RedisStore
from consumer.stores.sqlite.sqlite_store import SqliteStore
from tests.benchmarks import running, stream
from tests.benchmarks.targets import Target
from tests.support.processes.service_process import ServiceProcess

BACKLOG = 100_000
REPLAYED = 100_000
REPLAY_WANTED = 50_000
RATE = 50
"""Change events a second while replicas take over from each other."""
LEASES_S = (15.0, 2.0)
"""The default of ``lease.ttl``, and a short one."""
MARGIN_S = 2.0
START_S = 120
"""Until a replica works or waits, on however busy a machine."""


@dataclass(frozen=True)
class Restarts:
    """Medians, in seconds but for the last.

    Attributes:
        commands: by name.
        first_poll: from the start of the process, by kind of store.
        first_event: the same, to the first event in the handler.
        killed: lease to take-over after ``kill -9``, with the longest of them.
        left: take-over after SIGTERM.
        replayed: events a second.
    """

    commands: dict[str, float]
    first_poll: dict[str, float]
    first_event: dict[str, float]
    killed: dict[float, tuple[float, float]]
    left: float
    replayed: float


async def command(*arguments: str, environment: dict[str, str]) -> float:
    """Seconds from the start to the end of one command."""
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "consumer",
        *arguments,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
    )
    _, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return time.monotonic() - began


async def commands(times: int) -> dict[str, float]:
    """The short ones."""
    server = running.BusProcess("http://localhost:9", {}, os.getpid())
    environment = running.settings(server, "sqlite:///unused.db", Path("unused.json"), 0)
    found: dict[str, list[float]] = {"--version": [], "check": []}
    for _ in range(times):
        for name, took in found.items():
            took.append(await command(name, environment=environment))
    return {name: statistics.median(took) for name, took in found.items()}


async def restarts(kind: str, times: int, backlog: int) -> tuple[float, float]:
    """Seconds from the start of the process to the first poll, and to the first event of the backlog in the handler."""
    polls, events = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with running.bus(total=backlog) as server, running.store(kind, folder) as (url, _):
            out, until = folder / "tally.json", stream.FIRST_REPLAY_ID + 1
            for number in range(times + 1):
                out.unlink(missing_ok=True)
                began_ns = time.monotonic_ns()
                async with ServiceProcess(running.settings(server, url, out, until), folder) as service:
                    figures = await running.written(out, service)
                    service.signal(signal.SIGTERM)
                    assert await service.ended() == 0, service.errors()[-3000:]
                if number:  # the first start is that of a new store
                    polls.append(((await server.figures())["polled_ns"] - began_ns) / 1e9)
                    events.append((figures["ended_ns"] - began_ns) / 1e9)
                until = await last_position(url) + 1
    return statistics.median(polls), statistics.median(events)


async def last_position(url: str) -> int:
    """Replay id of the newest event in the journal."""
    store: JournalStore
    if url.startswith("redis"):
        store = reading = RedisStore(url, shown_url=url, read_only=True)
    else:
        store = reading = SqliteStore(Path(url.removeprefix("sqlite:///")), read_only=True)
    await reading.open()
    _, last = await store.bounds()
    [entry] = await store.read(last - 1, 1)
    await reading.aclose()
    return int(orjson.loads(entry.data)["position"]["replay_id"])


class Pair:
    """Two replicas on keys of their own in one Redis."""

    def __init__(
        self, server: running.BusProcess, url: str, folder: Path, prefix: str, lease_s: float
    ) -> None:
        self.environment = running.settings(
            server,
            url,
            folder / "unused.json",
            2**53,
            CADENCE_STORE__PREFIX=prefix,
            CADENCE_LEASE__TTL=f"{lease_s:g}s",
            CADENCE_LEASE__RENEW=f"{lease_s / 3:g}s",
        )
        self.folder = folder
        self.store = RedisStore(url, shown_url=url, prefix=prefix, read_only=True)
        self.holder: ServiceProcess | None = None
        self.standby: ServiceProcess | None = None

    async def start(self) -> None:
        """One that works, and one that waits."""
        self.holder = await ServiceProcess(self.environment, self.folder).start()
        await self.holder.ready(within_s=START_S)
        await self.store.open()
        await self.wait()

    async def wait(self) -> None:
        """Start the other one."""
        self.standby = await ServiceProcess(self.environment, self.folder).start()
        async with asyncio.timeout(START_S):
            while '"standby"' not in self.standby.errors():
                await asyncio.sleep(0.05)

    async def hit(self, number: signal.Signals) -> float:
        """Seconds from the signal to the first commit of the other one, which is the holder from then on."""
        assert self.holder is not None
        before = (await self.store.lease()).holder
        began = time.monotonic()
        self.holder.signal(number)
        async with asyncio.timeout(60):
            while True:
                lease = await self.store.lease()
                if lease.holder not in (None, before) and lease.number:
                    break
                await asyncio.sleep(0.01)
        took = time.monotonic() - began
        await self.holder.ended()
        self.holder, self.standby = self.standby, None
        return took

    async def close(self) -> None:
        """End both."""
        for service in (self.holder, self.standby):
            if service is not None:
                await service.__aexit__()
        await self.store.aclose()


async def takeovers(lease_s: float, times: int, numbers: list[signal.Signals]) -> list[list[float]]:
    """Seconds to the first commit of the other replica, for each signal in turn."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with running.bus(total=10**9, rate=RATE) as server, running.store("redis", folder) as (url, _):
            pairs = [Pair(server, url, folder, f"pair{number}", lease_s) for number in range(times)]
            try:
                await _some_at_a_time([pair.start() for pair in pairs])
                for index, number in enumerate(numbers):
                    if index:
                        await _some_at_a_time([pair.wait() for pair in pairs])
                    found.append(
                        await asyncio.gather(*(_later(at, pair, number) for at, pair in enumerate(pairs)))
                    )
                    print(f"take-over, lease {lease_s:g} s, {number.name}: {found[-1]}", flush=True)
            finally:
                for pair in pairs:
                    await pair.close()
    return found


async def _some_at_a_time(starting: list[Coroutine[None, None, None]]) -> None:
    """As many as there are cores: starting is all work."""
    cores = asyncio.Semaphore(os.cpu_count() or 1)

    async def one(start: Coroutine[None, None, None]) -> None:
        async with cores:
            await start

    await asyncio.gather(*map(one, starting))


async def _later(seconds: float, pair: Pair, number: signal.Signals) -> float:
    await asyncio.sleep(seconds)
    return await pair.hit(number)


async def replay(events: int) -> float:
    """Events a second, in a process of its own: what has been measured before must not lie about in its memory."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.rounds.replaying",
        "--events",
        str(events),
        "--json",
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    outcome = json.loads(out)
    assert outcome["delivered"] == events
    return float(outcome["rate"])


async def measure(times: int = 5, backlog: int = BACKLOG, replayed: int = REPLAYED) -> Restarts:
    """Everything, each so often."""
    short = await commands(times)
    print(f"commands: {short}", flush=True)
    polls, events = {}, {}
    for kind in ("sqlite", "redis"):
        polls[kind], events[kind] = await restarts(kind, times, backlog)
        print(
            f"restart, {kind}: first poll {polls[kind]:.2f} s, first event {events[kind]:.2f} s", flush=True
        )
    [usual, left] = await takeovers(LEASES_S[0], times, [signal.SIGKILL, signal.SIGTERM])
    [brief] = await takeovers(LEASES_S[1], times, [signal.SIGKILL])
    killed = {
        lease_s: (statistics.median(took), max(took))
        for lease_s, took in zip(LEASES_S, (usual, brief), strict=True)
    }
    rates = []
    for _ in range(3):
        rates.append(await replay(replayed))
        print(f"replay: {rates[-1]:,.0f} a second", flush=True)
    return Restarts(short, polls, events, killed, statistics.median(left), statistics.median(rates))


def table(found: Restarts) -> list[str]:
    """For the page."""
    rows = [
        *(
            (f"`cadence-consumer {name}`, start to end", f"{took:.2f} s")
            for name, took in found.commands.items()
        ),
        *(
            (f"{what}, SQLite / Redis", f"{times['sqlite']:.2f} / {times['redis']:.2f} s")
            for what, times in (
                ("start of `run` to its first poll", found.first_poll),
                ("restart to the first event of a waiting backlog in the handler", found.first_event),
            )
        ),
        *(
            (
                f"holder killed (-9) to the first commit of the standby, `lease.ttl` of {lease_s:g} s",
                f"{took:.1f} s",
            )
            for lease_s, (took, _) in found.killed.items()
        ),
        ("holder told to go (SIGTERM) to the first commit of the standby", f"{found.left:.1f} s"),
        ("journal replay into a handler", f"{found.replayed:,.0f} events a second"),
    ]
    return ["| from … to | median |", "|---|---|", *(f"| {what} | {took} |" for what, took in rows)]


def targets(found: Restarts) -> list[Target]:
    """What was wanted of it."""
    made = [
        Target(
            f"take-over from a killed holder, `lease.ttl` of {lease_s:g} s, the longest",
            f"at most {lease_s + MARGIN_S:g} s",
            f"{most:.1f} s",
            most <= lease_s + MARGIN_S,
        )
        for lease_s, (_, most) in found.killed.items()
    ]
    rate = found.replayed
    made.append(
        Target(
            "journal replay, events a second",
            f"at least {REPLAY_WANTED:,}",
            f"{rate:,.0f}",
            rate >= REPLAY_WANTED,
        )
    )
    return made
