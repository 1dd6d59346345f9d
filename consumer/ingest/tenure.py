"""Ingest half of one tenure, put together from what the store holds.

Everything that ingest knows is loaded after the token of the tenure was written, and dies with the tenure: a standby preloads nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from consumer.clock import Clock
from consumer.domain.lifecycle import OrgInfo
from consumer.domain.reconcile_task import ReconcileTask
from consumer.ingest.buffer import IntakeBuffer
from consumer.ingest.channels import Channels
from consumer.ingest.commits import CommitPipeline
from consumer.ingest.epochs import Epochs
from consumer.ingest.options import IngestOptions
from consumer.ingest.pending_commit import PendingCommit
from consumer.ingest.pipeline import Ingest
from consumer.ingest.quota_guard import QuotaGuard
from consumer.ingest.receive import Instance, Intake
from consumer.ingest.reconcile.apply import RowApplier
from consumer.ingest.reconcile.worker import ReconcileWorker
from consumer.ingest.resume_plan import ResumePlan
from consumer.ingest.state_expiry import StateExpiry
from consumer.ingest.states.lookup import RecordLookup
from consumer.ingest.states.repository import StateRepository
from consumer.ingest.stream_clock import StreamClock
from consumer.ingest.timer_watermark import TimerWatermark
from consumer.ingest.unreadable_answers import UnreadableAnswers
from consumer.ports.commit import IngestStore
from consumer.ports.lease import LeaseStore, Tenure
from consumer.ports.observers.ingest_events import IngestEvent
from consumer.ports.observers.observer import Observer
from consumer.ports.salesforce import RecordSource

__all__ = ["IngestTenure", "TenureStore", "begin_ingest"]


class TenureStore(IngestStore, LeaseStore, Protocol):
    """Store of a tenure: its commits, and its lease."""


@dataclass(frozen=True, slots=True)
class IngestTenure:
    """Parts of ingest that the service runs and asks.

    Attributes:
        loop: the ingest loop.
        plan: asked by the supervisor where sessions resume.
        commits: renews the lease.
        state_expiry: proposes states to forget.
        reconcile_worker: fetches what the stream lost; None where nothing can be fetched.
    """

    loop: Ingest
    plan: ResumePlan
    commits: CommitPipeline
    state_expiry: StateExpiry
    reconcile_worker: ReconcileWorker | None


async def begin_ingest(
    store: TenureStore,
    tenure: Tenure,
    buffer: IntakeBuffer,
    org: Callable[[], OrgInfo],
    instance: Instance,
    options: IngestOptions,
    clock: Clock,
    observer: Observer[IngestEvent],
    *,
    lookup_source: RecordSource | None,
    record_source: RecordSource | None,
) -> IngestTenure:
    """Build everything from the store.

    Args:
        store: for states, commits and renewals.
        tenure: whose token every commit carries; it must have been written before.
        buffer: filled by the supervisor.
        org: asked for the org once a session has opened, for ids and links.
        instance: the name of the org's instance.
        options: settings of ingest.
        clock: for waiting and for naming instants.
        observer: notified of everything that happens in ingest.
        lookup_source: where records that were never seen are looked up; None looks nothing up.
        record_source: where reconcile tasks fetch from; None leaves tasks as they are, for a tenure that can.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    channels = Channels(options.channels, options.start, await store.channels())
    epochs = Epochs(await store.epochs())
    for state in channels.states.values():
        epochs.restore_greatest(state.commit_number)
    pending_commit, stream_clock, unreadable = PendingCommit(), StreamClock(), UnreadableAnswers()
    timer_watermark = TimerWatermark(options.lateness_ms)
    states = StateRepository(store, RecordLookup(lookup_source, clock, observer), hydrate=options.hydrate)
    commits = CommitPipeline(store, store, tenure, timer_watermark, clock, observer)

    def server_now_ms() -> int | None:
        return stream_clock.server_now_ms(clock.monotonic_ms())

    def received_through_ms() -> int | None:
        """Salesforce time up to which all changes have been received.

        The result is None before a first change and a first answer.
        """
        newest_ms, now_ms = states.newest_commit_ms, server_now_ms()
        return None if newest_ms is None or now_ms is None else min(newest_ms, now_ms)

    worker: ReconcileWorker | None = None
    if record_source is not None:
        worker = ReconcileWorker(record_source, store, buffer, clock, server_now_ms, observer)
        stored_tasks = await store.reconcile_tasks()
        worker.update_tasks({task_id: ReconcileTask.decode(data) for task_id, data in stored_tasks.items()})
    state_expiry = StateExpiry(store, buffer, clock, received_through_ms, options.retention_ms, observer)
    intake = Intake(
        options,
        channels,
        epochs,
        pending_commit,
        stream_clock,
        unreadable,
        timer_watermark,
        instance,
        lambda: None if worker is None else worker.reconcile_tasks,
        clock,
        observer,
    )
    loop = Ingest(
        store,
        buffer,
        intake,
        states,
        commits,
        RowApplier(intake, states, commits, worker, state_expiry, org, options, clock, observer),
        worker,
        timer_watermark,
        org,
        options,
        clock,
    )
    await loop.load_next_timer()
    plan = ResumePlan(
        channels,
        pending_commit,
        stream_clock,
        unreadable,
        timer_watermark,
        lambda: intake.held,
        None if record_source is None or options.spend_allocation else QuotaGuard(record_source),
        org,
        options,
        clock,
        observer,
    )
    return IngestTenure(loop, plan, commits, state_expiry, worker)
