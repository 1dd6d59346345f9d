"""A slow, a hanging, a crashing and a failing handler beside a good one: neither the good one nor ingest notices. Measured in one run.

All five handlers run in one service all the time, and each of the bad ones is bad in a phase of its own, so that every phase is compared with
a calm one of the same run, the same store and the same stream. The figures are printed; what is asserted of them is generous, because the
machine may be busy. What is asserted of the events is not.
"""

import asyncio
import json
import statistics
import time
from collections import defaultdict

import pytest

from consumer.sandbox import STEP_TRACKER, TRACKER, entity_channel
from consumer.stores.sqlite.sqlite_store import SqliteStore
from tests.acceptance.test_kill import journal_of
from tests.benchmarks import running, stream
from tests.support.processes.service_process import ServiceProcess

PER_SECOND = 300
PHASE_S = 2.0
BAD = ("slow", "hanging", "crashing", "failing")
PHASES = ("calm", *BAD)
HANDLERS = """
import asyncio, json, time
from pathlib import Path
from consumer import BatchHandler, Reject, handler

PHASE = Path("phase")


class Good(BatchHandler):
    on = ("*",)
    batch_wait = 0

    async def open(self, settings, ctx):
        self.out = open("good.jsonl", "ab", buffering=0)

    async def handle_batch(self, events, ctx):
        at = time.monotonic_ns()
        lines = (json.dumps([e.id, e.tracker_id, int(e.position.replay_id), at]) for e in events if e.position)
        self.out.write(("\\n".join(lines) + "\\n").encode())

    async def close(self):
        self.out.close()


@handler(on="*")
async def slow(event, ctx):
    if PHASE.read_text() == "slow":
        await asyncio.sleep(0.5)


@handler(on="*")
async def hanging(event, ctx):
    if PHASE.read_text() == "hanging":
        await asyncio.Event().wait()


@handler(on="*")
async def crashing(event, ctx):
    if PHASE.read_text() == "crashing":
        raise RuntimeError("it crashes with every event")


@handler(on="*")
async def failing(event, ctx):
    if PHASE.read_text() == "failing":
        raise Reject("it will never take any")
"""


def quantiles(values):
    ordered = sorted(values)
    return statistics.median(ordered), ordered[min(int(len(ordered) * 0.99), len(ordered) - 1)]


class Watch:
    """Looks every 20 ms how far the journal has come behind what was published."""

    def __init__(self, path, due_ns):
        self._path, self._due_ns = path, due_ns
        self.behind_ms = defaultdict(list)
        self.phase = ""

    async def run(self):
        store = SqliteStore(self._path, read_only=True)
        await store.open()
        try:
            while True:
                _, last = await store.bounds()
                entries = await store.read(last - 1, 1)
                if self.phase and entries:
                    position = json.loads(entries[0].data)["position"]["replay_id"]
                    behind = time.monotonic_ns() - self._due_ns(int(position) + 1)
                    self.behind_ms[self.phase].append(max(0.0, behind / 1e6))
                await asyncio.sleep(0.02)
        finally:
            await store.aclose()


@pytest.mark.long
@pytest.mark.timeout(180)
async def test_a_bad_handler_changes_nothing_for_a_good_one_and_for_ingest(tmp_path):
    (tmp_path / "neighbours.py").write_text(HANDLERS)
    (tmp_path / "phase").write_text("calm")
    path, good = tmp_path / "cadence.db", tmp_path / "good.jsonl"
    channels = [entity_channel(TRACKER), entity_channel(STEP_TRACKER)]
    seconds = int(PHASE_S * len(PHASES)) + 6
    async with running.bus(total=PER_SECOND * seconds, rate=PER_SECOND, channels=channels) as server:
        environment = running.settings(server, f"sqlite:///{path}", tmp_path / "unused", 0)
        environment = {name: value for name, value in environment.items() if "HANDLERS" not in name}
        environment["CADENCE_ORDERING__STRICT"] = "false"  # what is left is the service's own time
        for name in ("good", *BAD):
            environment[f"CADENCE_HANDLERS__{name.upper()}__USE"] = (
                f"neighbours:{name.title() if name == 'good' else name}"
            )
            environment[f"CADENCE_HANDLERS__{name.upper()}__START"] = "earliest"
        environment["CADENCE_HANDLERS__HANGING__TIMEOUT"] = "1s"
        environment["CADENCE_HANDLERS__FAILING__DEAD_LETTER_LIMIT"] = "1000000"
        async with ServiceProcess(environment, tmp_path) as service:
            async with asyncio.timeout(30):
                while not good.exists() or not good.stat().st_size:
                    assert service.process.returncode is None, service.errors()[-3000:]
                    await asyncio.sleep(0.02)
            began_ns = (await server.figures())["began_ns"]

            def due_ns(replay_id):
                return began_ns + (replay_id - stream.FIRST_REPLAY_ID + 1) * 1_000_000_000 // PER_SECOND

            watch = Watch(path, due_ns)
            watching = asyncio.create_task(watch.run())
            await asyncio.sleep(1)  # connections open, caches are empty
            limits = []
            for phase in PHASES:
                (tmp_path / "phase").write_text(phase)
                watch.phase = phase
                limits.append(time.monotonic_ns())
                await asyncio.sleep(PHASE_S)
            limits.append(time.monotonic_ns())
            watching.cancel()
            (tmp_path / "phase").write_text("calm")
            told = [json.loads(line) for line in good.read_bytes().splitlines()]
            _, metrics = await metrics_of(service)
    # Killed where it was: what the good one has been given by then is a beginning of the journal, in each run without a hole.
    journal = [event for event in await journal_of(path) if event.get("position")]
    of_runs, got = defaultdict(list), defaultdict(list)
    for event in journal:
        of_runs[event.get("tracker_id")].append(event["id"])
    for event_id, run, _, _ in told:
        got[run].append(event_id)
    assert len(told) == len({event_id for event_id, *_ in told}), "something came twice"
    for run, ids in got.items():
        assert ids == of_runs[run][: len(ids)], f"{run} has a hole or is out of order"
    last_due_ns = max(due_ns(replay_id) for _, _, replay_id, _ in told)
    assert last_due_ns > limits[-1] - 1_000_000_000, "the good one has fallen behind by more than a second"
    published = [e for e in journal if due_ns(int(e["position"]["replay_id"])) < limits[-1] - 1_000_000_000]
    assert {event["id"] for event in published} <= {event_id for event_id, *_ in told}, "something is missing"
    assert metrics['cadence_handler_duration_seconds_sum{handler="slow"}'] > 2 * PHASE_S, "slow was not slow"
    for name in BAD[1:]:
        assert metrics[f'cadence_handler_failed_total{{handler="{name}"}}'] > 0, f"{name} did nothing bad"

    figures = {}
    for number, phase in enumerate(PHASES):
        waits = [
            (at - due_ns(replay_id)) / 1e6
            for _, _, replay_id, at in told
            if limits[number] <= due_ns(replay_id) < limits[number + 1]
        ]
        figures[phase] = (len(waits), *quantiles(waits), *quantiles(watch.behind_ms[phase]))
    calm = figures["calm"]
    for phase, (events, p50, p99, journal_p50, journal_p99) in figures.items():
        print(
            f"{phase:<9} {events / PHASE_S:6.0f} events/s to the good one, {p50:6.1f} / {p99:6.1f} ms ({p50 / calm[1]:.2f} x); "
            f"journal behind by {journal_p50:5.1f} / {journal_p99:5.1f} ms"
        )
        assert p50 < 10 * calm[1] + 500
        assert journal_p50 < 10 * calm[3] + 500
        assert events > calm[0] / 3


async def metrics_of(service):
    import aiohttp

    async with (
        aiohttp.ClientSession() as http,
        http.get(f"http://127.0.0.1:{service.port}/metrics") as answer,
    ):
        pairs = (
            line.rsplit(" ", 1) for line in (await answer.text()).splitlines() if not line.startswith("#")
        )
        return answer.status, {name: float(value) for name, value in pairs}
