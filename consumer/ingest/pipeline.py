"""The sentence of ingest: take an answer, put it in order, say what it means, commit it with its positions.

One loop does all of it, for one tenure, on state that it built from the store after winning the lease and that dies with the tenure. The
supervisor fills the inbox beside it, so the next poll is under way while a commit is. What arrives goes through the intake
(:mod:`consumer.ingest.receive`), what REST answered through the mending (:mod:`consumer.ingest.reconcile.apply`); both end in the
writer's commits.

Nothing is awaited per event: an answer is decoded whole, and a commit takes everything that is ready, up to ``commit.max_events``. While
more waits in the inbox, the next batch is interpreted beside the commit before it; one is under way at a time, in order, and whatever else
reads or writes states (rows, timers, what is forgotten) waits until it has landed. Nothing is under way while ingest waits for more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from consumer.clock import Clock
from consumer.domain.lifecycle import OrgInfo
from consumer.domain.reconcile_task import ReconcileTask
from consumer.errors import CadenceError, SessionFault, StoreUnavailable
from consumer.ingest.buffer import IntakeBuffer
from consumer.ingest.commit_sender import CommitSender
from consumer.ingest.commits import CommitPipeline
from consumer.ingest.interpret import Batch, Interpreter, Part
from consumer.ingest.options import IngestOptions
from consumer.ingest.quota_guard import QuotaGuard
from consumer.ingest.receive import Instance, Intake
from consumer.ingest.reconcile.apply import RowApplier
from consumer.ingest.reconcile.fetch import RecordSource
from consumer.ingest.reconcile.worker import ReconcileWorker
from consumer.ingest.state_expiry import StateExpiry
from consumer.ingest.states.lookup import RecordLookup, RowSource
from consumer.ingest.timer_watermark import TimerWatermark
from consumer.ports.commit import IngestStore
from consumer.ports.observers.ingest_events import IngestEvent, QuotaUnknown
from consumer.ports.observers.observer import Observer
from consumer.ports.source import (
    Answer,
    FetchedItem,
    Inbound,
    SessionOpened,
)

__all__ = ["Ingest", "IngestOptions", "Instance"]

_FAR_FUTURE_MS = 2**53

_LOAD_RETRY_MS = 200
"""Between two attempts to load states from a store that does not answer."""

_HISTORY_INTERVAL_MS = 60 * 1000
"""How often positions go into the history that people can go back to."""


class Ingest:
    """The ingest half of one tenure; also the supervisor's plan of where to resume.

    Args:
        store: for states and channels.
        commit_sender: numbers and sends the commits.
        buffer: what the supervisor delivers.
        org: where sessions lead to; asked when one has opened, for ids and links.
        instance: the name of the org's instance.
        row_source: where records that were never seen are looked up; None looks nothing up.
        record_source: where reconcile tasks fetch from; None leaves tasks as they are, for a tenure that can.
        options: plain arguments.
        clock: for waiting and for naming instants.
        observer: told what happens.
    """

    def __init__(
        self,
        store: IngestStore,
        commit_sender: CommitSender,
        buffer: IntakeBuffer,
        org: Callable[[], OrgInfo],
        instance: Instance,
        row_source: RowSource | None,
        options: IngestOptions,
        clock: Clock,
        observer: Observer[IngestEvent],
        record_source: RecordSource | None = None,
    ) -> None:
        self._store = store
        self._buffer = buffer
        self._org = org
        self._options = options
        self._clock = clock
        self._observer = observer
        self._timer_watermark = TimerWatermark(options.lateness_ms)
        self._intake = Intake(options, org, instance, self._timer_watermark, self._tasks, clock, observer)
        self._interpreter = Interpreter(
            store, RecordLookup(row_source, clock, observer), hydrate=options.hydrate
        )
        self._commit_pipeline = CommitPipeline(commit_sender, self._timer_watermark, clock, observer)
        self.reconcile_worker = (
            None
            if record_source is None
            else ReconcileWorker(
                record_source, store, buffer, clock, lambda: self._intake.server_now_ms, observer
            )
        )
        self.state_expiry = StateExpiry(
            store, buffer, clock, self._received_through_ms, options.retention_ms, observer
        )
        self._row_applier = RowApplier(
            self._intake,
            self._interpreter,
            self._commit_pipeline,
            self.reconcile_worker,
            self.state_expiry,
            org,
            options,
            clock,
            observer,
        )
        self._quota_guard = (
            None if record_source is None or options.spend_allocation else QuotaGuard(record_source)
        )
        self._history_written_ms: int | None = None
        self._stopping = False

    async def prepare(self) -> None:
        """Build everything from the store; the token must have been written before.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        self._intake.prepare(await self._store.channels(), await self._store.epochs())
        if self.reconcile_worker is not None:
            self.reconcile_worker.update_tasks(
                {
                    task_id: ReconcileTask.decode(data)
                    for task_id, data in (await self._store.reconcile_tasks()).items()
                }
            )
        await self._load_next_timer()

    def _tasks(self) -> Mapping[str, ReconcileTask] | None:
        return None if self.reconcile_worker is None else self.reconcile_worker.reconcile_tasks

    def _received_through_ms(self) -> int | None:
        """Up to when Salesforce's time has come by its own word and by that of its changes; None before both have been heard."""
        newest_ms, now_ms = self._interpreter.newest_ms, self._intake.server_now_ms
        return None if newest_ms is None or now_ms is None else min(newest_ms, now_ms)

    # ------------------------------------------------------------ the plan of the supervisor

    async def resume(self) -> Mapping[str, str]:
        """The replay option of each channel for a new session.

        Raises:
            SessionFault: the org's delivery allocation does not bear it now.
        """
        resume = self._intake.channels.resume()
        if self._quota_guard is not None:
            try:
                await self._quota_guard.admit(resume, self._intake.server_now_ms or self._clock.wall_ms())
            except SessionFault:
                raise
            except CadenceError as error:
                self._observer.observe(QuotaUnknown(str(error)))
        return resume

    def poll_within_ms(self) -> int | None:
        """How soon the next poll should be answered even without events."""
        return self._timer_watermark.poll_within_ms(self._clock.monotonic_ms())

    async def unreadable(self, body: bytes, detail: str) -> None:
        """An answer could not be read; the third identical one in a row is kept, and the service is not ready."""
        self._intake.unreadable(body, detail)

    async def refused(self, channel: str, position: str, detail: str, server_ms: int | None = None) -> None:
        """Salesforce does not know ``position`` any more.

        Raises:
            StopService: ``replay.on_expired`` is ``halt``.
        """
        self._intake.refused(channel, position, detail, server_ms)

    # ------------------------------------------------------------ the loop

    def stop(self) -> None:
        """End :meth:`run` after what it is doing now; a commit under way is never abandoned half-known."""
        self._stopping = True
        self._buffer.close()

    async def run(self) -> None:
        """Ingest until :meth:`stop`.

        Raises:
            CommitRefused: the tenure is over.
            StoreForeign: the store belongs to another org.
        """
        async with self._commit_pipeline.draining():
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
                await self._commit_pipeline.drain()
            if not self._stopping:
                await self._row_applier.process()
                await self._fire_timers()
            self._buffer.mark_processed()

    async def commit_remaining(self) -> None:
        """Commit what was released; what is still held back stays unfinished and is delivered again to the next tenure."""
        async with self._commit_pipeline.draining():
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
            self._intake.ended()

    def _release(self) -> None:
        self._intake.release(buffer_has_more=len(self._buffer) > 0)

    def _should_commit(self) -> bool:
        pending_commit = self._intake.pending_commit
        if not pending_commit:
            return False
        if len(pending_commit.parts) >= self._options.max_events or len(self._buffer) == 0:
            return True  # waiting longer would only add latency: more arrives while the commit is under way
        return (
            pending_commit.since_ms is not None
            and self._clock.monotonic_ms() - pending_commit.since_ms >= self._options.max_delay_ms
        )

    # ------------------------------------------------------------ the commit

    async def _commit(self) -> None:
        """Begin the commit of what is ready, once the one before has landed."""
        began_ms = self._clock.monotonic_ms()
        intake, pending_commit = self._intake, self._intake.pending_commit
        # Whatever becomes ready while the commit is under way belongs to the next one.
        intake.pending_commit = pending_commit.split(self._options.max_events, began_ms)
        batch = await self._interpret(pending_commit.parts)
        commit = self._commit_pipeline.draft(batch)
        commit.journal = pending_commit.journal + batch.journal
        new_tasks = (
            {**pending_commit.reconcile_tasks, **batch.reconcile_tasks}
            if self.reconcile_worker is not None
            else {}
        )
        commit.reconcile_tasks = {task_id: task.encode() for task_id, task in new_tasks.items()}
        commit.dead_letters = [dead_letter for dead_letter, _ in pending_commit.dead_letters]
        await self._commit_pipeline.drain()
        self._interpreter.evict(batch)
        pending_commit.mark_committed()
        commit.channels = intake.channels.states_to_commit(
            self._clock.wall_ms(),
            intake.epochs.greatest_commit_number,
            include_unchanged=pending_commit.channels,
        )
        if pending_commit.epochs:
            commit.epochs = intake.epochs.all
        if commit.channels and (
            self._history_written_ms is None or began_ms - self._history_written_ms >= _HISTORY_INTERVAL_MS
        ):
            self._history_written_ms = began_ms
            commit.history_at_ms = self._clock.wall_ms()
        await self._commit_pipeline.submit(
            commit,
            batch,
            changes=len(pending_commit.parts),
            began_ms=began_ms,
            on_applied=lambda: self._on_applied(new_tasks),
        )

    def _on_applied(self, reconcile_tasks: Mapping[str, ReconcileTask]) -> None:
        if self.reconcile_worker is not None and reconcile_tasks:
            self.reconcile_worker.update_tasks(reconcile_tasks)

    async def _interpret(self, parts: Sequence[Part]) -> Batch:
        if not parts:
            return Batch(self._org())
        while True:
            try:
                return await self._interpreter.interpret(parts, self._intake.channels.states, self._org())
            except StoreUnavailable as error:
                self._commit_pipeline.report_failure(error.why)
                await asyncio.sleep(_LOAD_RETRY_MS / 1000)

    # ------------------------------------------------------------ timers

    async def _load_next_timer(self) -> None:
        first = await self._store.timers(_FAR_FUTURE_MS, 1)
        self._timer_watermark.set_next(first[0][1] if first else None)

    async def _fire_timers(self) -> None:
        """Journal what has come due, once everything up to then is committed: downtime raises no false alarm."""
        if self._timer_watermark.watermark_ms(()) is None:
            return  # whatever is not committed yet
        await self._commit_pipeline.drain()
        watermark_ms = self._timer_watermark.watermark_ms(
            part.change.header.commit_ms for part in self._intake.uncommitted()
        )
        if watermark_ms is None:
            return
        began_ms = self._clock.monotonic_ms()
        try:
            due = await self._store.timers(watermark_ms, self._options.max_events)
            batch = await self._interpreter.fire(due, self._org())
        except StoreUnavailable as error:
            self._commit_pipeline.report_failure(error.why)
            return  # the next answer asks again
        await self._commit_pipeline.apply(
            self._commit_pipeline.draft(batch), batch, changes=0, began_ms=began_ms
        )
        try:
            await self._load_next_timer()
        except StoreUnavailable as error:
            self._commit_pipeline.report_failure(error.why)
