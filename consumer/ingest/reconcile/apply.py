"""Application of what was fetched beside the stream.

Rows are compared with what is known, and proposed states expire; both end in a commit.

The reconcile worker and the expiry of states work beside the stream and put what they found into the buffer. Here, between two commits of
the stream and by the only task that writes states, it is decided on what is known by then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from consumer.clock import Clock
from consumer.domain.lifecycle import OrgInfo
from consumer.domain.reconcile_task import ReconcileTask
from consumer.errors import StoreUnavailable
from consumer.ingest.commits import CommitPipeline
from consumer.ingest.expire import expire
from consumer.ingest.options import IngestOptions
from consumer.ingest.receive import Intake
from consumer.ingest.reconcile import triggers
from consumer.ingest.reconcile.compare import compare_rows
from consumer.ingest.reconcile.fetch import FetchedPage
from consumer.ingest.reconcile.worker import ReconcileWorker
from consumer.ingest.state_expiry import ExpiryProposal, StateExpiry
from consumer.ingest.states.repository import StateRepository
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
    """Queue of what was fetched, applied in its order.

    Args:
        intake: for the changes that are held or wait, which a page must not overtake.
        states: loads states and keeps what changed.
        commits: sends commits.
        reconcile_worker: is given the progress of each task; None where nothing is fetched.
        state_expiry: is given the outcome of its proposals.
        org: asked for the org, for ids and links.
        options: settings of ingest.
        clock: for waiting times and durations.
        observer: notified of what was applied.
    """

    def __init__(
        self,
        intake: Intake,
        states: StateRepository,
        commits: CommitPipeline,
        reconcile_worker: ReconcileWorker | None,
        state_expiry: StateExpiry,
        org: Callable[[], OrgInfo],
        options: IngestOptions,
        clock: Clock,
        observer: Observer[IngestEvent],
    ) -> None:
        self._intake = intake
        self._states = states
        self._commits = commits
        self._reconcile_worker = reconcile_worker
        self._state_expiry = state_expiry
        self._org = org
        self._options = options
        self._clock = clock
        self._observer = observer
        self._queue: deque[FetchedItem] = deque()

    def enqueue(self, fetched: FetchedItem) -> None:
        """Add a page of rows or a proposal."""
        self._queue.append(fetched)

    async def process(self) -> None:
        """Commit what is queued.

        Each item is committed once no change of its records is held back; the rest is tried next time.
        """
        while self._queue:
            fetched = self._queue[0]
            waited_ms = self._clock.monotonic_ms() - fetched.received_ms
            if waited_ms < self._options.max_hold_ms and self._touches_held_changes(fetched.page):
                return
            await self._commits.drain()
            try:
                if isinstance(fetched.page, ExpiryProposal):
                    await self._expire(fetched.page)
                else:
                    await self._compare(fetched.page)
            except StoreUnavailable as error:
                self._commits.report_failure(error.why)
                return
            self._queue.popleft()

    def _touches_held_changes(self, page: FetchedPage | ExpiryProposal) -> bool:
        """Check for held changes of the page's records.

        Interpreted after the page, they would be late.
        """
        if isinstance(page, ExpiryProposal) or not self._intake.held:
            return False
        records = {row.record_id for row in page.rows}
        return any(part.change.record_id in records for part in self._intake.held_parts())

    # ------------------------------------------------------------ rows

    async def _compare(self, page: FetchedPage) -> None:
        began_ms = self._clock.monotonic_ms()
        task = page.task
        assert self._reconcile_worker is not None
        loaded = await self._states.load_rows(page.rows)
        try:
            batch = compare_rows(
                page.rows,
                "gap" if task.reason == "gap" else "repair",
                loaded,
                self._org(),
                unknown_records=triggers.unknown_record_policy(task, self._options),
                server_ms=page.server_ms,
            )
        except Exception as error:  # noqa: BLE001 - whatever rows do to the code that compares them concerns their task alone
            self._reconcile_worker.reject(task.id, f"{type(error).__name__}: {error}")
            return
        self._states.write_back(batch, only_cached=True)
        commit = self._commits.draft(batch)
        task = task.with_counts(
            fetched=len(page.rows),
            changed=batch.changed_rows,
            deleted=batch.deleted,
            events=len(batch.journal),
        )
        known: dict[str, ReconcileTask | None] = {one.id: one for one in (task, *page.new_tasks)}
        if page.is_last:
            # A sweep that found nothing is reported in the log alone.
            sweep_ms = self._options.sweep_ms
            known[task.id] = (
                task.next_sweep(sweep_ms) if task.reason == "sweep" and sweep_ms is not None else None
            )
            report = triggers.report_of(task, batch.org.id, page.server_ms)
            if report is not None:
                commit.journal.append(report)
        commit.reconcile_tasks = {one: None if kept is None else kept.encode() for one, kept in known.items()}
        await self._commits.apply(commit, batch, began_ms=began_ms)
        self._reconcile_worker.update_tasks(known)
        for record_id, why in page.unreadable_rows:
            self._observer.observe(RowUnreadable(task.entity, record_id, why))
        self._observer.observe(RowsReconciled(task.reason, len(page.rows), batch.changed_rows))
        if page.is_last:
            self._observer.observe(ReconcileTaskCompleted(task.id, task.report()))

    # ------------------------------------------------------------ expiry

    async def _expire(self, proposal: ExpiryProposal) -> None:
        """Remove what may go by what is known now.

        No other task writes states, so nothing changes meanwhile.
        """
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
        loaded = await self._states.load_expirable(proposal.keys)
        batch = expire(proposal.keys, loaded, proposal.cutoff, uncommitted_ids, self._org())
        if batch.states:
            self._states.write_back(batch, only_cached=True)
            await self._commits.apply(self._commits.draft(batch), batch, began_ms=began_ms)
            self._observer.observe(StatesExpired(len(batch.states)))
        self._state_expiry.proposal_resolved(applied=True)

    def _is_reconciling(self) -> bool:
        """Check for tasks that still read what the stream lost.

        Known states may be about to be found wrong.
        """
        known = self._reconcile_worker.reconcile_tasks if self._reconcile_worker is not None else {}
        return any(
            not task.is_waiting
            for task in (*known.values(), *self._intake.pending_commit.reconcile_tasks.values())
        )
