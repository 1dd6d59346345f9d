"""A replica: the real ingest with its own loop, fed through the real buffer, told the time by the schedule."""

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from consumer.domain.lifecycle import OrgInfo as Where
from consumer.errors import CommitRefused
from consumer.ingest.buffer import IntakeBuffer
from consumer.ingest.options import IngestOptions
from consumer.ingest.tenure import begin_ingest
from consumer.ports.source import (
    Answer,
    Inbound,
    SessionEnded,
    SessionOpened,
)
from tests.model.arrivals import Arrivals
from tests.model.faults import FaultyStore
from tests.model.model import short
from tests.model.world import World, is_bad, is_of_new_instance
from tests.support.builders.changes import COMMIT_MS, ORG
from tests.support.rigs.observing import Ignore

THE_ORG = Where(ORG, "https://acme.my.salesforce.com")
SERVER_AHEAD_MS = 20_000
"""Salesforce's clock is past everything that is on the bus."""


class OrgInfo:
    """REST, as far as ingest asks it: what never changes in a record's life."""

    def __init__(self, world: World) -> None:
        self._created: dict[str, dict[str, Any]] = {}
        for one in world.ledger():
            payload = one["data"].get("payload", {})
            header = payload.get("ChangeEventHeader", {})
            if header.get("changeType") == "CREATE":
                self._created.update(dict.fromkeys(header["recordIds"], payload))

    async def rows(self, entity: str, ids: Sequence[str], fields: Sequence[str]) -> dict[str, dict[str, Any]]:
        return {
            one: {name: self._created[one].get(name) for name in fields}
            for one in ids
            if one in self._created
        }


class Clock:
    """Time as the schedule says."""

    def __init__(self) -> None:
        self.now = 1_000

    def monotonic_ms(self) -> int:
        return self.now

    def wall_ms(self) -> int:
        return COMMIT_MS + self.now


class Instance:
    """The org's instance: another one as soon as a change of there has been delivered."""

    def __init__(self) -> None:
        self.name = "NA1"

    async def refresh(self) -> None: ...


class ScheduledBuffer(IntakeBuffer):
    """Waits for the schedule alone: time passes when it says so, and every passing is an answer or a notice."""

    async def get(self, timeout_ms: int | None = None) -> Inbound | None:
        return await super().get(0 if timeout_ms == 0 else None)


class Replica:
    """One tenure.

    Args:
        store: which may fail.
        world: whose bus is delivered.
        clock: of everybody.
        dice: of the schedule.
        tell: writes the story down.
    """

    def __init__(
        self,
        store: FaultyStore,
        world: World,
        clock: Clock,
        dice: random.Random,
        trace: Callable[[str], None],
    ) -> None:
        self.store, self.world, self.clock, self.dice, self._trace = store, world, clock, dice, trace
        self.session = 0
        self.cursor: dict[str, int] = {}
        self.opened_at: dict[str, int] = {}
        self.starved: set[str] = set()
        self.instance = Instance()
        self.took_old = False
        self._loop: asyncio.Task[None] | None = None

    async def begin(self, name: str) -> None:
        """Win the lease, build everything from the store, run."""
        dice = self.dice
        tenure = await self.store.acquire(name, 3_600_000)
        assert tenure is not None, "a free lease was not won"
        self.name, self.tenure = name, tenure
        options = IngestOptions(
            self.world.channels,
            start=self.world.start,
            max_events=dice.choice((1, 2, 5, 500)),
            window=dice.choice((3, 1_000)),
            strict=dice.random() < 0.8,
        )
        self.arrivals = Arrivals(self.store.model, options)
        self.store.arrivals[tenure.token] = (self.arrivals, self.clock)
        self.buffer = ScheduledBuffer(10_000, 1 << 24)
        cache_weight = dice.choice((1, 1_000_000))
        self._trace(f"{name} wins: {options.max_events=} {options.window=} {options.strict=} {cache_weight=}")
        self.ingest = await begin_ingest(
            self.store,
            tenure,
            self.buffer,
            lambda: THE_ORG,
            self.instance,
            options,
            self.clock,
            Ignore(),
            lookup_source=OrgInfo(self.world),
            record_source=None,
        )
        self.ingest.loop._states._cache._max_weight = cache_weight
        self._loop = asyncio.create_task(self.ingest.loop.run())

    # ------------------------------------------------------------ what it is given

    async def open(self, *, replay: bool = False) -> None:
        """A new session, where ingest wants to resume (or from the very beginning)."""
        self.session += 1
        resume = dict(await self.ingest.plan.resume())
        for channel, option in resume.items():
            assert option != "-1" or channel not in self.store.model.born, (
                f"{channel} has a birth and resumes from now"
            )
        if replay:
            resume = {channel: option if option == "-1" else "-2" for channel, option in resume.items()}
        for channel, option in resume.items():
            places = [
                index for index, (position, _) in enumerate(self.world.bus[channel]) if position == option
            ]
            assert option in {"-1", "-2"} or places, (
                f"{channel} resumes from {option}, which was never delivered"
            )
            # A channel that begins now begins before its first event: what was there before it is not in the world.
            self.cursor[channel] = places[-1] + 1 if places else 0
        self.opened_at = dict(self.cursor)
        self._trace(f"{self.name} opens session {self.session} at {resume}")
        self.arrivals.session(self.clock.now)
        await self._give(SessionOpened(self.session, resume, COMMIT_MS, self.clock.now))

    async def answer(self, *sizes: int) -> None:
        """Poll answers of so many messages at most, in one go: the loop finds them all in its buffer."""
        answers = [self._answer(most) for most in sizes]
        await self._give(*answers)
        old = (
            not is_bad(one) and not is_of_new_instance(one) for answer in answers for one in answer.messages
        )
        self.took_old |= any(old)

    def _answer(self, most: int) -> Answer:
        """A random interleaving of what the channels have, each in its order."""
        # A group that shares a position may be split over answers, but the next answer goes on with it (a later answer without a
        # position completes it).
        messages = [self._next(channel) for channel in self.world.channels if self._is_split(channel)]
        for _ in range(most):
            left = [one for one in self.world.channels if self._has_next(one) and one not in self.starved]
            if not left:
                break
            messages.append(self._next(self.dice.choice(left)))
        if self.world.moves and any(is_of_new_instance(one) for one in messages):
            self.instance.name = "NA2"
        body = orjson.dumps(messages)
        self.arrivals.answer(messages, self.clock.now)
        self._trace(f"{self.name} is answered {[short(one) for one in messages]}")
        server_ms = COMMIT_MS + SERVER_AHEAD_MS + self.clock.now
        return Answer(self.session, json.loads(body), body, server_ms, self.clock.now)

    @property
    def has_more(self) -> bool:
        """Whether the bus holds what this session has not been given."""
        return any(self.cursor[one] < len(self.world.bus[one]) for one in self.world.channels)

    def _is_split(self, channel: str) -> bool:
        bus, cursor = self.world.bus[channel], self.cursor[channel]
        return (
            0 < cursor < len(bus)
            and bus[cursor][0] == bus[cursor - 1][0]
            and cursor > self.opened_at[channel]
        )

    def _has_next(self, channel: str) -> bool:
        """Whether the channel may deliver now.

        That an org has moved can only be noticed by somebody who has seen a number of before and knows the name of before: a store that
        never has, and is given the new numbers first, cannot know. Everything else is in the model.
        """
        bus, cursor = self.world.bus[channel], self.cursor[channel]
        if cursor >= len(bus):
            return False
        if not self.world.moves or not is_of_new_instance(bus[cursor][1]):
            return True
        model = self.store.model
        return self.took_old or (model.knows_numbers and model.knows_name)

    def _next(self, channel: str) -> dict[str, Any]:
        self.cursor[channel] += 1
        return self.world.bus[channel][self.cursor[channel] - 1][1]

    async def lose(self) -> None:
        """The session ends."""
        self._trace(f"{self.name} loses its session")
        self.arrivals.session(None)
        await self._give(SessionEnded(self.session, "unknown_client", self.clock.now))

    async def _give(self, *items: Inbound) -> None:
        """Put items into the buffer and wait until the loop is through with them.

        Raises:
            Crash: a fault killed it.
            CommitRefused: the tenure is over.
        """
        assert self._loop is not None
        for item in items:
            await self.buffer.put(item)
        wait_drained = asyncio.create_task(self.buffer.wait_drained())
        await asyncio.wait({self._loop, wait_drained}, return_when=asyncio.FIRST_COMPLETED)
        if self._loop.done():
            wait_drained.cancel()
            await asyncio.wait({wait_drained})
            self._loop.result()
            raise AssertionError("the loop ended by itself")
        self.arrivals.step_ended(self.store.model.seen)

    # ------------------------------------------------------------ its end

    async def stop(self) -> None:
        """An orderly stop: what was released is committed, what is held stays unfinished, the lease is left.

        Raises:
            Crash: a fault killed it.
            CommitRefused: the tenure is over.
        """
        assert self._loop is not None
        self._trace(f"{self.name} stops")
        self.ingest.loop.stop()
        await self._loop
        await self.ingest.loop.commit_remaining()
        await self.store.real.release(self.tenure)

    async def kill(self) -> None:
        """Nothing of it goes on."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.wait({self._loop})
            if not self._loop.cancelled():
                self._loop.exception()  # known: whoever was waiting has been told

    async def still_writes(self) -> bool:
        """Whether this replica's renewal is taken; the model has compared it with what must be."""
        try:
            await self.store.renew(self.tenure, self.ingest.commits.number, 3_600_000)
        except CommitRefused:
            return False
        return True
