"""Fetching of one page of a reconcile task.

It covers the query, the rows of the answer that are old enough to be used, and where the task continues.

A row is used once the answer is at least two seconds younger than it, because both clocks tick in seconds; a younger one is asked for
again, five times at most. A window ends some minutes before the answer's time, so its rows are old enough by themselves; rows that a
snapshot finds too fresh become a task of their own, so that a busy record does not hold a hundred thousand others up.

Deletions are found in three ways, each reaching further back than the one before: a record that is asked for by id and not found; a row in
the recycle bin, or in the delete log (:data:`consumer.domain.reconcile_task.DELETE_LOG_MS`); and, in a snapshot, every record that is known
to the store and does not exist in Salesforce any more.

Source: REST API Developer Guide, "Query", "Get Deleted", "Get Records Using sObject Collections".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from consumer.clock import iso
from consumer.domain.reconcile_task import (
    DELETE_LOG_MS,
    LAG_MS,
    ReconcileTask,
    fresh_rows_task,
)
from consumer.domain.record_ids import is_record_id
from consumer.domain.record_state import RecordState
from consumer.domain.row_diff import ROW_FIELDS, Row, read_row
from consumer.domain.soql import quoted
from consumer.errors import BadEvent, UnusableAnswer
from consumer.ports.commit import IngestStore
from consumer.ports.salesforce import RecordPage, RecordSource

__all__ = ["PAGE_SIZE", "SNAPSHOT_PAGE_SIZE", "FetchedPage", "PageFetcher"]

PAGE_SIZE = 200
"""Rows of a page: as many as one commit takes without keeping the stream waiting."""
SNAPSHOT_PAGE_SIZE = 1_000
"""Rows of a page of a snapshot: five times as many, because nearly none of them causes an event."""
MIN_ROW_AGE_MS = 2_000
MAX_TRIES = 5
MAX_UNCOUNTED = 100_000
"""Rows that may have been added while a snapshot reads: with more, and twice as many as were counted, it does not end."""
_SHOWN_ID = 40
"""Characters that are shown of an id that may not be one."""
_MINUTE_MS = 60_000
_LOG_SLACK_MS = 10 * _MINUTE_MS
"""Margin by which the delete log is asked for less than it is documented to hold: seconds are ignored, and the request takes time."""


@dataclass(frozen=True, slots=True)
class FetchedPage:
    """Page of rows on its way to a commit.

    Attributes:
        task: the task as it continues after this page.
        rows: rows to compare with what is known.
        server_ms: Salesforce's time when it answered.
        unreadable_rows: rows that could not be read: id and reason.
        new_tasks: tasks that begin with this page.
        is_last: whether the task ends with this page.
    """

    task: ReconcileTask
    rows: tuple[Row, ...]
    server_ms: int
    unreadable_rows: tuple[tuple[str, str], ...] = ()
    new_tasks: tuple[ReconcileTask, ...] = ()
    is_last: bool = False


class PageFetcher:
    """Fetcher of pages.

    Args:
        source: where rows come from.
        store: where known records are listed.
    """

    def __init__(self, source: RecordSource, store: IngestStore) -> None:
        self._source = source
        self._store = store

    async def next(self, task: ReconcileTask, server_ms: int) -> FetchedPage | ReconcileTask:
        """Fetch the next page.

        The result is the task with one more try when it is too early to use any row.

        Args:
            task: the task.
            server_ms: Salesforce's time, roughly.

        Raises:
            CadenceError: Salesforce or the store did not answer.
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
        rows, unreadable_rows = _read(task.entity, found.items())
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
        rows, unreadable_rows = _read(task.entity, _with_ids(answer.records))
        within = tuple(row for row in rows if row.at_ms <= until_ms)
        next_task = replace(task, until_ms=until_ms, after=_last_row(rows) or task.after)
        if task.after is not None and next_task.after is not None and next_task.after[0] < task.after[0]:
            raise UnusableAnswer(f"a page of {task.entity} ends before the one before it")
        if _is_last(answer, PAGE_SIZE, task, next_task) or len(within) < len(rows):
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
        remaining = [one for one in log.records if task.after is None or one > task.after]
        chunk = remaining[:PAGE_SIZE]
        deleted_rows = (Row(task.entity, record_id, at_ms, {}, is_deleted=True) for at_ms, record_id in chunk)
        next_task = replace(task, after=chunk[-1] if chunk else task.after)
        return FetchedPage(
            next_task, tuple(deleted_rows), server_ms, log.unreadable, is_last=len(remaining) <= PAGE_SIZE
        )

    # ------------------------------------------------------------ a snapshot

    async def _snapshot_page(self, task: ReconcileTask) -> FetchedPage:
        if task.total is None:
            total = await self._source.count(f"SELECT COUNT() FROM {task.entity}")  # noqa: S608 - our own name
            task = replace(task, total=total)
        answer = await self._source.page(_snapshot_query(task))
        began_ms = task.until_ms if task.until_ms is not None else answer.server_ms
        rows, unreadable_rows = _read(task.entity, _with_ids(answer.records))
        fresh = tuple(row.record_id for row in rows if _is_fresh(row, answer.server_ms))
        next_task = replace(task, until_ms=began_ms, after=_last_row(rows) or task.after)
        ended = _is_last(answer, SNAPSHOT_PAGE_SIZE, task, next_task)
        if not ended and task.fetched > 2 * (task.total or 0) + MAX_UNCOUNTED:
            raise UnusableAnswer(f"{task.fetched} rows of {task.entity} came, and {task.total} were counted")
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


def _last_row(rows: Sequence[Row]) -> tuple[int, str] | None:
    """Time and id of the last row that could be read.

    The next page begins after it.
    """
    return (rows[-1].at_ms, rows[-1].record_id) if rows else None


def _is_last(answer: RecordPage, size: int, task: ReconcileTask, next_task: ReconcileTask) -> bool:
    """Check for the last page.

    Raises:
        UnusableAnswer: more rows follow, and the next page would be this one again.
    """
    if answer.is_whole and len(answer.records) < size:
        return True
    if next_task.after == task.after:
        raise UnusableAnswer(
            f"a page of {len(answer.records)} rows of {task.entity} has none after which the next could begin"
        )
    return False


def _with_ids(records: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for record in records:
        yield str(record.get("Id"))[:_SHOWN_ID], record


def _window_query(task: ReconcileTask) -> str:
    if task.after is None:
        where = f"SystemModstamp >= {iso(task.since_ms or 0)}"
    else:
        at = iso(task.after[0])
        where = f"(SystemModstamp > {at} OR (SystemModstamp = {at} AND Id > {quoted(task.after[1])}))"
    if task.until_ms is not None:
        where += f" AND SystemModstamp <= {iso(task.until_ms)}"
    return _query(task.entity, where, "SystemModstamp, Id", PAGE_SIZE)


def _snapshot_query(task: ReconcileTask) -> str:
    where = "IsDeleted = false"
    if task.after is not None:
        where += f" AND Id > {quoted(task.after[1])}"
    return _query(task.entity, where, "Id", SNAPSHOT_PAGE_SIZE)


def _query(entity: str, where: str, order_by: str, limit: int) -> str:
    fields = ", ".join((*ROW_FIELDS[entity], "IsDeleted"))
    return f"SELECT {fields} FROM {entity} WHERE {where} ORDER BY {order_by} LIMIT {limit}"  # noqa: S608 - no input of others


def _read(
    entity: str, records: Iterable[tuple[str, Mapping[str, Any]]]
) -> tuple[tuple[Row, ...], tuple[tuple[str, str], ...]]:
    rows, unreadable_rows = [], []
    for record_id, record in records:
        try:
            rows.append(read_row(entity, record))
        except BadEvent as error:
            unreadable_rows.append((record_id, str(error)))
    return tuple(rows), tuple(unreadable_rows)
