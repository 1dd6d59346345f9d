"""A real store that fails on demand, and whose every answer is compared with what the model says it must be."""

import asyncio
import random
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from consumer.errors import CommitRefused, StoreUnavailable
from consumer.ports.commit import Commit
from consumer.ports.lease import Tenure
from tests.model.arrivals import Arrivals
from tests.model.model import Model

FAULTS = (
    "crash_before",  # a commit
    "crash_after",  # it was applied, before the reply
    "crash_after_load",  # of states
    "unloadable",  # states: once
    "not_applied",  # the request was lost
    "lost_reply",  # applied
    "executed_late",  # the client gives up and sends the same again; then the first one is executed too
    "died_waiting",  # the client gives up and dies; the commit is executed when nobody waits for it any more
    "repeated",  # the same number with other contents
)


class Crash(Exception):
    """kill -9, here: the process is dead."""


class FaultyStore:
    """The store as replicas see it."""

    def __init__(self, real: Any, model: Model, dice: random.Random) -> None:
        self.real = real
        self.model = model
        self.dice = dice
        self.next_fault: str | None = None
        self.given_up: Commit | None = None
        self.found: AssertionError | None = None
        self.arrivals: dict[str, tuple[Arrivals, Any]] = {}
        self.commits = 0
        self.refused = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    async def acquire(self, holder: str, lease_ms: int) -> Tenure | None:
        tenure: Tenure | None = await self.real.acquire(holder, lease_ms)
        if tenure is not None:
            self.model.won(tenure.token)
        return tenure

    async def renew(self, tenure: Tenure, number: int, lease_ms: int) -> None:
        try:
            await self.real.renew(tenure, number, lease_ms)
        except CommitRefused:
            assert not self.model.may_renew(tenure.token, number), "the holder's renewal was refused"
            raise
        assert self.model.may_renew(tenure.token, number), (
            "a lease was prolonged that somebody else holds, or at another number"
        )

    async def states(self, record_ids: Sequence[str]) -> dict[str, bytes]:
        for _ in range(3):
            await asyncio.sleep(0)  # a commit that was begun before is with the store, however fast this is
        if self._happens("unloadable"):
            raise StoreUnavailable("model", "states")
        found: dict[str, bytes] = await self.real.states(record_ids)
        if self._happens("crash_after_load"):
            raise Crash
        return found

    async def commit(self, commit: Commit) -> bool:
        if self._happens("crash_before"):
            raise Crash
        if self._happens("not_applied"):
            raise StoreUnavailable("model", "the request was lost")
        if self._happens("executed_late"):
            self.given_up = deepcopy(commit)
            raise StoreUnavailable("model", "the client gave up")
        if self._happens("died_waiting"):
            self.given_up = deepcopy(commit)
            raise Crash
        applied = await self.send(commit)
        await self.execute_late()
        if self._happens("repeated"):
            other = deepcopy(commit)
            other.states = {**other.states, "0qB000000000000AAA": b"other"}
            await self.send(other)
        if self._happens("crash_after"):
            raise Crash
        if self._happens("lost_reply"):
            raise StoreUnavailable("model", "the reply was lost")
        return applied

    def _happens(self, fault: str) -> bool:
        if self.found is not None:
            raise self.found
        if self.next_fault != fault:
            return False
        self.next_fault = None
        return True

    async def send(self, commit: Commit) -> bool:
        """Let the real store execute it, whatever becomes of whoever sent it, and compare what it says.

        Raises:
            CommitRefused: rightly.
        """
        execution = asyncio.create_task(self._execute(commit))
        try:
            return await asyncio.shield(execution)
        except asyncio.CancelledError:
            # A commit that was under way when its sender died: the store has it.
            await asyncio.wait({execution})
            if isinstance(error := execution.exception(), AssertionError):
                self.found = error
            raise

    async def _execute(self, commit: Commit) -> bool:
        right = self.model.answer_to(commit)
        try:
            answer = "applied" if await self.real.commit(commit) else "again"
        except CommitRefused:
            assert right == "refused", f"commit {commit.number} was refused, and must be {right}"
            self.refused += 1
            raise
        assert answer == right, f"commit {commit.number} is said to be {answer}, and must be {right}"
        if answer == "applied":
            self.commits += 1
            fresh = self.model.applied(commit)
            arrivals, clock = self.arrivals[commit.token]
            arrivals.committed(fresh, clock.now)
        return answer == "applied"

    async def execute_late(self) -> None:
        """A commit that was given up arrives at the store after all."""
        if self.given_up is not None:
            late, self.given_up = self.given_up, None
            try:
                await self.send(late)
            except CommitRefused:
                return
