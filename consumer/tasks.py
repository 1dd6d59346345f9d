"""Reconcile tasks: what Salesforce lost or forgot, and how far it has been mended.

A task is committed together with the position that caused it, so that positions never wait for REST; each page that was fetched is an
ordinary commit, with the task's next page in it. A task is one of two kinds of work: *these records* (a gap event names them), or
*this window* of ``SystemModstamp`` (a refused position, an overflow, a sweep, a person's wish), read in the order of ``SystemModstamp``
and ``Id``, so that the last row read says where to go on, after a restart too.

Windows overlap by :data:`OVERLAP_MS`: a record is stamped before its transaction commits. They end :data:`LAG_MS` before the answer's own
``Date``: the newest rows may still be joined by others of the same second, and the stream is given the chance to say it first.

Values are immutable; the stored form is JSON with a format version.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

import orjson

from consumer.clock import iso
from consumer.errors import StoreForeign

__all__ = ["LAG_MS", "OVERLAP_MS", "Reason", "Task", "of_gap", "of_window", "sweep_of"]

FORMAT: Final = 1
OVERLAP_MS: Final = 15 * 60 * 1000
LAG_MS: Final = 2 * 60 * 1000

Reason = Literal["gap", "overflow", "expired", "sweep", "repair"]


@dataclass(frozen=True, slots=True)
class Task:
    """One thing to mend.

    Attributes:
        id: deterministic, so that a task that is caused twice is one.
        reason: what caused it.
        entity: API name of the object.
        ids: the records that are still to be fetched; empty for a window.
        since_ms: beginning of the window, milliseconds of Salesforce time; None for records.
        until_ms: its end; None while nobody has asked Salesforce for its time, and for a sweep that waits.
        after: ``SystemModstamp`` in milliseconds and ``Id`` of the last row that was read.
        due_ms: Salesforce time before which it is too early; 0 for at once.
        fetched: rows so far.
        changed: rows that said something new.
        events: lifecycle events that were told of them.
        tries: of a record whose row is too fresh to be believed.
    """

    id: str
    reason: Reason
    entity: str
    ids: tuple[str, ...] = ()
    since_ms: int | None = None
    until_ms: int | None = None
    after: tuple[int, str] | None = None
    due_ms: int = 0
    fetched: int = 0
    changed: int = 0
    events: int = 0
    tries: int = 0

    @property
    def is_window(self) -> bool:
        """Whether it reads a window, not named records."""
        return self.since_ms is not None

    def counted(self, *, fetched: int, changed: int, events: int) -> Task:
        """The same, after so many more rows."""
        return replace(
            self,
            fetched=self.fetched + fetched,
            changed=self.changed + changed,
            events=self.events + events,
        )

    def again(self, every_ms: int) -> Task:
        """The sweep after this one: it begins where this one ended."""
        through_ms = self.until_ms or 0
        return sweep_of(self.entity, max(through_ms - OVERLAP_MS, 0), every_ms + OVERLAP_MS)

    def report(self) -> dict[str, Any]:
        """What a person wants to know when it is done."""
        told: dict[str, Any] = {"reason": self.reason, "entity": self.entity}
        if self.since_ms is not None:
            told["since"] = iso(self.since_ms)
            told["until"] = iso(self.until_ms) if self.until_ms is not None else None
        return {**told, "fetched": self.fetched, "changed": self.changed, "events": self.events}

    def encode(self) -> bytes:
        """The stored form."""
        return orjson.dumps({"v": FORMAT, **asdict(self)})

    @classmethod
    def decode(cls, data: bytes) -> Task:
        """Read the stored form.

        Raises:
            StoreForeign: it is of a format that a newer version wrote.
        """
        value = orjson.loads(data)
        if value.pop("v") > FORMAT:
            raise StoreForeign(f"reconcile task {value['id']} is of a newer format: run the newer release")
        after = value["after"]
        return cls(
            **{**value, "ids": tuple(value["ids"]), "after": None if after is None else (after[0], after[1])}
        )


def of_gap(channel: str, position: str | None, entity: str, ids: tuple[str, ...]) -> Task:
    """The records that a gap event names are read again."""
    return Task(f"gap/{channel}/{position}", "gap", entity, ids)


def of_window(reason: Reason, cause: str, entity: str, since_ms: int, caused_ms: int) -> Task:
    """Everything of an object that was stamped since ``since_ms``, less the overlap.

    Args:
        reason: what caused it.
        cause: makes it one of its kind.
        entity: API name of the object.
        since_ms: from when on something may be missing.
        caused_ms: until when at least; it waits until a window, which ends some minutes ago, holds that moment.
    """
    return Task(
        f"{reason}/{cause}/{entity}",
        reason,
        entity,
        since_ms=max(since_ms - OVERLAP_MS, 0),
        due_ms=caused_ms + LAG_MS + 2_000,
    )


def sweep_of(entity: str, from_ms: int, every_ms: int) -> Task:
    """The sweep that comes back for ever, beginning at ``from_ms``."""
    return Task(f"sweep/{entity}", "sweep", entity, since_ms=from_ms, due_ms=from_ms + every_ms)
