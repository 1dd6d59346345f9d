"""Workers of one handler: tasks that take events from the lanes and attempt them.

A worker is started when a lane is ready and ends when there is nothing to take, so a handler without events has no task. A task of its own
wakes the runs whose wait for another attempt has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count

from consumer.clock import Clock
from consumer.delivery.attempts import AttemptRunner
from consumer.delivery.handler_queue import HandlerQueue
from consumer.delivery.handler_state import HandlerState, HandlerStateMachine
from consumer.delivery.invocation import HandlerInvoker
from consumer.delivery.isolation import CANCEL_MS, CallTask
from consumer.delivery.loading import LoadedHandler
from consumer.delivery.store_retry import wait_until_set
from consumer.domain.lifecycle_events import LifecycleEvent
from consumer.ports.journal import JournalEntry
from consumer.ports.observers.delivery_events import DeliveryEvent
from consumer.ports.observers.handler_events import CancellationIgnored
from consumer.ports.observers.observer import Observer
from consumer.rate_limit import RateLimiter

__all__ = ["WorkerPool"]

YIELD_EVERY = 50
"""Number of calls after which a worker yields.

A handler that awaits nothing would otherwise keep the event loop to itself.
"""


class WorkerPool:
    """Workers of one handler.

    Args:
        loaded: the handler.
        invoker: calls it.
        state: no attempt is made unless it is ``RUNNING``.
        stopping: set when the service stops; no worker takes anything from then on.
        clock: monotonic for waits, wall for the age of events and the time of dead letters.
        random: chance in [0, 1), for jitter.
        observer: notified of what becomes of every event.
        decode: decodes an entry; raises ValueError when it cannot.

    Attributes:
        queue: events that wait for a worker.
    """

    def __init__(
        self,
        loaded: LoadedHandler,
        invoker: HandlerInvoker,
        state: HandlerStateMachine,
        stopping: asyncio.Event,
        *,
        clock: Clock,
        random: Callable[[], float],
        observer: Observer[DeliveryEvent],
        decode: Callable[[JournalEntry], LifecycleEvent],
    ) -> None:
        self.queue = HandlerQueue(loaded, self.start_workers)
        self._lanes = self.queue.lanes
        self._attempts = AttemptRunner(
            loaded, self.queue, invoker, state, clock=clock, random=random, observer=observer, decode=decode
        )
        self._state = state
        self._stopping = stopping
        self._clock = clock
        self._observer = observer
        self._rate_limiter = RateLimiter(loaded.spec.rate) if loaded.spec.rate is not None else None
        self._batch_wait_ms = loaded.batch_wait_ms
        self._concurrency = loaded.concurrency
        self._workers: dict[asyncio.Task[None], CallTask] = {}
        self._supervisor: asyncio.Task[None] | None = None
        self._broken: asyncio.Future[None] | None = None

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Allow workers to be started; they are cancelled when ``tasks`` are.

        Workers are no members of ``tasks``: a group cancels its members in a way that a handler, which runs in them, could do as well.
        """
        self._broken = asyncio.get_running_loop().create_future()
        self._supervisor = tasks.create_task(self._supervise(self._broken))

    def start_workers(self) -> None:
        """Start a worker for each ready lane, up to the concurrency of the handler."""
        if self._broken is None or self._stopping.is_set() or self._state.state is not HandlerState.RUNNING:
            return
        for _ in range(min(self._lanes.ready, self._concurrency - len(self._workers))):
            worker = asyncio.create_task(self._work())
            self._workers[worker] = CallTask(worker, self._on_ignored)
            worker.add_done_callback(self._on_worker_done)

    async def wake_retries(self) -> None:
        """Wake each blocked run when its wait ends; never returns."""
        blocked = self.queue.blocked
        while True:
            blocked.clear()
            due_ms = self._lanes.next_due_ms()
            now_ms = self._clock.monotonic_ms()
            if due_ms is None or due_ms > now_ms:
                await wait_until_set(blocked, None if due_ms is None else due_ms - now_ms)
                now_ms = self._clock.monotonic_ms()
            self._lanes.wake(now_ms)
            self.start_workers()

    def stop(self) -> None:
        """Take nothing more; to be called after ``stopping`` was set."""
        self.queue.batch_full.set()

    async def finish_calls(self, grace_ends_ms: int) -> None:
        """Wait for running calls until ``grace_ends_ms`` (monotonic); cancel the rest."""
        if self._workers:
            remaining_ms = max(0, grace_ends_ms - self._clock.monotonic_ms())
            await asyncio.wait(set(self._workers), timeout=remaining_ms / 1000)
        await self._cancel_workers()
        if self._supervisor is not None:
            self._supervisor.cancel()

    async def _supervise(self, broken: asyncio.Future[None]) -> None:
        """Cancel the workers when delivery ends.

        What a worker has raised is an error of the service, and is raised.
        """
        try:
            await broken
        finally:
            await self._cancel_workers()

    async def _cancel_workers(self) -> None:
        for call_task in self._workers.values():
            call_task.cancel()
        if self._workers:
            await asyncio.wait(set(self._workers), timeout=CANCEL_MS / 1000)
        if self._workers:
            self._observer.observe(CancellationIgnored(self.queue.name))

    def _on_ignored(self, is_ignored: bool) -> None:
        if is_ignored:
            self._state.cancellation_ignored()
        else:
            self._state.stuck_call_ended()
            self.start_workers()

    def _on_worker_done(self, worker: asyncio.Task[None]) -> None:
        self._workers.pop(worker, None)
        error = None if worker.cancelled() else worker.exception()
        if error is not None and self._broken is not None and not self._broken.done():
            self._broken.set_exception(error)

    async def _work(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        call_task = self._workers[task]
        try:
            await call_task.unaffected(lambda: self._work_until_idle(call_task))
        finally:
            # Here and not in a done callback, which runs one loop iteration later: start_workers() would count this worker until then.
            self._workers.pop(task, None)

    async def _work_until_idle(self, call_task: CallTask) -> None:
        for calls in count(1):
            # A handler that swallows the cancellation of its call must not keep its worker going.
            if (
                self._stopping.is_set()
                or call_task.is_cancelled
                or self._state.state is not HandlerState.RUNNING
            ):
                return
            if self._rate_limiter is not None and (
                delay_ms := self._rate_limiter.delay_ms(self._clock.monotonic_ms())
            ):
                await wait_until_set(self._stopping, delay_ms)
                continue
            if self._batch_wait_ms and not await self._fill_batch():
                return
            now_ms = self._clock.monotonic_ms()
            deliveries = self._lanes.take(now_ms, self.queue.batch_size)
            if not deliveries:
                return
            if self._rate_limiter is not None:
                self._rate_limiter.consume(now_ms, len(deliveries))
            await self._attempts.run(deliveries, now_ms, call_task)
            self.queue.wake_readers_on_demand()
            if calls % YIELD_EVERY == 0:
                await asyncio.sleep(0)

    async def _fill_batch(self) -> bool:
        """Wait up to ``batch_wait`` for a full batch; False when the service stops."""
        if not self._lanes.retries and 0 < self._lanes.fresh_events < self.queue.batch_size:
            self.queue.batch_full.clear()
            await wait_until_set(self.queue.batch_full, self._batch_wait_ms)
            return not self._stopping.is_set()
        return True
