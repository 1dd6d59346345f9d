"""From publication to the handler: milliseconds, at several rates, with and without the default ordering.

At a low rate it is waiting that is measured, and a service that waits needs no processor to speak of: there the settings run side by side,
for longer, so that there are enough events for a percentile.
"""

import asyncio
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

from consumer.sandbox import STEP_TRACKER, TRACKER, entity_channel
from tests.benchmarks import running, stream
from tests.benchmarks.targets import Target

TWO = [entity_channel(TRACKER), entity_channel(STEP_TRACKER)]
SECONDS = 6
LOW_RATE = 20
LOW_SECONDS = 15
SKIPPED_S = 1.5
"""At the beginning: connections open, caches are empty; where several start at once, twice that."""
LATENESS_MS = 1_000
"""Default of ``ordering.lateness``."""


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
    low = rate <= LOW_RATE
    total = rate * (LOW_SECONDS if low else SECONDS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # More events than are counted: the last ones wait for those that follow.
        async with running.bus(
            total=total + rate * 8 + 50, rate=rate, channels=channels, holes=0.2
        ) as server:
            served = await running.serve(
                server,
                f"sqlite:///{folder / 'cadence.db'}",
                folder,
                total,
                CADENCE_ORDERING__STRICT=str(strict).lower(),
                CADENCE_HANDLERS__TALLY__SETTINGS__EACH="true",
            )
            began_ns = (await server.figures())["began_ns"]
    assert served.figures is not None
    skipped = rate * SKIPPED_S * (2 if low else 1)
    waits = sorted(
        (seen_ns - began_ns) / 1e6 - (replay_id - stream.FIRST_REPLAY_ID + 1) * 1_000 / rate
        for replay_id, seen_ns in served.figures["seen"]
        if replay_id - stream.FIRST_REPLAY_ID >= skipped
    )
    p99 = waits[min(int(len(waits) * 0.99), len(waits) - 1)]
    return Latency(rate, len(channels), strict, statistics.median(waits), p99)


async def measure(rates: tuple[int, ...]) -> list[Latency]:
    """Every rate, on one channel and on two, strict and not."""
    found: list[Latency] = []
    for rate in rates:
        pending = [
            one(rate, channels, strict=strict)
            for channels in ([stream.CUSTOM], TWO)
            for strict in (True, False)
        ]
        group = [pending] if rate <= LOW_RATE else [[each] for each in pending]
        for together in group:
            found += await asyncio.gather(*together)
            print(*found[-len(together) :], sep="\n", flush=True)
    return found


def table(found: list[Latency]) -> list[str]:
    """For the page."""
    lines = [
        "From publication to the handler (SQLite; a fifth of the transactions with holes in their sequence numbers), p50 / p99 in milliseconds:",
        "",
        "| change events a second | one custom channel | the same, `ordering.strict = false` | two channels | the same, not strict |",
        "|---|---|---|---|---|",
    ]
    for rate in dict.fromkeys(each.rate for each in found):
        cells = [
            f"{each.p50_ms:,.0f} / {each.p99_ms:,.0f}"
            for channels in (1, 2)
            for strict in (True, False)
            for each in found
            if (each.rate, each.channels, each.strict) == (rate, channels, strict)
        ]
        lines.append(f"| {rate:,} | {' | '.join(cells)} |")
    return lines


def targets(found: list[Latency]) -> list[Target]:
    """What was wanted of it: on one channel at 200 events a second."""
    made = []
    for each in found:
        if (each.rate, each.channels) != (200, 1):
            continue
        if each.strict:
            most = LATENESS_MS + 50
            what = "one channel at 200/s, p99"
            made.append(Target(what, f"at most {most:,} ms", f"{each.p99_ms:,.0f} ms", each.p99_ms <= most))
        else:
            what = "one channel at 200/s, not strict, p50 / p99"
            held = each.p50_ms <= 5 and each.p99_ms <= 50
            made.append(
                Target(what, "at most 5 / 50 ms", f"{each.p50_ms:,.1f} / {each.p99_ms:,.0f} ms", held)
            )
    return made
