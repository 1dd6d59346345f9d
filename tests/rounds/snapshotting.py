"""A snapshot of an org with a history, while it goes on living: ``python -m tests.rounds.snapshotting`` (``make snapshot``).

The service runs as a process of its own on a real Redis. Told are the rate, and the memory of the process as the snapshot goes on, which
must not grow. In the end every record is known as Salesforce holds it, no event tells of the snapshot, and nothing that the stream told
was overwritten by a row that was read before.
"""

import argparse
import asyncio
import json
import random
import signal
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from consumer.domain.reconcile_task import ReconcileTask
from consumer.domain.record_state import RecordState
from consumer.domain.row_diff import ROW_FIELDS, read_row
from consumer.sandbox import STEP_TRACKER, TRACKER, CometdOptions, Sandbox, SandboxOptions
from consumer.sandbox.schema import rest_value
from consumer.stores.redis.redis_store import RedisStore
from tests.support.processes.memory import resident_bytes
from tests.support.processes.service_process import ServiceProcess, settings_for
from tests.support.servers.redis_server import RedisServer

PIECE = 5_000
BUSY = 1_000
GROWTH_MB = 10.0


@dataclass
class Outcome:
    """What a round came to.

    Attributes:
        rows: read by the snapshot.
        seconds: it took.
        memory_mb: of the process, by second, while each object was read.
        changed: records that changed meanwhile.
        events: journaled meanwhile, by origin.
    """

    rows: int = 0
    seconds: float = 0.0
    memory_mb: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    changed: int = 0
    events: dict[str, int] = field(default_factory=dict)

    @property
    def growth_mb(self) -> float:
        """Of the object for which it is greatest: from the end of its first quarter to the most of the rest."""
        return max(
            max(sizes[len(sizes) // 4 :]) - sizes[len(sizes) // 4] for sizes in self.memory_mb.values()
        )


def settle(sandbox: Sandbox, runs: int, steps: int) -> list[str]:
    """A history: so many runs with so many steps altogether, as they were left in the past; returns the runs."""
    org, dice = sandbox.org, random.Random(1)
    cadence = next(iter(org.records["ActionCadence"]))
    day_ms = 86_400_000
    made = []
    for number in range(runs):
        run = org.install(
            TRACKER,
            {
                "OwnerId": org.integration_user_id,
                "ActionCadenceId": cadence,
                "TargetId": org.ids.next("Lead"),
                "State": "Running",
                "IsTrackerActive": True,
                "DaisyChainIteration": 1,
            },
        )
        made.append(run)
        for _ in range(steps * (number + 1) // runs - steps * number // runs):
            step = org.install(
                STEP_TRACKER,
                {
                    "ActionCadenceId": cadence,
                    "ActionCadenceTrackerId": run,
                    "TargetId": org.records[TRACKER][run]["TargetId"],
                    "State": dice.choice(("Active", "Complete")),
                    "StepType": "MakeACall",
                    "StepTitle": "Call again",
                    "WasEverPaused": False,
                    "DueDateTime": org.now_second() - day_ms,
                },
            )
            org.records[STEP_TRACKER][step]["SystemModstamp"] -= 30 * day_ms
            org.records[STEP_TRACKER][step]["LastModifiedDate"] -= 30 * day_ms
        org.records[TRACKER][run]["SystemModstamp"] -= 30 * day_ms
        org.records[TRACKER][run]["LastModifiedDate"] -= 30 * day_ms
    return made


async def live(sandbox: Sandbox, runs: list[str], touched: set[str]) -> None:
    """Reps pause and resume runs of the history, about fifty a second; the same ones, so that what is kept of them is soon all there is."""
    dice = random.Random(2)
    runs = dice.sample(runs, min(BUSY, len(runs)))
    while True:
        some = dice.sample(runs, 5)
        with sandbox.org.transaction() as transaction:
            for run in some:
                paused = sandbox.org.get(TRACKER, run)["State"] == "Paused"
                transaction.update(TRACKER, run, State="Running" if paused else "Paused")
        touched.update(some)
        await asyncio.sleep(0.1)


async def snapshot(folder: Path, runs: int, steps: int) -> Outcome:
    """One round."""
    outcome, touched = Outcome(), set[str]()
    redis = RedisServer(folder / "redis")
    await asyncio.to_thread(redis.start)
    try:
        async with Sandbox(SandboxOptions(cometd=CometdOptions(poll_timeout_ms=2_000))) as sandbox:
            made = settle(sandbox, runs, steps)
            environment = settings_for(sandbox, folder) | {
                "CADENCE_STORE__URL": redis.url,
                "CADENCE_REPLAY__START": "latest",
                "CADENCE_SNAPSHOT__MODE": "initial",
                "CADENCE_REPAIR__SWEEP": "0",
            }
            async with ServiceProcess(environment, folder) as service:
                await service.ready()
                began = time.monotonic()
                living = asyncio.create_task(live(sandbox, made, touched))
                store = RedisStore(redis.url, shown_url=redis.url, prefix="cadence", read_only=True)
                await store.open()
                while (reconcile_tasks := await store.reconcile_tasks()) or not outcome.memory_mb:
                    begun = [
                        task
                        for task in map(ReconcileTask.decode, reconcile_tasks.values())
                        if task.after is not None
                    ]
                    if begun:
                        size = resident_bytes(service.process.pid)
                        outcome.memory_mb[begun[0].entity].append(size / 1e6)
                    await asyncio.sleep(0.5)
                    assert service.process.returncode is None, service.errors()[-3000:]
                outcome.seconds = time.monotonic() - began
                living.cancel()
                await _caught_up(sandbox, store)
                await _agree(sandbox, store)
                outcome.rows, outcome.changed = runs + steps, len(touched)
                await _read(store, outcome)
                await store.aclose()
                service.signal(signal.SIGTERM)
                assert await service.ended() == 0, service.errors()[-3000:]
    finally:
        await asyncio.to_thread(redis.stop)
    return outcome


async def _caught_up(sandbox: Sandbox, store: RedisStore) -> None:
    last = {f"/data/{one}ChangeEvent": None for one in (TRACKER, STEP_TRACKER)}
    for channel in last:
        entries = sandbox.ledger.entries(channel=channel)
        last[channel] = str(entries[-1].replay_id) if entries else None
    async with asyncio.timeout(60):
        for channel, wanted in last.items():
            while wanted is not None and (await store.channels())[channel].position != wanted:
                await asyncio.sleep(0.2)


async def _agree(sandbox: Sandbox, store: RedisStore) -> None:
    """Every record is known as Salesforce holds it."""
    org, now = sandbox.org, sandbox.org.clock()
    for entity in (TRACKER, STEP_TRACKER):
        ids = list(org.records[entity])
        for start in range(0, len(ids), PIECE):
            some = ids[start : start + PIECE]
            known = await store.states(some)
            for record_id in some:
                record = org.records[entity][record_id]
                fields = {name: rest_value(entity, record, name, now) for name in ROW_FIELDS[entity]}
                wanted = dict(read_row(entity, fields).values)
                values = RecordState.decode(known[record_id]).values()
                have = {
                    name: one
                    for name, one in values.items()
                    if one is not None and name in ROW_FIELDS[entity]
                }
                assert have == wanted, f"{record_id}: known as {have}, is {wanted}"
    assert await store.timers(2**53, 10) == [], "nothing that was overdue before is due"


async def _read(store: RedisStore, outcome: Outcome) -> None:
    after = 0
    while entries := await store.read(after, PIECE):
        after = entries[-1].offset
        for entry in entries:
            event = json.loads(entry.data)
            origin = event.get("origin", "stream")
            outcome.events[origin] = outcome.events.get(origin, 0) + 1
            assert origin == "stream" or event["type"] == "system.snapshot", f"told: {event}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=150_000)
    parser.add_argument("--steps", type=int, default=300_000)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="snapshot-") as folder:
        outcome = asyncio.run(snapshot(Path(folder), wanted.runs, wanted.steps))
    memory = "; ".join(
        f"{entity} {' '.join(f'{sizes[(len(sizes) - 1) * part // 4]:.0f}' for part in range(5))}"
        for entity, sizes in outcome.memory_mb.items()
    )
    print(
        f"{outcome.rows} rows in {outcome.seconds:.1f} s: {outcome.rows / outcome.seconds:.0f} a second; {outcome.changed} records changed meanwhile; "
        f"events by origin {outcome.events}; MB by quarters of each object: {memory}"
    )
    return 0 if outcome.growth_mb < GROWTH_MB else 1


if __name__ == "__main__":
    sys.exit(main())
