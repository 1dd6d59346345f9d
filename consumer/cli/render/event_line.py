"""Lines of ``timeline``: a lifecycle event as a row of a table or a JSON object.

The detail shown depends on the type of the event: the reason why a run ended, the error, the time until which it waits, the new owner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from consumer import event_types as v
from consumer.actions.client import CLIENT
from consumer.clock import iso, to_ms
from consumer.domain.lifecycle_events import LifecycleEvent

__all__ = ["event_row", "shown_time", "state_change", "step_names"]


def step_names(events: Iterable[LifecycleEvent]) -> dict[str, str]:
    """Map step trackers to the title or type of their step, as far as known."""
    names: dict[str, str] = {}
    for event in events:
        name = event.step_title or event.step_type
        if event.step_tracker_id is not None and name is not None:
            names[event.step_tracker_id] = name
    return names


def event_row(event: LifecycleEvent, steps: Mapping[str, str]) -> dict[str, Any]:
    """Build the object that ``timeline --json`` prints for an event, less its offset.

    Args:
        event: the event.
        steps: names of steps, for events that have only the step tracker's id.
    """
    step = event.step_title or event.step_type or event.step_tracker_id
    detail = _DETAILS.get(event.type, _no_detail)(event)
    return {
        "time": iso(to_ms(event.time)),
        "type": event.type,
        "step": steps.get(event.step_tracker_id or "", step),
        "step_tracker_id": event.step_tracker_id,
        "before": getattr(event.before, "state", None),
        "after": getattr(event.after, "state", None),
        "detail": ", ".join(part for part in detail if part) or None,
        "actor": event.actor_id,
        "late": event.late,
        "marks": _marks(event),
        "id": event.id,
    }


def state_change(before: str | None, after: str | None) -> str:
    """Format a change of ``State``."""
    if before is None or before == after:
        return after or ""
    return f"{before} → {after or '?'}"


def shown_time(text: str) -> str:
    """Format a time for people, without the milliseconds that Salesforce leaves zero."""
    return text.replace(".000Z", "Z")


def _marks(event: LifecycleEvent) -> list[str]:
    client = (event.change_origin or "").partition(";client=")[2]
    return [
        mark
        for mark, applies in (
            ("late", event.late),
            ("missed transitions", event.missed_transitions),
            (event.origin.value, event.origin != "stream"),
            # Changes made by this service's own actions, of a handler or on the command line.
            (client, client.startswith(CLIENT)),
        )
        if applies
    ]


Detail = Callable[[LifecycleEvent], tuple[str | None, ...]]


def _no_detail(event: LifecycleEvent) -> tuple[str | None, ...]:  # noqa: ARG001 - signature of Detail
    return ()


def _time_detail(word: str, name: str) -> Detail:
    """Make a detail of a word and a time, such as ``until`` and the resume time."""

    def detail(event: LifecycleEvent) -> tuple[str | None, ...]:
        instant = getattr(event.after, name, None)
        return (f"{word} {shown_time(iso(to_ms(instant)))}" if isinstance(instant, datetime) else None,)

    return detail


def _end_detail(event: LifecycleEvent) -> tuple[str | None, ...]:
    rule = f"rule {event.exit_rule_id}" if event.exit_rule_id else None
    return event.reason, event.disposition, rule


def _failure_detail(event: LifecycleEvent) -> tuple[str | None, ...]:
    if event.error is None:
        return ()
    if event.error.code is None:
        return (event.error.message,)
    return (f"{event.error.code} ({event.error.kind})",)


def _enrolment_detail(event: LifecycleEvent) -> tuple[str | None, ...]:
    return (f"number {event.iteration} of a chain" if (event.iteration or 1) > 1 else None,)


def _creation_detail(event: LifecycleEvent) -> tuple[str | None, ...]:
    return f"iteration {event.iteration}" if (event.iteration or 1) > 1 else None, *_DUE(event)


def _attribution_detail(event: LifecycleEvent) -> tuple[str | None, ...]:
    return (
        getattr(event.after, "related_to_id", None),
        getattr(event.after, "related_to_attribution_type", None),
    )


_DUE: Final = _time_detail("due", "due_date_time")
_UNTIL: Final = _time_detail("until", "scheduled_resume_date_time")
_START: Final = _time_detail("at", "scheduled_start_date_time")

_DETAILS: Final[dict[str, Detail]] = {
    **{name: _end_detail for name in v.ALL_TYPES if ".ended." in name},
    v.RUN_ENROLLED: _enrolment_detail,
    v.RUN_WAITING: _UNTIL,
    v.RUN_PAUSED: _UNTIL,
    v.RUN_RESUME_CHANGED: lambda event: _UNTIL(event) if any(_UNTIL(event)) else ("no time set",),
    v.RUN_FAILED: _failure_detail,
    v.RUN_REASSIGNED: lambda event: (f"to {event.owner_id}" if event.owner_id else None,),
    v.RUN_DISPOSITION_SET: lambda event: (event.disposition,),
    v.RUN_ATTRIBUTED: _attribution_detail,
    v.STEP_CREATED: _creation_detail,
    v.STEP_FAILED: _failure_detail,
    v.STEP_SCHEDULED: _START,
    v.STEP_START_CHANGED: _START,
    v.STEP_DUE_CHANGED: _DUE,
    v.STEP_OVERDUE: _DUE,
}
