"""The reconciler: asks Salesforce for what the stream lost, page by page, beside the stream and never in its way.

It fetches, and that is all it does: each page goes into the inbox like an answer of the stream, the ingest loop compares it with what is
known and commits it together with the task's next page, and only then the next page is asked for. So a crash anywhere costs one page, REST
that is down costs time, and no position ever waits for it.

A row is believed once the answer is at least two seconds younger than it, because both clocks tick in seconds; a younger one is asked for
again, five times at most. A window ends some minutes before the answer's time, so its rows are old enough by themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from consumer.clock import Clock, iso, to_ms
from consumer.errors import BadEvent, CadenceError
from consumer.ingest.inbox import Inbox, InboxClosed
from consumer.ingest.observer import IngestEvents
from consumer.ports import Fetched, IngestStore
from consumer.rows import ROW_FIELDS, Row, read_row
from consumer.tasks import LAG_MS, Task

__all__ = ["Fetches", "Page", "Reconciler"]

PAGE = 200
"""Rows of a page: what one commit takes without keeping the stream waiting."""
BELIEVED_AFTER_MS = 2_000
MOST_TRIES = 5
_AGAIN_MS = 1_000
_FIRST_RETRY_MS = 1_000
_LONGEST_RETRY_MS = 60_000
_TURN_MS = 1_000
"""How often it looks whether something is due."""
_LOOK_EVERY_MS = 10_000
"""How often the store is asked for tasks that people added."""


class Rows(Protocol):
    """Some rows and the time of the answer."""

    @property
    def records(self) -> list[dict[str, Any]]:
        """As Salesforce wrote them."""
        ...

    @property
    def server_ms(self) -> int:
        """Salesforce's time, milliseconds."""
        ...


class Fetches(Protocol):
    """Where rows come from."""

    async def page(self, soql: str) -> Rows:
        """The first page of a query over live and deleted records.

        Raises:
            CadenceError: it could not be had.
        """
        ...

    async def rows_as_of_now(
        self, entity: str, ids: Sequence[str], fields: Sequence[str]
    ) -> tuple[dict[str, dict[str, Any]], int]:
        """Id to fields of those that exist, and Salesforce's time.

        Raises:
            CadenceError: they could not be had.
        """
        ...


@dataclass(frozen=True, slots=True)
class Page:
    """What was fetched, on its way to a commit.

    Attributes:
        task: from here on; what is fetched next.
        rows: to be compared with what is known.
        unread: rows that could not be read: id and why.
        is_last: whether the task is done with it.
    """

    task: Task
    rows: tuple[Row, ...]
    unread: tuple[tuple[str, str], ...] = ()
    is_last: bool = False


class Reconciler:
    """Works through the tasks of one tenure, one page at a time, gaps before windows.

    Args:
        source: where rows come from.
        store: asked for tasks that people add.
        inbox: takes the pages.
        clock: for waiting.
        server_ms: what time it is in Salesforce, in milliseconds; None while nobody knows.
        observer: told what fails.
    """

    def __init__(
        self,
        source: Fetches,
        store: IngestStore,
        inbox: Inbox,
        clock: Clock,
        server_ms: Callable[[], int | None],
        observer: IngestEvents,
    ) -> None:
        self._source = source
        self._store = store
        self._inbox = inbox
        self._clock = clock
        self._server_ms = server_ms
        self._observer = observer
        self._tasks: dict[str, Task] = {}
        self._committed: set[str] = set()
        self._changed = asyncio.Event()
        self._looked_ms = clock.monotonic_ms()

    @property
    def tasks(self) -> Mapping[str, Task]:
        """Every task by id, as committed last."""
        return self._tasks

    def know(self, tasks: Mapping[str, Task | None]) -> None:
        """Told with every commit that touched tasks, and once at the beginning; None says that one is done."""
        for task_id, task in tasks.items():
            if task is None:
                self._tasks.pop(task_id, None)
            else:
                self._tasks[task_id] = task
            self._committed.add(task_id)
        self._changed.set()
        self._observer.reconciling(self._pending())

    def _pending(self) -> Mapping[str, int]:
        counts: dict[str, int] = {}
        for task in self._tasks.values():
            if task.reason != "sweep" or task.until_ms is not None:
                counts[task.reason] = counts.get(task.reason, 0) + 1
        return counts

    # ------------------------------------------------------------ the work

    async def run(self) -> None:
        """Fetch page after page until it is cancelled or the inbox is closed."""
        failures = 0
        while True:
            task = self._next()
            if task is None:
                await self._wait()
                continue
            try:
                page = await self._fetch(task)
            except CadenceError as error:
                failures += 1
                wait_ms = min(_FIRST_RETRY_MS << min(failures - 1, 16), _LONGEST_RETRY_MS)
                self._observer.reconcile_failing(task.id, str(error), wait_ms)
                await asyncio.sleep(wait_ms / 1000)
                continue
            failures = 0
            if page is None:
                await asyncio.sleep(_AGAIN_MS / 1000)
                continue
            self._committed.discard(task.id)
            try:
                await self._inbox.put(Fetched(page, self._clock.monotonic_ms()))
                while task.id not in self._committed:
                    self._changed.clear()
                    await self._changed.wait()
            except InboxClosed:
                return

    def _next(self) -> Task | None:
        now_ms = self._server_ms()
        if now_ms is None:
            return None  # no session yet: what Salesforce holds is not what the stream would have told
        ready = [task for task in self._tasks.values() if task.due_ms <= now_ms]
        return min(ready, key=lambda task: (task.is_window, task.reason == "sweep", task.id), default=None)

    async def _wait(self) -> None:
        """Until a commit changes tasks, or it is time to look whether somebody added one or a sweep is due."""
        self._changed.clear()
        try:
            async with asyncio.timeout(_TURN_MS / 1000):
                await self._changed.wait()
        except TimeoutError:
            now_ms = self._clock.monotonic_ms()
            if now_ms - self._looked_ms >= _LOOK_EVERY_MS:
                self._looked_ms = now_ms
                await self._look()

    async def _look(self) -> None:
        try:
            found = await self._store.tasks()
        except CadenceError:
            return  # whoever commits tells
        added = {task_id: Task.decode(data) for task_id, data in found.items() if task_id not in self._tasks}
        if added:
            self.know(added)

    # ------------------------------------------------------------ pages

    async def _fetch(self, task: Task) -> Page | None:
        """The next page; None when it is too early to believe anything of it."""
        return await (self._fetch_window(task) if task.is_window else self._fetch_records(task))

    async def _fetch_records(self, task: Task) -> Page | None:
        wanted = task.ids[:PAGE]
        found, server_ms = await self._source.rows_as_of_now(task.entity, wanted, ROW_FIELDS[task.entity])
        rows, unread = _read(task.entity, found.values())
        fresh = [row for row in rows if server_ms - row.at_ms < BELIEVED_AFTER_MS]
        if fresh and task.tries < MOST_TRIES:
            self._tasks[task.id] = replace(task, tries=task.tries + 1)
            return None
        gone = [Row(task.entity, one, server_ms, {}, is_deleted=True) for one in wanted if one not in found]
        rest = replace(task, ids=task.ids[PAGE:], tries=0)
        return Page(rest, (*rows, *gone), unread, is_last=not rest.ids)

    async def _fetch_window(self, task: Task) -> Page | None:
        assert task.since_ms is not None
        answer = await self._source.page(_query(task))
        until_ms = task.until_ms if task.until_ms is not None else answer.server_ms - LAG_MS
        rows, unread = _read(task.entity, answer.records)
        within = tuple(row for row in rows if row.at_ms <= until_ms)
        ended = len(answer.records) < PAGE or len(within) < len(rows)
        rest = replace(task, until_ms=until_ms, after=_last_of(answer.records) or task.after)
        return Page(rest, within, unread, is_last=ended)


def _last_of(records: Sequence[Mapping[str, Any]]) -> tuple[int, str] | None:
    """Where the next page goes on, whether the last row could be read or not."""
    if not records:
        return None
    last = records[-1]
    return to_ms(datetime.fromisoformat(str(last["SystemModstamp"]))), str(last["Id"])


def _query(task: Task) -> str:
    fields = ", ".join((*ROW_FIELDS[task.entity], "IsDeleted"))
    if task.after is None:
        where = f"SystemModstamp >= {iso(task.since_ms or 0)}"
    else:
        at = iso(task.after[0])
        where = f"(SystemModstamp > {at} OR (SystemModstamp = {at} AND Id > '{task.after[1]}'))"
    if task.until_ms is not None:
        where += f" AND SystemModstamp <= {iso(task.until_ms)}"
    return f"SELECT {fields} FROM {task.entity} WHERE {where} ORDER BY SystemModstamp, Id LIMIT {PAGE}"  # noqa: S608 - no input of others


def _read(
    entity: str, records: Iterable[Mapping[str, Any]]
) -> tuple[tuple[Row, ...], tuple[tuple[str, str], ...]]:
    rows, unread = [], []
    for record in records:
        try:
            rows.append(read_row(entity, record))
        except (BadEvent, KeyError, ValueError) as error:
            unread.append((str(record.get("Id")), str(error)))
    return tuple(rows), tuple(unread)
