"""Timers of a record: due times that Salesforce announces with no change event.

``SecondsOverdue`` and ``IsActionTaken`` are calculated fields that change events do not carry, so a clock has to detect that a step is
overdue. A timer is a function of a record's state: any change of the state cancels, moves or sets it in the same commit. A fired timer is
recorded in the state, so that it fires once per due time, however often the state is written afterwards. It fires when Salesforce's time
is past the due time and every change up to then is committed, or when a later change of its own record proves both.

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
"""States in which a person or Salesforce still has to act.

A paused step waits on purpose.
"""

_RESUMING_RUN: Final = frozenset({"Paused", "Running"})
"""States in which ``ScheduledResumeDateTime`` is set.

Documented: while a run is paused or on a wait step.
"""


def timers_of(state: RecordState) -> dict[str, int]:
    """Compute a record's pending timers: event type to due time in epoch milliseconds."""
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
    """Build the key of a timer in the store."""
    return f"{record_id}/{name}"


def parts_of(key: str) -> tuple[str, str]:
    """Split a timer's key into record id and event type."""
    record_id, _, name = key.partition("/")
    return record_id, name
