"""From publication to the handler: milliseconds, at several rates, with and without the default ordering."""

import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

from consumer.sandbox import STEP_TRACKER, TRACKER, entity_channel
from tests.acceptance.service_process import ServiceProcess
from tests.benchmarks import running, stream

TWO = [entity_channel(TRACKER), entity_channel(STEP_TRACKER)]
SECONDS = 6
SKIPPED = 0.2
"""Of the events at the beginning: connections open, caches are empty."""


@dataclass
class Latency:
    """One setting.

    Attributes:
        rate: change events a second.
        channels: how many.
        strict: ``ordering.strict``.
        p50_ms: median.
        p99_ms: 99th percentile.
    """

    rate: int
    channels: int
    strict: bool
    p50_ms: float
    p99_ms: float


async def one(rate: int, channels: list[str], *, strict: bool) -> Latency:
    """Let events come due one after the other and see when the handler has each."""
    total = rate * SECONDS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # More events than are counted: the last ones wait for those that follow.
        async with running.bus(
            total=total + rate * 8 + 50, rate=rate, channels=channels, holes=0.2
        ) as server:
            out = folder / "tally.json"
            environment = running.settings(
                server,
                f"sqlite:///{folder / 'cadence.db'}",
                out,
                stream.FIRST_REPLAY_ID + total,
                CADENCE_ORDERING__STRICT=str(strict).lower(),
                CADENCE_HANDLERS__TALLY__SETTINGS__EACH="true",
            )
            async with ServiceProcess(environment, folder) as process:
                figures = await running.written(out, process)
            began_ns = (await server.figures())["began_ns"]
    waits = sorted(
        (seen_ns - began_ns) / 1e6 - (replay_id - stream.FIRST_REPLAY_ID + 1) * 1_000 / rate
        for replay_id, seen_ns in figures["seen"]
        if replay_id - stream.FIRST_REPLAY_ID >= total * SKIPPED
    )
    p99 = waits[min(int(len(waits) * 0.99), len(waits) - 1)]
    return Latency(rate, len(channels), strict, statistics.median(waits), p99)


async def measure(rates: tuple[int, ...]) -> list[Latency]:
    """Every rate, on one channel and on two, strict and not."""
    found = []
    for rate in rates:
        for channels in ([stream.CUSTOM], TWO):
            for strict in (True, False):
                latency = await one(rate, channels, strict=strict)
                found.append(latency)
                print(f"{latency}", flush=True)
    return found
