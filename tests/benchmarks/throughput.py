"""How many change events a second, at what cost: peers that receive and count, and the service down to a handler's effect.

Every subject is served the same stream by a server of its own, in turn, several times, and in every round orjson parses the same bytes, which
is the floor; medians are taken over the rounds. The clock runs from the moment in which the channel is subscribed to the moment in which
the subject has counted the last event; for the service that is the handler, after order, meaning, commit and journal. The last change
events of a stream wait for ``ordering.lateness`` by design, so the service's clock stops a little before its end.

How many events an answer holds is Salesforce's business, and clients differ in what they make of it: the loop that one would write with
``aiosfstream`` and the service are measured with small and large answers too.
"""

import asyncio
import json
import statistics
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass, fields
from pathlib import Path

from tests.benchmarks import running
from tests.benchmarks.targets import Target

PEERS = ("aiosfstream", "cometd", "jsforce")
SERVICES = ("sqlite", "redis")
NOT_STRICT = "sqlite, not strict"
NAMES = {
    "aiosfstream": "bare `aiosfstream` loop: receives, counts, keeps nothing",
    "cometd": "bare npm `cometd` client: the same",
    "jsforce": "bare `jsforce` subscription: the same",
    "sqlite": "**the service on SQLite**: ordered, interpreted, committed, delivered, place saved",
    "redis": "**the service on Redis**, AOF everysec: the same",
    NOT_STRICT: "the service on SQLite with `ordering.strict = false`",
}
BATCH = 500
OTHER_BATCHES = (100, 2_000)
TAIL = 2_000


@dataclass(frozen=True)
class Run:
    """One subject in one round, or the median of its rounds.

    Attributes:
        per_second: change events.
        cpu_us: processor time of the subject for each, in microseconds.
        store_us: that of its store's server.
        peak_mb: its memory at the most.
    """

    per_second: float
    cpu_us: float
    store_us: float
    peak_mb: float


@dataclass(frozen=True)
class Throughput:
    """What it came to.

    Attributes:
        events: change events in each round.
        bytes_per_event: on the wire.
        floor_us: processor time to parse one, in microseconds.
        runs: by subject, with 500 events in an answer.
        batches: by subject and events in an answer.
    """

    events: int
    bytes_per_event: float
    floor_us: float
    runs: dict[str, Run]
    batches: dict[tuple[str, int], Run]


async def one(subject: str, events: int, batch: int = BATCH) -> tuple[Run, float]:
    """Let a subject have ``events`` change events; also their mean size."""
    async with running.bus(total=events, batch=batch) as server:
        if subject in PEERS:
            figures = await running.peer(subject, server, events)
            served = await server.figures()
            seconds = (figures["ended_ns"] - served["began_ns"]) / 1e9
            run = Run(events / seconds, figures["cpu_s"] / events * 1e6, 0.0, figures["rss_peak"] / 1e6)
        else:
            run = await _service(subject, server, max(events - TAIL, events // 2))
            served = await server.figures()
        return run, served["bytes_per_event"]


async def _service(subject: str, server: running.BusProcess, until: int) -> Run:
    more = {"CADENCE_ORDERING__STRICT": "false"} if subject == NOT_STRICT else {}
    kind = "redis" if subject == "redis" else "sqlite"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with running.store(kind, folder) as (url, meter):
            served = await running.serve(server, url, folder, until, store_meter=meter, **more)
    assert served.figures is not None, f"{subject} was not through within {running.TIMEOUT_S} s"
    store_us = served.store_cpu_s / served.counted * 1e6
    return Run(served.per_second, served.cpu_us, store_us, served.peak_mb)


async def floor_us(events: int, batch: int = BATCH) -> float:
    """Processor time to parse one event's bytes with orjson and do nothing else, in microseconds."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.benchmarks.floor",
        json.dumps({"events": events, "batch": batch}),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    return float(out)


async def measure(events: int, rounds: int, batch_events: int) -> Throughput:
    """Every subject in turn, ``rounds`` times: medians."""
    found: dict[tuple[str, int], list[Run]] = defaultdict(list)
    floors, sizes = [], []
    for number in range(rounds):
        floors.append(await floor_us(events))
        print(f"round {number + 1}: parsing: {floors[-1]:.2f} us", flush=True)
        plan = [(subject, BATCH, events) for subject in (*PEERS, *SERVICES, NOT_STRICT)]
        if number == 0:
            plan += [
                (subject, batch, batch_events)
                for batch in OTHER_BATCHES
                for subject in ("aiosfstream", "sqlite")
            ]
        for subject, batch, count in plan:
            run, size = await one(subject, count, batch)
            found[subject, batch].append(run)
            sizes.append(size)
            print(f"round {number + 1}: {subject}, {batch} in an answer: {run}", flush=True)
    medians = {key: _median(runs) for key, runs in found.items()}
    return Throughput(
        events,
        statistics.mean(sizes),
        statistics.median(floors),
        {subject: run for (subject, batch), run in medians.items() if batch == BATCH},
        medians,
    )


def _median(runs: list[Run]) -> Run:
    return Run(*(statistics.median(getattr(run, each.name) for run in runs) for each in fields(Run)))


def table(found: Throughput) -> list[str]:
    """For the page."""
    base = found.runs["aiosfstream"].per_second
    rows = [
        f"| {NAMES[subject]} | {run.per_second:,.0f} | {run.per_second / base:.2f} | {run.cpu_us:.0f} µs "
        f"| {run.cpu_us / found.floor_us:.1f} | {run.peak_mb:.0f} MB |"
        for subject, run in found.runs.items()
        if subject != NOT_STRICT
    ]
    sizes = sorted({batch for _, batch in found.batches})
    said = (
        f"{found.events:,} change events of {found.bytes_per_event / 1000:.1f} kB, {BATCH} in an answer, from a server on the same machine. "
        f"Parsing an event's bytes takes {found.floor_us:.1f} µs; Redis itself spends another {found.runs['redis'].store_us:.0f} µs on each."
    )
    return [
        said,
        "",
        "| what | change events a second | of aiosfstream | CPU for each | of parsing | peak memory |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
        f"| events in an answer | {' | '.join(f'{size:,}' for size in sizes)} |",
        f"|---|{'---|' * len(sizes)}",
        *(
            f"| {name}, change events a second | "
            + " | ".join(f"{found.batches[subject, size].per_second:,.0f}" for size in sizes)
            + " |"
            for subject, name in (("aiosfstream", "`aiosfstream`"), ("sqlite", "the service on SQLite"))
        ),
    ]


def targets(found: Throughput) -> list[Target]:
    """What was wanted of it."""
    base = found.runs["aiosfstream"].per_second
    made = []
    for kind, name in (("sqlite", "SQLite"), ("redis", "Redis")):
        ratio, cost = found.runs[kind].per_second / base, found.runs[kind].cpu_us / found.floor_us
        made.append(
            Target(
                f"change events a second on {name}, of `aiosfstream`",
                "at least 1.0",
                f"{ratio:.2f}",
                ratio >= 1,
            )
        )
        made.append(
            Target(
                f"CPU for a change event on {name}, of parsing it", "at most 12", f"{cost:.1f}", cost <= 12
            )
        )
    strict = found.runs["sqlite"].per_second / found.runs[NOT_STRICT].per_second
    made.append(
        Target(
            "change events a second with `ordering.strict`, of those without",
            "at least 0.95",
            f"{strict:.2f}",
            strict >= 0.95,
        )
    )
    return made
