"""Reconcile tasks: what Salesforce lost or forgot, and how far it has been mended.

A task is committed together with the position that caused it, so that positions never wait for REST; each page that was fetched is an
ordinary commit, with the task's next page in it. A task is one of three kinds of work, each of which says after every page where to go
on, after a restart too:

* *these records*: a gap event names them;
* *this window* of ``SystemModstamp``: a refused position, an overflow, a sweep, a person's wish. First its rows, in the order of
  ``SystemModstamp`` and ``Id``, then what the delete log has of it, which outlives the recycle bin;
* *everything*: a snapshot. First every row, in the order of ``Id``, then those that are known here are asked for by name, which finds
  what was deleted longer ago than any log remembers.

Windows overlap by :data:`OVERLAP_MS`: a record is stamped before its transaction commits. They end :data:`LAG_MS` before the answer's own
``Date``: the newest rows may still be joined by others of the same second, and the stream is given the chance to say it first.

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
"""Of the stored form. 1 knew windows and named records, 2 knows phases and snapshots."""
OVERLAP_MS: Final = 15 * 60 * 1000
LAG_MS: Final = 2 * 60 * 1000

DELETE_LOG_MS: Final = 15 * 86_400_000
"""How far back the delete log reaches (REST API Developer Guide, "Get Deleted")."""

Reason = Literal["gap", "overflow", "expired", "sweep", "repair", "snapshot"]
REASONS: Final[tuple[str, ...]] = get_args(Reason)

Phase = Literal["named", "rows", "deleted", "known"]
"""What is being read: named records; rows; the delete log; those records that are known here, by name."""


@dataclass(frozen=True, slots=True)
class ReconcileTask:
    """One thing to mend.

    Attributes:
        id: deterministic, so that a task that is caused twice is one.
        reason: what caused it.
        entity: API name of the object.
        ids: the records that are still to be fetched; empty for a window and for a snapshot.
        since_ms: beginning of the window, milliseconds of Salesforce time; None for records and for a snapshot.
        until_ms: end of the window, or when a snapshot began; None while nobody has asked Salesforce for its time, and for a sweep that
            waits.
        after: ``SystemModstamp`` (or date of deletion) in milliseconds and ``Id`` of the last row that was read in this phase.
        phase: what is being read.
        cursor: where the walk through known records goes on; the store's own.
        verify: of a snapshot, whether anything was known before it, so that known records have to be asked for by name.
        due_ms: Salesforce time before which it is too early; 0 for at once.
        total: rows that there were to be read when it began, where that was asked.
        fetched: rows so far.
        changed: rows that said something new.
        deleted: of those, records that are gone.
        events: lifecycle events that were told of them.
        tries: of a record whose row is too fresh to be believed.
        deletions_since_ms: deletions before cannot be known any more; None when all of the window's can.
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

    @property
    def is_window(self) -> bool:
        """Whether it reads a window."""
        return self.since_ms is not None

    @property
    def is_snapshot(self) -> bool:
        """Whether it reads everything."""
        return self.reason == "snapshot" and self.phase != "named"

    @property
    def is_waiting(self) -> bool:
        """Whether it is a sweep that waits for its time."""
        return self.reason == "sweep" and self.until_ms is None

    def with_counts(self, *, fetched: int, changed: int, deleted: int, events: int) -> ReconcileTask:
        """The same, after so many more rows."""
        return replace(
            self,
            fetched=self.fetched + fetched,
            changed=self.changed + changed,
            deleted=self.deleted + deleted,
            events=self.events + events,
        )

    @property
    def done(self) -> float | None:
        """How much of it is done, from 0 to 1, where anything tells."""
        if self.total:
            return min(self.fetched / self.total, 1.0)
        if self.after is None or self.until_ms is None or self.since_ms is None or self.phase != "rows":
            return None
        # Rows are not spread evenly, but nothing else is known of what is to come.
        return (self.after[0] - self.since_ms) / max(self.until_ms - self.since_ms, 1)

    def next_sweep(self, every_ms: int) -> ReconcileTask:
        """The sweep after this one: it begins where this one ended."""
        through_ms = self.until_ms or 0
        return sweep_task(self.entity, max(through_ms - OVERLAP_MS, 0), every_ms + OVERLAP_MS)

    def report(self) -> dict[str, Any]:
        """What a person wants to know when it is done."""
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
        """The stored form."""
        return orjson.dumps({"v": FORMAT, **asdict(self)})

    @classmethod
    def decode(cls, data: bytes) -> ReconcileTask:
        """Read the stored form.

        Raises:
            StoreForeign: it is of a format that a newer version wrote.
            StoreDamaged: it is no stored form.
        """
        return decode_stored("reconcile task", data, cls._from_json)

    @classmethod
    def _from_json(cls, data: bytes) -> ReconcileTask:
        version = load_object(data, FORMAT, identity="id")[VERSION_KEY]
        task = validate(_adapter, data)
        return replace(task, phase="named") if version == 1 and task.ids else task


_adapter = TypeAdapter(ReconcileTask)


def gap_task(channel: str, position: str | None, entity: str, ids: tuple[str, ...]) -> ReconcileTask:
    """The records that a gap event names are read again."""
    return ReconcileTask(f"gap/{channel}/{position}", "gap", entity, ids, phase="named")


def window_task(reason: Reason, cause: str, entity: str, since_ms: int, not_before_ms: int) -> ReconcileTask:
    """Everything of an object that was stamped since ``since_ms``, less the overlap.

    Args:
        reason: what caused it.
        cause: makes it one of its kind.
        entity: API name of the object.
        since_ms: from when on something may be missing.
        not_before_ms: until when at least; it waits until a window, which ends some minutes ago, holds that moment.
    """
    return ReconcileTask(
        f"{reason}/{cause}/{entity}",
        reason,
        entity,
        since_ms=max(since_ms - OVERLAP_MS, 0),
        due_ms=not_before_ms + LAG_MS + 2_000,
    )


def fresh_rows_task(snapshot: ReconcileTask, ids: tuple[str, ...]) -> ReconcileTask:
    """Records that a snapshot found too fresh to be believed, to be read again by name."""
    return ReconcileTask(
        f"snapshot/{snapshot.entity}/fresh/{ids[0]}", "snapshot", snapshot.entity, ids, phase="named"
    )


def snapshot_task(entity: str, cause: str, *, verify: bool) -> ReconcileTask:
    """Everything of an object; ``verify`` when some of it is known already."""
    return ReconcileTask(f"snapshot/{cause}/{entity}", "snapshot", entity, verify=verify)


def sweep_task(entity: str, from_ms: int, every_ms: int) -> ReconcileTask:
    """The sweep that comes back for ever, beginning at ``from_ms``."""
    return ReconcileTask(f"sweep/{entity}", "sweep", entity, since_ms=from_ms, due_ms=from_ms + every_ms)
