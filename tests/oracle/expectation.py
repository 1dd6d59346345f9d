"""From a ledger of CometD messages to what in-order arrival would have given: events per run, and final states."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

RUN, STEP = "ActionCadenceTracker", "ActionCadenceStepTracker"
BOOKKEEPING = {"LastModifiedDate", "LastModifiedById", "CreatedDate", "CreatedById"}
IMMUTABLE = ("TargetId", "ActionCadenceId", "ActionCadenceTrackerId", "StepType")
NEW, UNHEARD = object(), object()

RUN_LEGAL = {
    NEW: {"Initializing", "Running"},
    "Initializing": {"Running", "Complete", "Error"},
    "Running": {"Paused", "Complete", "Error"},
    "Paused": {"Running", "Complete", "Error"},
    "Error": {"Running", "Complete"},
}
STEP_LEGAL = {
    NEW: {"Active", "Scheduled", "Queued"},
    "Active": {"InProgress", "Scheduled", "Queued", "Paused", "Completed", "Cancelled", "Error"},
    "InProgress": {"Active", "Paused", "Completed", "Cancelled", "Error"},
    "Scheduled": {"Active", "Queued", "Paused", "Completed", "Cancelled", "Error"},
    "Queued": {"Active", "Paused", "Completed", "Cancelled", "Error"},
    "Paused": {"Active", "InProgress", "Scheduled", "Queued", "Completed", "Cancelled"},
    "Error": {"Active", "InProgress", "Scheduled", "Queued", "Completed", "Cancelled"},
}


@dataclass(frozen=True)
class ExpectedEvent:
    id: str
    type: str
    tracker_id: str
    record_id: str
    missed: bool
    change: tuple[str, str, int, int]
    """Record, transaction, commit number, sequence number."""
    commit_ms: int
    owner_id: str | None
    target_id: str | None


@dataclass
class Expectation:
    runs: dict[str, list[ExpectedEvent]] = field(default_factory=lambda: defaultdict(list))
    states: dict[str, dict[str, Any]] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    bad: list[dict[str, Any]] = field(default_factory=list)
    gaps: list[dict[str, Any]] = field(default_factory=list)

    @property
    def events(self) -> list[ExpectedEvent]:
        return [event for events in self.runs.values() for event in events]

    @property
    def ids(self) -> set[str]:
        return {event.id for event in self.events}


def usable(message: dict[str, Any]) -> bool:
    try:
        header = message["data"]["payload"]["ChangeEventHeader"]
        return (
            header["entityName"] in (RUN, STEP)
            and all(
                type(header[name]) is int for name in ("commitNumber", "sequenceNumber", "commitTimestamp")
            )
            and all(isinstance(header[name], str) for name in ("changeType", "transactionKey"))
            and isinstance(header["recordIds"], list)
            and all(isinstance(one, str) for one in header["recordIds"])
        )
    except (KeyError, TypeError):
        return False


def expected(ledger: Iterable[dict[str, Any]], org_id: str) -> Expectation:
    """Interpret a whole ledger in commit order."""
    result = Expectation()
    changes: dict[tuple[Any, ...], tuple[dict[str, Any], dict[str, Any], str]] = {}
    for message in ledger:
        if not usable(message):
            result.bad.append(message)
            continue
        payload = message["data"]["payload"]
        header = payload["ChangeEventHeader"]
        if header["changeType"].startswith("GAP_"):
            result.gaps.append(message)
            continue
        body = {name: value for name, value in payload.items() if name != "ChangeEventHeader"}
        for record in header["recordIds"]:
            identity = (record, header["transactionKey"], header["commitNumber"], header["sequenceNumber"])
            changes.setdefault(identity, (header, body, record))
    announced: dict[str, Any] = {}
    for header, body, record in sorted(
        changes.values(), key=lambda one: (one[0]["commitNumber"], one[0]["sequenceNumber"])
    ):
        apply(result, announced, header, body, record, org_id)
    return result


def apply(
    result: Expectation,
    announced: dict[str, Any],
    header: dict[str, Any],
    body: dict[str, Any],
    record: str,
    org_id: str,
) -> None:
    kind, entity = header["changeType"], header["entityName"]
    state = result.states.setdefault(record, {})
    written = changed_fields(header, body)
    if kind in ("CREATE", "UNDELETE"):
        state.clear()
        state.update(body)
        result.deleted.discard(record)
    elif kind == "DELETE":
        result.deleted.add(record)
    else:
        for name in IMMUTABLE:
            if name in body and name not in written:
                state.setdefault(name, body[name])
        state.update({name: body[name] for name in written})
    before = NEW if kind in ("CREATE", "UNDELETE") else announced.get(record, UNHEARD)
    if kind == "DELETE":
        types, missed = ["run.deleted" if entity == RUN else "step.deleted"], False
    elif kind == "UNDELETE":
        types, missed = ["run.restored" if entity == RUN else "step.restored"], False
    else:
        types, missed = (of_run if entity == RUN else of_step)(kind, before, state, written)
    if kind in ("CREATE", "UNDELETE") or "State" in written:
        now = state.get("State")
        if now != "Processing":
            announced[record] = UNHEARD if now is None else now
    tracker = record if entity == RUN else state.get("ActionCadenceTrackerId") or record
    run = result.states.get(tracker, {})
    change = (record, header["transactionKey"], header["commitNumber"], header["sequenceNumber"])
    prefix = f"{org_id}/{entity}/{record}/{header['transactionKey']}/{header['commitNumber']}/{header['sequenceNumber']}"
    for name in types:
        result.runs[tracker].append(
            ExpectedEvent(
                f"{prefix}/{name}",
                name,
                tracker,
                record,
                missed,
                change,
                header["commitTimestamp"],
                run.get("OwnerId"),
                state.get("TargetId") or run.get("TargetId"),
            )  # fmt: skip
        )


def changed_fields(header: dict[str, Any], body: dict[str, Any]) -> set[str]:
    if header["changeType"] != "UPDATE":
        return set(body)
    return {name for name in (header.get("changedFields") or body) if name in body}


def of_run(kind: str, before: Any, state: dict[str, Any], written: set[str]) -> tuple[list[str], bool]:
    now = state.get("State")
    moved = run_moves(before, now, state.get("CompletionReason")) if "State" in written else []
    missed = bool(moved) and before is not UNHEARD and now not in RUN_LEGAL.get(before, set())
    ended = any(".ended." in name for name in moved)
    waits = (
        "ScheduledResumeDateTime" in written
        and state.get("ScheduledResumeDateTime") is not None
        and now == "Running"
    )
    if kind == "CREATE":
        return ["run.enrolled", *moved, *(["run.waiting"] if waits else [])], missed
    types = list(moved)
    if "CurrentStepId" in written and state["CurrentStepId"] is not None and not ended:
        types.append("run.advanced")
    if waits:
        types.append("run.waiting")
    elif "ScheduledResumeDateTime" in written and not moved and now != "Complete":
        types.append("run.resume_changed")
    if "OwnerId" in written:
        types.append("run.reassigned")
    if written & {"RelatedToId", "RelatedToAttributionType"}:
        types.append("run.attributed")
    if "CompletionDisposition" in written and not ended:
        types.append("run.disposition_set")
    return types or otherwise("run.updated", before, now, written), missed


def run_moves(before: Any, now: Any, reason: Any) -> list[str]:
    if now == before:
        return []
    if now == "Running":
        started = {
            NEW: "started",
            "Initializing": "started",
            "Complete": "started",
            "Paused": "resumed",
            "Error": "recovered",
        }
        return [f"run.{started[before]}"] if before in started else []
    if now == "Paused":
        return ["run.recovered", "run.paused"] if before == "Error" else ["run.paused"]
    if now == "Error":
        return ["run.failed"]
    if now == "Complete":
        text = reason or ""
        ending = "exited" if text.startswith("AutomaticallyExited") else "removed" if text.startswith("ManuallyRemoved") else {
            "NoMoreSteps": "finished", "LeadConverted": "converted", "DaisyChained": "chained",
        }.get(text, "other")  # fmt: skip
        return [f"run.ended.{ending}"]
    return []


def of_step(kind: str, before: Any, state: dict[str, Any], written: set[str]) -> tuple[list[str], bool]:
    now = state.get("State")
    moved = step_moves(before, now, state.get("CompletionReason")) if "State" in written else []
    missed = bool(moved) and before is not UNHEARD and now not in STEP_LEGAL.get(before, set())
    if kind == "CREATE":
        return ["step.created", *moved], missed
    acted = "ActionTakenDateTime" in written and state["ActionTakenDateTime"] is not None
    types = [*(["step.action_taken"] if acted else []), *moved]
    if "DueDateTime" in written:
        types.append("step.due_changed")
    if "ScheduledStartDateTime" in written:
        types.append("step.start_changed")
    return types or otherwise("step.updated", before, now, written), missed


def step_moves(before: Any, now: Any, reason: Any) -> list[str]:
    if now == before or now is None:
        return []
    back = (
        {"Paused": ["step.resumed"], "Error": ["step.recovered"]}.get(before, [])
        if isinstance(before, str)
        else []
    )
    if now == "Active":
        return back or (["step.activated"] if before is not UNHEARD else [])
    if now in ("InProgress", "Scheduled", "Queued"):
        return [
            *back,
            {"InProgress": "step.in_progress", "Scheduled": "step.scheduled", "Queued": "step.queued"}[now],
        ]
    if now == "Paused":
        return [*back, "step.paused"]
    if now == "Error":
        return ["step.failed"]
    if now == "Cancelled":
        return ["step.ended.cancelled"]
    if now == "Completed":
        return [
            f"step.ended.{ {'ManuallySkipped': 'skipped', 'AutomaticallyExited': 'exited'}.get(reason, 'completed') }"
        ]
    return []


def otherwise(name: str, before: Any, now: Any, written: set[str]) -> list[str]:
    told = written - BOOKKEEPING
    if not told or (told == {"State"} and now in ("Processing", before)):
        return []
    return [name]
