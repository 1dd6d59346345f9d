"""What a change announces, given what was known of its record.

The tables say which events a transition from one announced state to the next is, and which transitions are legal; an illegal one means
that states in between were merged away. The announced state of a record is its last one other than `Processing`, "(new)" for a record
that was created and has announced no state since, and None for a record that was never told a state.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.oracle.wire import RUN, LedgerChange

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
    """What has been told about one record so far.

    Attributes:
        fields: the values told.
        announced: the last state other than `Processing`.
        deleted: whether it is deleted.
        complete: whether a field that was not told is known to be empty.
        ending: id of the event that last told its end.
    """

    fields: dict[str, Any] = field(default_factory=dict)
    announced: str | None = None
    deleted: bool = False
    complete: bool = False
    ending: str | None = None

    def as_before(self) -> dict[str, Any] | None:
        """The record before its next change; there is none before a creation or across a deletion."""
        return dict(self.fields) if self.fields and not self.deleted else None


def news(change: LedgerChange, known: Known) -> dict[str, Any]:
    """What the change says that was not known to be so: a value that is sent again is no news."""
    if change.kind == "CREATE":
        return {name: value for name, value in change.written.items() if value is not None}
    if change.kind == "UNDELETE":
        told = {**known.fields, **change.written}
        return {
            name: change.written.get(name)
            for name in (told if known.fields else ())
            if known.fields.get(name) != change.written.get(name)
        }
    return {
        name: value
        for name, value in change.written.items()
        if (known.fields[name] != value if name in known.fields else value is not None or not known.complete)
    }


def apply(change: LedgerChange, known: Known) -> None:
    """Make of `known` what the change makes of its record."""
    if change.kind in {"CREATE", "UNDELETE"}:
        known.fields = {}
        known.complete = True
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


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a change announces.

    Attributes:
        types: types of its events, in order.
        missed: whether transitions were merged away.
        corrects: whether it is the end told again, with the reason.
    """

    types: list[str]
    missed: bool = False
    corrects: bool = False


def announce(change: LedgerChange, known: Known) -> Announcement:
    """What a change announces; applies the change to `known`."""
    announced = NEW if change.kind == "CREATE" else known.announced
    said = news(change, known)
    apply(change, known)
    noun = "run" if change.entity == RUN else "step"
    if change.kind == "DELETE":
        return Announcement([f"{noun}.deleted"])
    transition = _transition(change.entity, said.get("State"), announced, known.fields)
    missed = bool(transition) and announced is not None and not _is_legal(change, announced)
    last = "Complete" if noun == "run" else "Completed"
    corrects = (
        not transition
        and change.kind != "CREATE"
        and said.get("CompletionReason") is not None
        and known.announced == last
    )
    if corrects:
        transition = _transition(change.entity, last, None, known.fields)
    if noun == "run":
        types = _run_types(change.kind, said, transition, known.fields)
    else:
        types = _step_types(change.kind, said, transition, known.fields)
    if not types and _is_worth_a_word(said, announced):
        types = [f"{noun}.updated"]
    return Announcement(types, missed, corrects)


def always_speaks(change: LedgerChange, unheard: Container[str]) -> bool:
    """Whether the change is an event whatever was known of its record before.

    `unheard` names the fields to which no other change of the record gives the same value.
    """
    names = change.written.keys() - BOOKKEEPING - {"State", *FILLED_BY_ENRICHMENT}
    return change.kind != "UPDATE" or any(name in unheard for name in names)


def never_speaks(change: LedgerChange) -> bool:
    """Whether the change is no event whatever was known of its record before."""
    said = change.written.keys() - BOOKKEEPING - {"State"}
    return change.kind == "UPDATE" and not said and change.written.get("State", TRANSITIONAL) == TRANSITIONAL


def _run_types(
    kind: str, said: Mapping[str, Any], transition: list[str], after: Mapping[str, Any]
) -> list[str]:
    first = {"CREATE": ["run.enrolled"], "UNDELETE": ["run.restored"]}.get(kind, [])
    ends = any(each.startswith("run.ended.") for each in transition)
    born = kind == "CREATE"
    advances = not born and not ends and said.get("CurrentStepId") is not None
    types = [*first, *transition, *(["run.advanced"] if advances else [])]
    if "ScheduledResumeDateTime" in said:
        state = after.get("State")
        if said["ScheduledResumeDateTime"] is None:
            # A wait or a pause that is left clears it; only a pause without an end is worth a word.
            told = "run.resume_changed" if state == "Paused" and not transition and not advances else None
        elif state == "Running":
            told = "run.waiting"
        else:
            told = None if born or transition or state == "Complete" else "run.resume_changed"
        types += [told] if told else []
    if "OwnerId" in said and not born:
        types.append("run.reassigned")
    if "RelatedToId" in said or "RelatedToAttributionType" in said:
        types.append("run.attributed")
    if "CompletionDisposition" in said and not born and not ends:
        types.append("run.disposition_set")
    return types


def _step_types(
    kind: str, said: Mapping[str, Any], transition: list[str], after: Mapping[str, Any]
) -> list[str]:
    types = {"CREATE": ["step.created"], "UNDELETE": ["step.restored"]}.get(kind, [])[:]
    if said.get("ActionTakenDateTime") is not None:
        types.append("step.action_taken")
    types += transition
    if kind == "CREATE":
        return types
    if not transition and said.get("ErrorCode") is not None and after.get("State") == "Error":
        types.append("step.failed")
    if "DueDateTime" in said:
        types.append("step.due_changed")
    if "ScheduledStartDateTime" in said:
        types.append("step.start_changed")
    return types


def _is_worth_a_word(said: Mapping[str, Any], announced: str | None) -> bool:
    fields = said.keys() - BOOKKEEPING
    if fields != {"State"}:
        return bool(fields)
    state = said["State"]
    return state is None or state not in (TRANSITIONAL, announced)


def _transition(entity: str, state: Any, announced: str | None, after: Mapping[str, Any]) -> list[str]:
    if not isinstance(state, str) or state in {TRANSITIONAL, announced}:
        return []
    reason = str(after.get("CompletionReason"))
    if entity == RUN:
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
