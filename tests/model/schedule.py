"""One schedule: a seed is a world, a list of misfortunes, and a verdict."""

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from consumer.errors import CommitRefused
from consumer.ports.commit import Commit
from tests.model.faults import FAULTS, Crash, FaultyStore
from tests.model.model import Model
from tests.model.rig import Clock, Replica
from tests.model.verdict import FAR_MS, judge
from tests.model.world import make_world
from tests.support.builders.changes import ORG

HAPPENINGS = {
    "answer": 45,
    "burst": 6,
    "fault": 14,
    "session": 9,
    "replay": 4,
    "starve": 5,
    "crash": 5,
    "stop": 4,
    "lease": 4,
    "ghost": 5,
    "rollback": 7,
}
"""What can happen, and how often."""


async def run_schedule(seed: int, stores: Any, trace: Callable[[str], None] | None = None) -> Counter[str]:
    """Play a seed on a fresh store of ``stores``; how often what happened.

    Args:
        seed: of everything random in it.
        stores: makes stores, brings them back in time and throws them away.
        tell: is given the story as it happens; without it, a violation carries it as a note.

    Raises:
        AssertionError: a guarantee was violated.
    """
    story: list[str] = []
    play = Play(seed, stores, await stores.fresh(), trace or story.append)
    try:
        return await play.run()
    except Exception as error:
        error.add_note("\n".join(story))
        raise
    finally:
        await play.close()


class Play:
    """A schedule while it is played."""

    def __init__(self, seed: int, stores: Any, real: Any, trace: Callable[[str], None]) -> None:
        self.dice = random.Random(seed)
        self.world = make_world(self.dice)
        self.stores, self.real = stores, real
        self.clock = Clock()
        self.store = FaultyStore(real, Model(self.world), self.dice)
        self.figures: Counter[str] = Counter()
        self._trace = trace
        self._replica: Replica | None = None
        self._ghosts: list[Replica] = []
        self._snapshot: tuple[Any, Model] | None = None
        self._happen: dict[str, Callable[[], Awaitable[None]]] = {
            name: getattr(self, f"_{name}") for name in HAPPENINGS
        }

    def trace(self, what: str) -> None:
        self._trace(f"{self.clock.now:>7} {what}")

    @property
    def replica(self) -> Replica:
        assert self._replica is not None
        return self._replica

    async def run(self) -> Counter[str]:
        for channel, bus in self.world.bus.items():
            self.trace(f"{channel}: {self.world.shown(bus)}")
        await self._begin("one")
        names, weights = list(HAPPENINGS), list(HAPPENINGS.values())
        for _ in range(self.dice.randrange(5, 30)):
            self.clock.now += self.dice.choice((0, 50, 200, 400, 1_100, 5_100))
            (name,) = self.dice.choices(names, weights)
            await self._survive(self._happen[name])
        self.store.next_fault = None
        await self._end_ghosts()
        while await self._survive(self._drain):
            self.trace("again")
        await self._survive(self._begin_anew)  # whoever comes next finds everything done
        await self._drain()
        self.figures += await judge(self.real, self.world, self.store.model)
        self.figures["commits"] = self.store.commits
        self.figures["refused"] = self.store.refused
        return self.figures

    async def close(self) -> None:
        for replica in (*self._ghosts, self._replica):
            if replica is not None:
                await replica.kill()
        await self.stores.drop(self.real)

    async def _survive(self, what: Callable[[], Awaitable[None]]) -> bool:
        """Do it; True when it ended the tenure, and another one has begun."""
        try:
            await what()
        except Crash:
            self.trace("dies")
        except CommitRefused:
            self.trace("is refused")
        else:
            return False
        await self._begin_anew()
        return True

    # ------------------------------------------------------------ tenures

    async def _begin_anew(self) -> None:
        """The process is gone; its lease runs out; a commit of it may still be under way."""
        await self.replica.kill()
        self.store.next_fault = None
        if self.dice.random() < 0.5:
            await self.store.execute_late()
        await self.stores.expire(self.real)
        await self._begin("one")

    async def _begin(self, name: str) -> None:
        replica = Replica(self.store, self.world, self.clock, self.dice, self.trace)
        await replica.begin(name)
        self._replica = replica
        await self.store.execute_late()
        await replica.open()

    async def _end_ghosts(self) -> None:
        for ghost in self._ghosts:
            await ghost.kill()
        self._ghosts.clear()

    async def _drain(self) -> None:
        """No more faults: everything is delivered, and time passes.

        Raises:
            CommitRefused: it had lost the lease before.
        """
        replica = self.replica
        replica.starved.clear()
        if not await replica.still_writes():
            raise CommitRefused(replica.ingest.commits.number, None)
        while replica.has_more:
            self.clock.now += 100
            await replica.answer(8)
        for passing_ms in (1_100, 1_100, 6_000, 3_600_000):
            self.clock.now += passing_ms
            await replica.answer(0)
        for _ in range(100):
            if not await self.real.timers(FAR_MS, 1):
                break
            self.clock.now += 1_000
            await replica.answer(0)

    # ------------------------------------------------------------ what happens

    async def _answer(self) -> None:
        await self.replica.answer(self.dice.choice((0, 1, 2, 4, 8)))

    async def _burst(self) -> None:
        self.figures["burst"] += 1
        await self.replica.answer(*(self.dice.choice((0, 1, 3)) for _ in range(self.dice.randrange(2, 5))))

    async def _fault(self) -> None:
        fault = self.dice.choice(FAULTS)
        self.figures[fault] += 1
        self.trace(f"next: {fault}")
        self.store.next_fault = fault

    async def _session(self) -> None:
        self.figures["session"] += 1
        await self.replica.lose()
        self.clock.now += self.dice.choice((0, 300, 6_000))
        await self.replica.open()

    async def _replay(self) -> None:
        self.figures["replay"] += 1
        await self.replica.lose()
        await self.replica.open(replay=True)

    async def _starve(self) -> None:
        """A channel delivers nothing, for a while; or every one does again."""
        replica = self.replica
        if replica.starved:
            replica.starved.clear()
        else:
            self.figures["starve"] += 1
            replica.starved.add(self.dice.choice(self.world.channels))
        self.trace(f"starved: {sorted(replica.starved)}")

    async def _crash(self) -> None:
        self.figures["crash"] += 1
        raise Crash

    async def _stop(self) -> None:
        self.figures["stop"] += 1
        await self.replica.stop()
        if self.store.model.token == self.replica.tenure.token:
            assert (await self.real.lease()).holder is None, "the lease was not left"
        else:
            await self.stores.expire(self.real)  # of whoever has it, since the store went back in time
        await self._begin(self.dice.choice(("one", "two")))

    async def _lease(self) -> None:
        """The lease runs out, or somebody moves the channels; another replica takes over while the old one still believes."""
        self.figures["lease"] += 1
        if self.dice.random() < 0.5:
            await self.stores.expire(self.real)
        else:
            await self.real.move({})
            self.store.model.over()
        old = self.replica
        self._ghosts.append(old)
        await self._begin(self.dice.choice(("one", "two")))
        assert not await old.still_writes()
        if self.dice.random() < 0.5:
            await self._forge(old)

    async def _forge(self, old: Replica) -> None:
        """What a commit of the old one would be at any number: nothing of it may be written."""
        before = await self.real.bounds(), await self.real.channels()
        for number in {old.ingest.commits.number + 1, self.store.model.number, self.store.model.number + 1}:
            commit = Commit(old.tenure.token, number, ORG, states={"0qB000000000000AAA": b"stale"})
            try:
                await self.store.send(commit)
            except CommitRefused:
                continue
        assert (await self.real.bounds(), await self.real.channels()) == before

    async def _ghost(self) -> None:
        """A replica that has lost the lease and does not know goes on."""
        if self._ghosts:
            self.figures["ghost"] += 1
            ghost = self.dice.choice(self._ghosts)
            try:
                await ghost.answer(self.dice.choice((1, 4, 8)))
            except (CommitRefused, Crash):
                self._ghosts.remove(ghost)
                await ghost.kill()

    async def _rollback(self) -> None:
        """The store is copied; the next time, it goes back to that."""
        if self._snapshot is None:
            self.trace("the store is copied")
            self._snapshot = await self.stores.save(self.real), self.store.model.snapshot()
            return
        self.figures["rollback"] += 1
        self.trace("the store goes back in time")
        dump, model = self._snapshot
        self._snapshot = None
        await self.stores.restore(self.real, dump)
        self.store.model, self.store.given_up = model, None
        if self.dice.random() < 0.5 and not await self.replica.still_writes():
            raise CommitRefused(self.replica.ingest.commits.number, None)
        # Otherwise it does not know yet: its next commit is refused, or nothing that it knows was taken back.
