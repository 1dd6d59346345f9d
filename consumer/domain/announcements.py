"""Types of lifecycle events that a change announces, in their documented order.

Pure functions over a :class:`ChangeView`, the change beside the states of its record before and after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from consumer import event_types as v
from consumer.domain.change_events import Change
from consumer.domain.record_state import TRANSITIONAL, RecordState
from consumer.domain.state_machines import NEW, UNKNOWN, run_transition, step_transition

__all__ = ["ChangeView", "run_types", "step_types"]

_LAST_STATES = frozenset({"Complete", "Completed"})
"""States whose ending is named by the CompletionReason, of a run and of a step."""

_AUDIT_FIELDS = frozenset({"LastModifiedDate", "LastModifiedById", "CreatedDate", "CreatedById"})


class ChangeView:
    """Change with the states before and after it, as the rules below read them.

    Attributes:
        kind: ``CREATE``, ``UPDATE``, ``DELETE`` or ``UNDELETE``.
        before: the record before the change; None where it is unknown, or was deleted.
        after: the record after the change, of a late change only what it wrote; None for a deletion.
        changed: names of the fields whose value differs from the known one, or whose known value is unknown.
        values: their new values; a field that the event does not carry is missing.
        state_before: the last announced State.
        is_reason_late: whether the record has ended and this change wrote the reason; where it did not write the State as well, the
            reason arrived after the end.
    """

    __slots__ = ("after", "before", "changed", "is_reason_late", "kind", "state_before", "values")

    def __init__(self, change: Change, before: RecordState, after: RecordState, *, late: bool) -> None:
        self.kind = change.header.kind
        is_known = before.exists and not late
        tombstone = before.is_deleted
        self.before = before.values() if is_known and before.fields and not tombstone else None
        self.values = _changed_values(change, before if is_known else None)
        self.changed = (
            self.values.keys() | {name for name in change.header.changed if name not in change.body}
            if change.header.changed is not None
            else self.values.keys()
        )
        self.after: dict[str, Any] | None = None
        if self.kind != "DELETE":
            self.after = _written_values(change) if late else after.values()
        if self.kind == "CREATE":
            self.state_before = NEW
        elif is_known and before.announced is not None:
            self.state_before = before.announced[0] or UNKNOWN
        else:
            self.state_before = UNKNOWN
        reason = self.values.get("CompletionReason")
        self.is_reason_late = (
            self.kind != "CREATE"
            and reason is not None
            and reason == after.get("CompletionReason")
            and after.announced is not None
            and after.announced[0] in _LAST_STATES
        )


def _written_values(change: Change) -> dict[str, Any]:
    """Values that a change wrote."""
    body, changed = change.body, change.header.changed
    return dict(body) if changed is None else {name: body[name] for name in changed if name in body}


def _changed_values(change: Change, known: RecordState | None) -> dict[str, Any]:
    """Values that a change wrote and that were not known to hold before.

    All of them where nothing was known.
    """
    body, kind = change.body, change.header.kind
    if kind == "CREATE":
        return {name: value for name, value in body.items() if value is not None}
    if kind == "UNDELETE":
        # Restored: what the record held when it was deleted is no news.
        names: Iterable[str] = () if known is None else {**known.fields, **body}
    else:
        names = change.header.changed or ()
    return {
        name: body.get(name)
        for name in names
        if (name in body or kind == "UNDELETE")
        and (known is None or not known.is_known_to_hold(name, body.get(name)))
    }


_FIRST_RUN_TYPES = {"CREATE": (v.RUN_ENROLLED,), "UNDELETE": (v.RUN_RESTORED,)}
_FIRST_STEP_TYPES = {"CREATE": (v.STEP_CREATED,), "UNDELETE": (v.STEP_RESTORED,)}


def run_types(view: ChangeView) -> tuple[list[str], bool]:
    """Types of the events of a change of a run, in order.

    The second value is whether Salesforce merged transitions away.
    """
    after, values = view.after, view.values
    if after is None:
        return [v.RUN_DELETED], False
    types = list(_FIRST_RUN_TYPES.get(view.kind, ()))
    transition, missed = _transition(view, after, run_transition)
    types += transition
    ended = any(name.startswith("run.ended.") for name in transition)
    advanced = view.kind != "CREATE" and values.get("CurrentStepId") is not None and not ended
    if advanced:
        types.append(v.RUN_ADVANCED)
    if "ScheduledResumeDateTime" in values:
        types += _schedule_types(view, after, transition=bool(transition), advanced=advanced)
    if "OwnerId" in values and view.kind != "CREATE":
        types.append(v.RUN_REASSIGNED)
    if "RelatedToId" in values or "RelatedToAttributionType" in values:
        types.append(v.RUN_ATTRIBUTED)
    if "CompletionDisposition" in values and view.kind != "CREATE" and not ended:
        types.append(v.RUN_DISPOSITION_SET)
    return types or _updated_types(view, v.RUN_UPDATED), missed


def _schedule_types(
    view: ChangeView, after: Mapping[str, Any], *, transition: bool, advanced: bool
) -> tuple[str, ...]:
    """Events of a changed resume time.

    A run that leaves a wait or a pause clears it as part of that.
    """
    state = after.get("State")
    if view.values["ScheduledResumeDateTime"] is None:
        changed = state == "Paused" and not transition and not advanced
    elif state == "Running":
        return (v.RUN_WAITING,)
    else:
        changed = view.kind != "CREATE" and state != "Complete" and not transition
    return (v.RUN_RESUME_CHANGED,) if changed else ()


def step_types(view: ChangeView) -> tuple[list[str], bool]:
    """Types of the events of a change of a step.

    Derived as :func:`run_types` derives those of a run.
    """
    after, values = view.after, view.values
    if after is None:
        return [v.STEP_DELETED], False
    types = list(_FIRST_STEP_TYPES.get(view.kind, ()))
    if values.get("ActionTakenDateTime") is not None:
        types.append(v.STEP_ACTION_TAKEN)
    transition, missed = _transition(view, after, step_transition)
    if (
        not transition
        and view.kind != "CREATE"
        and values.get("ErrorCode") is not None
        and after.get("State") == "Error"
    ):
        transition = (v.STEP_FAILED,)  # again, for another reason
    types += transition
    if view.kind != "CREATE":
        if "DueDateTime" in values:
            types.append(v.STEP_DUE_CHANGED)
        if "ScheduledStartDateTime" in values:
            types.append(v.STEP_START_CHANGED)
    return types or _updated_types(view, v.STEP_UPDATED), missed


def _transition(
    view: ChangeView,
    after: Mapping[str, Any],
    transition: Callable[[str, str | None, str | None], tuple[tuple[str, ...], bool]],
) -> tuple[tuple[str, ...], bool]:
    """Events of a change of State, or of a reason that arrives after the end."""
    reason = after.get("CompletionReason")
    types: tuple[str, ...] = ()
    missed = False
    if "State" in view.values:
        types, missed = transition(view.state_before, view.values["State"], reason)
    if not types and view.is_reason_late:
        types, _ = transition(UNKNOWN, "Complete" if transition is run_transition else "Completed", reason)
    return types, missed


def _updated_types(view: ChangeView, name: str) -> list[str]:
    reported = view.changed - _AUDIT_FIELDS
    if reported == {"State"} and view.values.get("State") in TRANSITIONAL:
        return []
    if reported == {"State"} and view.state_before == view.values.get("State"):
        return []  # back from a transitional state to the previous one
    return [name] if reported else []
