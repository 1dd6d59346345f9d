"""Interpretation of released changes.

It leads from known states and changes to new states, lifecycle events and reconcile tasks.

Duplicates are recognised by identity, which is kept with the record's state and written in the same commit; lateness by the greatest key
committed for the run, which is kept with the run. Both are decided here, for a commit, so that a crash cannot change the decision: no other
process can write while this tenure's token is in the store, and everything that was loaded was read under it.

Pure: :class:`consumer.ingest.states.repository.StateRepository` loads beforehand and writes back afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from consumer import event_types as v
from consumer.domain import reconcile_task, timers
from consumer.domain.change_events import Change
from consumer.domain.lifecycle import OrgInfo, interpret, system_event, timer_event
from consumer.domain.objects import RUN
from consumer.domain.record_ids import EMPTY_ID, is_wildcard
from consumer.domain.record_state import IDENTITY_RETENTION_MS, RecordState
from consumer.domain.state_retention import GAP_NOTE
from consumer.ingest.batch import Batch, LoadedStates, Part
from consumer.ports.commit import ChannelState

__all__ = ["gap_key", "interpret_changes", "run_id_of_step"]

BIRTH_SLACK_MS: Final = 60_000
"""Changes committed this long before a channel's birth are history; commit times and server time tick in seconds and lag a little."""


def interpret_changes(
    parts: Sequence[Part], loaded: LoadedStates, channels: Mapping[str, ChannelState], org: OrgInfo
) -> Batch:
    """Decide what changes mean, in their order.

    Args:
        parts: the changes.
        loaded: states of every record that they are about, of their runs and targets; changed with each decision.
        channels: stored state of each channel, for its birth.
        org: for ids and links.
    """
    batch = Batch(replace(org, cadence_names=loaded.cadence_names), parts)
    for part in parts:
        _interpret_change(part, loaded, channels, batch)
    return batch


def gap_key(change: Change) -> str:
    """Key under which identities of gaps are kept.

    They are kept beside the record's state, about which they say nothing.
    """
    return f"{GAP_NOTE}{change.record_id}"


def run_id_of_step(change: Change, step: RecordState | None) -> str | None:
    """Id of the run that a step belongs to.

    It is taken from the step's known state or else from its change.
    """
    known = step.get("ActionCadenceTrackerId") if step is not None else None
    value = known or change.body.get("ActionCadenceTrackerId")
    return value if isinstance(value, str) else None


def _interpret_change(
    part: Part, loaded: LoadedStates, channels: Mapping[str, ChannelState], batch: Batch
) -> None:
    change = part.change
    commit_ms = change.header.commit_ms
    if batch.newest_commit_ms is None or commit_ms > batch.newest_commit_ms:
        batch.newest_commit_ms = commit_ms
    loaded.newest_commit_ms = max(loaded.newest_commit_ms, commit_ms)
    channel = channels.get(change.channel)
    if channel is not None and commit_ms < channel.birth_ms - BIRTH_SLACK_MS:
        batch.ignored += 1
        return
    if change.is_gap:
        if change.record_id == change.header.record_ids[0]:  # one event, however many records it is about
            _record_gap(change, loaded, batch)
        return
    record = loaded.records.get(change.record_id)
    if record is not None and change.identity in record.seen:
        batch.duplicates += 1
        return
    if commit_ms < loaded.newest_commit_ms - IDENTITY_RETENTION_MS:
        # Its identity would have been forgotten, so it may have been journaled once: it is reported, not repeated.
        batch.add_event(
            system_event(v.SYSTEM_GAP, change, batch.org, kind="EXPIRED", record_ids=[change.record_id])
        )
        task = reconcile_task.gap_task(
            change.channel, change.position, change.header.entity, (change.record_id,)
        )
        batch.reconcile_tasks[task.id] = task
        return
    _apply(part, record, loaded, batch)


def _record_gap(change: Change, loaded: LoadedStates, batch: Batch) -> None:
    """Journal a gap or overflow event once, and begin its reconcile task.

    The task reads what the event does not carry.
    """
    header = change.header
    gap_note = loaded.records.get(gap_key(change)) or RecordState(header.entity, gap_key(change))
    if change.identity in gap_note.seen:
        batch.duplicates += 1
        return
    batch.put(gap_note.with_seen(change.identity, header.commit_ms), loaded)
    name = v.SYSTEM_OVERFLOW if header.kind == "GAP_OVERFLOW" else v.SYSTEM_GAP
    batch.add_event(
        system_event(name, change, batch.org, kind=header.kind, record_ids=list(header.record_ids))
    )
    _add_reconcile_task(change, batch)


def _add_reconcile_task(change: Change, batch: Batch) -> None:
    """Begin a task for the records that a gap names.

    Where it names none, the task is for everything stamped at that time.
    """
    header = change.header
    if change.record_id == EMPTY_ID or is_wildcard(change.record_id) or header.kind == "GAP_OVERFLOW":
        cause = f"{change.channel}/{change.position}"
        task = reconcile_task.window_task(
            "overflow", cause, header.entity, header.commit_ms, header.commit_ms
        )
    else:
        task = reconcile_task.gap_task(
            change.channel, change.position, header.entity, tuple(header.record_ids)
        )
    batch.reconcile_tasks[task.id] = task


def _apply(part: Part, record: RecordState | None, loaded: LoadedStates, batch: Batch) -> None:
    """Write the states and events of a change that is neither a gap nor a duplicate."""
    change, key = part.change, part.key
    commit_ms = change.header.commit_ms
    is_run = change.header.entity == RUN
    run_id = change.record_id if is_run else run_id_of_step(change, record)
    run = record if is_run else (loaded.records.get(run_id) if run_id is not None else None)
    # A step whose run is unknown is its own ordering key.
    ordering_state = record if is_run or run_id is None else run
    late = (
        ordering_state is not None
        and ordering_state.highest_key is not None
        and key < ordering_state.highest_key
    )
    if is_run and change.header.changed is None:
        record = run = batch.link_target(change.record_id, change.body, record, loaded)
    elif run_id is not None and (fields := loaded.run_lookups.pop(run_id, None)) is not None:
        run = batch.link_target(run_id, fields, run, loaded)
        record = run if is_run else record
    timers_before = timers.timers_of(record) if record is not None else {}
    if timers_before and record is not None and not late:
        record = _fire_overdue_first(record, run, timers_before, commit_ms, batch)
        run = record if is_run else run
    state, events = interpret(change, key, record, run, batch.org, late=late)
    if is_run or run_id is None:
        state = state.with_highest_key(key, commit_ms)
    else:
        batch.put((run or RecordState(RUN, run_id)).with_highest_key(key, commit_ms), loaded)
    batch.set_timers(timers_before, state)
    batch.put(state, loaded)
    batch.late += late
    for event in events:
        batch.add_event(event)


def _fire_overdue_first(
    record: RecordState,
    run: RecordState | None,
    timers_before: Mapping[str, int],
    commit_ms: int,
    batch: Batch,
) -> RecordState:
    """Fire those timers of a record that were due before a change of it was committed.

    A change of a later second than the due time proves that the time has come, and that everything before it has been committed: the timer
    event is journaled before the change cancels the timer, however long the service was down at the due time.
    """
    for name, due_ms in timers_before.items():
        if due_ms < commit_ms:
            batch.add_event(timer_event(name, due_ms, record, run, batch.org))
            record = record.with_fired(name, due_ms)
    return record
