"""What is due when, and therefore tells itself: nothing changes in Salesforce when a step's due date passes.

``SecondsOverdue`` and ``IsActionTaken`` are calculated fields and do not travel in change events, so being overdue has to be noticed by a
clock. A timer is a function of a record's state: whatever changes the state cancels, moves or sets it in the same commit. A timer that has
fired is remembered with the state, so that it fires once for a due time, however often the state is written afterwards. It fires when
Salesforce's time is past due and everything up to then is committed, or when a later change of its own record proves both.

Pure functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from consumer import event_types as v
from consumer.clock import parse_iso_ms
from consumer.domain.objects import RUN

if TYPE_CHECKING:
    from consumer.domain.record_state import RecordState

__all__ = ["key_of", "parts_of", "timers_of"]

_OPEN_STEP: Final = frozenset({"Active", "InProgress", "Scheduled", "Queued", "Error"})
"""States in which somebody or something still has to act; a paused step waits on purpose."""

_RESUMING_RUN: Final = frozenset({"Paused", "Running"})
"""``ScheduledResumeDateTime`` is set while a run is paused or on a wait step (documented)."""


def timers_of(state: RecordState) -> dict[str, int]:
    """Event type to due time, in milliseconds since the epoch, of everything that may come due by itself."""
    if state.is_deleted:
        return {}
    announced = state.announced[0] if state.announced is not None else None
    due: str | None = None
    if state.entity == RUN:
        name = v.RUN_RESUME_DUE
        if announced in _RESUMING_RUN:
            due = state.get("ScheduledResumeDateTime")
    else:
        name = v.STEP_OVERDUE
        if announced in _OPEN_STEP and state.get("ActionTakenDateTime") is None:
            due = state.get("DueDateTime")
    if due is None:
        return {}
    due_ms = parse_iso_ms(due)
    return {} if due_ms in state.fired.get(name, ()) else {name: due_ms}


def key_of(record_id: str, name: str) -> str:
    """A timer's key in the store."""
    return f"{record_id}/{name}"


def parts_of(key: str) -> tuple[str, str]:
    """Record id and event type of a key."""
    record_id, _, name = key.partition("/")
    return record_id, name
