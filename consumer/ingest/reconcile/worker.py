"""Worker that fetches what the stream lost, page by page.

It works beside the stream and never in its way.

The worker only fetches: each page goes into the buffer like an answer of the stream, the ingest loop compares it with what is known and
commits it together with the progress of the task, and only then is the next page asked for. A crash at any instant costs one page, an
outage of REST costs time, and no position ever waits for either.

A task whose page cannot be fetched waits, and longer each time; the others continue beside it, so that an object that the user may not read
does not leave the gaps of the other open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from consumer.backoff import Backoff
from consumer.clock import Clock
from consumer.domain.reconcile_task import ReconcileTask
from consumer.errors import CadenceError, UnusableAnswer
from consumer.ingest.buffer import BufferClosed, IntakeBuffer
from consumer.ingest.reconcile.fetch import FetchedPage, PageFetcher
from consumer.ports.commit import IngestStore
from consumer.ports.observers.ingest_events import IngestEvent
from consumer.ports.observers.observer import Observer
from consumer.ports.observers.reconcile_events import (
    ReconcileFetchFailed,
    ReconcileTaskRecovered,
    ReconcileTasksCounted,
)
from consumer.ports.salesforce import RecordSource
from consumer.ports.source import FetchedItem

__all__ = ["ReconcileWorker"]

_RETRY_AFTER_MS = 1_000
_BACKOFF = Backoff(1_000, 60_000)
SET_ASIDE_AFTER = 3
"""Failures in a row after which a task is reported until it succeeds."""
_CONTENT_RETRY_MS = 600_000
"""Wait of a task that is set aside for the content of its answers."""
_STORED_ERROR = 300
"""Characters of an error that are stored with its task."""
_IDLE_WAIT_MS = 1_000
"""Longest wait before the worker looks for a task that has come due."""
_STORE_POLL_MS = 10_000
"""Interval at which the store is asked for tasks that operators added."""


class ReconcileWorker:
    """Worker on the tasks of one tenure, one page at a time, gaps before windows.

    Args:
        source: where rows come from.
        store: asked for tasks that operators add.
        buffer: takes the pages.
        clock: for waiting.
        server_ms: Salesforce's time now, in milliseconds; None before the first session.
        observer: notified of failures.
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
        self._rejections: dict[str, str] = {}
        """Tasks whose last page could not be compared, with the reason."""
        self._not_before_ms: dict[str, int] = {}
        """Monotonic milliseconds until which a task whose page could not be fetched waits."""
        self._failing_task_ids: set[str] = set()
        """Tasks that failed since any last succeeded: the more there are, the less likely is the cause a task's own."""
        self._changed = asyncio.Event()
        self._store_polled_ms = clock.monotonic_ms()

    @property
    def reconcile_tasks(self) -> Mapping[str, ReconcileTask]:
        """Tasks by id, as committed last."""
        return self._tasks

    def update_tasks(self, reconcile_tasks: Mapping[str, ReconcileTask | None]) -> None:
        """Take the tasks that a commit changed, or that the store holds at the beginning.

        A value of None stands for a task that is done.
        """
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
        """Fetch page after page until cancelled or until the buffer is closed."""
        while True:
            server_ms = self._server_ms()
            # Before the first session the stream may still deliver what a task would read.
            task = None if server_ms is None else self._next_task(server_ms)
            if task is None or server_ms is None:
                await self._wait()
                continue
            try:
                page = await self._page_fetcher.next(task, server_ms)
            except CadenceError as error:
                await self._postpone(
                    task, str(error), server_ms, by_content=isinstance(error, UnusableAnswer)
                )
                continue
            except Exception as error:  # noqa: BLE001 - whatever an answer does to the code that reads it
                await self._postpone(task, _shown(error), server_ms, by_content=True)
                continue
            if not isinstance(page, FetchedPage):
                self._recovered(task)
                self._tasks[task.id] = page
                self._not_before_ms[task.id] = self._clock.monotonic_ms() + _RETRY_AFTER_MS
                continue
            try:
                await self._commit(replace(page, task=replace(page.task, error=None)))
            except BufferClosed:
                return
            rejection = self._rejections.pop(task.id, None)
            if rejection is None:
                self._recovered(task)
            else:
                await self._postpone(task, rejection, server_ms, by_content=True)

    def reject(self, task_id: str, why: str) -> None:
        """Take back a page that could not be compared; its task is postponed."""
        self._rejections[task_id] = why
        self._committed.add(task_id)
        self._changed.set()

    async def _commit(self, page: FetchedPage) -> None:
        """Hand a page over and wait until it is committed or rejected.

        Raises:
            BufferClosed: the tenure ends.
        """
        self._committed.discard(page.task.id)
        await self._buffer.put(FetchedItem(page, self._clock.monotonic_ms()))
        while page.task.id not in self._committed:
            self._changed.clear()
            await self._changed.wait()

    def _recovered(self, task: ReconcileTask) -> None:
        if self._failures.pop(task.id, 0) >= SET_ASIDE_AFTER:
            self._observer.observe(ReconcileTaskRecovered(task.id))
        self._failing_task_ids.clear()

    async def _postpone(self, task: ReconcileTask, why: str, server_ms: int, *, by_content: bool) -> None:
        """Postpone a task.

        When others failed too, Salesforce does not answer at all, and every task waits.

        A task that failed several times is set aside: the reason is stored with it and reported until it succeeds, and where the content
        of answers is the reason, the task is tried again only rarely.
        """
        failures = self._failures[task.id] = self._failures.get(task.id, 0) + 1
        is_aside = failures >= SET_ASIDE_AFTER
        wait_ms = _CONTENT_RETRY_MS if is_aside and by_content else _BACKOFF.delay_ms(failures)
        self._not_before_ms[task.id] = self._clock.monotonic_ms() + wait_ms
        self._observer.observe(ReconcileFetchFailed(task.id, why, wait_ms, is_aside))
        if is_aside and task.error is None:
            with suppress(BufferClosed):
                await self._commit(FetchedPage(replace(task, error=why[:_STORED_ERROR]), (), server_ms))
        self._failing_task_ids.add(task.id)
        if len(self._failing_task_ids) > 1:
            await asyncio.sleep(_BACKOFF.delay_ms(len(self._failing_task_ids) - 1) / 1000)

    def _next_task(self, server_ms: int) -> ReconcileTask | None:
        """Choose among the tasks that are due.

        Named records come first, then windows, then sweeps, then snapshots.

        A task that failed comes after those that did not, so that it delays none that could be fetched.
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
        """Wait until a commit changes tasks, or until it is time to look for one.

        That is a task that was added or has come due.
        """
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
            return  # an outage of the store is reported with the commits
        added = {
            task_id: ReconcileTask.decode(data)
            for task_id, data in found.items()
            if task_id not in self._tasks
        }
        if added:
            self.update_tasks(added)


def _shown(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:_STORED_ERROR]
