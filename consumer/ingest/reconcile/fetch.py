"""One page of a reconcile task: what to ask Salesforce for, what of the answer to believe, and where the task goes on.

A row is believed once the answer is at least two seconds younger than it, because both clocks tick in seconds; a younger one is asked for
again, five times at most. A window ends some minutes before the answer's time, so its rows are old enough by themselves; what a snapshot
finds too fresh becomes a task of its own, so that a busy record does not hold a hundred thousand others up.

What is gone is told by three witnesses, each further back than the one before: a record that is asked for by name and not found; a row
in the recycle bin, or in the delete log (:data:`consumer.domain.reconcile_task.DELETE_LOG_MS`); and, in a snapshot, every record that is
known here and
not there any more.

Source: REST API Developer Guide, "Query", "Get Deleted", "Get Records Using sObject Collections".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from consumer.clock import iso, to_ms
from consumer.domain.reconcile_task import (
    DELETE_LOG_MS,
    LAG_MS,
    ReconcileTask,
    fresh_rows_task,
)
from consumer.domain.record_ids import is_record_id
from consumer.domain.record_state import RecordState
from consumer.domain.row_diff import ROW_FIELDS, Row, read_row
from consumer.errors import BadEvent
from consumer.ingest.quota_guard import OrgLimits
from consumer.ports.commit import IngestStore

__all__ = ["PAGE_SIZE", "SNAPSHOT_PAGE_SIZE", "FetchedPage", "PageFetcher", "RecordSource"]

PAGE_SIZE = 200
"""Rows of a page: what one commit takes without keeping the stream waiting."""
SNAPSHOT_PAGE_SIZE = 1_000
"""Rows of a page of a snapshot, which are five times as many because nearly none of them tells an event."""
MIN_ROW_AGE_MS = 2_000
MAX_TRIES = 5
_MINUTE_MS = 60_000
_LOG_SLACK_MS = 10 * _MINUTE_MS
"""The delete log's reach ends this much before it is documented to: seconds are ignored, and time passes while asking."""


class QueryResult(Protocol):
    """Some rows and the time of the answer."""

    @property
    def records(self) -> list[dict[str, Any]]:
        """As Salesforce wrote them."""
        ...

    @property
    def server_ms(self) -> int:
        """Salesforce's time, milliseconds."""
        ...


class RecordSource(OrgLimits, Protocol):
    """Where rows come from; each method raises ``CadenceError`` when they cannot be had."""

    async def page(self, soql: str) -> QueryResult:
        """The first page of a query over live and deleted records."""
        ...

    async def rows_with_time(
        self, entity: str, ids: Sequence[str], fields: Sequence[str]
    ) -> tuple[dict[str, dict[str, Any]], int]:
        """Id to fields of those that exist, and Salesforce's time."""
        ...

    async def deleted(self, entity: str, since_ms: int, until_ms: int) -> list[tuple[int, str]]:
        """When, in milliseconds, and which records were deleted between two times; ascending. Whole minutes count."""
        ...


@dataclass(frozen=True, slots=True)
class FetchedPage:
    """What was fetched, on its way to a commit.

    Attributes:
        task: from here on; what is fetched next.
        rows: to be compared with what is known.
        server_ms: Salesforce's time when it answered.
        unreadable_rows: rows that could not be read: id and why.
        new_tasks: tasks that begin with it.
        is_last: whether the task is done with it.
    """

    task: ReconcileTask
    rows: tuple[Row, ...]
    server_ms: int
    unreadable_rows: tuple[tuple[str, str], ...] = ()
    new_tasks: tuple[ReconcileTask, ...] = ()
    is_last: bool = False


class PageFetcher:
    """Fetches pages.

    Args:
        source: where rows come from.
        store: where known records are walked through.
    """

    def __init__(self, source: RecordSource, store: IngestStore) -> None:
        self._source = source
        self._store = store

    async def next(self, task: ReconcileTask, server_ms: int) -> FetchedPage | ReconcileTask:
        """The next page; or the task with one more try, when it is too early to believe anything of it.

        Args:
            task: which.
            server_ms: Salesforce's time, about.

        Raises:
            CadenceError: Salesforce or the store did not give it.
        """
        if task.is_snapshot:
            return await (self._known_records(task) if task.phase == "known" else self._snapshot_page(task))
        if task.is_window:
            return await (self._deleted(task, server_ms) if task.phase == "deleted" else self._window(task))
        return await self._named_records(task)

    # ------------------------------------------------------------ named records

    async def _named_records(self, task: ReconcileTask) -> FetchedPage | ReconcileTask:
        wanted = task.ids[:PAGE_SIZE]
        found, server_ms = await self._source.rows_with_time(task.entity, wanted, ROW_FIELDS[task.entity])
        rows, unreadable_rows = _read(task.entity, found.values())
        if task.tries < MAX_TRIES and any(_is_fresh(row, server_ms) for row in rows):
            return replace(task, tries=task.tries + 1)
        deleted_rows = _deleted_rows(task.entity, (one for one in wanted if one not in found), server_ms)
        next_task = replace(task, ids=task.ids[PAGE_SIZE:], tries=0)
        return FetchedPage(
            next_task, (*rows, *deleted_rows), server_ms, unreadable_rows, is_last=not next_task.ids
        )

    # ------------------------------------------------------------ a window

    async def _window(self, task: ReconcileTask) -> FetchedPage:
        assert task.since_ms is not None
        answer = await self._source.page(_window_query(task))
        until_ms = task.until_ms if task.until_ms is not None else answer.server_ms - LAG_MS
        rows, unreadable_rows = _read(task.entity, answer.records)
        within = tuple(row for row in rows if row.at_ms <= until_ms)
        next_task = replace(task, until_ms=until_ms, after=_last_row(answer.records) or task.after)
        if len(answer.records) < PAGE_SIZE or len(within) < len(rows):
            next_task = replace(next_task, phase="deleted", after=None)
        return FetchedPage(next_task, within, answer.server_ms, unreadable_rows)

    async def _deleted(self, task: ReconcileTask, server_ms: int) -> FetchedPage:
        since_ms, until_ms = task.since_ms or 0, task.until_ms or 0
        server_ms = max(server_ms, until_ms)
        reach_ms = server_ms - DELETE_LOG_MS + _LOG_SLACK_MS
        if since_ms < reach_ms and task.deletions_since_ms is None:
            task = replace(task, deletions_since_ms=reach_ms)
        since_ms = max(since_ms if task.after is None else task.after[0], reach_ms)
        if since_ms >= until_ms:
            return FetchedPage(task, (), server_ms, is_last=True)
        log = await self._source.deleted(task.entity, since_ms, until_ms)
        remaining = [one for one in log if task.after is None or one > task.after]
        chunk = remaining[:PAGE_SIZE]
        deleted_rows = (Row(task.entity, record_id, at_ms, {}, is_deleted=True) for at_ms, record_id in chunk)
        next_task = replace(task, after=chunk[-1] if chunk else task.after)
        return FetchedPage(next_task, tuple(deleted_rows), server_ms, is_last=len(remaining) <= PAGE_SIZE)

    # ------------------------------------------------------------ everything

    async def _snapshot_page(self, task: ReconcileTask) -> FetchedPage:
        if task.total is None:
            total = await self._source.count(f"SELECT COUNT() FROM {task.entity}")  # noqa: S608 - our own name
            task = replace(task, total=total)
        answer = await self._source.page(_snapshot_query(task))
        began_ms = task.until_ms if task.until_ms is not None else answer.server_ms
        rows, unreadable_rows = _read(task.entity, answer.records)
        fresh = tuple(row.record_id for row in rows if _is_fresh(row, answer.server_ms))
        next_task = replace(task, until_ms=began_ms, after=_last_row(answer.records) or task.after)
        ended = len(answer.records) < SNAPSHOT_PAGE_SIZE
        if ended:
            next_task = replace(next_task, phase="known", after=None)
        return FetchedPage(
            next_task,
            tuple(row for row in rows if not _is_fresh(row, answer.server_ms)),
            answer.server_ms,
            unreadable_rows,
            new_tasks=(fresh_rows_task(task, fresh),) if fresh else (),
            is_last=ended and not task.verify,
        )

    async def _known_records(self, task: ReconcileTask) -> FetchedPage:
        assert task.until_ms is not None
        found, cursor = await self._store.walk(task.cursor, SNAPSHOT_PAGE_SIZE)
        wanted = []
        for record_id, data in found:
            if is_record_id(record_id) and (state := RecordState.decode(data)).entity == task.entity:
                newest_ms = max(state.seen.values(), default=0)
                if state.exists and not state.is_deleted and newest_ms < task.until_ms:
                    wanted.append(record_id)
        deleted_rows: tuple[Row, ...] = ()
        server_ms = task.until_ms
        if wanted:
            existing, server_ms = await self._source.rows_with_time(task.entity, wanted, ("Id",))
            deleted_rows = _deleted_rows(
                task.entity, (one for one in wanted if one not in existing), server_ms
            )
        return FetchedPage(replace(task, cursor=cursor), deleted_rows, server_ms, is_last=cursor is None)


def _is_fresh(row: Row, server_ms: int) -> bool:
    return server_ms - row.at_ms < MIN_ROW_AGE_MS


def _deleted_rows(entity: str, record_ids: Iterable[str], seen_ms: int) -> tuple[Row, ...]:
    return tuple(Row(entity, one, seen_ms, {}, is_deleted=True) for one in record_ids)


def _last_row(records: Sequence[Mapping[str, Any]]) -> tuple[int, str] | None:
    """Where the next page goes on, whether the last row could be read or not."""
    if not records:
        return None
    last = records[-1]
    return to_ms(datetime.fromisoformat(str(last["SystemModstamp"]))), str(last["Id"])


def _window_query(task: ReconcileTask) -> str:
    if task.after is None:
        where = f"SystemModstamp >= {iso(task.since_ms or 0)}"
    else:
        at = iso(task.after[0])
        where = f"(SystemModstamp > {at} OR (SystemModstamp = {at} AND Id > '{task.after[1]}'))"
    if task.until_ms is not None:
        where += f" AND SystemModstamp <= {iso(task.until_ms)}"
    return _query(task.entity, where, "SystemModstamp, Id", PAGE_SIZE)


def _snapshot_query(task: ReconcileTask) -> str:
    where = "IsDeleted = false"
    if task.after is not None:
        where += f" AND Id > '{task.after[1]}'"
    return _query(task.entity, where, "Id", SNAPSHOT_PAGE_SIZE)


def _query(entity: str, where: str, order_by: str, limit: int) -> str:
    fields = ", ".join((*ROW_FIELDS[entity], "IsDeleted"))
    return f"SELECT {fields} FROM {entity} WHERE {where} ORDER BY {order_by} LIMIT {limit}"  # noqa: S608 - no input of others


def _read(
    entity: str, records: Iterable[Mapping[str, Any]]
) -> tuple[tuple[Row, ...], tuple[tuple[str, str], ...]]:
    rows, unreadable_rows = [], []
    for record in records:
        try:
            rows.append(read_row(entity, record))
        except BadEvent as error:
            unreadable_rows.append((str(record.get("Id")), str(error)))
    return tuple(rows), tuple(unreadable_rows)
