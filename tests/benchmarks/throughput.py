"""How many change events a second, at what cost: peers that receive and count, and the service down to a handler's effect.

Every subject is served the same stream by a server of its own, in turn, several times; medians are taken over the rounds. The clock runs from
the moment in which the channel is subscribed to the moment in which the subject has counted the last event; for the service that is the
handler, after order, meaning, commit and journal. The last change events of a stream wait for ``ordering.lateness`` by design, so the
service's clock stops a little before its end.
"""

import asyncio
import resource
import statistics
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import orjson

from tests.acceptance.service_process import ServiceProcess
from tests.benchmarks import running, stream
from tests.redis_server import RedisServer

PEERS = ("aiosfstream", "cometd", "jsforce")
SERVICES = ("sqlite", "redis")
TAIL = 2_000


@dataclass
class Run:
    """One subject in one round.

    Attributes:
        per_second: change events.
        cpu_us: processor time of the subject's process for each, in microseconds.
        rss_mb: its peak.
    """

    per_second: float
    cpu_us: float
    rss_mb: float


async def one(subject: str, events: int, batch: int, folder: Path) -> Run:
    """Let a subject have ``events`` change events."""
    async with running.bus(total=events, batch=batch) as server:
        if subject in PEERS:
            counted = events
            figures = await running.peer(subject, server, events)
        else:
            counted = events - TAIL
            figures = await _service(subject, server, counted, folder)
        began_ns = (await server.figures())["began_ns"]
    seconds = (figures["ended_ns"] - began_ns) / 1e9
    return Run(counted / seconds, figures["cpu_s"] / counted * 1e6, figures["rss_peak"] / 1e6)


async def _service(subject: str, server: running.BusProcess, counted: int, folder: Path) -> dict:
    redis = RedisServer(folder / "redis") if subject == "redis" else None
    if redis is not None:
        await asyncio.to_thread(redis.start)
    try:
        url = redis.url if redis is not None else f"sqlite:///{folder / 'cadence.db'}"
        out = folder / "tally.json"
        environment = running.settings(server, url, out, stream.FIRST_REPLAY_ID + counted)
        async with ServiceProcess(environment, folder) as process:
            return await running.written(out, process)
    finally:
        if redis is not None:
            await asyncio.to_thread(redis.stop)


def floor_us(events: int) -> float:
    """Processor time to parse one event's bytes with orjson and do nothing else, in microseconds."""
    block = stream.record(time.time_ns() // 1_000_000)
    messages = list(islice(stream.messages(block, 0, (stream.CUSTOM,)), min(events, 20_000)))
    bodies = [b"[" + b",".join(messages[at : at + 500]) + b"]" for at in range(0, len(messages), 500)]
    began = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    for body in bodies:
        orjson.loads(body)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_utime - began) / len(messages) * 1e6


async def measure(events: int, batch: int, rounds: int) -> tuple[dict[str, Run], float]:
    """Every subject in turn, ``rounds`` times: medians, and the parse-only floor."""
    runs: dict[str, list[Run]] = defaultdict(list)
    floors = []
    for number in range(rounds):
        floors.append(floor_us(events))
        for subject in (*PEERS, *SERVICES):
            with tempfile.TemporaryDirectory() as folder:
                run = await one(subject, events, batch, Path(folder))
            runs[subject].append(run)
            print(
                f"round {number + 1}: {subject}: {run.per_second:,.0f}/s, {run.cpu_us:.0f} us, {run.rss_mb:.0f} MB",
                flush=True,
            )
    medians = {
        subject: Run(
            *(
                statistics.median(getattr(run, name) for run in found)
                for name in ("per_second", "cpu_us", "rss_mb")
            )
        )
        for subject, found in runs.items()
    }
    return medians, statistics.median(floors)
