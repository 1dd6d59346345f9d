"""Meaning of changes: (known state, change) -> (new state, lifecycle events).

Pure functions: no clock, no I/O. One change can yield several events, always in this order:

=====  ==========================================================================================================
run    enrolled · the transition of ``State`` · advanced · waiting or resume_changed · reassigned · attributed ·
       disposition_set · updated
step   created · action_taken · the transition of ``State`` · due_changed · start_changed · updated
=====  ==========================================================================================================

``updated`` reports a change of any other field, and is emitted only when the change yields no other event. ``Processing`` yields no event,
and a field that is sent again with an equal value yields none either. A restored record is ``restored``, and then every difference to what
was known before it was deleted, in the same order. A reason that arrives after the end is the ending again, which supersedes the one
reported before.
A *late* change (something newer of the same run was committed before) is interpreted without the known state: ``before`` is None, and a
State that can be reached in several ways (``Running``, ``Active``) is reported as ``updated`` rather than guessed.

An event is a dictionary in the journal's JSON form (``consumer.domain.lifecycle_events.LifecycleEvent``): building a model for each event
would cost more than everything else between the socket and the journal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from consumer.clock import iso
from consumer.domain.announcements import ChangeView, run_types, step_types
from consumer.domain.change_events import Change, OrderKey
from consumer.domain.event_details import (
    NOTHING_NEARBY,
    STEP_CONTEXT,
    Detail,
    Nearby,
    add_detail,
    set_if_known,
)
from consumer.domain.lifecycle_events import FORMAT
from consumer.domain.objects import RUN
from consumer.domain.outcomes import OutcomeTable
from consumer.domain.record_state import RecordState

__all__ = ["OrgInfo", "events_for", "interpret", "system_event", "timer_event"]


@dataclass(frozen=True, slots=True)
class OrgInfo:
    """Salesforce org from which the changes come.

    Attributes:
        id: 18 characters.
        url: base of record links, as in ``https://acme.my.salesforce.com``.
        cadence_names: cadence id to name, for the cadences looked up so far: change events do not carry the name.
        outcomes: outcomes of runs by disposition and reason.
    """

    id: str
    url: str
    cadence_names: Mapping[str, str] = field(default_factory=dict)
    outcomes: OutcomeTable = field(default_factory=OutcomeTable)


def interpret(
    change: Change,
    key: OrderKey,
    record: RecordState | None,
    run: RecordState | None,
    org: OrgInfo,
    *,
    late: bool,
    nearby: Nearby = NOTHING_NEARBY,
) -> tuple[RecordState, list[dict[str, Any]]]:
    """Apply a change and derive its lifecycle events.

    Args:
        change: neither a gap nor a change seen before.
        key: the change's order key.
        record: known state of the record, or None.
        run: for a step, the known state of its run, or None.
        org: source of ids and links.
        late: whether something newer of the same run was committed before; a change that a row of the record reflects is late as well.
        nearby: what other records say about it.

    Returns:
        The record's new state, and the events in order, as the journal's JSON.
    """
    before = record if record is not None else RecordState(change.header.entity, change.record_id)
    after = before.with_change(change, key)
    identity = f"{org.id}/{change.header.entity}/{change.record_id}/{change.identity}/"
    late = late or before.is_reflected_in_row(change)
    return after, events_for(change, before, after, run, org, identity, late=late, nearby=nearby)


def events_for(
    change: Change,
    before: RecordState,
    after: RecordState,
    run: RecordState | None,
    org: OrgInfo,
    identity: str,
    *,
    late: bool,
    nearby: Nearby = NOTHING_NEARBY,
) -> list[dict[str, Any]]:
    """Derive the events, in order, of a change that turned ``before`` into ``after``.

    An ending is noted in ``after``. ``identity`` is the prefix of the events' ids.
    """
    view = ChangeView(change, before, after, late=late)
    is_run = change.header.entity == RUN
    types, missed = (run_types if is_run else step_types)(view)
    if not types:
        return []
    base = _common_fields(change, view, after, after if is_run else run, org)
    if late:
        base["late"] = True
    if missed:
        base["missed_transitions"] = True
    detail = Detail(view, change.header.commit_ms, after, org.outcomes, nearby)
    events = []
    for name in types:
        event = {"v": FORMAT, "id": identity + name, "type": name, **base}
        add_detail(event, detail)
        if ".ended." in name:
            after.history = replace(after.history, ending=event["id"])
        events.append(event)
    return events


def system_event(name: str, change: Change, org: OrgInfo, **facts: Any) -> dict[str, Any]:
    """Build an event of the system lane, about a position instead of a run.

    ``facts`` become its ``report``.
    """
    header = change.header
    return {
        "v": FORMAT,
        "id": f"{org.id}/{change.channel}/{change.position}/{name}",
        "type": name,
        "time": iso(header.commit_ms),
        "actor_id": header.user,
        "report": {"entity": header.entity, **facts},
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
    change: Change, view: ChangeView, record: RecordState, run: RecordState | None, org: OrgInfo
) -> dict[str, Any]:
    """Fields shared by all events of one change; unknown ones are left out."""
    header = change.header
    event: dict[str, Any] = {
        "time": iso(header.commit_ms),
        "actor_id": header.user,
        "changed": sorted(view.changed) if header.kind != "CREATE" else [],
        "position": {"channel": change.channel, "replay_id": change.position},
        "transaction": _transaction(change),
    }
    set_if_known(event, "change_origin", header.origin or None)
    if view.before is not None:
        event["before"] = view.before
    if view.after is not None:
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
    set_if_known(event, "cadence_name", cadence_name or org.cadence_names.get(event.get("cadence_id", "")))
    if run is not None and (owner := run.get("OwnerId")) is not None:
        event["owner_id"] = owner
    if is_run:
        set_if_known(event, "iteration", record.get("DaisyChainIteration"))
        set_if_known(event, "previous_tracker_id", record.previous)
    else:
        event["step_tracker_id"] = record.record_id
        for name, source_field in STEP_CONTEXT:
            set_if_known(event, name, record.get(source_field))
        set_if_known(event, "iteration", record.get("GoToStepIterationCount"))
