"""What a change event costs when much is known already: stores with 150,000 and with 1,500,000 records, beside one that holds only those touched.

The records are lives (``stream.Life``): a run, its target, a step that is done, and one that is open with a timer. The first is made by the service
itself from change events; its stored form, with other ids, is written through the store's own commits as often as is wanted. Then the
service starts on that file, and one transaction of three events comes for each of some thousand lives, evenly spread over all of them: nothing that is
touched has been touched before, so what is kept in memory helps nobody. The small store holds the very lives that are touched and no other.

Rounds on the three stores alternate. Each goes on in the same file where the round before ended, with other lives.
"""

import asyncio
import re
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from consumer.ports.commit import Commit
from consumer.stores.sqlite.sqlite_store import SqliteStore
from tests.benchmarks import running, stream
from tests.benchmarks.targets import Target
from tests.support.processes.service_process import ServiceProcess

RECORDS_IN_LIFE = 3
VISITS = 4_000
TAIL = 600
"""Events at the end of a round that are not counted: the last ones wait for ``ordering.lateness``."""
LIVES_IN_COMMIT = 5_000
MOST = 1.2
_NUMBER = re.compile(rb"(?<=(?:0qB|8HF|00Q|003)WP)0{4}")


@dataclass(frozen=True)
class Form:
    """A life as it is stored: every part between the places where its number stands.

    Attributes:
        org: whose it is.
        states: key and encoded state, each in pieces.
        timers: key in pieces, and due time.
    """

    org: str
    states: list[tuple[list[bytes], list[bytes]]]
    timers: list[tuple[list[bytes], int]]

    def commit(self, token: str, number: int, lives: Iterable[int]) -> Commit:
        """A commit of these lives."""
        commit = Commit(token, number, self.org)
        for life in map(stream.numbered, lives):
            for key, data in self.states:
                commit.states[life.join(key).decode()] = life.join(data)
            for key, due_ms in self.timers:
                commit.timers[life.join(key).decode()] = due_ms
        return commit


@dataclass(frozen=True)
class Stored:
    """Medians on one store.

    Attributes:
        records: it holds beside those that are touched; runs and steps.
        megabytes: of its file.
        cpu_us: processor time of the service for each change event.
        per_second: change events.
        reads: from files for each change event.
        disk: bytes of that which the disk had to give.
    """

    records: int
    megabytes: float
    cpu_us: float
    per_second: float
    reads: float
    disk: float


async def form(folder: Path) -> Form:
    """Let the service know one life, and take down what it keeps of it."""
    path = folder / "form.db"
    block = stream.life(time.time_ns() // 1_000_000).before
    async with running.bus(total=len(block.templates), before=True) as server:
        environment = running.settings(server, f"sqlite:///{path}", folder / "unused.json", 0)
        async with ServiceProcess(environment, folder) as service:
            await service.ready()
            store = SqliteStore(path, read_only=True)
            await store.open()
            async with asyncio.timeout(60):
                # The timer is the last thing that these events bring about.
                while not (timers := await store.timers(2**53, 10)):
                    await asyncio.sleep(0.05)
            states, _ = await store.walk(None, 100)
            org = await store.org_id()
            await store.aclose()
    assert org is not None
    assert len(states) == RECORDS_IN_LIFE + 1, [key for key, _ in states]
    return Form(
        org,
        [(_NUMBER.split(key.encode()), _NUMBER.split(data)) for key, data in states],
        [(_NUMBER.split(key.encode()), due_ms) for key, due_ms in timers],
    )


async def fill(path: Path, form: Form, lives: Sequence[int]) -> None:
    """Add lives to a store."""
    store = SqliteStore(path)
    await store.open()
    tenure = await store.acquire("filling", 3_600_000)
    assert tenure is not None
    for number, start in enumerate(range(0, len(lives), LIVES_IN_COMMIT), 1):
        await store.commit(form.commit(tenure.token, number, lives[start : start + LIVES_IN_COMMIT]))
    await store.release(tenure)
    await store.aclose()


async def measure(sizes: list[int], rounds: int, visits: int = VISITS) -> list[Stored]:
    """Stores with so many records, in turn, and one with no other records than are touched."""
    events = visits * len(stream.life(0).then.templates)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        one = await form(folder)
        lives = [max(sizes) // RECORDS_IN_LIFE, *(size // RECORDS_IN_LIFE for size in sizes)]
        paths = [folder / f"{number}.db" for number in range(len(lives))]
        began = time.monotonic()
        await fill(paths[0], one, sorted(stream.visits(lives[0], visits * rounds)))
        had = 0
        for number, count in enumerate(lives[1:], 1):
            if had:
                await asyncio.to_thread(shutil.copy, paths[number - 1], paths[number])
            await fill(paths[number], one, range(had, count))
            had = count
        megabytes = [path.stat().st_size / 1e6 for path in paths]
        print(
            f"filled {', '.join(f'{each:,.0f} MB' for each in megabytes)} in {time.monotonic() - began:.0f} s",
            flush=True,
        )
        found: list[list[running.Served]] = [[] for _ in lives]
        for number in range(rounds):
            for runs, path, count in zip(found, paths, lives, strict=True):
                until = events * (number + 1)
                async with running.bus(total=until, lives=count) as server:
                    served = await running.serve(server, f"sqlite:///{path}", folder, until - TAIL)
                assert served.figures is not None
                runs.append(served)
                print(
                    f"stored, round {number + 1}: {path.stat().st_size / 1e6:,.0f} MB: {served.counted:,} events, {served.cpu_us:.0f} us, "
                    f"{served.per_second:,.0f}/s, {served.reads[0] / served.counted:.1f} reads, {served.reads[1] / served.counted:,.0f} bytes from disk",
                    flush=True,
                )
    return [
        Stored(
            records,
            size,
            statistics.median(run.cpu_us for run in runs),
            statistics.median(run.per_second for run in runs),
            statistics.median(run.reads[0] / run.counted for run in runs),
            statistics.median(run.reads[1] / run.counted for run in runs),
        )
        for records, size, runs in zip([0, *sizes], megabytes, found, strict=True)
    ]


def table(found: list[Stored]) -> list[str]:
    """For the page."""
    base, most = found[0], found[-1]
    where = (
        "all of them answered by the memory of the machine"
        if most.disk < 1
        else f"which brought {most.disk:,.0f} bytes from the disk"
    )
    return [
        "With much stored already (SQLite; every event touches a run and a step that were not touched before, evenly spread over all of them):",
        "",
        "| runs and steps stored beside those touched | file | CPU for each change event | of that with none | change events a second | reads of files for each |",
        "|---|---|---|---|---|---|",
        *(
            f"| {each.records:,} | {each.megabytes:,.0f} MB | {each.cpu_us:.0f} µs | {each.cpu_us / base.cpu_us:.2f} | {each.per_second:,.0f} "
            f"| {each.reads:.1f} |"
            for each in found
        ),
        "",
        (
            f"What more records cost is a deeper index: {most.reads:.1f} reads of pages for each event instead of {base.reads:.1f}, {where}. "
            "Where the file does not fit into memory, it is the disk that decides."
        ),
    ]


def targets(found: list[Stored]) -> list[Target]:
    """What was wanted of it: with the most records."""
    most = found[-1]
    ratio = most.cpu_us / found[0].cpu_us
    return [
        Target(
            f"CPU for a change event with {most.records:,} records, of that with none",
            f"at most {MOST}",
            f"{ratio:.2f}",
            ratio <= MOST,
        )
    ]
