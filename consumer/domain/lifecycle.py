"""Meaning of changes: (known state, change) -> (new state, lifecycle events).

Pure functions: no clock, no I/O. One change can yield several events, always in this order:

=====  ==========================================================================================================
run    enrolled · the transition of ``State`` · advanced · waiting or resume_changed · reassigned · attributed ·
       disposition_set · updated
step   created · action_taken · the transition of ``State`` · due_changed · start_changed · updated
=====  ==========================================================================================================

``updated`` reports a change of any other field, and is emitted only when the change yields no other event. ``Processing`` yields no event.
A *late* change (something newer of the same run was committed before) is interpreted without the known state: ``before`` is None, and a
State that can be reached in several ways (``Running``, ``Active``) is reported as ``updated`` rather than guessed.

An event is a dictionary in the journal's JSON form (``consumer.domain.lifecycle_events.LifecycleEvent``): building a model for each event
would cost more than everything else between the socket and the journal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from consumer import event_types as v
from consumer.clock import iso
from consumer.domain.change_events import Change, OrderKey
from consumer.domain.lifecycle_events import FORMAT
from consumer.domain.objects import RUN
from consumer.domain.record_state import TRANSITIONAL, RecordState
from consumer.domain.state_machines import (
    NEW,
    UNKNOWN,
    run_transition,
    step_transition,
)
from consumer.domain.step_error_codes import error_kind

__all__ = ["OrgInfo", "events_for", "interpret", "system_event", "timer_event"]

_AUDIT_FIELDS = frozenset({"LastModifiedDate", "LastModifiedById", "CreatedDate", "CreatedById"})


@dataclass(frozen=True, slots=True)
class OrgInfo:
    """Salesforce org from which the changes come.

    Attributes:
        id: 18 characters.
        url: base of record links, as in ``https://acme.my.salesforce.com``.
        cadence_names: cadence id to name, for the cadences looked up so far: change events do not carry the name.
    """

    id: str
    url: str
    cadence_names: Mapping[str, str] = field(default_factory=dict)


class _ChangeView:
    """Change with the states before and after it, as the rules below read them."""

    __slots__ = ("after", "before", "body", "changed", "kind", "state_before")

    def __init__(self, change: Change, before: RecordState | None, after: RecordState, *, late: bool) -> None:
        header = change.header
        self.kind = header.kind
        self.body = change.body
        self.changed = frozenset(change.body if header.changed is None else header.changed)
        known = before is not None and before.exists and not late
        self.before = before.values() if known and before is not None and before.fields else None
        self.after = (
            {name: change.body[name] for name in self.changed if name in change.body}
            if late
            else after.values()
        )
        if self.kind in {"CREATE", "UNDELETE"}:
            self.state_before = NEW
        elif known and before is not None and before.announced is not None:
            self.state_before = before.announced[0] or UNKNOWN
        else:
            self.state_before = UNKNOWN

    def wrote(self, name: str) -> bool:
        """Report whether this change wrote the field."""
        return name in self.changed and name in self.body


def interpret(
    change: Change,
    key: OrderKey,
    record: RecordState | None,
    run: RecordState | None,
    org: OrgInfo,
    *,
    late: bool,
) -> tuple[RecordState, list[dict[str, Any]]]:
    """Apply a change and derive its lifecycle events.

    Args:
        change: neither a gap nor a change seen before.
        key: the change's order key.
        record: known state of the record, or None.
        run: for a step, the known state of its run, or None.
        org: source of ids and links.
        late: whether something newer of the same run was committed before; a change that a row of the record reflects is late as well.

    Returns:
        The record's new state, and the events in order, as the journal's JSON.
    """
    before = record if record is not None else RecordState(change.header.entity, change.record_id)
    after = before.with_change(change, key)
    identity = f"{org.id}/{change.header.entity}/{change.record_id}/{change.identity}/"
    return after, events_for(
        change, before, after, run, org, identity, late=late or before.is_reflected_in_row(change)
    )


def events_for(
    change: Change,
    before: RecordState,
    after: RecordState,
    run: RecordState | None,
    org: OrgInfo,
    identity: str,
    *,
    late: bool,
) -> list[dict[str, Any]]:
    """Derive the events, in order, of a change that turned ``before`` into ``after``.

    An ending is noted in ``after``. ``identity`` is the prefix of the events' ids.
    """
    view = _ChangeView(change, before, after, late=late)
    is_run = change.header.entity == RUN
    types, missed = (_run_types if is_run else _step_types)(view)
    if not types:
        return []
    base = _common_fields(change, view, after, after if is_run else run, org)
    if late:
        base["late"] = True
    if missed:
        base["missed_transitions"] = True
    events = []
    for name in types:
        event = {"v": FORMAT, "id": identity + name, "type": name, **base}
        detail = _DETAIL_SETTERS.get(name)
        if detail is not None:
            detail(event, view.after)
        events.append(event)
    return events


def system_event(name: str, change: Change, org: OrgInfo, **facts: Any) -> dict[str, Any]:
    """Build an event of the system lane, about a position instead of a run.

    ``facts`` become its ``after``.
    """
    header = change.header
    return {
        "v": FORMAT,
        "id": f"{org.id}/{change.channel}/{change.position}/{name}",
        "type": name,
        "time": iso(header.commit_ms),
        "entity": header.entity,
        "actor_id": header.user,
        "after": facts,
        "position": {"channel": change.channel, "replay_id": change.position},
        "transaction": _transaction(change),
    }


def _transaction(change: Change) -> dict[str, Any]:
    header = change.header
    return {
        "key": header.transaction,
        "commit_number": header.commit_number,
        "sequence_number": header.sequence_number,
    }


def _common_fields(
    change: Change, view: _ChangeView, record: RecordState, run: RecordState | None, org: OrgInfo
) -> dict[str, Any]:
    """Fields shared by all events of one change; unknown ones are left out."""
    header = change.header
    event: dict[str, Any] = {
        "time": iso(header.commit_ms),
        "actor_id": header.user,
        "changed": sorted(view.changed) if header.changed is not None else [],
        "position": {"channel": change.channel, "replay_id": change.position},
        "transaction": _transaction(change),
    }
    _set_if_known(event, "change_origin", header.origin or None)
    if view.before is not None:
        event["before"] = view.before
    event["after"] = view.after
    _set_context(event, record, run, org)
    return event


def timer_event(
    name: str, due_ms: int, record: RecordState, run: RecordState | None, org: OrgInfo
) -> dict[str, Any]:
    """Build the event of a fired timer; without a change, before and after are equal.

    Args:
        name: the event type.
        due_ms: due time in milliseconds since the epoch; the event's time and part of its id.
        record: state of the record that owns the timer.
        run: state of the record's run.
        org: source of ids and links.
    """
    values = record.values()
    event: dict[str, Any] = {
        "v": FORMAT,
        "id": f"{org.id}/{record.record_id}/{name}/{iso(due_ms)}",
        "type": name,
        "time": iso(due_ms),
        "origin": "timer",
        "before": values,
        "after": values,
    }
    _set_context(event, record, run, org)
    return event


def _set_context(event: dict[str, Any], record: RecordState, run: RecordState | None, org: OrgInfo) -> None:
    """Set the record, run, cadence and target of an event; unknown ones are left out."""
    is_run = record.entity == RUN
    event["tracker_id"] = record.tracker_id or record.record_id
    event["entity"] = record.entity
    event["record_id"] = record.record_id
    event["url"] = f"{org.url}/{record.record_id}"
    known = (record,) if is_run or run is None else (record, run)
    for name, source_field in (("cadence_id", "ActionCadenceId"), ("target_id", "TargetId")):
        for source in known:
            value = source.get(source_field)
            if value is not None:
                event[name] = value
                break
    # The name as of the commit where the event carries it, else as of the lookup: Salesforce does not version cadences.
    # ActionCadenceName is documented for steps only, so the type of a run's value is unchecked.
    reported = record.get("ActionCadenceName")
    cadence_name = reported if isinstance(reported, str) else None
    _set_if_known(event, "cadence_name", cadence_name or org.cadence_names.get(event.get("cadence_id", "")))
    if run is not None and (owner := run.get("OwnerId")) is not None:
        event["owner_id"] = owner
    if is_run:
        _set_if_known(event, "iteration", record.get("DaisyChainIteration"))
        _set_if_known(event, "previous_tracker_id", record.previous)
    else:
        event["step_tracker_id"] = record.record_id
        _set_if_known(event, "cadence_step_id", record.get("ActionCadenceStepId"))
        _set_if_known(event, "step_type", record.get("StepType"))
        _set_if_known(event, "step_title", record.get("StepTitle"))
        _set_if_known(event, "iteration", record.get("GoToStepIterationCount"))


def _set_if_known(event: dict[str, Any], name: str, value: Any) -> None:
    if value is not None:
        event[name] = value


def _run_types(view: _ChangeView) -> tuple[list[str], bool]:
    if view.kind == "DELETE":
        return [v.RUN_DELETED], False
    if view.kind == "UNDELETE":
        return [v.RUN_RESTORED], False
    after = view.after
    types = [v.RUN_ENROLLED] if view.kind == "CREATE" else []
    transition: tuple[str, ...] = ()
    missed = False
    if view.wrote("State"):
        transition, missed = run_transition(
            view.state_before, view.body["State"], after.get("CompletionReason")
        )
        types += transition
    ended = any(name.startswith("run.ended.") for name in transition)
    resume = view.body.get("ScheduledResumeDateTime") if view.wrote("ScheduledResumeDateTime") else None
    if resume is not None and after.get("State") == "Running":
        types.append(v.RUN_WAITING)
    if view.kind == "CREATE":
        return types, missed
    if view.wrote("CurrentStepId") and view.body["CurrentStepId"] is not None and not ended:
        # Inserted before run.waiting: the run moves to the wait step, then waits on it.
        types.insert(len(transition), v.RUN_ADVANCED)
    if (
        view.wrote("ScheduledResumeDateTime")
        and v.RUN_WAITING not in types
        and not transition
        and after.get("State") != "Complete"
    ):
        types.append(v.RUN_RESUME_CHANGED)
    if view.wrote("OwnerId"):
        types.append(v.RUN_REASSIGNED)
    if view.wrote("RelatedToId") or view.wrote("RelatedToAttributionType"):
        types.append(v.RUN_ATTRIBUTED)
    if view.wrote("CompletionDisposition") and not ended:
        types.append(v.RUN_DISPOSITION_SET)
    return types or _updated_types(view, v.RUN_UPDATED), missed


def _step_types(view: _ChangeView) -> tuple[list[str], bool]:
    if view.kind == "DELETE":
        return [v.STEP_DELETED], False
    if view.kind == "UNDELETE":
        return [v.STEP_RESTORED], False
    types = [v.STEP_CREATED] if view.kind == "CREATE" else []
    if (
        view.kind == "UPDATE"
        and view.wrote("ActionTakenDateTime")
        and view.body["ActionTakenDateTime"] is not None
    ):
        types.append(v.STEP_ACTION_TAKEN)
    missed = False
    if view.wrote("State"):
        transition, missed = step_transition(
            view.state_before, view.body["State"], view.after.get("CompletionReason")
        )
        types += transition
    if view.kind == "CREATE":
        return types, missed
    if view.wrote("DueDateTime"):
        types.append(v.STEP_DUE_CHANGED)
    if view.wrote("ScheduledStartDateTime"):
        types.append(v.STEP_START_CHANGED)
    return types or _updated_types(view, v.STEP_UPDATED), missed


def _updated_types(view: _ChangeView, name: str) -> list[str]:
    reported = view.changed - _AUDIT_FIELDS
    if reported == {"State"} and view.body.get("State") in TRANSITIONAL:
        return []
    if reported == {"State"} and view.state_before == view.body.get("State"):
        return []  # back from a transitional state to the previous one
    return [name] if reported else []


def _add_ending(event: dict[str, Any], after: dict[str, Any]) -> None:
    _set_if_known(event, "reason", after.get("CompletionReason"))
    _set_if_known(event, "disposition", after.get("CompletionDisposition"))
    _set_if_known(event, "exit_rule_id", after.get("ExitGlobalRuleId"))


def _add_disposition(event: dict[str, Any], after: dict[str, Any]) -> None:
    _set_if_known(event, "disposition", after.get("CompletionDisposition"))


def _add_run_error(event: dict[str, Any], after: dict[str, Any]) -> None:
    event["error"] = {"message": after.get("ErrorMessage"), "kind": "unknown"}


def _add_step_error(event: dict[str, Any], after: dict[str, Any]) -> None:
    code = after.get("ErrorCode")
    event["error"] = {"code": code, "kind": error_kind(code)}


def _add_current_step(event: dict[str, Any], after: dict[str, Any]) -> None:
    _set_if_known(event, "step_tracker_id", after.get("CurrentStepId"))


_DETAIL_SETTERS: dict[str, Callable[[dict[str, Any], dict[str, Any]], None]] = {
    **{name: _add_ending for name in v.ALL_TYPES if ".ended." in name},
    v.RUN_DISPOSITION_SET: _add_disposition,
    v.RUN_FAILED: _add_run_error,
    v.STEP_FAILED: _add_step_error,
    v.RUN_ADVANCED: _add_current_step,
}
