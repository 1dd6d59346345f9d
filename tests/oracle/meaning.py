"""What a change announces, given what was known of its record.

The tables say which events a transition from one announced state to the next is, and which transitions are legal; an illegal one means
that states in between were merged away. The announced state of a record is its last one other than `Processing`, "(new)" for a record
that was created and has announced no state since, and None for a record that was never told a state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.oracle.wire import RUN, STEP, LedgerChange

NEW: Final = "(new)"
TRANSITIONAL: Final = "Processing"

BOOKKEEPING: Final = frozenset({"LastModifiedDate", "LastModifiedById", "CreatedDate", "CreatedById"})
FILLED_BY_ENRICHMENT: Final = ("TargetId", "ActionCadenceId", "ActionCadenceTrackerId", "StepType")

RUN_IS_RUNNING: Final = {
    NEW: "run.started",
    "Initializing": "run.started",
    "Paused": "run.resumed",
    "Error": "run.recovered",
    "Complete": "run.started",
}
RUN_ENDINGS: Final = {
    "NoMoreSteps": "run.ended.finished",
    "AutomaticallyExited": "run.ended.exited",
    "AutomaticallyExitedDeletedStep": "run.ended.exited",
    "AutomaticallyExitedInvalidParentStep": "run.ended.exited",
    "ManuallyRemoved": "run.ended.removed",
    "ManuallyRemovedNoAccess": "run.ended.removed",
    "LeadConverted": "run.ended.converted",
    "DaisyChained": "run.ended.chained",
}
RUN_LEGAL: Final = {
    NEW: {"Initializing", "Running"},
    "Initializing": {"Running", "Complete", "Error"},
    "Running": {"Paused", "Complete", "Error"},
    "Paused": {"Running", "Complete", "Error"},
    "Error": {"Running", "Complete"},
}

STEP_IS_ACTIVE: Final = {
    "Paused": "step.resumed",
    "Error": "step.recovered",
    NEW: "step.activated",
    "Scheduled": "step.activated",
    "Queued": "step.activated",
    "InProgress": "step.activated",
    "Completed": "step.activated",
    "Cancelled": "step.activated",
}
STEP_UNDER_WAY: Final = {
    "InProgress": "step.in_progress",
    "Scheduled": "step.scheduled",
    "Queued": "step.queued",
}
STEP_RETURNS: Final = {"Paused": ["step.resumed"], "Error": ["step.recovered"]}
STEP_COMPLETIONS: Final = {
    "ManuallySkipped": "step.ended.skipped",
    "AutomaticallyExited": "step.ended.exited",
}
STEP_LEGAL: Final = {
    NEW: {"Active", "Scheduled", "Queued"},
    "Active": {"InProgress", "Scheduled", "Queued", "Paused", "Completed", "Cancelled", "Error"},
    "InProgress": {"Active", "Paused", "Completed", "Cancelled", "Error"},
    "Scheduled": {"Active", "Queued", "Paused", "Completed", "Cancelled", "Error"},
    "Queued": {"Active", "Paused", "Completed", "Cancelled", "Error"},
    "Paused": {"Active", "InProgress", "Scheduled", "Queued", "Completed", "Cancelled"},
    "Error": {"Active", "InProgress", "Scheduled", "Queued", "Completed", "Cancelled"},
}


@dataclass(slots=True)
class Known:
    """What has been told about one record so far."""

    fields: dict[str, Any] = field(default_factory=dict)
    announced: str | None = None
    deleted: bool = False


def apply(change: LedgerChange, known: Known) -> None:
    """Make of `known` what the change makes of its record."""
    if change.kind in {"CREATE", "UNDELETE"}:
        known.fields = {}
    known.fields.update(change.written)
    for name in FILLED_BY_ENRICHMENT:
        if known.fields.get(name) is None and change.enrichment.get(name) is not None:
            known.fields[name] = change.enrichment[name]
    if change.kind == "CREATE":
        known.announced = NEW
    state = change.written.get("State")
    if isinstance(state, str) and state != TRANSITIONAL:
        known.announced = state
    if change.kind != "UPDATE":
        known.deleted = change.kind == "DELETE"


def announce(change: LedgerChange, known: Known) -> tuple[list[str], bool]:
    """The types of the events that a change is, in order, and whether transitions were missed; applies the change to `known`."""
    announced = known.announced
    apply(change, known)
    noun = "run" if change.entity == RUN else "step"
    match change.kind:
        case "DELETE":
            return [f"{noun}.deleted"], False
        case "UNDELETE":
            return [f"{noun}.restored"], False
        case "CREATE":
            announced = NEW
    transition = _transition(change, announced, known.fields)
    missed = bool(transition) and announced is not None and not _is_legal(change, announced)
    if change.kind == "CREATE":
        return _created(change, transition, known.fields), missed
    types = (
        _run_updated(change, transition, known.fields) if noun == "run" else _step_updated(change, transition)
    )
    if not types and _is_worth_a_word(change, announced):
        types = [f"{noun}.updated"]
    return types, missed


def always_speaks(change: LedgerChange) -> bool:
    """Whether the change is an event whatever was known of its record before."""
    return change.kind != "UPDATE" or bool(change.written.keys() - BOOKKEEPING - {"State"})


def never_speaks(change: LedgerChange) -> bool:
    """Whether the change is no event whatever was known of its record before."""
    return not always_speaks(change) and change.written.get("State", TRANSITIONAL) == TRANSITIONAL


def _created(change: LedgerChange, transition: list[str], after: Mapping[str, Any]) -> list[str]:
    if change.entity == STEP:
        return ["step.created", *transition]
    waits = after.get("ScheduledResumeDateTime") is not None and after.get("State") == "Running"
    return ["run.enrolled", *transition, *(["run.waiting"] if waits else [])]


def _run_updated(change: LedgerChange, transition: list[str], after: Mapping[str, Any]) -> list[str]:
    written = change.written
    ends = any(each.startswith("run.ended.") for each in transition)
    types = [*transition]
    if written.get("CurrentStepId") is not None and not ends:
        types.append("run.advanced")
    if "ScheduledResumeDateTime" in written:
        if written["ScheduledResumeDateTime"] is not None and after.get("State") == "Running":
            types.append("run.waiting")
        elif not transition and after.get("State") != "Complete":
            types.append("run.resume_changed")
    if "OwnerId" in written:
        types.append("run.reassigned")
    if "RelatedToId" in written or "RelatedToAttributionType" in written:
        types.append("run.attributed")
    if "CompletionDisposition" in written and not ends:
        types.append("run.disposition_set")
    return types


def _step_updated(change: LedgerChange, transition: list[str]) -> list[str]:
    types: list[str] = []
    if change.written.get("ActionTakenDateTime") is not None:
        types.append("step.action_taken")
    types += transition
    if "DueDateTime" in change.written:
        types.append("step.due_changed")
    if "ScheduledStartDateTime" in change.written:
        types.append("step.start_changed")
    return types


def _is_worth_a_word(change: LedgerChange, announced: str | None) -> bool:
    fields = change.written.keys() - BOOKKEEPING
    if fields != {"State"}:
        return bool(fields)
    state = change.written["State"]
    return state is None or state not in (TRANSITIONAL, announced)


def _transition(change: LedgerChange, announced: str | None, after: Mapping[str, Any]) -> list[str]:
    state = change.written.get("State")
    if not isinstance(state, str) or state in {TRANSITIONAL, announced}:
        return []
    reason = str(after.get("CompletionReason"))
    if change.entity == RUN:
        return _run_transition(announced, state, reason)
    return _step_transition(announced, state, reason)


def _is_legal(change: LedgerChange, announced: str) -> bool:
    legal = RUN_LEGAL if change.entity == RUN else STEP_LEGAL
    return change.written["State"] in legal.get(announced, set())


def _run_transition(announced: str | None, state: str, reason: str) -> list[str]:
    match state:
        case "Running":
            return [RUN_IS_RUNNING[announced]] if announced in RUN_IS_RUNNING else []
        case "Paused":
            return ["run.recovered", "run.paused"] if announced == "Error" else ["run.paused"]
        case "Complete":
            return [RUN_ENDINGS.get(reason, "run.ended.other")]
        case "Error":
            return ["run.failed"]
        case _:
            return []


def _step_transition(announced: str | None, state: str, reason: str) -> list[str]:
    match state:
        case "Active":
            return [STEP_IS_ACTIVE[announced]] if announced in STEP_IS_ACTIVE else []
        case "InProgress" | "Scheduled" | "Queued":
            return [*STEP_RETURNS.get(announced or "", []), STEP_UNDER_WAY[state]]
        case "Paused":
            return ["step.recovered", "step.paused"] if announced == "Error" else ["step.paused"]
        case "Completed":
            return [STEP_COMPLETIONS.get(reason, "step.ended.completed")]
        case "Cancelled":
            return ["step.ended.cancelled"]
        case "Error":
            return ["step.failed"]
        case _:
            return []
