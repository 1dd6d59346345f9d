"""One page of a reconcile task: what to ask Salesforce for, what of the answer to believe, and where the task goes on.

A row is believed once the answer is at least two seconds younger than it, because both clocks tick in seconds; a younger one is asked for
again, five times at most. A window ends some minutes before the answer's time, so its rows are old enough by themselves; what a snapshot
finds too fresh becomes a task of its own, so that a busy record does not hold a hundred thousand others up.

What is gone is told by three witnesses, each further back than the one before: a record that is asked for by name and not found; a row
in the recycle bin, or in the delete log (:data:`consumer.tasks.DELETE_LOG_MS`); and, in a snapshot, every record that is known here and
not there any more.

Source: REST API Developer Guide, "Query", "Get Deleted", "Get Records Using sObject Collections".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from consumer.clock import iso, to_ms
from consumer.errors import BadEvent
from consumer.ids import is_record_id
from consumer.ingest.allocation import Allowances
from consumer.ports import IngestStore
from consumer.rows import ROW_FIELDS, Row, read_row
from consumer.state import RecordState
from consumer.tasks import DELETE_LOG_MS, LAG_MS, Task, of_fresh

__all__ = ["PAGE", "SNAPSHOT_PAGE", "Fetches", "Page", "Pages"]

PAGE = 200
"""Rows of a page: what one commit takes without keeping the stream waiting."""
SNAPSHOT_PAGE = 1_000
"""Rows of a page of a snapshot, which are five times as many because nearly none of them tells an event."""
BELIEVED_AFTER_MS = 2_000
MOST_TRIES = 5
_MINUTE_MS = 60_000
_LOG_SLACK_MS = 10 * _MINUTE_MS
"""The delete log's reach ends this much before it is documented to: seconds are ignored, and time passes while asking."""


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


class Fetches(Allowances, Protocol):
    """Where rows come from; each method raises ``CadenceError`` when they cannot be had."""

    async def page(self, soql: str) -> Rows:
        """The first page of a query over live and deleted records."""
        ...

    async def rows_as_of_now(
        self, entity: str, ids: Sequence[str], fields: Sequence[str]
    ) -> tuple[dict[str, dict[str, Any]], int]:
        """Id to fields of those that exist, and Salesforce's time."""
        ...

    async def deleted(self, entity: str, since_ms: int, until_ms: int) -> list[tuple[int, str]]:
        """When, in milliseconds, and which records were deleted between two times; ascending. Whole minutes count."""
        ...


@dataclass(frozen=True, slots=True)
class Page:
    """What was fetched, on its way to a commit.

    Attributes:
        task: from here on; what is fetched next.
        rows: to be compared with what is known.
        server_ms: Salesforce's time when it answered.
        unread: rows that could not be read: id and why.
        begins: tasks that begin with it.
        is_last: whether the task is done with it.
    """

    task: Task
    rows: tuple[Row, ...]
    server_ms: int
    unread: tuple[tuple[str, str], ...] = ()
    begins: tuple[Task, ...] = ()
    is_last: bool = False


class Pages:
    """Fetches pages.

    Args:
        source: where rows come from.
        store: where known records are walked through.
    """

    def __init__(self, source: Fetches, store: IngestStore) -> None:
        self._source = source
        self._store = store

    async def next(self, task: Task, server_ms: int) -> Page | Task:
        """The next page; or the task with one more try, when it is too early to believe anything of it.

        Args:
            task: which.
            server_ms: Salesforce's time, about.

        Raises:
            CadenceError: Salesforce or the store did not give it.
        """
        if task.is_snapshot:
            return await (self._known(task) if task.phase == "known" else self._everything(task))
        if task.is_window:
            return await (self._deleted(task, server_ms) if task.phase == "deleted" else self._window(task))
        return await self._records(task)

    # ------------------------------------------------------------ named records

    async def _records(self, task: Task) -> Page | Task:
        wanted = task.ids[:PAGE]
        found, server_ms = await self._source.rows_as_of_now(task.entity, wanted, ROW_FIELDS[task.entity])
        rows, unread = _read(task.entity, found.values())
        if task.tries < MOST_TRIES and any(_is_fresh(row, server_ms) for row in rows):
            return replace(task, tries=task.tries + 1)
        gone = _gone(task.entity, (one for one in wanted if one not in found), server_ms)
        rest = replace(task, ids=task.ids[PAGE:], tries=0)
        return Page(rest, (*rows, *gone), server_ms, unread, is_last=not rest.ids)

    # ------------------------------------------------------------ a window

    async def _window(self, task: Task) -> Page:
        assert task.since_ms is not None
        answer = await self._source.page(_window_query(task))
        until_ms = task.until_ms if task.until_ms is not None else answer.server_ms - LAG_MS
        rows, unread = _read(task.entity, answer.records)
        within = tuple(row for row in rows if row.at_ms <= until_ms)
        rest = replace(task, until_ms=until_ms, after=_last_of(answer.records) or task.after)
        if len(answer.records) < PAGE or len(within) < len(rows):
            rest = replace(rest, phase="deleted", after=None)
        return Page(rest, within, answer.server_ms, unread)

    async def _deleted(self, task: Task, server_ms: int) -> Page:
        since_ms, until_ms = task.since_ms or 0, task.until_ms or 0
        server_ms = max(server_ms, until_ms)
        reach_ms = server_ms - DELETE_LOG_MS + _LOG_SLACK_MS
        if since_ms < reach_ms and task.deletions_since_ms is None:
            task = replace(task, deletions_since_ms=reach_ms)
        since_ms = max(since_ms if task.after is None else task.after[0], reach_ms)
        if since_ms >= until_ms:
            return Page(task, (), server_ms, is_last=True)
        log = await self._source.deleted(task.entity, since_ms, until_ms)
        left = [one for one in log if task.after is None or one > task.after]
        some = left[:PAGE]
        gone = (Row(task.entity, record_id, at_ms, {}, is_deleted=True) for at_ms, record_id in some)
        rest = replace(task, after=some[-1] if some else task.after)
        return Page(rest, tuple(gone), server_ms, is_last=len(left) <= PAGE)

    # ------------------------------------------------------------ everything

    async def _everything(self, task: Task) -> Page:
        if task.total is None:
            total = await self._source.count(f"SELECT COUNT() FROM {task.entity}")  # noqa: S608 - our own name
            task = replace(task, total=total)
        answer = await self._source.page(_snapshot_query(task))
        began_ms = task.until_ms if task.until_ms is not None else answer.server_ms
        rows, unread = _read(task.entity, answer.records)
        fresh = tuple(row.record_id for row in rows if _is_fresh(row, answer.server_ms))
        rest = replace(task, until_ms=began_ms, after=_last_of(answer.records) or task.after)
        ended = len(answer.records) < SNAPSHOT_PAGE
        if ended:
            rest = replace(rest, phase="known", after=None)
        return Page(
            rest,
            tuple(row for row in rows if not _is_fresh(row, answer.server_ms)),
            answer.server_ms,
            unread,
            begins=(of_fresh(task, fresh),) if fresh else (),
            is_last=ended and not task.verify,
        )

    async def _known(self, task: Task) -> Page:
        assert task.until_ms is not None
        found, cursor = await self._store.walk(task.cursor, SNAPSHOT_PAGE)
        wanted = []
        for record_id, data in found:
            if is_record_id(record_id) and (state := RecordState.decode(data)).entity == task.entity:
                newest_ms = max(state.seen.values(), default=0)
                if state.exists and not state.is_deleted and newest_ms < task.until_ms:
                    wanted.append(record_id)
        gone: tuple[Row, ...] = ()
        server_ms = task.until_ms
        if wanted:
            there, server_ms = await self._source.rows_as_of_now(task.entity, wanted, ("Id",))
            gone = _gone(task.entity, (one for one in wanted if one not in there), server_ms)
        return Page(replace(task, cursor=cursor), gone, server_ms, is_last=cursor is None)


def _is_fresh(row: Row, server_ms: int) -> bool:
    return server_ms - row.at_ms < BELIEVED_AFTER_MS


def _gone(entity: str, record_ids: Iterable[str], seen_ms: int) -> tuple[Row, ...]:
    return tuple(Row(entity, one, seen_ms, {}, is_deleted=True) for one in record_ids)


def _last_of(records: Sequence[Mapping[str, Any]]) -> tuple[int, str] | None:
    """Where the next page goes on, whether the last row could be read or not."""
    if not records:
        return None
    last = records[-1]
    return to_ms(datetime.fromisoformat(str(last["SystemModstamp"]))), str(last["Id"])


def _window_query(task: Task) -> str:
    if task.after is None:
        where = f"SystemModstamp >= {iso(task.since_ms or 0)}"
    else:
        at = iso(task.after[0])
        where = f"(SystemModstamp > {at} OR (SystemModstamp = {at} AND Id > '{task.after[1]}'))"
    if task.until_ms is not None:
        where += f" AND SystemModstamp <= {iso(task.until_ms)}"
    return _query(task.entity, where, "SystemModstamp, Id", PAGE)


def _snapshot_query(task: Task) -> str:
    where = "IsDeleted = false"
    if task.after is not None:
        where += f" AND Id > '{task.after[1]}'"
    return _query(task.entity, where, "Id", SNAPSHOT_PAGE)


def _query(entity: str, where: str, order: str, limit: int) -> str:
    fields = ", ".join((*ROW_FIELDS[entity], "IsDeleted"))
    return f"SELECT {fields} FROM {entity} WHERE {where} ORDER BY {order} LIMIT {limit}"  # noqa: S608 - no input of others


def _read(
    entity: str, records: Iterable[Mapping[str, Any]]
) -> tuple[tuple[Row, ...], tuple[tuple[str, str], ...]]:
    rows, unread = [], []
    for record in records:
        try:
            rows.append(read_row(entity, record))
        except BadEvent as error:
            unread.append((str(record.get("Id")), str(error)))
    return tuple(rows), tuple(unread)
