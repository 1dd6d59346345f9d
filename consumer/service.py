"""Service lifecycle: wait for the lease, serve a tenure, stop in order.

A *tenure* runs from winning the lease to losing it, a refused commit, or the end of the process. All state of a tenure is loaded from the
store after the token was written, and is discarded with the tenure: a standby preloads nothing. Inside a tenure four tasks live and die
together: the supervisor polls, ingest commits, delivery calls handlers, and one task renews the lease.

A stop has this order: intake ends (and sends ``/meta/disconnect``), released changes are committed, handlers finish within the grace period
that counts from the signal, the lease is released. Changes held back for ordering are not flushed: they stay incomplete and are delivered
again, since an older sibling may still be on its way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from consumer.actions.client import ActionSender
from consumer.clock import Clock
from consumer.delivery.dispatcher import Dispatcher
from consumer.delivery.journal_retention import Retention
from consumer.delivery.loading import LoadedHandler
from consumer.domain.lifecycle import OrgInfo
from consumer.errors import CommitRefused, StoreUnavailable, first_error
from consumer.ingest.buffer import BufferClosed, IntakeBuffer
from consumer.ingest.commits import CommitPipeline
from consumer.ingest.options import IngestOptions
from consumer.ingest.receive import Instance
from consumer.ingest.supervisor import Supervisor, SupervisorOptions
from consumer.ingest.tenure import IngestTenure, begin_ingest
from consumer.ports.lease import Tenure
from consumer.ports.observers.delivery_events import DeliveryEvent
from consumer.ports.observers.ingest_events import IngestEvent
from consumer.ports.observers.observer import Observer
from consumer.ports.observers.retention_events import RetentionEvent
from consumer.ports.observers.service_events import (
    LeaseAcquired,
    LeaseAwaited,
    LeaseRenewed,
    ServiceEvent,
    ServiceStopped,
    StopRequested,
    StoreReachable,
    StoreUnreachable,
    TenureEnded,
)
from consumer.ports.observers.session_events import SessionEvent
from consumer.ports.salesforce import RecordSource
from consumer.ports.source import Source
from consumer.ports.store import Store

__all__ = ["Service", "ServiceOptions"]

_STANDBY_POLL_MS = 1_000
_BUFFER_MESSAGES = 1_000
_BUFFER_BYTES = 4 * 1024 * 1024
"""Room for the next answer and a few behind it.

More would not be faster, and parsed answers take five times as much memory.
"""


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """Options of the service; durations in milliseconds.

    Attributes:
        holder: name of this replica for people: host, process id.
        lease_ms: ``lease.ttl``.
        renew_ms: ``lease.renew``.
        grace_ms: ``shutdown.grace``.
        ingest: options of ingest.
        journal_max_age_ms: ``journal.max_age``.
        journal_max_bytes: ``journal.max_bytes``; None sets no limit.
        handler_names: all configured handlers, including those that do not run; the journal is kept for them.
        supervisor: options of the supervisor of sessions; its defaults when None.
    """

    holder: str
    lease_ms: int
    renew_ms: int
    grace_ms: int
    ingest: IngestOptions
    supervisor: SupervisorOptions | None = None
    journal_max_age_ms: int = 30 * 86_400_000
    journal_max_bytes: int | None = None
    handler_names: tuple[str, ...] = ()


class Service:
    """Replica of the service.

    Args:
        store: an open store; not closed here.
        source: factory of sessions.
        org: returns the org of the sessions; called once a session has opened.
        instance: looks up the name of the org's instance.
        lookup_source: source of records that were never seen; None disables lookups.
        handlers: receivers of lifecycle events.
        options: options of the service.
        clock: clock for waiting and for instants.
        random: source of jitter.
        observer: observer of the replica.
        ingest_observer: observer of ingest.
        session_observer: observer of sessions.
        delivery_observer: observer of delivery.
        action_sender: transport for handlers' actions; None disables actions.
        record_source: source of reconcile tasks; None disables reconciliation.
        retention_observer: observer of the sizes of journal and store; None disables retention.
    """

    def __init__(
        self,
        store: Store,
        source: Source,
        org: Callable[[], OrgInfo],
        instance: Instance,
        lookup_source: RecordSource | None,
        handlers: Sequence[LoadedHandler],
        options: ServiceOptions,
        clock: Clock,
        random: Random,
        *,
        observer: Observer[ServiceEvent],
        ingest_observer: Observer[IngestEvent],
        session_observer: Observer[SessionEvent],
        delivery_observer: Observer[DeliveryEvent],
        action_sender: ActionSender | None = None,
        record_source: RecordSource | None = None,
        retention_observer: Observer[RetentionEvent] | None = None,
    ) -> None:
        self._store = store
        self._source = source
        self._org = org
        self._instance = instance
        self._lookup_source = lookup_source
        self._handlers = handlers
        self._options = options
        self._clock = clock
        self._random = random
        self._observer = observer
        self._ingest_observer = ingest_observer
        self._session_observer = session_observer
        self._delivery_observer = delivery_observer
        self._action_sender = action_sender
        self._record_source = record_source
        self._retention_observer = retention_observer
        self._stop = asyncio.Event()
        self._stop_deadline_ms = 0

    def stop(self) -> None:
        """Request an orderly stop; the grace period begins now."""
        if not self._stop.is_set():
            self._stop_deadline_ms = self._clock.monotonic_ms() + self._options.grace_ms
            self._observer.observe(StopRequested(self._options.grace_ms))
            self._stop.set()

    async def stopping_within(self, ms: int) -> bool:
        """Wait up to ``ms`` milliseconds; report whether a stop was requested meanwhile."""
        await self._sleep(ms)
        return self._stop.is_set()

    async def run(self) -> bool:
        """Serve until :meth:`stop`.

        Returns:
            True after an orderly stop, with nothing cut short.

        Raises:
            StopService: only a person can solve the problem.
            StoreForeign: the store belongs to another org, or to a newer version.
        """
        clean = True
        while not self._stop.is_set():
            tenure = await self._acquire_lease()
            if tenure is None:
                break
            try:
                clean = await self._serve(tenure)
            except* CommitRefused as refusals:
                refusal = first_error(refusals)
                self._observer.observe(TenureEnded(str(refusal), refusal.holder))
            finally:
                await self._release_lease(tenure)
        self._observer.observe(ServiceStopped(clean=clean))
        return clean

    # ------------------------------------------------------------ the lease

    async def _acquire_lease(self) -> Tenure | None:
        """Wait for the lease; None when a stop is requested first."""
        while not self._stop.is_set():
            # Counted from before the call: a process that was frozen during it must not assume a longer lease than it has.
            until_ms = self._clock.monotonic_ms() + self._options.lease_ms
            try:
                tenure = await self._store.acquire(self._options.holder, self._options.lease_ms)
                if tenure is not None:
                    self._observer.observe(StoreReachable())
                    self._observer.observe(LeaseAcquired(tenure.holder, until_ms, tenure.token))
                    return tenure
                self._observer.observe(LeaseAwaited((await self._store.lease()).holder))
            except StoreUnavailable as error:
                self._observer.observe(StoreUnreachable(error.why))
            await self._sleep(_STANDBY_POLL_MS)
        return None

    async def _sleep(self, ms: int) -> None:
        """Sleep for ``ms`` milliseconds, or until a stop is requested."""
        try:
            async with asyncio.timeout(ms / 1000):
                await self._stop.wait()
        except TimeoutError:
            return

    async def _keep_lease(self, commits: CommitPipeline) -> None:
        while True:
            await asyncio.sleep(self._options.renew_ms / 1000)
            until_ms = self._clock.monotonic_ms() + self._options.lease_ms
            try:
                await commits.renew(self._options.lease_ms)
            except StoreUnavailable as error:
                self._observer.observe(StoreUnreachable(error.why))
            else:
                self._observer.observe(StoreReachable())
                self._observer.observe(LeaseRenewed(until_ms))

    async def _release_lease(self, tenure: Tenure) -> None:
        try:
            async with asyncio.timeout(2):
                await self._store.release(tenure)
        except (StoreUnavailable, TimeoutError) as error:
            # The lease expires by itself; the next holder waits for that.
            self._observer.observe(StoreUnreachable(f"the lease could not be released: {error}"))

    # ------------------------------------------------------------ a tenure

    async def _serve(self, tenure: Tenure) -> bool:
        """Serve one tenure; report whether it ended in order."""
        options = self._options
        buffer = IntakeBuffer(_BUFFER_MESSAGES, _BUFFER_BYTES)
        ingest = await self._begin_ingest(tenure, buffer)
        supervisor = Supervisor(
            self._source,
            ingest.plan,
            buffer,
            self._session_observer,
            self._clock,
            lateness_ms=options.ingest.lateness_ms,
            random=self._random,
            options=options.supervisor,
        )
        dispatcher = Dispatcher(
            self._store,
            tenure,
            self._handlers,
            clock=self._clock,
            random=self._random.random,
            observer=self._delivery_observer,
            action_sender=self._action_sender,
        )
        async with asyncio.TaskGroup() as tasks:
            polling = tasks.create_task(_until_closed(supervisor), name="supervisor")
            ingesting = tasks.create_task(ingest.loop.run(), name="ingest")
            delivering = tasks.create_task(dispatcher.run(), name="delivery")
            renewing = tasks.create_task(self._keep_lease(ingest.commits), name="lease")
            reconciling = None
            if ingest.reconcile_worker is not None:
                reconciling = tasks.create_task(ingest.reconcile_worker.run(), name="reconcile")
            expiring = tasks.create_task(ingest.state_expiry.run(), name="expiry")
            trimming = tasks.create_task(self._run_retention(tenure), name="retention")
            await self._stop.wait()
            trimming.cancel()
            expiring.cancel()
            if reconciling is not None:
                reconciling.cancel()
            clean = await self._stop_in_order(polling, ingest, ingesting, dispatcher)
            delivering.cancel()
            renewing.cancel()
        return clean

    async def _run_retention(self, tenure: Tenure) -> None:
        if self._retention_observer is not None:
            retention = Retention(
                self._store,
                tenure,
                self._options.handler_names,
                clock=self._clock,
                observer=self._retention_observer,
                max_age_ms=self._options.journal_max_age_ms,
                max_bytes=self._options.journal_max_bytes,
            )
            await retention.run()

    async def _begin_ingest(self, tenure: Tenure, buffer: IntakeBuffer) -> IngestTenure:
        """Build ingest from the store, however often it has to be asked."""
        while True:
            try:
                return await begin_ingest(
                    self._store,
                    tenure,
                    buffer,
                    self._org,
                    self._instance,
                    self._options.ingest,
                    self._clock,
                    self._ingest_observer,
                    lookup_source=self._lookup_source,
                    record_source=self._record_source,
                )
            except StoreUnavailable as error:
                self._observer.observe(StoreUnreachable(error.why))
                await asyncio.sleep(_STANDBY_POLL_MS / 1000)

    async def _stop_in_order(
        self,
        polling: asyncio.Task[None],
        ingest: IngestTenure,
        ingesting: asyncio.Task[None],
        dispatcher: Dispatcher,
    ) -> bool:
        polling.cancel()
        await asyncio.wait([polling])
        ingest.loop.stop()
        clean = True
        try:
            async with asyncio.timeout(self._grace_left_ms() / 1000):
                await asyncio.wait([ingesting])
                await ingest.loop.commit_remaining()
        except TimeoutError:
            # The store does not answer: uncommitted changes are delivered again.
            ingesting.cancel()
            clean = False
        await dispatcher.stop(self._grace_left_ms())
        return clean

    def _grace_left_ms(self) -> int:
        return max(self._stop_deadline_ms - self._clock.monotonic_ms(), 0)


async def _until_closed(supervisor: Supervisor) -> None:
    try:
        await supervisor.run()
    except BufferClosed:
        return
