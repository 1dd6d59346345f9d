"""Comparison of rows that REST answered with against what is known.

The result is the states that the rows change and the events that they cause.

Pure; :mod:`consumer.ingest.reconcile.apply` loads, commits and writes back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from consumer.domain import timers
from consumer.domain.lifecycle import OrgInfo
from consumer.domain.objects import RUN
from consumer.domain.record_state import RecordState
from consumer.domain.row_diff import Row, interpret_row
from consumer.ingest.batch import Batch, LoadedStates

__all__ = ["EMIT", "UnknownRecordPolicy", "compare_rows"]


@dataclass(frozen=True, slots=True)
class UnknownRecordPolicy:
    """Treatment of a record that was never seen before its row.

    Attributes:
        emit: whether its events are journaled.
        origin: origin of these events; None for that of the others.
        fire_overdue: whether timers that were due before the row was read fire.
        keep_tombstone: whether a record that is gone is remembered as gone, so that changes which arrive later are late.
    """

    emit: bool = True
    origin: str | None = None
    fire_overdue: bool = True
    keep_tombstone: bool = True


EMIT: Final = UnknownRecordPolicy()


def compare_rows(
    rows: Sequence[Row],
    origin: str,
    loaded: LoadedStates,
    org: OrgInfo,
    *,
    unknown_records: UnknownRecordPolicy = EMIT,
    server_ms: int = 0,
) -> Batch:
    """Decide what rows change, in their order.

    Args:
        rows: as answered.
        origin: origin of the events: ``gap`` or ``repair``.
        loaded: states of the records, of their runs and targets; changed with each row.
        org: for ids and links.
        unknown_records: treatment of records that were never seen.
        server_ms: Salesforce's time of the answer.
    """
    batch = Batch(replace(org, cadence_names=loaded.cadence_names))
    for row in rows:
        record = loaded.records.get(row.record_id)
        run: RecordState | None
        if row.entity == RUN:
            record = run = batch.link_target(row.record_id, row.values, record, loaded)
        else:
            run_id = row.values.get("ActionCadenceTrackerId") or loaded.run_id_of(row.record_id)
            run = loaded.records.get(run_id) if run_id is not None else None
        is_new = record is None or not record.exists
        if row.is_deleted and is_new and not unknown_records.keep_tombstone:
            continue
        state, events = interpret_row(
            row, record, run, batch.org, unknown_records.origin or origin if is_new else origin
        )
        if state is None:
            continue
        if is_new and not unknown_records.emit:
            events = []
        if not unknown_records.fire_overdue and (record is None or record.image is None):
            for name, due_ms in timers.timers_of(state).items():
                if due_ms <= server_ms:
                    state = state.with_fired(name, due_ms)
        timers_before = timers.timers_of(record) if record is not None else {}
        batch.set_timers(timers_before, state)
        batch.put(state, loaded)
        batch.changed_rows += bool(events)
        batch.deleted += bool(events) and row.is_deleted
        for event in events:
            batch.add_event(event)
    return batch
