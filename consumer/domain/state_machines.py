"""State machines of runs and steps, as data.

A change of ``State`` is read as a transition from the last announced state. Legal transitions, with their triggers and the events they
yield, are listed in :data:`RUN` and :data:`STEP`, from which the code, the tables of this folder's page and the random walks of the tests
are derived. Any other observed change (Salesforce merges the changes of one transaction into one event, and an administrator can do what no
manual mentions) is interpreted by the state in which it *arrived*, and marked ``missed_transitions``.

Documented anchors: a tracker is created when a target is added and ends ``Complete`` with a ``CompletionReason``; a step tracker is created
when a target moves to a step, and a skipped step is ``Completed`` with ``ManuallySkipped``. The rest of the transitions is inferred from
the meanings of the states in the Object Reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Generic, Literal, TypeVar

from consumer import event_types as v
from consumer.domain.picklists import (
    RunReason,
    RunState,
    StepReason,
    StepState,
)

__all__ = [
    "ENDED",
    "NEW",
    "RUN",
    "RUN_ENDINGS",
    "STEP",
    "STEP_ENDINGS",
    "UNKNOWN",
    "Machine",
    "Transition",
    "run_ending",
    "run_transition",
    "step_ending",
    "step_transition",
]

NEW: Final = "(new)"
"""The state of a record before its CREATE."""

UNKNOWN: Final = "(unknown)"
"""The state of a record about which too little is known."""

ENDED: Final = "(ended)"
"""Placeholder for the type of the ending, which depends on the CompletionReason."""

StateT = TypeVar("StateT", bound=str)
NewState = Literal["(new)"]


@dataclass(frozen=True, slots=True)
class Transition(Generic[StateT]):
    """Legal transitions with a common destination, trigger and meaning.

    Attributes:
        origins: states from which the transition starts.
        state: state to which the transition leads.
        trigger: cause of the transition, in words; the name of a Sales Engagement action where one exists.
        types: event types that the transition yields, in order; :data:`ENDED` is the placeholder for the ending.
    """

    origins: tuple[StateT | NewState, ...]
    state: StateT
    trigger: str
    types: tuple[str, ...]


class Machine(Generic[StateT]):
    """State machine over the values of one ``State`` picklist.

    Args:
        transitions: the legal transitions, each pair of states once.
        arrivals: event types of a state when its predecessor is unknown. States that look the same whether something began, resumed or
            recovered are missing.
        missed: event types of an illegal pair of states, where more can be inferred than from its arrival.
    """

    def __init__(
        self,
        transitions: tuple[Transition[StateT], ...],
        arrivals: Mapping[StateT, tuple[str, ...]],
        missed: Mapping[tuple[StateT, StateT], tuple[str, ...]],
    ) -> None:
        self.transitions = transitions
        self.legal: dict[tuple[str, str], tuple[str, ...]] = {
            (origin, row.state): row.types for row in transitions for origin in row.origins
        }
        self._arrivals = {str(state): types for state, types in arrivals.items()}
        self._missed = {(str(origin), str(state)): types for (origin, state), types in missed.items()}

    def types(self, before: str, after: str | None) -> tuple[tuple[str, ...], bool]:
        """Look up the events of a change of State, and whether some were merged away."""
        if after is None or before == after:
            return (), False
        legal_types = self.legal.get((before, after))
        if legal_types is not None:
            return legal_types, False
        types = self._missed.get((before, after)) or self._arrivals.get(after, ())
        return types, bool(types) and before != UNKNOWN


_RUN_START_TRIGGER: Final = (
    "the target is added (`assignTargetToSalesCadence`, or the run before it in a daisy chain)"
)

RUN: Final = Machine[RunState](
    (
        Transition((NEW,), "Initializing", _RUN_START_TRIGGER + " and the run is being prepared", ()),
        Transition((NEW,), "Running", _RUN_START_TRIGGER, (v.RUN_STARTED,)),
        Transition(("Initializing",), "Running", "the run is prepared", (v.RUN_STARTED,)),
        Transition(("Running",), "Paused", "pause (`pauseSalesCadenceTracker`)", (v.RUN_PAUSED,)),
        Transition(
            ("Paused",),
            "Running",
            "resume (`resumeSalesCadenceTracker`, or the scheduled time has come)",
            (v.RUN_RESUMED,),
        ),
        Transition(
            ("Initializing", "Running", "Paused"),
            "Error",
            "a step or the run itself fails",
            (v.RUN_FAILED,),
        ),
        Transition(("Error",), "Running", "retry", (v.RUN_RECOVERED,)),
        Transition(
            ("Initializing", "Running", "Paused", "Error"),
            "Complete",
            "the last step is done, an exit rule holds, removal (`removeTargetFromSalesCadence`), lead conversion, daisy chain",
            (ENDED,),
        ),
    ),
    arrivals={"Paused": (v.RUN_PAUSED,), "Complete": (ENDED,), "Error": (v.RUN_FAILED,)},
    missed={("Complete", "Running"): (v.RUN_STARTED,), ("Error", "Paused"): (v.RUN_RECOVERED, v.RUN_PAUSED)},
)
"""State machine of runs.

``Processing`` is transitional: it is never announced, so no transition leads to it.
"""

STEP: Final = Machine[StepState](
    (
        Transition((NEW,), "Active", "the target moves to the step", (v.STEP_ACTIVATED,)),
        Transition((NEW,), "Scheduled", "the target moves to an automated e-mail step", (v.STEP_SCHEDULED,)),
        Transition((NEW,), "Queued", "the same, and the e-mail is to go out at once", (v.STEP_QUEUED,)),
        Transition(("Active",), "InProgress", "the rep opens the step", (v.STEP_IN_PROGRESS,)),
        Transition(("InProgress",), "Active", "the rep leaves it again", (v.STEP_ACTIVATED,)),
        Transition(("Active",), "Scheduled", "the e-mail is to be sent later", (v.STEP_SCHEDULED,)),
        Transition(
            ("Active", "Scheduled"), "Queued", "the e-mail waits in the queue to be sent", (v.STEP_QUEUED,)
        ),
        Transition(
            ("Scheduled", "Queued"), "Active", "the e-mail is taken back to the rep", (v.STEP_ACTIVATED,)
        ),
        Transition(
            ("Active", "InProgress", "Scheduled", "Queued"),
            "Paused",
            "the run is paused",
            (v.STEP_PAUSED,),
        ),
        Transition(("Paused",), "Active", "the run is resumed", (v.STEP_RESUMED,)),
        Transition(("Paused",), "InProgress", "the same", (v.STEP_RESUMED, v.STEP_IN_PROGRESS)),
        Transition(("Paused",), "Scheduled", "the same", (v.STEP_RESUMED, v.STEP_SCHEDULED)),
        Transition(("Paused",), "Queued", "the same", (v.STEP_RESUMED, v.STEP_QUEUED)),
        Transition(
            ("Active", "InProgress", "Scheduled", "Queued"),
            "Error",
            "it fails, for the reason in `ErrorCode`",
            (v.STEP_FAILED,),
        ),
        Transition(("Error",), "Active", "retry", (v.STEP_RECOVERED,)),
        Transition(("Error",), "InProgress", "the same", (v.STEP_RECOVERED, v.STEP_IN_PROGRESS)),
        Transition(("Error",), "Scheduled", "the same", (v.STEP_RECOVERED, v.STEP_SCHEDULED)),
        Transition(("Error",), "Queued", "the same", (v.STEP_RECOVERED, v.STEP_QUEUED)),
        Transition(
            ("Active", "InProgress", "Scheduled", "Queued", "Paused", "Error"),
            "Completed",
            "done, completed by hand or skipped (`sendSalesCadenceEvent`), or an exit rule holds",
            (ENDED,),
        ),
        Transition(
            ("Active", "InProgress", "Scheduled", "Queued", "Paused", "Error"),
            "Cancelled",
            "the run ends before the step is done",
            (v.STEP_ENDED_CANCELLED,),
        ),
    ),
    arrivals={
        "InProgress": (v.STEP_IN_PROGRESS,),
        "Scheduled": (v.STEP_SCHEDULED,),
        "Queued": (v.STEP_QUEUED,),
        "Paused": (v.STEP_PAUSED,),
        "Completed": (ENDED,),
        "Cancelled": (v.STEP_ENDED_CANCELLED,),
        "Error": (v.STEP_FAILED,),
    },
    missed={
        ("Completed", "Active"): (v.STEP_ACTIVATED,),
        ("Cancelled", "Active"): (v.STEP_ACTIVATED,),
        ("Error", "Paused"): (v.STEP_RECOVERED, v.STEP_PAUSED),
    },
)
"""State machine of steps."""

RUN_ENDINGS: Final[dict[RunReason, str]] = {
    "NoMoreSteps": v.RUN_ENDED_FINISHED,
    "AutomaticallyExited": v.RUN_ENDED_EXITED,
    "AutomaticallyExitedDeletedStep": v.RUN_ENDED_EXITED,
    "AutomaticallyExitedInvalidParentStep": v.RUN_ENDED_EXITED,
    "ManuallyRemoved": v.RUN_ENDED_REMOVED,
    "ManuallyRemovedNoAccess": v.RUN_ENDED_REMOVED,
    "LeadConverted": v.RUN_ENDED_CONVERTED,
    "DaisyChained": v.RUN_ENDED_CHAINED,
}
"""Event type of a run's ending by CompletionReason.

Any other reason, or none, yields ``run.ended.other``.
"""

STEP_ENDINGS: Final[dict[StepReason, str]] = {
    "AutomaticallyCompleted": v.STEP_ENDED_COMPLETED,
    "ManuallyCompleted": v.STEP_ENDED_COMPLETED,
    "AutomaticallyExited": v.STEP_ENDED_EXITED,
    "ManuallySkipped": v.STEP_ENDED_SKIPPED,
}
"""Event type of ``Completed`` by CompletionReason.

Any other reason, or none, yields ``step.ended.completed``.
"""

_RUN_ENDING_BY_REASON: Final = {str(reason): name for reason, name in RUN_ENDINGS.items()}
_STEP_ENDING_BY_REASON: Final = {str(reason): name for reason, name in STEP_ENDINGS.items()}


def run_ending(reason: str | None) -> str:
    """Look up the event type of a run's ending by its CompletionReason."""
    return _RUN_ENDING_BY_REASON.get(reason or "", v.RUN_ENDED_OTHER)


def step_ending(reason: str | None) -> str:
    """Look up the event type of a ``Completed`` step by its CompletionReason."""
    return _STEP_ENDING_BY_REASON.get(reason or "", v.STEP_ENDED_COMPLETED)


def run_transition(before: str, after: str | None, reason: str | None) -> tuple[tuple[str, ...], bool]:
    """Look up the events of a run's change of State and whether any were merged.

    Args:
        before: the last announced state, ``NEW`` or ``UNKNOWN``.
        after: the new state; an undocumented one yields no events.
        reason: the run's CompletionReason.
    """
    types, missed = RUN.types(before, after)
    return tuple(run_ending(reason) if kind == ENDED else kind for kind in types), missed


def step_transition(before: str, after: str | None, reason: str | None) -> tuple[tuple[str, ...], bool]:
    """Look up a step's change of State, as :func:`run_transition` does for a run."""
    types, missed = STEP.types(before, after)
    return tuple(step_ending(reason) if kind == ENDED else kind for kind in types), missed
