"""A million journal events replayed into a counting handler: ``python -m tests.rounds.replaying`` (``make replay``).

The journal stands in a real SQLite file; the replay is asked for as people ask for it, and runs beside the handler's ordinary delivery. Told are
the rate and the memory of the process, which must be the same after a tenth of the events and at the end.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from consumer.clock import SystemClock
from consumer.delivery.dispatcher import Dispatcher
from consumer.ports.commit import Commit, JournalRecord
from consumer.ports.delivery import HandlerCommand
from consumer.ports.observers.delivery_events import HandlerCallFinished
from consumer.ports.observers.handler_events import CursorSaved
from consumer.stores.sqlite.sqlite_store import SqliteStore
from tests.support.processes.memory import resident_bytes
from tests.support.rigs.delivery import (
    loaded,
    record,
    until,
)
from tests.support.rigs.observing import Recorder

ORG = "00D000000000001EAA"
RUNS = 10_000


@dataclass(frozen=True)
class Outcome:
    """What a round came to.

    Attributes:
        delivered: replayed events that the handler got.
        seconds: the replay took.
        early_mb: memory of the process after a tenth of the events.
        most_mb: the most from then on.
    """

    delivered: int
    seconds: float
    early_mb: float
    most_mb: float

    @property
    def rate(self) -> float:
        """Events per second."""
        return self.delivered / self.seconds


class Quiet(Recorder):
    """Records what is rare."""

    def observe(self, event: object) -> None:
        if not isinstance(event, HandlerCallFinished | CursorSaved):
            super().observe(event)


async def replay(folder: Path, events: int) -> Outcome:
    """Fill a journal and replay all of it."""
    store = SqliteStore(folder / "replay.db")
    await store.open()
    tenure = await store.acquire("replay", 3_600_000)
    assert tenure is not None
    body = record(0, "run").data
    for number, start in enumerate(range(0, events, 5_000), 1):
        journal = [
            JournalRecord(f"e{n}", "run.advanced", f"run-{n % RUNS}", body)
            for n in range(start, min(start + 5_000, events))
        ]
        await store.commit(Commit(tenure.token, number, ORG, journal=journal))
    delivered = early = most = 0.0

    async def count(event, ctx):
        nonlocal delivered, early, most
        assert ctx.replayed
        delivered += 1
        if delivered % (events // 100) == 0:
            now = resident_bytes() / 1_048_576
            if delivered == events // 10:
                early = now
            most = max(most, now) if early else 0.0

    dispatcher = Dispatcher(
        store,
        tenure,
        [loaded(count, start="latest")],
        clock=SystemClock(),
        random=lambda: 0.0,
        observer=Quiet(),
    )
    running = asyncio.create_task(dispatcher.run())
    command = HandlerCommand("replay-1", "h", "replay", 1, 0, events)
    began = time.monotonic()
    await store.put_command(command)

    async def done() -> bool:
        return command not in (await store.pending_commands(["h"]))["h"].commands

    await until(done, 3_600)
    seconds = time.monotonic() - began
    await dispatcher.stop(1_000)
    await running
    await store.aclose()
    return Outcome(int(delivered), seconds, early, most)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true", help="only what it came to, for programs")
    options = parser.parse_args()
    events = options.events
    with tempfile.TemporaryDirectory() as folder:
        outcome = asyncio.run(replay(Path(folder), events))
    if options.json:
        print(json.dumps(asdict(outcome) | {"rate": outcome.rate}))
        return 0
    print(
        f"{outcome.delivered} events in {outcome.seconds:.1f} s: {outcome.rate:.0f} a second; "
        f"memory {outcome.early_mb:.1f} MB after a tenth, {outcome.most_mb:.1f} MB at most"
    )
    return 0 if outcome.delivered == events and outcome.most_mb < outcome.early_mb + 20 else 1


if __name__ == "__main__":
    sys.exit(main())
