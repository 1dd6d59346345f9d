"""Processes of a measurement: the bus, a peer, the service on a store of its own.

The service is measured from outside (``meter``): its clock runs from the moment in which its channels are subscribed to the moment in which
the handler has had the last event that counts, its processor time is that of its process and of everything below it.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.benchmarks import stream
from tests.benchmarks.meter import Meter
from tests.interop.node import node_command, node_environment
from tests.support.processes.service_process import ServiceProcess
from tests.support.servers.redis_server import RedisServer

INTEROP = Path(__file__).parents[1] / "interop"
TIMEOUT_S = 300


class BusProcess:
    """The server, as seen from here."""

    def __init__(self, url: str, options: dict[str, Any], pid: int) -> None:
        self.url, self.options = url, options
        self.meter = Meter(pid)

    @property
    def channels(self) -> list[str]:
        return list(self.options.get("channels") or [stream.CUSTOM])

    async def figures(self) -> dict[str, Any]:
        async with aiohttp.ClientSession() as http, http.get(f"{self.url}/figures") as answer:
            return dict(await answer.json())


@asynccontextmanager
async def bus(**options: Any) -> AsyncIterator[BusProcess]:
    """A server that serves these options' stream once."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.benchmarks.bus",
        json.dumps(options),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            url = json.loads(await process.stdout.readline())["url"]
        yield BusProcess(url, options, process.pid)
    finally:
        process.stdin.close()
        await process.wait()


async def peer(name: str, server: BusProcess, total: int) -> dict[str, Any]:
    """Let a peer receive everything; its figures."""
    argument = json.dumps({"url": server.url, "channels": server.channels, "total": total})
    command, environment = {
        "aiosfstream": ([sys.executable, "-m", "tests.benchmarks.bare_aiosfstream"], dict(os.environ)),
        "cometd": ([*node_command(), str(INTEROP / "cometd-tally.mjs")], node_environment()),
        "jsforce": ([*node_command(), str(INTEROP / "jsforce-tally.cjs")], node_environment()),
    }[name]
    process = await asyncio.create_subprocess_exec(
        *command, argument, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        raise
    assert out, f"{name} printed nothing: {err.decode()[-2000:]}"
    return dict(json.loads(out.splitlines()[0]))


def settings(server: BusProcess, store_url: str, out: Path, until: int, **more: str) -> dict[str, str]:
    """Environment of the service: everything as it is by default, but for where it connects and who counts."""
    return {
        "CADENCE_SALESFORCE__AUTH": "access_token",
        "CADENCE_SALESFORCE__ACCESS_TOKEN": "benchmark",
        "CADENCE_SALESFORCE__INSTANCE_URL": server.url,
        "CADENCE_CHANNELS": json.dumps(server.channels),
        "CADENCE_STORE__URL": store_url,
        "CADENCE_REPLAY__START": "earliest",
        "CADENCE_LOG__FORMAT": "json",
        "CADENCE_HANDLERS__TALLY__USE": "tests.benchmarks.tally:Tally",
        "CADENCE_HANDLERS__TALLY__START": "earliest",
        "CADENCE_HANDLERS__TALLY__SETTINGS__OUT": str(out),
        "CADENCE_HANDLERS__TALLY__SETTINGS__UNTIL": str(until),
        **more,
    }


async def written(path: Path, process: ServiceProcess, within_s: float = TIMEOUT_S) -> dict[str, Any]:
    """Wait for the tally's file."""
    async with asyncio.timeout(within_s):
        while not path.exists():
            assert process.process is not None
            assert process.process.returncode is None, process.errors()[-3000:]
            await asyncio.sleep(0.02)
    return dict(json.loads(path.read_text()))


@asynccontextmanager
async def store(kind: str, folder: Path) -> AsyncIterator[tuple[str, Meter | None]]:
    """URL of a new store, and what its server uses, where it has one."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'cadence.db'}", None
        return
    redis = RedisServer(folder / "redis")
    await asyncio.to_thread(redis.start)
    try:
        assert redis.process is not None
        yield redis.url, Meter(redis.process.pid)
    finally:
        await asyncio.to_thread(redis.stop)


@dataclass(frozen=True)
class Sample:
    """Of a service at work.

    Attributes:
        done: change events that had reached the handler, about.
        memory_mb: of the process and everything below it.
        server_mb: of the server that it reads from.
    """

    done: int
    memory_mb: float
    server_mb: float


@dataclass
class Served:
    """What a service came to.

    Attributes:
        counted: change events that reached the handler.
        seconds: from the subscription on.
        cpu_s: processor time of the process and everything below it.
        store_cpu_s: that of the store's server; 0 where there is none.
        peak_mb: the most memory.
        reads: from files, and bytes of that that the disk had to give.
        figures: of the tally; None when time was up before it had counted all.
        samples: over time.
    """

    counted: int
    seconds: float
    cpu_s: float
    store_cpu_s: float
    peak_mb: float
    reads: tuple[int, int]
    figures: dict[str, Any] | None
    samples: list[Sample] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        return self.counted / self.seconds

    @property
    def cpu_us(self) -> float:
        return self.cpu_s / max(self.counted, 1) * 1e6


async def serve(
    server: BusProcess,
    store_url: str,
    folder: Path,
    until: int,
    *,
    store_meter: Meter | None = None,
    within_s: float = TIMEOUT_S,
    **more: str,
) -> Served:
    """Let the service have everything up to event ``until`` (counting from 0), or as much as it can in that time."""
    out, progress = folder / "tally.json", folder / "tally.progress"
    for file in (out, progress):
        file.unlink(missing_ok=True)
    environment = settings(server, store_url, out, stream.FIRST_REPLAY_ID + until, **more)
    async with ServiceProcess(environment, folder) as service:
        assert service.process is not None
        meter = Meter(service.process.pid)
        async with asyncio.timeout(60):
            while (began := await server.figures())["began_ns"] is None:
                assert service.process.returncode is None, service.errors()[-3000:]
                await asyncio.sleep(0.02)
        cpu_s, store_cpu_s = meter.cpu_s(), store_meter.cpu_s() if store_meter is not None else 0.0
        reads, disk = meter.reads()
        samples, deadline, next_s = [], time.monotonic() + within_s, 0.0
        while not out.exists():
            assert service.process.returncode is None, service.errors()[-3000:]
            now_s = time.monotonic()
            if now_s > deadline:
                break
            if now_s >= next_s:
                next_s = now_s + 1
                samples.append(
                    Sample(_done(progress, began["first"]), meter.memory_mb(), server.meter.memory_mb())
                )
            await asyncio.sleep(0.01)
        cpu_s = meter.cpu_s() - cpu_s
        reads_now, disk_now = meter.reads()
        store_cpu_s = (store_meter.cpu_s() if store_meter is not None else 0.0) - store_cpu_s
        figures = json.loads(out.read_text()) if out.exists() else None
        ended_ns = figures["ended_ns"] if figures is not None else time.monotonic_ns()
        counted = until - began["first"] if figures is not None else _done(progress, began["first"])
        return Served(
            counted,
            (ended_ns - began["began_ns"]) / 1e9,
            cpu_s,
            store_cpu_s,
            meter.peak_mb(),
            (reads_now - reads, disk_now - disk),
            figures,
            samples,
        )


def _done(progress: Path, first: int) -> int:
    return int(progress.read_text()) - stream.FIRST_REPLAY_ID - first if progress.exists() else 0
