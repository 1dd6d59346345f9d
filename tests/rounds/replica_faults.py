"""What is done to three replicas, one after the other and at random, and how long each take-over takes; see ``tests/rounds/replicas.py``."""

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from tests.rounds.chaos_scenarios import Figures, logged
from tests.support.processes.fleet import Replica
from tests.support.processes.lease_watch import LeaseWatch

LEASE_S = 2.0
RENEW_S = 0.5
CEILING_S = LEASE_S + 2
"""Promised for a take-over."""
HANDED_OVER_S = LEASE_S
"""A lease that was left is not waited for."""
ENDED_S = 60
"""More than the grace of a stop and all of its time-outs."""
REFUSED_S = RENEW_S + 1.5
"""A holder that goes on learns by its next renewal, if by no commit before, that it is none."""


class Round:
    """Three replicas under way.

    Args:
        replicas: not started.
        lease: of their store.
        seed: of every random choice.
        is_locked: whether a process that was just frozen keeps the whole store from the others.

    Attributes:
        replicas: all three.
        lease: looked at from outside.
        figures: what was measured.
        hits: how often what was done.
    """

    def __init__(
        self, replicas: list[Replica], lease: LeaseWatch, seed: int, is_locked: Callable[[], bool]
    ) -> None:
        self.replicas = replicas
        self.lease = lease
        self.figures = Figures()
        self.hits: Counter[str] = Counter()
        self._is_locked = is_locked
        self._dice = random.Random(seed)
        self._later = asyncio.TaskGroup()

    def __str__(self) -> str:
        done = ", ".join(f"{times} {what.replace('_', ' ')}" for what, times in self.hits.most_common())
        answers = sum(len(replica.answers) for replica in self.replicas)
        return (
            f"{self.figures}\n  {self.lease.tenures()} tenures, {answers} answers of /readyz, {len(self.lease.looks)} looks at the lease"
            f"\n  done: {done}"
        )

    # ------------------------------------------------------------ what is seen

    def _holder(self) -> Replica | None:
        return next((each for each in self.replicas if each.is_ready), None)

    def _standbys(self) -> list[Replica]:
        return [each for each in self.replicas if each.is_standby]

    async def _until(self, condition: Callable[[], Any], what: str, within_s: float = 30) -> Any:
        began = time.monotonic()
        while not (found := condition()):
            self.lease.check()
            now = time.monotonic()
            waited_s = now - began - self.lease.stalled(began, now)
            assert waited_s < within_s, f"not within {within_s:g} s: {what}\n{self.tails()}"
            # Where not one look gets through, all of the time is taken off.
            assert now - began < within_s + 60, (
                f"{what}: {len(self.lease.looks)} looks at the lease\n{self.tails()}"
            )
            await asyncio.sleep(0.02)
        return found

    def tails(self) -> str:
        return "\n".join(
            f"{each.name} ({each.pid}):\n{each.service.errors()[-2500:]}" for each in self.replicas
        )

    async def _calm(self, standbys: int = 1) -> Replica:
        """Wait until one leads and has committed something, and enough others wait in good order."""

        def is_so() -> Replica | None:
            holder = self._holder()
            fine = holder is not None and self._leads(holder) and self.lease.now.number > 0
            return holder if fine and len(self._standbys()) >= standbys else None

        found: Replica = await self._until(is_so, f"one leads, {standbys} wait")
        return found

    def _leads(self, replica: Replica) -> bool:
        return self.lease.now.holder.endswith(f"/{replica.pid}")

    # ------------------------------------------------------------ what is done

    async def rage(self, seconds: float) -> None:
        """Do one thing after the other for so long, each kind of it once at the beginning."""
        kinds = {
            self._kill: 4,
            self._freeze_long: 3,
            self._freeze_about_a_lease: 2,
            self._freeze_short: 2,
            self._terminate: 2,
            self._roll: 1,
        }
        async with self.lease, self._later:
            await asyncio.gather(*(replica.start() for replica in self.replicas))
            await self._calm(2)
            first = self._dice.sample(list(kinds), len(kinds))
            began = time.monotonic()
            while first or time.monotonic() - began < seconds:
                holder = await self._calm()
                await asyncio.sleep(self._dice.uniform(0, 0.7))
                if first:
                    kind, victim = first.pop(), holder
                else:
                    (kind,) = self._dice.choices(list(kinds), list(kinds.values()))
                    others = self._standbys()
                    victim = (
                        self._dice.choice(others)
                        if len(others) > 1 and self._dice.random() < 0.25
                        else holder
                    )
                self.hits[kind.__name__[1:] + ("" if victim is holder else " of a standby")] += 1
                await kind(victim)
            await self._calm(2)
            self.figures.rounds = self.hits.total()

    def _meanwhile(self, replica: Replica, work: Coroutine[Any, Any, None]) -> None:
        """What brings the replica back; until it is in good order nothing else is done to it."""

        async def back() -> None:
            await work
            replica.busy = False
            await self._until(
                lambda: replica.is_ready or replica.is_standby, f"{replica.name} is in good order again"
            )

        replica.busy = True
        self._later.create_task(back())

    async def _kill(self, victim: Replica) -> None:
        led, since = self._leads(victim), await self._strike(victim)
        if led:
            await self._taken_over("a killed holder", since)

    async def _strike(self, victim: Replica) -> float:
        """kill -9, and a new start some time later; when it was."""
        since = victim.hit(signal.SIGKILL)
        await victim.service.ended()
        pause_s = self._dice.uniform(0, 2 * LEASE_S)

        async def start_again() -> None:
            await asyncio.sleep(pause_s)
            await victim.start()

        self._meanwhile(victim, start_again())
        return since

    async def _freeze_long(self, victim: Replica) -> None:
        led, since = self._leads(victim), self._freeze(victim, CEILING_S + self._dice.uniform(0, LEASE_S))
        if led:
            await self._taken_over("a frozen holder", since)

    async def _freeze_about_a_lease(self, victim: Replica) -> None:
        self._freeze(victim, self._dice.uniform(LEASE_S - RENEW_S, LEASE_S + 1.5))

    async def _freeze_short(self, victim: Replica) -> None:
        tenure, led = self.lease.now.token, self._leads(victim)
        since = self._freeze(victim, self._dice.uniform(0, LEASE_S - 2 * RENEW_S))
        await self._until(lambda: not victim.busy and (victim.is_ready or victim.is_standby), "it goes on")
        if led and not self.lease.stalled(since, time.monotonic()):
            assert self.lease.now.token == tenure, "a pause shorter than the lease cost a tenure"

    def _freeze(self, victim: Replica, for_s: float) -> float:
        """SIGSTOP, and SIGCONT so much later; when it was."""
        ended = len(logged(victim.service, "tenure_ended"))

        async def wake() -> None:
            await asyncio.sleep(for_s)
            since = victim.hit(signal.SIGCONT)

            def is_told() -> bool:
                return len(logged(victim.service, "tenure_ended")) > ended

            if not led:
                return
            # It may have been in time.
            await self._until(
                lambda: is_told() or self._leads(victim), "a woken holder hears that it is none"
            )
            if is_told():
                self._note("a woken holder is refused", since, time.monotonic(), REFUSED_S)

        led = self._leads(victim)
        since = victim.hit(signal.SIGSTOP)
        while self._is_locked():
            # Inside a transaction it would hold up everybody until it goes on, whoever has the lease.
            victim.hit(signal.SIGCONT)
            since = victim.hit(signal.SIGSTOP)
        self._meanwhile(victim, wake())
        return since

    async def _terminate(self, victim: Replica) -> None:
        led, since = self._leads(victim), victim.hit(signal.SIGTERM)

        async def start_again() -> None:
            try:
                async with asyncio.timeout(ENDED_S):
                    code = await victim.service.ended()
            except TimeoutError:
                raise AssertionError(
                    f"{victim.name} does not end {ENDED_S} s after SIGTERM\n{self.tails()}"
                ) from None
            assert code == 0, victim.service.errors()[-3000:]
            await victim.start()

        self._meanwhile(victim, start_again())
        if led:
            await self._taken_over("a holder that was told to stop", since, HANDED_OVER_S)

    async def _roll(self, victim: Replica) -> None:
        """All of them, one after the other, as a rolling update does: the next when the one before is in good order."""
        await self._calm(2)
        for replica in [victim, *(each for each in self.replicas if each is not victim)]:
            await self._terminate(replica)
            await self._calm(2)

    async def _taken_over(self, what: str, since: float, ceiling_s: float = CEILING_S) -> None:
        """Wait until another is ready; where two wait, one of them is sometimes killed over it."""

        def heir() -> tuple[float, Replica] | None:
            ready = [
                (at, each) for each in self.replicas if not each.busy and (at := each.ready_since(since))
            ]
            return min(ready, default=None, key=lambda one: one[0])

        waiting = self._standbys()
        if len(waiting) > 1 and self._dice.random() < 0.4:
            until = since + self._dice.uniform(0, LEASE_S + 1)
            await self._until(lambda: heir() or time.monotonic() > until, what)
            if not heir():
                other = self._dice.choice(waiting)
                at = await self._strike(other)
                self.hits["kill while it may be taking over"] += 1
                now = (
                    time.monotonic() + 0.1
                )  # what was on its way to the store when the signal struck still arrives
                await self._until(lambda: self.lease.looks[-1] > now, "the store shows the lease")
                if self._leads(other):
                    since, what, ceiling_s = at, "one killed while taking over", CEILING_S
        at, _ = await self._until(heir, f"another replica takes over from {what}")
        self._note(f"taken over from {what}", since, at, ceiling_s)

    def _note(self, what: str, since: float, until: float, ceiling_s: float) -> None:
        seconds, stalled = until - since, self.lease.stalled(since, until)
        self.figures.add(f"{what} (s)", seconds)
        if stalled:
            self.figures.add("  of such times, machine or store stalled for (s)", stalled)
        assert seconds - stalled < ceiling_s, (
            f"{what} after {seconds:.2f} s ({stalled:.2f} s stalled), promised are {ceiling_s:g} s\n{self.tails()}"
        )
