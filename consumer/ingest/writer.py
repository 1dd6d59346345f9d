"""Writes batches: makes a commit of what changes or rows amount to, has it applied, and tells of it.

A commit can be *under way* while the next batch is interpreted. Until it has *landed* nothing that it changes may be read from the store or
dropped from memory, and the next one is not sent: what was interpreted on top of it is worth nothing if it is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from consumer import targets
from consumer.clock import Clock
from consumer.ingest.committer import Committer
from consumer.ingest.due import DueTimers
from consumer.ingest.interpreter import Batch
from consumer.ingest.observer import IngestEvents
from consumer.ports import Commit

__all__ = ["Writer"]


@dataclass(slots=True)
class _Summary:
    number: int
    changes: int
    duplicates: int
    late: int
    ignored: int
    events: Mapping[str, int]
    newest_commit_ms: int | None
    duration_ms: int


class Writer:
    """Writes for one tenure.

    Args:
        committer: numbers and sends the commits.
        due: told which timers were set.
        clock: for how long it took.
        observer: told of every commit.
    """

    def __init__(self, committer: Committer, due: DueTimers, clock: Clock, observer: IngestEvents) -> None:
        self._committer = committer
        self._due = due
        self._clock = clock
        self._observer = observer
        self._under_way: asyncio.Task[None] | None = None

    @staticmethod
    def _encoded(batch: Batch) -> dict[str, bytes | None]:
        states = {
            record_id: None if state is None else state.encode() for record_id, state in batch.states.items()
        }
        for target_id, runs in batch.targets.items():
            states[targets.key_of(target_id)] = None if runs is None else runs.encode()
        return states

    def draft(self, batch: Batch) -> Commit:
        """A commit of what the batch amounts to; whoever asks may add to it."""
        commit = self._committer.draft(batch.org.id)
        commit.states = self._encoded(batch)
        commit.journal = batch.journal
        commit.timers = batch.timers
        return commit

    async def apply(self, commit: Commit, batch: Batch, *, changes: int, began_ms: int) -> None:
        """Have it applied, however often the store has to be asked.

        Args:
            commit: of the batch.
            batch: what it amounts to.
            changes: how many changes it took.
            began_ms: monotonic milliseconds when the work on it began.

        Raises:
            CommitRefused: the tenure is over.
            StoreForeign: the store belongs to another org.
        """
        await self._committer.send(commit)
        self._due.committed(batch.timers.values())
        self._observer.committed(
            _Summary(
                commit.number,
                changes,
                batch.duplicates,
                batch.late,
                batch.ignored,
                batch.events,
                batch.newest_commit_ms,
                self._clock.monotonic_ms() - began_ms,
            )
        )

    async def begin(
        self, commit: Commit, batch: Batch, *, changes: int, began_ms: int, then: Callable[[], None]
    ) -> None:
        """As :meth:`apply`, beside what the caller does next; returns when it is sent. None may be under way.

        Args:
            commit: of the batch.
            batch: what it amounts to.
            changes: how many changes it took.
            began_ms: monotonic milliseconds when the work on it began.
            then: called when it is applied.
        """

        async def applied() -> None:
            await self.apply(commit, batch, changes=changes, began_ms=began_ms)
            then()

        assert self._under_way is None, "commits land one after the other"
        self._under_way = asyncio.create_task(applied())
        await asyncio.sleep(0)  # a caller that finds everything in memory would keep it from being sent

    async def landed(self) -> None:
        """Returns when no commit is under way.

        Raises:
            CommitRefused: the tenure is over.
            StoreForeign: the store belongs to another org.
        """
        task, self._under_way = self._under_way, None
        if task is not None:
            await task

    @asynccontextmanager
    async def landing(self) -> AsyncIterator[None]:
        """Leaves no commit under way: waits for it, or, on the way of an error or a cancellation, abandons it.

        Raises:
            CommitRefused: the tenure is over.
            StoreForeign: the store belongs to another org.
        """
        try:
            yield
            await self.landed()
        finally:
            if self._under_way is not None:
                self._under_way.cancel()
                await asyncio.gather(self._under_way, return_exceptions=True)
                self._under_way = None

    def failing(self, why: str) -> None:
        """What the next commit needs could not be read; it is asked for again."""
        self._observer.commit_failing(self._committer.number + 1, why, 0)
