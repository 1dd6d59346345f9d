"""Writes batches: makes a commit of what changes or rows amount to, has it applied, and tells of it.

A commit can be *under way* while the next batch is interpreted. Until it has *landed* nothing that it changes may be read from the store or
dropped from memory, and the next one is not sent: what was interpreted on top of it is worth nothing if it is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from consumer.clock import Clock
from consumer.domain import target_runs
from consumer.ingest.commit_sender import CommitSender
from consumer.ingest.interpret import Batch
from consumer.ingest.timer_watermark import TimerWatermark
from consumer.ports.commit import Commit
from consumer.ports.observers.ingest_events import CommitApplied, CommitFailed, IngestEvent
from consumer.ports.observers.observer import Observer

__all__ = ["CommitPipeline"]


class CommitPipeline:
    """Writes for one tenure.

    Args:
        commit_sender: numbers and sends the commits.
        timer_watermark: told which timers were set.
        clock: for how long it took.
        observer: told of every commit.
    """

    def __init__(
        self,
        commit_sender: CommitSender,
        timer_watermark: TimerWatermark,
        clock: Clock,
        observer: Observer[IngestEvent],
    ) -> None:
        self._commit_sender = commit_sender
        self._timer_watermark = timer_watermark
        self._clock = clock
        self._observer = observer
        self._in_flight: asyncio.Task[None] | None = None

    @staticmethod
    def _encode_states(batch: Batch) -> dict[str, bytes | None]:
        states = {
            record_id: None if state is None else state.encode() for record_id, state in batch.states.items()
        }
        for target_id, runs in batch.targets.items():
            states[target_runs.key_of(target_id)] = None if runs is None else runs.encode()
        return states

    def draft(self, batch: Batch) -> Commit:
        """A commit of what the batch amounts to; whoever asks may add to it."""
        commit = self._commit_sender.draft(batch.org.id)
        commit.states = self._encode_states(batch)
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
        await self._commit_sender.send(commit)
        self._timer_watermark.committed(batch.timers.values())
        self._observer.observe(
            CommitApplied(
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

    async def submit(
        self, commit: Commit, batch: Batch, *, changes: int, began_ms: int, on_applied: Callable[[], None]
    ) -> None:
        """As :meth:`apply`, beside what the caller does next; returns when it is sent. None may be under way.

        Args:
            commit: of the batch.
            batch: what it amounts to.
            changes: how many changes it took.
            began_ms: monotonic milliseconds when the work on it began.
            on_applied: called when it is applied.
        """

        async def applied() -> None:
            await self.apply(commit, batch, changes=changes, began_ms=began_ms)
            on_applied()

        assert self._in_flight is None, "commits land one after the other"
        self._in_flight = asyncio.create_task(applied())
        await asyncio.sleep(0)  # a caller that finds everything in memory would keep it from being sent

    async def drain(self) -> None:
        """Returns when no commit is under way.

        Raises:
            CommitRefused: the tenure is over.
            StoreForeign: the store belongs to another org.
        """
        task, self._in_flight = self._in_flight, None
        if task is not None:
            await task

    @asynccontextmanager
    async def draining(self) -> AsyncIterator[None]:
        """Leaves no commit under way: waits for it, or, on the way of an error or a cancellation, abandons it.

        Raises:
            CommitRefused: the tenure is over.
            StoreForeign: the store belongs to another org.
        """
        try:
            yield
            await self.drain()
        finally:
            if self._in_flight is not None:
                self._in_flight.cancel()
                await asyncio.gather(self._in_flight, return_exceptions=True)
                self._in_flight = None

    def report_failure(self, why: str) -> None:
        """What the next commit needs could not be read; it is asked for again."""
        self._observer.observe(CommitFailed(self._commit_sender.number + 1, why, 0))
