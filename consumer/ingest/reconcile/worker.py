"""The reconciler: asks Salesforce for what the stream lost, page by page, beside the stream and never in its way.

It fetches, and that is all it does: each page goes into the inbox like an answer of the stream, the ingest loop compares it with what is
known and commits it together with the task's next page, and only then the next page is asked for. So a crash anywhere costs one page, REST
that is down costs time, and no position ever waits for it.

A task whose page cannot be had waits, and longer each time; the others go on beside it, so that one object that the user may not see does
not leave the gaps of the other unmended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from consumer.backoff import Backoff
from consumer.clock import Clock
from consumer.domain.reconcile_task import ReconcileTask
from consumer.errors import CadenceError
from consumer.ingest.buffer import BufferClosed, IntakeBuffer
from consumer.ingest.reconcile.fetch import FetchedPage, PageFetcher, RecordSource
from consumer.ports.commit import IngestStore
from consumer.ports.observers.ingest_events import IngestEvent
from consumer.ports.observers.observer import Observer
from consumer.ports.observers.reconcile_events import ReconcileFetchFailed, ReconcileTasksCounted
from consumer.ports.source import FetchedItem

__all__ = ["ReconcileWorker"]

_RETRY_AFTER_MS = 1_000
_BACKOFF = Backoff(1_000, 60_000)
_IDLE_WAIT_MS = 1_000
"""How often it looks whether something is due."""
_STORE_POLL_MS = 10_000
"""How often the store is asked for tasks that people added."""


class ReconcileWorker:
    """Works through the tasks of one tenure, one page at a time, gaps before windows.

    Args:
        source: where rows come from.
        store: asked for tasks that people add.
        buffer: takes the pages.
        clock: for waiting.
        server_ms: what time it is in Salesforce, in milliseconds; None while nobody knows.
        observer: told what fails.
    """

    def __init__(
        self,
        source: RecordSource,
        store: IngestStore,
        buffer: IntakeBuffer,
        clock: Clock,
        server_ms: Callable[[], int | None],
        observer: Observer[IngestEvent],
    ) -> None:
        self._page_fetcher = PageFetcher(source, store)
        self._store = store
        self._buffer = buffer
        self._clock = clock
        self._server_ms = server_ms
        self._observer = observer
        self._tasks: dict[str, ReconcileTask] = {}
        self._committed: set[str] = set()
        self._failures: dict[str, int] = {}
        self._not_before_ms: dict[str, int] = {}
        """Monotonic milliseconds until which a task whose page could not be had waits."""
        self._failing_task_ids: set[str] = set()
        """Tasks that failed since one last succeeded: the more they are, the less is it the task's own fault."""
        self._changed = asyncio.Event()
        self._store_polled_ms = clock.monotonic_ms()

    @property
    def reconcile_tasks(self) -> Mapping[str, ReconcileTask]:
        """Every task by id, as committed last."""
        return self._tasks

    def update_tasks(self, reconcile_tasks: Mapping[str, ReconcileTask | None]) -> None:
        """Told with every commit that touched tasks, and once at the beginning; None says that one is done."""
        for task_id, task in reconcile_tasks.items():
            if task is None:
                self._tasks.pop(task_id, None)
                self._not_before_ms.pop(task_id, None)
            else:
                self._tasks[task_id] = task
            self._committed.add(task_id)
        self._changed.set()
        self._observer.observe(ReconcileTasksCounted(self._pending()))

    def _pending(self) -> Mapping[str, int]:
        counts: dict[str, int] = {}
        for task in self._tasks.values():
            if not task.is_waiting:
                counts[task.reason] = counts.get(task.reason, 0) + 1
        return counts

    # ------------------------------------------------------------ the work

    async def run(self) -> None:
        """Fetch page after page until it is cancelled or the inbox is closed."""
        while True:
            server_ms = self._server_ms()
            # Before the first session nobody knows what the stream will tell.
            task = None if server_ms is None else self._next_task(server_ms)
            if task is None or server_ms is None:
                await self._wait()
                continue
            try:
                page = await self._page_fetcher.next(task, server_ms)
            except CadenceError as error:
                await self._postpone(task, str(error))
                continue
            self._failures.pop(task.id, None)
            self._failing_task_ids.clear()
            if not isinstance(page, FetchedPage):
                self._tasks[task.id] = page
                self._not_before_ms[task.id] = self._clock.monotonic_ms() + _RETRY_AFTER_MS
                continue
            self._committed.discard(task.id)
            try:
                await self._buffer.put(FetchedItem(page, self._clock.monotonic_ms()))
                while task.id not in self._committed:
                    self._changed.clear()
                    await self._changed.wait()
            except BufferClosed:
                return

    async def _postpone(self, task: ReconcileTask, why: str) -> None:
        """The task waits; when others failed too, it is Salesforce that does not answer, and all wait."""
        failures = self._failures[task.id] = self._failures.get(task.id, 0) + 1
        wait_ms = _BACKOFF.delay_ms(failures)
        self._not_before_ms[task.id] = self._clock.monotonic_ms() + wait_ms
        self._observer.observe(ReconcileFetchFailed(task.id, why, wait_ms))
        self._failing_task_ids.add(task.id)
        if len(self._failing_task_ids) > 1:
            await asyncio.sleep(_BACKOFF.delay_ms(len(self._failing_task_ids) - 1) / 1000)

    def _next_task(self, server_ms: int) -> ReconcileTask | None:
        """What is due and has not to wait: named records first, then what was lost, then what may have been, then everything.

        What failed comes after what did not, so that it keeps nothing waiting that could be had.
        """
        now_ms = self._clock.monotonic_ms()
        due_tasks = [
            task
            for task in self._tasks.values()
            if task.due_ms <= server_ms and self._not_before_ms.get(task.id, 0) <= now_ms
        ]
        return min(
            due_tasks,
            key=lambda task: (
                self._failures.get(task.id, 0),
                not task.ids,
                task.reason == "sweep",
                task.is_snapshot,
                task.id,
            ),
            default=None,
        )

    async def _wait(self) -> None:
        """Until a commit changes tasks, or it is time to look whether somebody added one or a sweep is due."""
        self._changed.clear()
        try:
            async with asyncio.timeout(_IDLE_WAIT_MS / 1000):
                await self._changed.wait()
        except TimeoutError:
            now_ms = self._clock.monotonic_ms()
            if now_ms - self._store_polled_ms >= _STORE_POLL_MS:
                self._store_polled_ms = now_ms
                await self._load_added_tasks()

    async def _load_added_tasks(self) -> None:
        try:
            found = await self._store.reconcile_tasks()
        except CadenceError:
            return  # whoever commits tells
        added = {
            task_id: ReconcileTask.decode(data)
            for task_id, data in found.items()
            if task_id not in self._tasks
        }
        if added:
            self.update_tasks(added)
