"""Commits of one tenure.

They are numbered and sent one after the other, each until the store has answered.

A commit whose reply was lost may or may not have been applied. It is sent again *unchanged*, with the same number, and the store answers
"already applied" where it was. Renewals of the lease check the same number, so commits and renewals take turns here.

A commit can be *in flight* while the next batch is interpreted. Until it is applied, nothing that it changes may be read from the store or
evicted from memory, and the next one is not sent: a batch that was interpreted on top of a commit is worth nothing if that is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count

from consumer.backoff import Backoff
from consumer.clock import Clock
from consumer.domain import target_runs
from consumer.errors import StoreUnavailable
from consumer.ingest.batch import Batch
from consumer.ingest.timer_watermark import TimerWatermark
from consumer.ports.commit import Commit, IngestStore
from consumer.ports.lease import LeaseStore, Tenure
from consumer.ports.observers.ingest_events import CommitApplied, CommitFailed, IngestEvent
from consumer.ports.observers.observer import Observer

__all__ = ["CommitPipeline"]

_BACKOFF = Backoff(50, 2_000)


class CommitPipeline:
    """Sender of the commits and renewals of one tenure, one at a time.

    Args:
        store: takes the commits.
        lease: takes the renewals (usually the same).
        tenure: whose token every commit carries.
        timer_watermark: is given the timers that were set.
        clock: for retries and durations.
        observer: notified of every commit, and each time the store does not answer.
    """

    def __init__(
        self,
        store: IngestStore,
        lease: LeaseStore,
        tenure: Tenure,
        timer_watermark: TimerWatermark,
        clock: Clock,
        observer: Observer[IngestEvent],
    ) -> None:
        self._store = store
        self._lease = lease
        self._tenure = tenure
        self._timer_watermark = timer_watermark
        self._clock = clock
        self._observer = observer
        self._lock = asyncio.Lock()
        self._number = 0
        self._in_flight: asyncio.Task[None] | None = None

    @property
    def number(self) -> int:
        """Number of the last commit that was applied."""
        return self._number

    # ------------------------------------------------------------ commits

    def draft(self, batch: Batch) -> Commit:
        """Make a commit of a batch, to be completed by the caller.

        It gets its number when it is sent.
        """
        commit = Commit(token=self._tenure.token, number=0, org_id=batch.org.id)
        commit.states = _encode_states(batch)
        commit.journal = batch.journal
        commit.timers = batch.timers
        return commit

    async def apply(self, commit: Commit, batch: Batch, *, began_ms: int) -> None:
        """Send a commit and wait until the store has applied it.

        The store is asked as often as that takes.

        Args:
            commit: commit of the batch.
            batch: for the timers that it sets and the figures of it.
            began_ms: monotonic milliseconds when the work on it began.

        Raises:
            CommitRefused: the tenure is over.
            StoreForeign: the store belongs to another org.
        """
        await self._send(commit)
        self._timer_watermark.committed(batch.timers.values())
        self._observer.observe(
            CommitApplied(
                commit.number,
                len(batch.parts),
                batch.duplicates,
                batch.late,
                batch.ignored,
                batch.events,
                batch.newest_commit_ms,
                self._clock.monotonic_ms() - began_ms,
            )
        )

    async def submit(
        self, commit: Commit, batch: Batch, *, began_ms: int, on_applied: Callable[[], None]
    ) -> None:
        """Send a commit and return once it is sent; no other may be in flight.

        Args:
            commit: commit of the batch.
            batch: for the timers that it sets and the figures of it.
            began_ms: monotonic milliseconds when the work on it began.
            on_applied: called when it is applied.
        """

        async def applied() -> None:
            await self.apply(commit, batch, began_ms=began_ms)
            on_applied()

        assert self._in_flight is None, "commits are applied one after the other"
        self._in_flight = asyncio.create_task(applied())
        await asyncio.sleep(0)  # a caller that finds everything in memory would keep it from being sent

    async def drain(self) -> None:
        """Wait until no commit is in flight.

        Raises:
            CommitRefused: the tenure is over.
            StoreForeign: the store belongs to another org.
        """
        task, self._in_flight = self._in_flight, None
        if task is not None:
            await task

    @asynccontextmanager
    async def draining(self) -> AsyncIterator[None]:
        """Leave no commit in flight.

        It is awaited or, after an error or a cancellation, abandoned.

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
        """Report that the next commit cannot be prepared.

        The store does not answer; it will be asked again.
        """
        self._observer.observe(CommitFailed(self._number + 1, why, 0))

    # ------------------------------------------------------------ the store

    async def _send(self, commit: Commit) -> None:
        async with self._lock:
            commit.number = self._number + 1
            began_ms = self._clock.monotonic_ms()
            for failures in count(1):
                try:
                    await self._store.commit(commit)
                except StoreUnavailable as error:
                    self._observer.observe(
                        CommitFailed(commit.number, error.why, self._clock.monotonic_ms() - began_ms)
                    )
                    await asyncio.sleep(_BACKOFF.delay_ms(failures) / 1000)
                else:
                    self._number = commit.number
                    return

    async def renew(self, lease_ms: int) -> None:
        """Prolong the lease.

        Raises:
            CommitRefused: the tenure is over.
            StoreUnavailable: the outcome is unknown; try again before the lease ends.
        """
        async with self._lock:
            await self._lease.renew(self._tenure, self._number, lease_ms)


def _encode_states(batch: Batch) -> dict[str, bytes | None]:
    states = {
        record_id: None if state is None else state.encode() for record_id, state in batch.states.items()
    }
    for target_id, runs in batch.targets.items():
        states[target_runs.key_of(target_id)] = None if runs is None else runs.encode()
    return states
