"""Reconcile tasks: data to read again over REST, and the progress of reading it.

A task is committed together with the position that caused it, so that positions never wait for REST; each fetched page is an ordinary
commit that also contains the task's next page. There are three kinds of tasks, each of which records after every page where to continue,
also after a restart:

* *named records*: the records that a gap event names;
* *a window* of ``SystemModstamp``: after a refused position, an overflow, for a sweep or at an operator's request. First the window's rows,
  in the order of ``SystemModstamp`` and ``Id``, then its entries in the delete log, which outlives the recycle bin;
* *everything*: a snapshot. First every row, in the order of ``Id``, then the known records are requested by id, which finds those that were
  deleted longer ago than the delete log reaches.

Windows overlap by :data:`OVERLAP_MS`, because a record is stamped before its transaction commits. They end :data:`LAG_MS` before the
``Date`` of the answer: more rows of the same second may still follow the newest ones, and the stream gets the chance to deliver the change
first.

Values are immutable; the stored form is JSON with a format version.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal, get_args

import orjson
from pydantic import TypeAdapter

from consumer.clock import iso
from consumer.domain.stored_json import VERSION_KEY, decode_stored, load_object
from consumer.safe_json import validate

__all__ = [
    "DELETE_LOG_MS",
    "LAG_MS",
    "OVERLAP_MS",
    "REASONS",
    "Phase",
    "Reason",
    "ReconcileTask",
    "fresh_rows_task",
    "gap_task",
    "snapshot_task",
    "sweep_task",
    "window_task",
]

FORMAT: Final = 2
"""Version of the stored form.

1 had windows and named records, 2 added phases and snapshots.
"""
OVERLAP_MS: Final = 15 * 60 * 1000
LAG_MS: Final = 2 * 60 * 1000

DELETE_LOG_MS: Final = 15 * 86_400_000
"""Reach of the delete log into the past (REST API Developer Guide, "Get Deleted")."""

Reason = Literal["gap", "overflow", "expired", "sweep", "repair", "snapshot"]
REASONS: Final[tuple[str, ...]] = get_args(Reason)

Phase = Literal["named", "rows", "deleted", "known"]
"""Part being read: named records, rows, the delete log, or known records by id."""


@dataclass(frozen=True, slots=True)
class ReconcileTask:
    """Unit of reconciliation with its progress.

    Attributes:
        id: deterministic, so that two occurrences of the same cause make one task.
        reason: cause of the task.
        entity: API name of the object.
        ids: records still to be fetched; empty for a window and for a snapshot.
        since_ms: start of the window, milliseconds of Salesforce time; None for named records and for a snapshot.
        until_ms: end of the window, or start time of a snapshot; None until Salesforce's time has been requested, and for a waiting sweep.
        after: ``SystemModstamp`` (or date of deletion) in milliseconds and ``Id`` of the last row read in this phase.
        phase: part being read.
        cursor: point from which the scan of known records continues; opaque, issued by the store.
        verify: for a snapshot, whether records were known before it, so that these have to be requested by id.
        due_ms: Salesforce time before which the task must not run; 0 for immediately.
        total: number of rows to read when the task began, where it was requested.
        fetched: number of rows fetched so far.
        changed: number of rows that differed from the known state.
        deleted: number of those whose record is gone.
        events: number of lifecycle events emitted for them.
        tries: number of attempts to read a record whose row was too recent to be trusted.
        deletions_since_ms: time before which deletions can no longer be determined; None when all of the window's can.
        error: why the task is set aside, one line; None while it is not.
    """

    id: str
    reason: Reason
    entity: str
    ids: tuple[str, ...] = ()
    since_ms: int | None = None
    until_ms: int | None = None
    after: tuple[int, str] | None = None
    phase: Phase = "rows"
    cursor: str | None = None
    verify: bool = False
    due_ms: int = 0
    total: int | None = None
    fetched: int = 0
    changed: int = 0
    deleted: int = 0
    events: int = 0
    tries: int = 0
    deletions_since_ms: int | None = None
    error: str | None = None

    @property
    def is_window(self) -> bool:
        """True for a task that reads a window."""
        return self.since_ms is not None

    @property
    def is_snapshot(self) -> bool:
        """True for a task that reads everything."""
        return self.reason == "snapshot" and self.phase != "named"

    @property
    def is_waiting(self) -> bool:
        """True for a sweep that is not due yet."""
        return self.reason == "sweep" and self.until_ms is None

    def with_counts(self, *, fetched: int, changed: int, deleted: int, events: int) -> ReconcileTask:
        """Copy with its counts increased by the given numbers."""
        return replace(
            self,
            fetched=self.fetched + fetched,
            changed=self.changed + changed,
            deleted=self.deleted + deleted,
            events=self.events + events,
        )

    @property
    def done(self) -> float | None:
        """Completed fraction, from 0 to 1; None where it cannot be estimated."""
        if self.total:
            return min(self.fetched / self.total, 1.0)
        if self.after is None or self.until_ms is None or self.since_ms is None or self.phase != "rows":
            return None
        # Rows are not spread evenly over time, but no better estimate is available.
        return (self.after[0] - self.since_ms) / max(self.until_ms - self.since_ms, 1)

    def next_sweep(self, every_ms: int) -> ReconcileTask:
        """Build the following sweep, which begins where this one ended."""
        through_ms = self.until_ms or 0
        return sweep_task(self.entity, max(through_ms - OVERLAP_MS, 0), every_ms + OVERLAP_MS)

    def report(self) -> dict[str, Any]:
        """Summarize the completed task for a person."""
        summary: dict[str, Any] = {"reason": self.reason, "entity": self.entity}
        if self.since_ms is not None:
            summary["since"] = iso(self.since_ms)
            summary["until"] = iso(self.until_ms) if self.until_ms is not None else None
        if self.deletions_since_ms is not None:
            summary["deletions_known_since"] = iso(self.deletions_since_ms)
        return {
            **summary,
            "fetched": self.fetched,
            "changed": self.changed,
            "deleted": self.deleted,
            "events": self.events,
        }

    def encode(self) -> bytes:
        """Encode as stored."""
        return orjson.dumps({"v": FORMAT, **asdict(self)})

    @classmethod
    def decode(cls, data: bytes) -> ReconcileTask:
        """Read the stored form.

        Raises:
            StoreForeign: a newer version wrote the data.
            StoreDamaged: the data is not a stored task.
        """
        return decode_stored("reconcile task", data, cls._from_json)

    @classmethod
    def _from_json(cls, data: bytes) -> ReconcileTask:
        version = load_object(data, FORMAT, identity="id")[VERSION_KEY]
        task = validate(_adapter, data)
        return replace(task, phase="named") if version == 1 and task.ids else task


_adapter = TypeAdapter(ReconcileTask)


def gap_task(channel: str, position: str | None, entity: str, ids: tuple[str, ...]) -> ReconcileTask:
    """Build the task that reads the records named by a gap event again."""
    return ReconcileTask(f"gap/{channel}/{position}", "gap", entity, ids, phase="named")


def window_task(reason: Reason, cause: str, entity: str, since_ms: int, not_before_ms: int) -> ReconcileTask:
    """Build the task that reads all rows stamped since ``since_ms`` minus the overlap.

    Args:
        reason: cause of the task, as reported.
        cause: text that makes the id unique among tasks of the same reason.
        entity: API name of the object.
        since_ms: time since which changes may be missing, milliseconds of Salesforce time.
        not_before_ms: time that the window must include; the task waits until a window, which ends some minutes in the past, includes it.
    """
    return ReconcileTask(
        f"{reason}/{cause}/{entity}",
        reason,
        entity,
        since_ms=max(since_ms - OVERLAP_MS, 0),
        due_ms=not_before_ms + LAG_MS + 2_000,
    )


def fresh_rows_task(snapshot: ReconcileTask, ids: tuple[str, ...]) -> ReconcileTask:
    """Build the task that rereads, by id, records too recent for a snapshot to trust."""
    return ReconcileTask(
        f"snapshot/{snapshot.entity}/fresh/{ids[0]}", "snapshot", snapshot.entity, ids, phase="named"
    )


def snapshot_task(entity: str, cause: str, *, verify: bool) -> ReconcileTask:
    """Build the task that reads every row of an object.

    ``verify`` is set when some of its records are already known.
    """
    return ReconcileTask(f"snapshot/{cause}/{entity}", "snapshot", entity, verify=verify)


def sweep_task(entity: str, from_ms: int, every_ms: int) -> ReconcileTask:
    """Build the periodic sweep, whose first window begins at ``from_ms``."""
    return ReconcileTask(f"sweep/{entity}", "sweep", entity, since_ms=from_ms, due_ms=from_ms + every_ms)
