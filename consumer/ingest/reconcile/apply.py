"""What came of asking: pages of rows are compared with what is known, proposals to forget are decided; both end in a commit.

The reconciler and the expirer work beside the stream and put what they found into the inbox. Here, between two commits of the stream and
by the only one who writes states, it is decided what that means by now.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from consumer.clock import Clock
from consumer.domain.lifecycle import OrgInfo
from consumer.domain.reconcile_task import ReconcileTask
from consumer.errors import StoreUnavailable
from consumer.ingest.commits import CommitPipeline
from consumer.ingest.interpret import Interpreter
from consumer.ingest.options import IngestOptions
from consumer.ingest.receive import Intake
from consumer.ingest.reconcile import triggers
from consumer.ingest.reconcile.fetch import FetchedPage
from consumer.ingest.reconcile.worker import ReconcileWorker
from consumer.ingest.state_expiry import ExpiryProposal, StateExpiry
from consumer.ports.observers.ingest_events import IngestEvent
from consumer.ports.observers.observer import Observer
from consumer.ports.observers.reconcile_events import (
    ReconcileTaskCompleted,
    RowsReconciled,
    RowUnreadable,
    StatesExpired,
)
from consumer.ports.source import FetchedItem

__all__ = ["RowApplier"]


class RowApplier:
    """Takes what was fetched, in its order.

    Args:
        intake: what is held and what waits, which a page must not overtake.
        interpreter: says what rows mean.
        commit_pipeline: commits.
        reconcile_worker: told how far each task has come; None where nothing is fetched.
        state_expiry: told what became of its proposals.
        org: for ids and links.
        options: plain arguments.
        clock: for patience.
        observer: told what was mended.
    """

    def __init__(
        self,
        intake: Intake,
        interpreter: Interpreter,
        commit_pipeline: CommitPipeline,
        reconcile_worker: ReconcileWorker | None,
        state_expiry: StateExpiry,
        org: Callable[[], OrgInfo],
        options: IngestOptions,
        clock: Clock,
        observer: Observer[IngestEvent],
    ) -> None:
        self._intake = intake
        self._interpreter = interpreter
        self._commit_pipeline = commit_pipeline
        self._reconcile_worker = reconcile_worker
        self._state_expiry = state_expiry
        self._org = org
        self._options = options
        self._clock = clock
        self._observer = observer
        self._queue: deque[FetchedItem] = deque()

    def enqueue(self, fetched: FetchedItem) -> None:
        """A page or a proposal has come."""
        self._queue.append(fetched)

    async def process(self) -> None:
        """Commit what has come, each once nothing is held back any more that it is about; what cannot be yet is tried next time."""
        while self._queue:
            fetched = self._queue[0]
            waited_ms = self._clock.monotonic_ms() - fetched.received_ms
            if waited_ms < self._options.max_hold_ms and self._touches_held_changes(fetched.page):
                return
            await self._commit_pipeline.drain()
            try:
                if isinstance(fetched.page, ExpiryProposal):
                    await self._expire(fetched.page)
                else:
                    await self._compare(fetched.page)
            except StoreUnavailable as error:
                self._commit_pipeline.report_failure(error.why)
                return
            self._queue.popleft()

    def _touches_held_changes(self, page: FetchedPage | ExpiryProposal) -> bool:
        """Whether changes of the page's records are held back: told after it, they would come late."""
        if isinstance(page, ExpiryProposal) or not self._intake.held:
            return False
        records = {row.record_id for row in page.rows}
        return any(part.change.record_id in records for part in self._intake.held_parts())

    # ------------------------------------------------------------ rows

    async def _compare(self, page: FetchedPage) -> None:
        began_ms = self._clock.monotonic_ms()
        task = page.task
        batch = await self._interpreter.compare(
            page.rows,
            "gap" if task.reason == "gap" else "repair",
            self._org(),
            unknown_records=triggers.unknown_record_policy(task, self._options),
            server_ms=page.server_ms,
        )
        commit = self._commit_pipeline.draft(batch)
        task = task.with_counts(
            fetched=len(page.rows),
            changed=batch.changed_rows,
            deleted=batch.deleted,
            events=len(batch.journal),
        )
        known: dict[str, ReconcileTask | None] = {one.id: one for one in (task, *page.new_tasks)}
        if page.is_last:
            # A sweep that found nothing says so in the log alone.
            sweep_ms = self._options.sweep_ms
            known[task.id] = (
                task.next_sweep(sweep_ms) if task.reason == "sweep" and sweep_ms is not None else None
            )
            report = triggers.report_of(task, batch.org.id, page.server_ms)
            if report is not None:
                commit.journal.append(report)
        commit.reconcile_tasks = {one: None if kept is None else kept.encode() for one, kept in known.items()}
        await self._commit_pipeline.apply(commit, batch, changes=0, began_ms=began_ms)
        assert self._reconcile_worker is not None
        self._reconcile_worker.update_tasks(known)
        for record_id, why in page.unreadable_rows:
            self._observer.observe(RowUnreadable(task.entity, record_id, why))
        self._observer.observe(RowsReconciled(task.reason, len(page.rows), batch.changed_rows))
        if page.is_last:
            self._observer.observe(ReconcileTaskCompleted(task.id, task.report()))

    # ------------------------------------------------------------ what may be forgotten

    async def _expire(self, proposal: ExpiryProposal) -> None:
        """Remove what may go by what is known now: nobody else writes states, so nothing changes meanwhile."""
        if self._is_reconciling():
            self._state_expiry.proposal_resolved(applied=False)
            return
        began_ms = self._clock.monotonic_ms()
        uncommitted_ids = {
            one
            for part in self._intake.uncommitted()
            for one in (part.change.record_id, part.change.body.get("ActionCadenceTrackerId"))
            if isinstance(one, str)
        }
        batch = await self._interpreter.expire(proposal.keys, proposal.cutoff, uncommitted_ids, self._org())
        if batch.states:
            await self._commit_pipeline.apply(
                self._commit_pipeline.draft(batch), batch, changes=0, began_ms=began_ms
            )
            self._observer.observe(StatesExpired(len(batch.states)))
        self._state_expiry.proposal_resolved(applied=True)

    def _is_reconciling(self) -> bool:
        """Whether something that the stream lost is still to be read: what is known may be about to be found wrong."""
        known = self._reconcile_worker.reconcile_tasks if self._reconcile_worker is not None else {}
        return any(
            not task.is_waiting
            for task in (*known.values(), *self._intake.pending_commit.reconcile_tasks.values())
        )
