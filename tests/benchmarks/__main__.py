"""``make bench``: measures and writes the table into the README."""

import argparse
import asyncio
import os
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks import latency, running, stream, throughput

README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- measured by `make bench` -->\n", "<!-- /measured -->"
NAMES = {
    "aiosfstream": "bare `aiosfstream` loop: receives, counts, keeps nothing",
    "cometd": "bare npm `cometd` client: the same",
    "jsforce": "bare `jsforce` subscription: the same",
    "sqlite": "**the service on SQLite**: ordered, interpreted, committed, delivered, place saved",
    "redis": "**the service on Redis**, AOF everysec: the same",
}


def table(runs: dict[str, throughput.Run], floor_us: float, waits: list[latency.Latency], events: int) -> str:
    """The section of the README."""
    base = runs["aiosfstream"].per_second
    size = stream.record(time.time_ns() // 1_000_000).bytes_per_event
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores (one of them busy serving), Python {platform.python_version()};",
        f"{events:,} change events of {size / 1000:.1f} kB, 500 in an answer; medians. Parsing an event's bytes takes {floor_us:.1f} µs.",
        "",
        "| what | change events a second | of aiosfstream | CPU for each | of parsing | peak memory |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {NAMES[name]} | {run.per_second:,.0f} | {run.per_second / base:.2f} | {run.cpu_us:.0f} µs | {run.cpu_us / floor_us:.1f} | {run.rss_mb:.0f} MB |"
        for name, run in runs.items()
    ]
    lines += [
        "",
        "From publication to the handler (SQLite; a fifth of the transactions with holes in their sequence numbers), p50 / p99 in milliseconds:",
        "",
        "| change events a second | one custom channel | the same, `ordering.strict = false` | two channels | the same, not strict |",
        "|---|---|---|---|---|",
    ]
    for rate in dict.fromkeys(wait.rate for wait in waits):
        cells = [
            f"{wait.p50_ms:,.0f} / {wait.p99_ms:,.0f}"
            for channels in (1, 2)
            for strict in (True, False)
            for wait in waits
            if (wait.rate, wait.channels, wait.strict) == (rate, channels, strict)
        ]
        lines.append(f"| {rate:,} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


async def run(options: argparse.Namespace) -> str:
    """Everything."""
    runs, floor_us = await throughput.measure(options.events, 500, options.rounds)
    waits = await latency.measure(tuple(options.rates))
    return table(runs, floor_us, waits, options.events)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--events", type=int, default=40_000, help="change events for each subject; default 40,000"
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="how often each subject has its turn; default 3"
    )
    parser.add_argument("--rates", type=int, nargs="*", default=[10, 200, 2_000], help="for latency")
    parser.add_argument("--print", action="store_true", help="only print")
    options = parser.parse_args()
    began = time.monotonic()
    written = asyncio.run(run(options))
    print(f"\n{written}\n{time.monotonic() - began:.0f} s")
    if not options.print:
        text = README.read_text()
        head, _, rest = text.partition(BEGIN)
        _, _, tail = rest.partition(END)
        README.write_text(head + BEGIN + written + END + tail)
    return 0


if __name__ == "__main__":
    assert running.INTEROP.is_dir()
    sys.exit(main())
