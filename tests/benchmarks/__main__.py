"""``make bench``: measures and writes the tables into the page of this folder.

Everything has its turn, the drain last: what the other measurements leave of ``--minutes`` is its. ``--only`` runs some of the
measurements and prints what they came to; only a whole round is written into the page.
"""

import argparse
import asyncio
import os
import platform
import sqlite3
import sys
import time
import traceback
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks import drain, latency, machine, restarts, running, stored, targets, throughput
from tests.benchmarks.targets import Target

PAGE = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- measured by `make bench` -->\n", "<!-- /measured -->"
PARTS = ("throughput", "latency", "stored", "restarts", "drain")


@dataclass
class Report:
    """What was measured so far.

    Attributes:
        sections: of the table, each in lines.
        targets: what was wanted of them.
        failed: measurements that came to nothing.
    """

    sections: list[list[str]] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def add(self, lines: list[str], wanted: list[Target]) -> None:
        """Another measurement."""
        self.sections.append(lines)
        self.targets += wanted

    def text(self, on: list[str]) -> str:
        """The part of the page between the markers."""
        parts = [on, targets.table(self.targets), *self.sections]
        return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


async def run(options: argparse.Namespace) -> Report:
    """Everything that is asked for; what fails does not take the rest along."""
    deadline = time.monotonic() + options.minutes * 60

    async def through(report: Report) -> None:
        found = await throughput.measure(options.events, options.rounds, max(options.events // 2, 1))
        report.add(throughput.table(found), throughput.targets(found))

    async def waits(report: Report) -> None:
        found = await latency.measure(tuple(options.rates))
        report.add(latency.table(found), latency.targets(found))

    async def known(report: Report) -> None:
        found = await stored.measure(options.stored, options.rounds)
        report.add(stored.table(found), stored.targets(found))

    async def pauses(report: Report) -> None:
        found = await restarts.measure()
        report.add(restarts.table(found), restarts.targets(found))

    async def drained(report: Report) -> None:
        found = []
        for store, backlog in (("redis", options.drain_redis), ("sqlite", options.drain)):
            if backlog:
                left_s = max(deadline - time.monotonic(), 60)
                found.append(await drain.measure(store, backlog, left_s))
        report.add(drain.table(found), drain.targets(found))

    report = Report()
    for part, measure in zip(PARTS, (through, waits, known, pauses, drained), strict=True):
        if part in options.only:
            began = time.monotonic()
            try:
                await measure(report)
            except Exception:  # noqa: BLE001 - told, and the rest goes on
                traceback.print_exc()
                report.failed.append(part)
            print(f"{part}: {time.monotonic() - began:.0f} s", flush=True)
    return report


def on_what(seconds: float, load: float) -> list[str]:
    """Date, machine and versions, and how much others had it do before this began."""
    # The installation before it is good for one.
    company = f", for which {load:.0f} processes were waiting when it began," if load >= 2 else ","
    versions = machine.versions()
    return [
        f"{datetime.now(UTC):%Y-%m-%d}, in {seconds / 60:.0f} minutes on {machine.described()}{company} one core of which is busy serving; medians. "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + "."
    ]


def write(text: str) -> None:
    """Between the markers of the page; everything around them stays."""
    whole = PAGE.read_text()
    head, _, rest = whole.partition(BEGIN)
    _, _, tail = rest.partition(END)
    PAGE.write_text(head + BEGIN + text + END + tail)


def options_of(arguments: list[str]) -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--only", type=lambda text: text.split(","), default=PARTS, help=f"some of {','.join(PARTS)}")
    add("--events", type=int, default=16_000, help="change events for each subject; default 16,000")
    add("--rounds", type=int, default=3, help="turns of each subject, and of each store; default 3")
    add("--rates", type=int, nargs="*", default=[10, 200, 2_000], help="for latency; default 10 200 2000")
    add("--stored", type=int, nargs="+", default=[150_000, 1_500_000], help="records; default 150000 1500000")
    add("--drain", type=int, default=1_000_000, help="backlog on SQLite; default 1,000,000; 0 for none")
    add("--drain-redis", type=int, default=100_000, help="backlog on Redis; default 100,000; 0 for none")
    add("--minutes", type=float, default=13.5, help="after which the drain is stopped; default 13.5")
    add("--print", action="store_true", help="only print")
    options = parser.parse_args(arguments)
    if unknown := set(options.only) - set(PARTS):
        parser.error(f"--only takes {','.join(PARTS)}, not {','.join(sorted(unknown))}")
    if options.stored != sorted(options.stored):
        parser.error("--stored takes numbers that grow: each store is grown from the one before")
    return options


def main() -> int:
    options = options_of(sys.argv[1:])
    began, load = time.monotonic(), os.getloadavg()[0]
    report = asyncio.run(run(options))
    text = report.text(on_what(time.monotonic() - began, load))
    print(f"\n{text}\n{time.monotonic() - began:.0f} s")
    if report.failed:
        print(f"failed: {', '.join(report.failed)}; the page stays as it is", file=sys.stderr)
        return 1
    if not options.print and set(options.only) == set(PARTS):
        write(text)
    return 0


if __name__ == "__main__":
    assert running.INTEROP.is_dir()
    assert Path("/proc/self").is_dir(), "processor time and memory are read from /proc"
    sys.exit(main())
