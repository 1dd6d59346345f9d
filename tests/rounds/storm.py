"""A storm of connection faults on the real service with a real Redis, while events flow.

    python -m tests.rounds.storm --minutes 30
    python -m tests.rounds.storm --minutes 5 --seed 7

Every 0.3 to 1 s something breaks: the wire is reset, cut or frozen for a moment, nobody listens, Salesforce forgets the client, disconnects
it, refuses a handshake or a subscription, answers with some proxy's HTML or with half of its JSON, takes the token back, or signs nobody in.
Nobody helps. In the end the journal is what an oracle computes from the org's ledger: nothing missing, nothing twice, the order kept. What
the process occupies is measured all along; its slope after ten minutes must stay below 1 MB an hour (checked from 20 minutes on,
because over less a regression says nothing).
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from consumer.sandbox import CometdOptions, FaultOptions, SandboxOptions
from tests.support.processes.connection import Link, connected
from tests.support.processes.memory import Memory
from tests.support.servers.redis_server import RedisServer

QUICK = {
    "first_ms": 100,
    "max_ms": 600,
    "min_interval_ms": 100,
    "healthy_ms": 2_000,
    "locked_first_ms": 300,
    "locked_max_ms": 600,
}
"""With the waits of the command it would spend the storm waiting, which is wise and tests little."""
WEATHER = FaultOptions(reorder=0.05, swap=0.03, republish=0.03, duplicate=0.05, reorder_ms=(50, 200))
PROXY_PAGES = (401, 403, 413, 429, 500, 502, 503, 504, 200)


@dataclass
class Storm:
    """What it was like.

    Attributes:
        seconds: how long.
        faults: how many of each kind were injected.
        ends: why sessions ended, and how often.
        sessions: that had every channel acknowledged.
        events: lifecycle events in the journal.
        excused: of those, expected ones that something late made others of.
        unready: how often the service said that it is not ready.
        memory: of the process, by second.
        recovered_s: from the last fault until it was ready.
    """

    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    sessions: int = 0
    events: int = 0
    excused: int = 0
    unready: int = 0
    memory: Memory = field(default_factory=Memory)
    recovered_s: float = 0.0

    def __str__(self) -> str:
        return "\n".join(
            (
                (
                    f"{self.seconds:.0f} s, {self.faults.total()} faults, {self.ends.total()} sessions ended, {self.sessions} opened, "
                    f"{self.events} events ({self.excused} told otherwise because late), {self.unready} times not ready, ready {self.recovered_s:.1f} s after the last fault"
                ),
                str(self.memory),
                f"faults: {dict(self.faults.most_common())}",
                f"ends: {dict(self.ends.most_common())}",
            )
        )


async def rage(link: Link, seconds: float, seed: int) -> Storm:
    """Break something every 0.3 to 1 s for so long, then see whether everything is there."""
    dice, storm = random.Random(seed), Storm()
    link.live(0.05)
    measuring = asyncio.create_task(_measure(link, storm))
    began = time.monotonic()
    faults = {"wire": 5, "weather": 8, "http": 3, "token": 2}
    try:
        while time.monotonic() - began < seconds:
            await asyncio.sleep(dice.uniform(0.3, 1.0))
            # One order at a time: those that nobody met would all strike later, one after the other.
            link.sandbox.faults.configure(WEATHER)
            for queue in link.sandbox.faults._injected.values():
                queue.clear()
            (kind,) = dice.choices(list(faults), list(faults.values()))
            storm.faults[
                await {"wire": _wire, "weather": _org_faults, "http": _http, "token": _token}[kind](
                    link, dice
                )
            ] += 1
            assert link.service.process is not None
            assert link.service.process.returncode is None, link.service.errors()[-3000:]
    finally:
        measuring.cancel()
        await asyncio.wait({measuring})
    link.sandbox.faults.clear()
    clear = time.monotonic()
    await link.healthy(2)
    storm.recovered_s = link.readiness.changes[-1][0] - clear
    storm.seconds = clear - began
    storm.ends = Counter(link.ends())
    storm.sessions = len(link.logged("session_opened"))
    storm.unready = sum(not ready for _, ready, _ in link.readiness.changes)
    storm.events, storm.excused = await link.settle(late_per_mille=1), link.excused
    assert not link.logged("tenure_ended"), "nothing was wrong with the store"
    return storm


async def _measure(link: Link, storm: Storm) -> None:
    assert link.service.process is not None
    began = time.monotonic()
    while True:
        storm.memory.sample(time.monotonic() - began, link.service.process.pid)
        await asyncio.sleep(1)


async def _wire(link: Link, dice: random.Random) -> str:
    kind = dice.choice(("reset", "cut an answer", "cut a request", "frozen for a moment", "nobody listens"))
    match kind:
        case "reset":
            link.proxy.reset()
        case "cut an answer":
            link.proxy.cut(answers_after=dice.randint(1, 3_000))
        case "cut a request":
            link.proxy.cut(requests_after=dice.randint(1, 400))
        case "frozen for a moment":
            link.proxy.freeze()
            await asyncio.sleep(dice.uniform(0.1, 0.8))
            link.proxy.thaw()
        case _:
            await link.unplug()
            await asyncio.sleep(dice.uniform(0.1, 0.8))
            await link.plug_in()
    return kind


async def _org_faults(link: Link, dice: random.Random) -> str:
    kind = dice.choice(
        (
            "drop_session",
            "server_disconnect",
            "cut",
            "malformed",
            "close_socket",
            "delay",
            "refuse_subscribe",
            "refuse_handshake",
        )
    )
    link.sandbox.faults.inject(kind, times=dice.choice((1, 1, 2)))
    if kind in ("refuse_subscribe", "refuse_handshake"):
        link.proxy.reset()
    return kind


async def _http(link: Link, dice: random.Random) -> str:
    status = dice.choice(PROXY_PAGES)
    link.sandbox.faults.inject("http_status", status=status)
    return f"HTTP {status}"


async def _token(link: Link, dice: random.Random) -> str:
    if dice.random() < 0.5:
        link.sandbox.faults.inject("revoke")
        return "token revoked"
    link.sandbox.faults.inject("http_status", status=dice.choice((429, 500, 503)), scope="oauth")
    link.sandbox.faults.inject("revoke")
    return "token revoked, sign-in fails"


async def storm_of(folder: Path, seconds: float, seed: int) -> Storm:
    """A storm on a Redis, an org and a service of its own."""
    redis = RedisServer(folder / "redis")
    await asyncio.to_thread(redis.start)
    try:
        options = SandboxOptions(seed=seed, faults=WEATHER, cometd=CometdOptions(poll_timeout_ms=1_000))
        async with connected(folder, backoff=QUICK, options=options, redis=redis.url) as link:
            return await rage(link, seconds, seed)
    finally:
        await asyncio.to_thread(redis.stop)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30, help="how long; default 30")
    parser.add_argument(
        "--seed", type=int, default=1, help="of the org and of every random choice; default 1"
    )
    parser.add_argument(
        "--folder", type=Path, help="keep data and logs here; default: a temporary one, removed"
    )
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="storm-") as temporary:
        folder = wanted.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        storm = asyncio.run(storm_of(folder, wanted.minutes * 60, wanted.seed))
    print(storm, flush=True)
    assert not storm.memory.grows, f"memory grows by {storm.memory.slope_mb_h():.2f} MB/h"
    return 0


if __name__ == "__main__":
    sys.exit(main())
