"""Ingest loop of one tenure, from answers to commits.

It takes answers, puts changes in order, decides what they mean, and commits the result with its positions.

One loop does all of it, for one tenure, on state that was built from the store after winning the lease and that dies with the tenure
(:mod:`consumer.ingest.tenure`). The supervisor fills the buffer beside it, so the next poll is under way while a commit is. Answers go
through the intake (:mod:`consumer.ingest.receive`), rows from REST through the row applier (:mod:`consumer.ingest.reconcile.apply`).

Nothing is awaited per event: an answer is decoded whole, and a commit takes everything that is ready, up to ``commit.max_events``. While
more waits in the buffer, the next batch is interpreted beside the commit before it; one is in flight at a time, in order, and whatever else
reads or writes states (rows, timers, expiry) waits until it is applied. None is in flight while ingest waits for more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from consumer.clock import Clock
from consumer.domain.lifecycle import OrgInfo
from consumer.errors import StoreUnavailable
from consumer.ingest.batch import Batch, Part
from consumer.ingest.buffer import IntakeBuffer
from consumer.ingest.commits import CommitPipeline
from consumer.ingest.fire_timers import fire_timers
from consumer.ingest.interpret import interpret_changes
from consumer.ingest.options import IngestOptions
from consumer.ingest.receive import Intake
from consumer.ingest.reconcile.apply import RowApplier
from consumer.ingest.reconcile.worker import ReconcileWorker
from consumer.ingest.states.repository import StateRepository
from consumer.ingest.timer_watermark import TimerWatermark
from consumer.ports.commit import IngestStore
from consumer.ports.source import Answer, FetchedItem, Inbound, SessionOpened

__all__ = ["Ingest"]

_FAR_FUTURE_MS = 2**53

_LOAD_RETRY_MS = 200
"""Wait between two attempts to load states from a store that does not answer."""


class Ingest:
    """Ingest loop of one tenure.

    Args:
        store: asked for due timers.
        buffer: filled by the supervisor, the reconcile worker and the expiry of states.
        intake: takes answers.
        states: loads states and keeps what changed.
        commits: sends commits.
        row_applier: takes what was fetched beside the stream.
        reconcile_worker: is given the tasks that a commit begins; None where nothing can be fetched, and none begin.
        timer_watermark: says when timers may fire.
        org: asked for the org once a session has opened, for ids and links.
        options: settings of ingest.
        clock: for waiting and for naming instants.
    """

    def __init__(
        self,
        store: IngestStore,
        buffer: IntakeBuffer,
        intake: Intake,
        states: StateRepository,
        commits: CommitPipeline,
        row_applier: RowApplier,
        reconcile_worker: ReconcileWorker | None,
        timer_watermark: TimerWatermark,
        org: Callable[[], OrgInfo],
        options: IngestOptions,
        clock: Clock,
    ) -> None:
        self._store = store
        self._buffer = buffer
        self._intake = intake
        self._states = states
        self._commits = commits
        self._row_applier = row_applier
        self._reconcile_worker = reconcile_worker
        self._timer_watermark = timer_watermark
        self._org = org
        self._options = options
        self._clock = clock
        self._stopping = False

    # ------------------------------------------------------------ the loop

    def stop(self) -> None:
        """End :meth:`run` after the present step.

        A commit in flight is awaited, never abandoned with an unknown outcome.
        """
        self._stopping = True
        self._buffer.close()

    async def run(self) -> None:
        """Ingest until :meth:`stop`.

        Raises:
            CommitRefused: the tenure is over.
            StoreForeign: the store belongs to another org.
        """
        async with self._commits.draining():
            await self._ingest()

    async def _ingest(self) -> None:
        intake, options = self._intake, self._options
        while not self._stopping:
            if intake.is_full():
                await asyncio.sleep(min(intake.wait_ms(), 100) / 1000)
            else:
                item = await self._buffer.get(intake.wait_ms())
                while item is not None:
                    await self._handle(item)
                    if intake.is_full() or len(intake.pending_commit.parts) >= options.max_events:
                        break
                    self._release()
                    item = await self._buffer.get(0)
            self._release()
            while self._should_commit():
                await self._commit()
            if len(self._buffer) == 0 or intake.is_full():
                await self._commits.drain()
            if not self._stopping:
                await self._row_applier.process()
                await self._fire_timers()
            self._buffer.mark_processed()

    async def commit_remaining(self) -> None:
        """Commit what was released.

        What is still held back stays uncommitted and is delivered again to the next tenure.
        """
        async with self._commits.draining():
            while self._intake.pending_commit:
                await self._commit()

    async def _handle(self, item: Inbound) -> None:
        if isinstance(item, Answer):
            self._intake.answer(item)
        elif isinstance(item, FetchedItem):
            self._row_applier.enqueue(item)
        elif isinstance(item, SessionOpened):
            await self._intake.opened(item)
        else:
            self._intake.ended(item.received_ms)

    def _release(self) -> None:
        self._intake.release(buffer_has_more=len(self._buffer) > 0)

    def _should_commit(self) -> bool:
        pending_commit = self._intake.pending_commit
        if not pending_commit:
            return False
        if len(pending_commit.parts) >= self._options.max_events or len(self._buffer) == 0:
            return True  # waiting longer would only add latency: more arrives while the commit is in flight
        return (
            pending_commit.since_ms is not None
            and self._clock.monotonic_ms() - pending_commit.since_ms >= self._options.max_delay_ms
        )

    # ------------------------------------------------------------ a commit

    async def _commit(self) -> None:
        """Decide on the next changes and submit their commit.

        It is submitted once the one before is applied.
        """
        began_ms = self._clock.monotonic_ms()
        intake = self._intake
        batch = await self._interpret(intake.pending_commit.take_parts(self._options.max_events, began_ms))
        draft = self._commits.draft(batch)
        await self._commits.drain()
        self._states.write_back(batch)
        commit = intake.pending_commit.seal(
            draft,
            batch,
            intake.channels,
            intake.epochs,
            reconciles=self._reconcile_worker is not None,
            now_ms=began_ms,
            wall_ms=self._clock.wall_ms(),
        )
        await self._commits.submit(
            commit, batch, began_ms=began_ms, on_applied=lambda: self._update_tasks(batch)
        )

    async def _interpret(self, parts: Sequence[Part]) -> Batch:
        while parts:
            try:
                loaded = await self._states.load(parts)
            except StoreUnavailable as error:
                self._commits.report_failure(error.why)
                await asyncio.sleep(_LOAD_RETRY_MS / 1000)
            else:
                return interpret_changes(parts, loaded, self._intake.channels.states, self._org())
        return Batch(self._org())

    def _update_tasks(self, batch: Batch) -> None:
        if self._reconcile_worker is not None and batch.reconcile_tasks:
            self._reconcile_worker.update_tasks(batch.reconcile_tasks)

    # ------------------------------------------------------------ timers

    async def load_next_timer(self) -> None:
        """Ask the store for the earliest timer.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        first = await self._store.timers(_FAR_FUTURE_MS, 1)
        self._timer_watermark.set_next(first[0][1] if first else None)

    async def _fire_timers(self) -> None:
        """Journal the timers that have come due.

        They fire once everything up to then is committed, so downtime raises no false alarm.
        """
        if self._timer_watermark.watermark_ms(()) is None:
            return  # not even once every change that has arrived is committed
        await self._commits.drain()
        watermark_ms = self._timer_watermark.watermark_ms(
            part.change.header.commit_ms for part in self._intake.uncommitted()
        )
        if watermark_ms is None:
            return
        began_ms = self._clock.monotonic_ms()
        try:
            due_timers = await self._store.timers(watermark_ms, self._options.max_events)
            loaded = await self._states.load_timers(due_timers)
        except StoreUnavailable as error:
            self._commits.report_failure(error.why)
            return  # the next answer asks again
        batch = fire_timers(due_timers, loaded, self._org())
        self._states.write_back(batch)
        await self._commits.apply(self._commits.draft(batch), batch, began_ms=began_ms)
        try:
            await self.load_next_timer()
        except StoreUnavailable as error:
            self._commits.report_failure(error.why)
