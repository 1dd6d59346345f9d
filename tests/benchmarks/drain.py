"""A backlog of a million change events: how fast it is through, and whether memory stays where it was.

Everything is due at once, as after a week-end without the service; the clock stops when the handler has had the last event, its place
being saved as always. Memory is looked at every second, from outside. What happens in the first quarter (caches fill, the heap finds its
size) is warm-up; from then on a line is laid through the samples, whose slope should be nothing. The server makes events as they are asked
for; its memory is told too, so that nobody has to believe it.

A machine that is too slow is stopped when the time is over, and then the table says how far it came.
"""

import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks import running
from tests.benchmarks.targets import Target

WHOLE = 1_000_000
MOST_MB = 150
FLAT_MB = 0.5
"""Growth over 100,000 events that counts as none: what is mapped and let go from second to second is more."""
MARKS = (0, 10, 25, 50, 75, 100)
NAMES = {"sqlite": "SQLite", "redis": "Redis"}


@dataclass(frozen=True)
class Drained:
    """One backlog.

    Attributes:
        store: kind of store.
        backlog: change events that waited.
        served: what came of it.
    """

    store: str
    backlog: int
    served: running.Served

    @property
    def finished(self) -> bool:
        """Whether all of it was drained."""
        return self.served.figures is not None

    @property
    def waiting(self) -> str:
        """What it was, in words."""
        stopped = "" if self.finished else f", stopped after {self.served.counted:,}"
        return f"{self.backlog:,} on {NAMES[self.store]}{stopped}"

    @property
    def slope_mb(self) -> float | None:
        """Growth of memory over 100,000 events, after warm-up; None where it did not come that far."""
        later = [one for one in self.served.samples if one.done >= self.backlog * 0.25]
        if len({one.done for one in later}) < 3:
            return None
        line = statistics.linear_regression([one.done for one in later], [one.memory_mb for one in later])
        return line.slope * 100_000

    def at(self, percent: int) -> float | None:
        """Memory when so much of the backlog was drained; None where it did not come that far."""
        wanted = self.backlog * percent / 100
        if percent == 100 and self.finished:
            return self.served.samples[-1].memory_mb
        return next((one.memory_mb for one in self.served.samples if one.done >= wanted), None)


def _signed(megabytes: float | None) -> str:
    return "unknown" if megabytes is None else f"{megabytes:+.1f} MB"


async def measure(store: str, backlog: int, within_s: float) -> Drained:
    """Drain one."""
    tail = min(2_000, backlog // 2)  # the last ones wait for ordering.lateness
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with running.bus(total=backlog + tail) as server, running.store(store, folder) as (url, meter):
            served = await running.serve(server, url, folder, backlog, store_meter=meter, within_s=within_s)
    found = Drained(store, backlog, served)
    server_mb = [one.server_mb for one in served.samples]
    print(
        f"drain, {store}: {served.counted:,} of {backlog:,} in {served.seconds:.0f} s: {served.per_second:,.0f}/s, {served.cpu_us:.0f} us, "
        f"peak {served.peak_mb:.0f} MB, growth {_signed(found.slope_mb)}; the server had {min(server_mb):.0f} to {max(server_mb):.0f} MB; "
        f"MB by second: {' '.join(f'{one.memory_mb:.0f}' for one in served.samples)}",
        flush=True,
    )
    return found


def table(found: list[Drained]) -> list[str]:
    """For the page."""
    lines = [
        "A backlog is drained; memory of the process after so much of it:",
        "",
        f"| change events waiting | a second | CPU for each | {' | '.join(f'{mark} %' for mark in MARKS)} | peak | growth in 100,000 events |",
        f"|---|---|---|{'---|' * len(MARKS)}---|---|",
    ]
    for each in found:
        sizes = [f"{size:.0f}" if (size := each.at(mark)) is not None else "-" for mark in MARKS]
        lines.append(
            f"| {each.waiting} | {each.served.per_second:,.0f} | {each.served.cpu_us:.0f} µs | {' | '.join(sizes)} "
            f"| {each.served.peak_mb:.0f} MB | {_signed(each.slope_mb)} |"
        )
    return lines


def targets(found: list[Drained]) -> list[Target]:
    """What was wanted of it."""
    made = []
    for each in found:
        what = f"draining {each.waiting}"
        peak, slope = each.served.peak_mb, each.slope_mb
        made.append(
            Target(
                f"{what}, peak memory",
                f"at most {MOST_MB} MB",
                f"{peak:.0f} MB",
                each.finished and peak <= MOST_MB,
            )
        )
        made.append(
            Target(
                f"{what}, growth in 100,000 events after a quarter",
                f"none (at most {FLAT_MB} MB)",
                _signed(slope),
                each.finished and slope is not None and slope <= FLAT_MB,
            )
        )
    return made
