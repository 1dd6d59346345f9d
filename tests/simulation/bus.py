"""Salesforce, as far as a service sees it: events that are published as time passes, sessions that break, a clock of its own.

What is on the bus, and in which order, is a world of ``tests.model.world``: reordered, late, republished, merged, with holes, sometimes of
an org that moves to another instance on the way. Here it gets its time: an event is published some time after it was committed, never
before those that stand before it. A session delivers what is published after the position it resumes from; its answers take time, are lost,
hold something again that was delivered before, and the position that a session asks for may be refused although nothing is lost.
"""

import asyncio
import copy
import json
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Protocol

import orjson

from consumer.errors import EndReason, Remedy, SessionFault
from consumer.ports.source import Answer, SessionOpened
from tests.model.arrivals import Arrivals
from tests.model.rig import OrgInfo
from tests.model.world import World, is_bad, is_of_new_instance
from tests.support.builders.changes import COMMIT_MS

HELD_MS = 30_000
"""How long a poll is held without events."""


class SessionFaults(Protocol):
    """What happens to sessions, and who is told."""

    def happens(self, chance: float) -> bool:
        """Whether something does; never, once the weather is calm."""
        ...

    def trace(self, who: str, what: Callable[[], str]) -> None:
        """For the story."""
        ...

    def arrivals(self, who: str) -> Arrivals:
        """Of the tenure that a process has now: told what it is given and when."""
        ...


class Bus:
    """The org and its event bus.

    Args:
        world: what is published, and in which order.
        dice: draws when.
        now_ms: milliseconds since the beginning.
        trouble: what happens to sessions.
        backlog: whether everything is on the bus when the story begins.
    """

    def __init__(
        self,
        world: World,
        dice: random.Random,
        now_ms: Callable[[], int],
        faults: SessionFaults,
        *,
        backlog: bool,
    ) -> None:
        self.world, self.dice, self.now_ms, self.faults = world, dice, now_ms, faults
        self.ahead_ms = 20_000 if backlog else 0
        self.instance = "NA1"
        self.moved = not world.moves
        self.sessions: list[Session] = []
        self.published: dict[str, list[int]] = {}
        for channel in world.channels:
            at_ms, times = 0, []
            for _, one in world.bus[channel]:
                header = one["data"]["payload"].get("ChangeEventHeader")
                if header is not None:
                    after_ms = dice.choice((20, 50, 300, 900, 2_500))
                    at_ms = max(at_ms, header["commitTimestamp"] - COMMIT_MS + after_ms - self.ahead_ms)
                times.append(at_ms)
            self.published[channel] = times

    @property
    def server_ms(self) -> int:
        """Salesforce's time."""
        return COMMIT_MS + self.now_ms() + self.ahead_ms

    @property
    def last_ms(self) -> int:
        """When the last event is published."""
        return max(times[-1] for times in self.published.values() if times)

    def move(self) -> None:
        """The org moves: every session ends, and what is committed from now on has the new numbers."""
        self.moved, self.instance = True, "NA2"
        self.cut("the org moves")

    def cut(self, why: str) -> None:
        """Every session ends."""
        for session in self.sessions:
            session.end(why)
        self.sessions.clear()

    def next_ms(self, channel: str, index: int) -> int | None:
        """When the event at ``index`` is published; None when there is none, or not before the org has moved."""
        bus = self.world.bus[channel]
        if index >= len(bus) or (not self.moved and is_of_new_instance(bus[index][1])):
            return None
        return self.published[channel][index]


class Session:
    """One session; implements :class:`consumer.ports.source.Session`."""

    def __init__(
        self,
        bus: Bus,
        who: str,
        number: int,
        poll_timeout: Callable[[], int | None],
        now_ms: Callable[[], int],
    ) -> None:
        self._bus, self._who, self._number = bus, who, number
        self._poll_timeout, self._now_ms = poll_timeout, now_ms
        self._arrivals = bus.faults.arrivals(who)
        self._cursor: dict[str, int] = {}
        self._opened_at: dict[str, int] = {}
        self._ended: str | None = None
        self._waiting: asyncio.Future[None] | None = None

    def end(self, why: str) -> None:
        """The server, or the way to it, ends it."""
        self._ended = why
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def open(self, resume: Mapping[str, str]) -> SessionOpened:
        """Every channel where it wants to resume; or a fault."""
        bus, faults = self._bus, self._bus.faults
        await asyncio.sleep(bus.dice.choice((0, 0.01, 0.2)))
        if faults.happens(0.1):
            raise SessionFault(EndReason("unreachable", "no answer"))
        for channel, option in resume.items():
            places = [
                index for index, (position, _) in enumerate(bus.world.bus[channel]) if position == option
            ]
            if option in {"-1", "-2"}:
                # A channel that begins now begins before its first event: what was there before it is not in the world.
                self._cursor[channel] = 0
            elif faults.happens(0.05):
                raise self._refused(channel, option)
            else:
                assert places, f"{channel} resumes from {option}, which was never delivered"
                self._cursor[channel] = places[-1] + 1
        self._opened_at = dict(self._cursor)
        bus.sessions.append(self)
        faults.trace(self._who, lambda: f"session {self._number} opens at {dict(resume)}")
        self._arrivals.session(self._now_ms())
        return SessionOpened(self._number, dict(resume), bus.server_ms, self._now_ms())

    def _refused(self, channel: str, position: str) -> SessionFault:
        """As if it were not known any more, although nothing is lost."""
        self._bus.faults.trace(self._who, lambda: f"{channel}: position {position} is refused")
        return SessionFault(
            EndReason(
                "position_refused", "it is not known", Remedy.RECONCILE,
                channel=channel, position=position, server_ms=self._bus.server_ms,
            )
        )  # fmt: skip

    def answers(self) -> AsyncIterator[Answer]:
        """Itself: what asks it for the next answer polls."""
        return self

    def __aiter__(self) -> "Session":
        return self

    async def __anext__(self) -> Answer:
        """Poll."""
        bus, faults = self._bus, self._bus.faults
        asked_ms = self._poll_timeout()
        until_ms = bus.now_ms() + (HELD_MS if asked_ms is None else max(asked_ms, 1))
        while self._ended is None:
            times = [bus.next_ms(channel, index) for channel, index in self._cursor.items()]
            at_ms = min((one for one in times if one is not None), default=until_ms)
            left_ms = min(at_ms, until_ms) - bus.now_ms()
            if left_ms <= 0:
                break
            await self._wait(left_ms)
        if self._ended is None and faults.happens(0.04):
            self._ended = "cut"
        if self._ended is not None:
            raise SessionFault(EndReason("unknown_client", self._ended))
        # Salesforce says what time it was when it answered; the answer may take its time to arrive.
        messages, server_ms = self._messages(), bus.server_ms
        await asyncio.sleep(bus.dice.choice((0, 0, 0.02, 0.3)))
        if faults.happens(0.04):
            raise SessionFault(EndReason("cut", "the answer was lost on its way"))
        faults.trace(self._who, lambda: f"is answered {[_place(one) for one in messages]}")
        body = orjson.dumps(messages)
        self._arrivals.answer(messages, self._now_ms())
        return Answer(self._number, json.loads(body), body, server_ms, self._now_ms())

    async def _wait(self, ms: int) -> None:
        loop = asyncio.get_running_loop()
        self._waiting = loop.create_future()
        timer = loop.call_later(ms / 1000, self._wake)
        try:
            await self._waiting
        finally:
            timer.cancel()

    def _messages(self) -> list[dict[str, Any]]:
        """A random interleaving of what the channels have, each in its order."""
        bus = self._bus
        channels = bus.world.channels
        # A group that shares a position may be split over answers, but the next answer goes on with it (a later answer without a
        # position completes it).
        messages = [self._next(channel) for channel in channels if self._is_split(channel)]
        for _ in range(bus.dice.choice((1, 2, 4, 100))):
            left = [one for one in channels if self._has(one)]
            if not left:
                break
            messages.append(self._next(bus.dice.choice(left)))
        if messages and bus.faults.happens(0.1):
            channel = bus.dice.choice(channels)
            first, end = self._opened_at[channel], self._cursor[channel]
            if first < end and not self._is_split(channel):
                messages.append(copy.deepcopy(bus.world.bus[channel][bus.dice.randrange(first, end)][1]))
        return messages

    def _has(self, channel: str) -> bool:
        at_ms = self._bus.next_ms(channel, self._cursor[channel])
        return at_ms is not None and at_ms <= self._bus.now_ms()

    def _is_split(self, channel: str) -> bool:
        bus, cursor = self._bus.world.bus[channel], self._cursor[channel]
        return self._opened_at[channel] < cursor < len(bus) and bus[cursor][0] == bus[cursor - 1][0]

    def _next(self, channel: str) -> dict[str, Any]:
        self._cursor[channel] += 1
        return self._bus.world.bus[channel][self._cursor[channel] - 1][1]

    async def aclose(self) -> None:
        """It is left."""
        self._arrivals.session(None)
        if self in self._bus.sessions:
            self._bus.sessions.remove(self)


class Source:
    """Makes sessions of one process; implements :class:`consumer.ports.source.Source`."""

    def __init__(self, bus: Bus, who: str, now_ms: Callable[[], int]) -> None:
        self._bus, self._who, self._now_ms = bus, who, now_ms

    def session(self, number: int, poll_timeout: Callable[[], int | None]) -> Session:
        return Session(self._bus, self._who, number, poll_timeout, self._now_ms)


class Rest:
    """What REST answers, after a while: what never changes in a record's life, and the org's instance."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._org = OrgInfo(bus.world)
        self.name: str | None = None

    async def rows(self, entity: str, ids: Sequence[str], fields: Sequence[str]) -> dict[str, dict[str, Any]]:
        await asyncio.sleep(self._bus.dice.choice((0, 0.05, 1)))
        return await self._org.rows(entity, ids, fields)

    async def refresh(self) -> None:
        self.name = None
        await asyncio.sleep(self._bus.dice.choice((0, 0.05)))
        self.name = self._bus.instance


def _place(one: dict[str, Any]) -> str:
    if is_bad(one):
        return "bad"
    header = one["data"]["payload"]["ChangeEventHeader"]
    return f"{header['commitNumber']}.{header['sequenceNumber']}"
