"""Comparison of REST rows: (known state, row) -> (new state, lifecycle events).

The stream reports what changed; a row holds the present values. A row is therefore compared with the known state: differences are reported
in the same vocabulary, marked with their origin, and the row becomes the whole new state. A row does not reveal how the record reached this
state - through which states, by whom, in which transaction - and none of it is guessed; a state that cannot be reached in one step is
marked ``missed_transitions`` as usual.

A row is valid as of the moment in which it was read. Changes made before that moment which arrive later (the stream is slower than REST)
are reported as late and write nothing (:meth:`consumer.domain.record_state.RecordState.is_reflected_in_row`); a row that is older than an
already known change is discarded.

Pure functions, like :mod:`consumer.domain.lifecycle`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from consumer.clock import iso, parse_iso_ms, to_ms
from consumer.domain.change_events import Change, decode_event
from consumer.domain.lifecycle import OrgInfo, events_for
from consumer.domain.objects import ENTITIES
from consumer.domain.record_ids import canonical_id
from consumer.domain.record_state import RecordState
from consumer.errors import BadEvent

__all__ = ["ROW_FIELDS", "Row", "interpret_row", "read_row"]

_FOREIGN_FIELDS: Final = frozenset({"ActionCadenceName"})
"""Fields of another record, always read as of now.

Change events are not known to carry them.
"""

_DERIVED_FIELDS: Final = frozenset({"IsTrackerActive"})
"""Fields derived from ``State``: a difference in them alone yields no event.

Change events are not known to carry them.
"""

ROW_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    entity: (
        "Id",
        "SystemModstamp",
        *(
            str(field.alias)
            for field in model.model_fields.values()
            if field.alias not in model.calculated | _FOREIGN_FIELDS
        ),
    )
    for entity, model in ENTITIES.items()
}
"""Fields to query, by entity: every field that a change event can carry."""

_METADATA_FIELDS: Final = frozenset({"attributes", "Id", "SystemModstamp", "IsDeleted"})

_IGNORED_FIELDS: Final = _DERIVED_FIELDS | _FOREIGN_FIELDS | _METADATA_FIELDS


@dataclass(frozen=True, slots=True)
class Row:
    """Record as REST returned it, dates and ids in the form of change events.

    Attributes:
        entity: API name of the record's object.
        record_id: 18 characters.
        at_ms: ``SystemModstamp`` in milliseconds; for a record that is gone without a trace, the time at which it was found missing.
        values: field to value without the empty fields.
        is_deleted: whether the record is deleted.
    """

    entity: str
    record_id: str
    at_ms: int
    values: Mapping[str, Any]
    is_deleted: bool = False


def read_row(entity: str, fields: Mapping[str, Any]) -> Row:
    """Read one row of a REST answer.

    Raises:
        BadEvent: the row has no id or no stamp, or a documented field does not have its documented type.
    """
    try:
        at_ms = parse_iso_ms(_required_text(fields["SystemModstamp"]))
        record_id = canonical_id(_required_text(fields["Id"]))
    except KeyError as error:
        raise BadEvent("wrong_type", f"the row has no {error.args[0]}") from None
    except ValueError as error:
        raise BadEvent("wrong_type", str(error)[:200]) from None
    body = {name: value for name, value in fields.items() if name not in _METADATA_FIELDS}
    (change,) = _as_changes(entity, record_id, at_ms, "CREATE", body)
    values = {name: value for name, value in change.body.items() if value is not None}
    return Row(entity, change.record_id, at_ms, values, bool(fields.get("IsDeleted")))


def _required_text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("the row's Id or SystemModstamp is not a string")  # noqa: TRY004 - a bad row
    return value


def interpret_row(
    row: Row, record: RecordState | None, run: RecordState | None, org: OrgInfo, origin: str
) -> tuple[RecordState | None, list[dict[str, Any]]]:
    """Compare a row with the known state and derive the events of the difference.

    Args:
        row: row that REST returned.
        record: known state of the record, or None.
        run: for a step, the known state of its run, or None.
        org: source of ids and links.
        origin: origin of the events: ``gap``, ``repair`` or ``snapshot``.

    Returns:
        The record's new state, or None when the row is older than the known state and adds nothing, or changes nothing; and the events.
    """
    known = record if record is not None else RecordState(row.entity, row.record_id)
    if _is_older(row, known):
        # An older row is still right about fields that no change has written; filling them yields no event.
        is_sparse = known.exists and known.image is None and not known.is_deleted and not row.is_deleted
        return (known.with_older_row(row.values, row.at_ms) if is_sparse else None), []
    difference = _find_difference(row, known)
    if difference is None and known.row_ms is not None and known.row_ms >= row.at_ms:
        return None, []
    after = known.with_row(row.values, row.at_ms, deleted=row.is_deleted)
    if difference is None:
        return after, []
    kind, body = difference
    (change,) = _as_changes(row.entity, row.record_id, row.at_ms, kind, body)
    identity = f"{org.id}/{row.record_id}/{iso(row.at_ms)}/{origin}/"
    events = events_for(change, known, after, run, org, identity, late=False)
    for event in events:
        event["origin"] = origin
        for name in ("position", "transaction"):
            del event[name]
    return after, events


def _is_older(row: Row, known: RecordState) -> bool:
    """Report whether the record is known to have changed after the row was read."""
    if known.row_ms is not None and row.at_ms < known.row_ms:
        return True
    modified = known.get("LastModifiedDate")
    if isinstance(modified, str) and to_ms(datetime.fromisoformat(modified)) > row.at_ms:
        return True
    # A deletion carries its commit time, which is later than the record's stamp.
    return known.is_deleted and not row.is_deleted and max(known.seen.values(), default=0) > row.at_ms


def _find_difference(row: Row, known: RecordState) -> tuple[str, dict[str, Any]] | None:
    """Derive the kind and the fields of a change that would explain the row.

    None when nothing differs.
    """
    if row.is_deleted:
        return None if known.is_deleted or not known.exists else ("DELETE", {})
    if not known.exists:
        return "CREATE", dict(row.values)
    if known.is_deleted:
        return "UNDELETE", dict(row.values)
    changed = {
        name: row.values.get(name)
        for name in (*row.values, *known.fields)
        if name not in _IGNORED_FIELDS
        and row.values.get(name) != known.get(name)
        and (name in known.fields or known.image is not None)
    }
    return ("UPDATE", changed) if changed else None


def _as_changes(
    entity: str, record_id: str, at_ms: int, kind: str, body: Mapping[str, Any]
) -> Sequence[Change]:
    """Express a row as a change event, which the same code validates and interprets."""
    header = {
        "entityName": entity,
        "recordIds": [record_id],
        "changeType": kind,
        "changedFields": list(body),
        "changeOrigin": "",
        "transactionKey": "row",
        "sequenceNumber": 1,
        "commitTimestamp": at_ms,
        "commitNumber": 0,
        "commitUser": body.get("LastModifiedById"),
    }
    return decode_event({**body, "ChangeEventHeader": header}, "", None)
