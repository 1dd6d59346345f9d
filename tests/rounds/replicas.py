"""Three replicas on one store, killed, frozen and stopped at random while a simulated org goes on.

    python -m tests.rounds.replicas --minutes 10
    python -m tests.rounds.replicas --minutes 2 --store sqlite --seed 7

One after the other, each by a roll of seeded dice: kill -9 and a start some seconds later; SIGSTOP for less than the lease, or for more,
and SIGCONT; SIGTERM and a new start; a rolling restart of all; and now and then a second replica is hit while the third takes over. What was
hit before comes back meanwhile. At least one standby in good order is left, because somebody has to take over. On a SQLite file nobody is
left frozen inside a transaction: the file stays locked until such a process goes on.

Measured is every take-over, from the signal until another replica says that it is ready, having won the lease. Promised are two seconds
more than the lease, on a machine that runs: seconds in which not even a look at the lease got through are told and taken off. In the end:

* the journal is what an oracle computes from the org's ledger, and a handler has seen it in the order of each run (``seen.py``);
* no two replicas were ready at the same time: a holder that goes on after its lease has run out knows it by its own clock, before it
  answers anybody;
* no token of an ended tenure has ever come back in the store, and no tenure's number has gone down: what a woken holder would still commit is
  refused. It hears that with its next commit or renewal and becomes a standby; until then its handlers may get events
  that the new holder hands out too, which is what "at least once" allows.
"""

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from consumer.sandbox import Sandbox, SandboxOptions
from consumer.stores.redis.redis_store import RedisStore
from consumer.stores.sqlite.sqlite_store import SqliteStore
from tests.oracle import compare, expected
from tests.rounds.chaos_scenarios import FAULTS, LATENESS
from tests.rounds.replica_faults import LEASE_S, RENEW_S, Round
from tests.support.processes.fleet import Replica, overlaps
from tests.support.processes.lease_watch import (
    LeaseWatch,
    is_locked,
    lease_in_redis,
    lease_in_sqlite,
)
from tests.support.processes.seen import repeats, sights
from tests.support.processes.service_process import ServiceProcess, settings_for
from tests.support.servers.redis_server import RedisServer

STEP_S = 0.05


@asynccontextmanager
async def _stored(kind: str, folder: Path) -> AsyncIterator[tuple[str, RedisStore | SqliteStore, LeaseWatch]]:
    """URL of the store, what reads its journal, and what looks at its lease."""
    if kind == "sqlite":
        path = folder / "cadence.db"
        yield (
            f"sqlite:///{path}",
            SqliteStore(path, read_only=True),
            LeaseWatch(lambda: lease_in_sqlite(path)),
        )
        return
    redis = RedisServer(folder / "redis")
    await asyncio.to_thread(redis.start)
    url = redis.url
    try:
        yield url, RedisStore(url, shown_url=url, read_only=True), LeaseWatch(lambda: lease_in_redis(url))
    finally:
        await asyncio.to_thread(redis.stop)


def _replica(name: str, sandbox: Sandbox, url: str, folder: Path) -> Replica:
    own = folder / name
    own.mkdir()
    environment = settings_for(
        sandbox,
        own,
        CADENCE_STORE__URL=url,
        CADENCE_ORDERING__LATENESS=LATENESS,
        CADENCE_HANDLERS__SEEN__USE="tests.support.processes.seen:Seen",
        CADENCE_HANDLERS__SEEN__START="earliest",
        CADENCE_HANDLERS__SEEN__SETTINGS__PATH=str(folder / "seen"),
        CADENCE_LEASE__TTL=f"{LEASE_S:g}s",
        CADENCE_LEASE__RENEW=f"{RENEW_S:g}s",
    )
    return Replica(name, lambda: ServiceProcess(environment, own))


async def play(folder: Path, seconds: float, seed: int, kind: str = "redis") -> Round:
    """A round on an org and a store of its own."""
    options = SandboxOptions(seed=seed, faults=FAULTS)
    async with _stored(kind, folder) as (url, store, lease), Sandbox(options) as sandbox:
        replicas = [_replica(name, sandbox, url, folder) for name in ("one", "two", "three")]
        file = folder / "cadence.db"
        round_ = Round(replicas, lease, seed, lambda: kind == "sqlite" and is_locked(file))
        living = asyncio.create_task(_live(sandbox))
        try:
            await round_.rage(seconds)
            living.cancel()
            await asyncio.wait({living})
            await store.open()
            await _judge(round_, sandbox, store, folder / "seen")
        finally:
            living.cancel()
            await store.aclose()
            await asyncio.gather(*(replica.close() for replica in replicas))
    return round_


async def _live(sandbox: Sandbox) -> None:
    while True:
        sandbox.world.advance(1)
        await asyncio.sleep(STEP_S)


async def _judge(round_: Round, sandbox: Sandbox, store: RedisStore | SqliteStore, seen: Path) -> None:
    """The org rests: wait until everything has arrived, stop all in order, and judge."""
    sandbox.settle()
    expectation = expected(sandbox.ledger.messages(), sandbox.org.organization_id)
    deadline = time.monotonic() + 60
    while True:
        journal = [json.loads(entry.data) for entry in await store.read(0, 10_000_000)]
        verdict = compare(expectation, journal)
        unseen = {event["id"] for event in journal} - {sight.id for sight in sights(seen)}
        if not verdict.missing and not unseen:
            break
        assert time.monotonic() < deadline, f"{verdict}\nnot seen: {len(unseen)}\n{round_.tails()}"
        await asyncio.sleep(0.3)
    for replica in round_.replicas:
        replica.hit(signal.SIGTERM)
    for replica in round_.replicas:
        assert await replica.service.ended() == 0, replica.service.errors()[-3000:]
    journal = [json.loads(entry.data) for entry in await store.read(0, 10_000_000)]
    verdict = compare(expectation, journal)
    assert verdict.ok, f"{verdict}\n{round_.tails()}"
    figures = round_.figures
    figures.events, figures.late, figures.repeats = (
        len(journal),
        len(verdict.late),
        repeats(journal, sights(seen)),
    )
    assert not (both := overlaps(round_.replicas)), f"two were ready at the same time: {both[:5]}"
    assert not (usurped := round_.lease.usurped()), usurped[:5]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10, help="how long; default 10")
    parser.add_argument("--store", choices=["redis", "sqlite"], default="redis", help="default redis")
    parser.add_argument(
        "--seed", type=int, default=1, help="of the org and of every random choice; default 1"
    )
    parser.add_argument(
        "--folder", type=Path, help="keep data and logs here; default: a temporary one, removed"
    )
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="replicas-") as temporary:
        folder = wanted.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        print(asyncio.run(play(folder, wanted.minutes * 60, wanted.seed, wanted.store)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
