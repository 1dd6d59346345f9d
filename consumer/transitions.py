"""The state machines of runs and steps, as data.

A change of ``State`` is read as a transition from the last announced state. Legal transitions and the events they yield stand in two
tables; everything else that can be observed (Salesforce merges the changes of one transaction into one event, and an administrator can
do what no manual says) is read by where it *arrived*, and marked ``missed_transitions``.

Documented anchors: a tracker is created when a target is added and ends ``Complete`` with a ``CompletionReason``; a step tracker is created
when a target moves to a step, and a skipped step is ``Completed`` with ``ManuallySkipped``. The rest of the transitions is inferred from
the meanings of the states in the Object Reference.
"""

from __future__ import annotations

from typing import Final

from consumer import vocabulary as v

__all__ = ["NEW", "UNKNOWN", "run_ending", "run_transition", "step_ending", "step_transition"]

NEW: Final = "(new)"
"""The state of a record before its CREATE."""

UNKNOWN: Final = "(unknown)"
"""The state of a record of which too little is known."""

_ENDED: Final = "(ended)"
"""Stands for the ending's type, which the reason decides."""

_RUN_LEGAL: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    (NEW, "Initializing"): (),
    (NEW, "Running"): (v.RUN_STARTED,),
    ("Initializing", "Running"): (v.RUN_STARTED,),
    ("Initializing", "Complete"): (_ENDED,),
    ("Initializing", "Error"): (v.RUN_FAILED,),
    ("Running", "Paused"): (v.RUN_PAUSED,),
    ("Running", "Complete"): (_ENDED,),
    ("Running", "Error"): (v.RUN_FAILED,),
    ("Paused", "Running"): (v.RUN_RESUMED,),
    ("Paused", "Complete"): (_ENDED,),
    ("Paused", "Error"): (v.RUN_FAILED,),
    ("Error", "Running"): (v.RUN_RECOVERED,),
    ("Error", "Complete"): (_ENDED,),
}

_RUN_ARRIVAL: Final[dict[str, tuple[str, ...]]] = {
    "Paused": (v.RUN_PAUSED,),
    "Complete": (_ENDED,),
    "Error": (v.RUN_FAILED,),
}
"""What can be said without knowing where it came from. Running is not here: started, resumed and recovered all look like it."""

_RUN_MISSED: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("Complete", "Running"): (v.RUN_STARTED,),
    ("Error", "Paused"): (v.RUN_RECOVERED, v.RUN_PAUSED),
}

_STEP_LEGAL: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    (NEW, "Active"): (v.STEP_ACTIVATED,),
    (NEW, "Scheduled"): (v.STEP_SCHEDULED,),
    (NEW, "Queued"): (v.STEP_QUEUED,),
    ("Active", "InProgress"): (v.STEP_IN_PROGRESS,),
    ("Active", "Scheduled"): (v.STEP_SCHEDULED,),
    ("Active", "Queued"): (v.STEP_QUEUED,),
    ("Active", "Paused"): (v.STEP_PAUSED,),
    ("Active", "Completed"): (_ENDED,),
    ("Active", "Cancelled"): (_ENDED,),
    ("Active", "Error"): (v.STEP_FAILED,),
    ("InProgress", "Active"): (v.STEP_ACTIVATED,),
    ("InProgress", "Paused"): (v.STEP_PAUSED,),
    ("InProgress", "Completed"): (_ENDED,),
    ("InProgress", "Cancelled"): (_ENDED,),
    ("InProgress", "Error"): (v.STEP_FAILED,),
    ("Scheduled", "Active"): (v.STEP_ACTIVATED,),
    ("Scheduled", "Queued"): (v.STEP_QUEUED,),
    ("Scheduled", "Paused"): (v.STEP_PAUSED,),
    ("Scheduled", "Completed"): (_ENDED,),
    ("Scheduled", "Cancelled"): (_ENDED,),
    ("Scheduled", "Error"): (v.STEP_FAILED,),
    ("Queued", "Active"): (v.STEP_ACTIVATED,),
    ("Queued", "Paused"): (v.STEP_PAUSED,),
    ("Queued", "Completed"): (_ENDED,),
    ("Queued", "Cancelled"): (_ENDED,),
    ("Queued", "Error"): (v.STEP_FAILED,),
    ("Paused", "Active"): (v.STEP_RESUMED,),
    ("Paused", "InProgress"): (v.STEP_RESUMED, v.STEP_IN_PROGRESS),
    ("Paused", "Scheduled"): (v.STEP_RESUMED, v.STEP_SCHEDULED),
    ("Paused", "Queued"): (v.STEP_RESUMED, v.STEP_QUEUED),
    ("Paused", "Completed"): (_ENDED,),
    ("Paused", "Cancelled"): (_ENDED,),
    ("Error", "Active"): (v.STEP_RECOVERED,),
    ("Error", "InProgress"): (v.STEP_RECOVERED, v.STEP_IN_PROGRESS),
    ("Error", "Scheduled"): (v.STEP_RECOVERED, v.STEP_SCHEDULED),
    ("Error", "Queued"): (v.STEP_RECOVERED, v.STEP_QUEUED),
    ("Error", "Completed"): (_ENDED,),
    ("Error", "Cancelled"): (_ENDED,),
}

_STEP_ARRIVAL: Final[dict[str, tuple[str, ...]]] = {
    "InProgress": (v.STEP_IN_PROGRESS,),
    "Scheduled": (v.STEP_SCHEDULED,),
    "Queued": (v.STEP_QUEUED,),
    "Paused": (v.STEP_PAUSED,),
    "Completed": (_ENDED,),
    "Cancelled": (_ENDED,),
    "Error": (v.STEP_FAILED,),
}
"""What can be said without knowing where it came from. Active is not here: activated, resumed and recovered all look like it."""

_STEP_MISSED: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("Completed", "Active"): (v.STEP_ACTIVATED,),
    ("Cancelled", "Active"): (v.STEP_ACTIVATED,),
    ("Error", "Paused"): (v.STEP_RECOVERED, v.STEP_PAUSED),
}

_RUN_ENDINGS: Final = {
    "NoMoreSteps": v.RUN_ENDED_FINISHED,
    "AutomaticallyExited": v.RUN_ENDED_EXITED,
    "AutomaticallyExitedDeletedStep": v.RUN_ENDED_EXITED,
    "AutomaticallyExitedInvalidParentStep": v.RUN_ENDED_EXITED,
    "ManuallyRemoved": v.RUN_ENDED_REMOVED,
    "ManuallyRemovedNoAccess": v.RUN_ENDED_REMOVED,
    "LeadConverted": v.RUN_ENDED_CONVERTED,
    "DaisyChained": v.RUN_ENDED_CHAINED,
}

_STEP_ENDINGS: Final = {
    "AutomaticallyCompleted": v.STEP_ENDED_COMPLETED,
    "ManuallyCompleted": v.STEP_ENDED_COMPLETED,
    "AutomaticallyExited": v.STEP_ENDED_EXITED,
    "ManuallySkipped": v.STEP_ENDED_SKIPPED,
}


def run_ending(reason: str | None) -> str:
    """The type of a run's ending by its CompletionReason."""
    return _RUN_ENDINGS.get(reason or "", v.RUN_ENDED_OTHER)


def step_ending(state: str, reason: str | None) -> str:
    """The type of a step's ending by State and CompletionReason."""
    if state == "Cancelled":
        return v.STEP_ENDED_CANCELLED
    return _STEP_ENDINGS.get(reason or "", v.STEP_ENDED_COMPLETED)


def run_transition(before: str, after: str | None, reason: str | None) -> tuple[tuple[str, ...], bool]:
    """The events of a run's change of State, and whether transitions in between were merged away.

    Args:
        before: the last announced state, ``NEW`` or ``UNKNOWN``.
        after: the state now; empty types for one that is not documented.
        reason: its CompletionReason.
    """
    types, missed = _look_up(before, after, _RUN_LEGAL, _RUN_ARRIVAL, _RUN_MISSED)
    return tuple(run_ending(reason) if kind == _ENDED else kind for kind in types), missed


def step_transition(before: str, after: str | None, reason: str | None) -> tuple[tuple[str, ...], bool]:
    """The events of a step's change of State, as :func:`run_transition` has them."""
    types, missed = _look_up(before, after, _STEP_LEGAL, _STEP_ARRIVAL, _STEP_MISSED)
    return tuple(step_ending(after or "", reason) if kind == _ENDED else kind for kind in types), missed


def _look_up(
    before: str,
    after: str | None,
    legal: dict[tuple[str, str], tuple[str, ...]],
    arrival: dict[str, tuple[str, ...]],
    missed: dict[tuple[str, str], tuple[str, ...]],
) -> tuple[tuple[str, ...], bool]:
    if after is None or before == after:
        return (), False
    found = legal.get((before, after))
    if found is not None:
        return found, False
    types = missed.get((before, after)) or arrival.get(after, ())
    return types, bool(types) and before != UNKNOWN
