"""The lease as the store has it, looked at all the time and past the service: who leads, and whether anybody commits who does not."""

import asyncio
import sqlite3
import time
from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Self

import redis.asyncio
from redis.exceptions import RedisError

LOOK_S = 0.02
_STALL_S = 0.1


@dataclass(frozen=True)
class Held:
    """The lease as the store has it: under this token were so many commits, and its holder is called so."""

    token: str
    number: int
    holder: str


class LeaseWatch:
    """Reads the lease in the store every few milliseconds.

    Attributes:
        held: how it changed, with the time: monotonic seconds.
        looks: when it was read.
    """

    def __init__(self, look: Callable[[], Awaitable[Held | None]]) -> None:
        self.held: list[tuple[float, Held]] = []
        self.looks: list[float] = []
        self._look = look
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        while not self._task.done():
            # redis-py sends under asyncio.wait_for, which on Python 3.11 swallows a cancellation that comes while it sends.
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=0.1)

    def check(self) -> None:
        """Raises what ended the watch, lest anybody wait for ever for what it will not see."""
        if self._task is not None and self._task.done() and not self._task.cancelled():
            self._task.result()
            raise AssertionError("the watch of the lease has ended")

    async def _watch(self) -> None:
        while True:
            at = time.monotonic()
            if (held := await self._look()) is not None:
                if not self.held or self.held[-1][1] != held:
                    self.held.append((at, held))
                self.looks.append(at)
            await asyncio.sleep(LOOK_S)

    @property
    def now(self) -> Held:
        return self.held[-1][1] if self.held else Held("", 0, "")

    def usurped(self) -> list[str]:
        """Signs of a commit that should have been refused: a token that is back after another, a number that went down."""
        found, gone, before = [], set[str](), None
        for _, held in self.held:
            if before is not None and held.token != before.token:
                gone.add(before.token)
            elif before is not None and held.number < before.number:
                found.append(f"commit {held.number} after commit {before.number}")
            if held.token in gone:
                found.append(f"the tenure {held.token[:8]} was over and has committed")
            before = held
        return found

    def stalled(self, since: float, until: float) -> float:
        """Seconds of that time in which machine or store did not get as far as one look, which is a few milliseconds of work.

        Where that happens no replica gets on either, and how long it took to take over says nothing about the service.
        """
        looks = [since, *self.looks[bisect_right(self.looks, since) : bisect_left(self.looks, until)], until]
        return sum(max(later - earlier - _STALL_S, 0) for earlier, later in pairwise(looks))

    def tenures(self) -> int:
        """How many there were."""
        return len({held.token for _, held in self.held})


async def lease_in_redis(url: str) -> Held | None:
    async with redis.asyncio.Redis.from_url(url, socket_timeout=5) as client:
        try:
            token, number, holder = await client.hmget("{cadence}:lease", "token", "number", "holder")
        except (RedisError, OSError):
            return None  # a machine so busy that the next look has to do
    return Held(token.decode(), int(number), holder.decode()) if token is not None else None


async def lease_in_sqlite(path: Path) -> Held | None:
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    except sqlite3.OperationalError:
        return None  # not made yet
    try:
        row = connection.execute("SELECT token, number, holder FROM lease WHERE id = 1").fetchone()
    except sqlite3.OperationalError:
        return None
    finally:
        connection.close()
    return Held(row[0], row[1], row[2] or "") if row is not None else None


def is_locked(path: Path) -> bool:
    """Whether some process is in the middle of a transaction, and stays there."""
    connection = sqlite3.connect(path, timeout=0.2, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return True
    else:
        connection.execute("ROLLBACK")
        return False
    finally:
        connection.close()
