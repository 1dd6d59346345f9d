"""Observer events of reconcile tasks and of the retention of states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = [
    "ReconcileEvent",
    "ReconcileFetchFailed",
    "ReconcileTaskCompleted",
    "ReconcileTaskRecovered",
    "ReconcileTasksCounted",
    "RowUnreadable",
    "RowsReconciled",
    "StatesCounted",
    "StatesExpired",
]


@dataclass(frozen=True, slots=True)
class ReconcileTasksCounted:
    """The reconcile tasks under way were counted.

    Attributes:
        pending: reason to number of tasks; a reason that is missing has none.
    """

    pending: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ReconcileFetchFailed:
    """A page of a task could not be fetched; it is requested again.

    Attributes:
        task: id of the task.
        error: one line.
        retry_after_ms: milliseconds until the next request.
        set_aside: whether the task failed so often that it is reported until it succeeds.
    """

    task: str
    error: str
    retry_after_ms: int
    set_aside: bool = False


@dataclass(frozen=True, slots=True)
class ReconcileTaskRecovered:
    """A task that was set aside continues.

    Attributes:
        task: id of the task.
    """

    task: str


@dataclass(frozen=True, slots=True)
class RowUnreadable:
    """A row could not be understood; the known state of its record stays.

    Attributes:
        entity: API name of the object.
        record_id: id of the record.
        error: one line.
    """

    entity: str
    record_id: str
    error: str


@dataclass(frozen=True, slots=True)
class RowsReconciled:
    """A page of rows was compared and committed.

    Attributes:
        reason: why its task exists.
        fetched: number of rows in the page.
        changed: of those, rows that contained something new.
    """

    reason: str
    fetched: int
    changed: int


@dataclass(frozen=True, slots=True)
class ReconcileTaskCompleted:
    """A reconcile task has read its last page.

    Attributes:
        task: id of the task.
        report: its figures, JSON values.
    """

    task: str
    report: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StatesCounted:
    """The known record states were counted, once an hour.

    Attributes:
        records: kind (``run``, ``step``, ``target``, ``gap``) to number of states.
        sizes: kind to bytes.
    """

    records: Mapping[str, int]
    sizes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class StatesExpired:
    """States of records that ended long ago were removed.

    Attributes:
        states: number of states.
    """

    states: int


ReconcileEvent = (
    ReconcileTasksCounted
    | ReconcileFetchFailed
    | ReconcileTaskRecovered
    | RowUnreadable
    | RowsReconciled
    | ReconcileTaskCompleted
    | StatesCounted
    | StatesExpired
)
"""Any event beside the stream."""
