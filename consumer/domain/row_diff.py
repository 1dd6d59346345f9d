"""What a row means that REST answered with: (known state, row) -> (new state, lifecycle events).

The stream says what changed; a row says what is. So a row is compared with what is known: what differs is told, in the same vocabulary and
marked with where it comes from, and the row becomes the state as a whole. How it came to be so - through which states, by whom, in which
transaction - cannot be known from a row and is not guessed; a state that could not be reached in one step is marked
``missed_transitions`` like any other.

A row is about the moment in which it was read. Changes that were made by then and arrive later (the stream is slower than REST) are told as
late and write nothing (:meth:`consumer.domain.record_state.RecordState.is_reflected_in_row`); changes that are known already and newer
than the row make it useless.

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
from consumer.domain.record_state import RecordState
from consumer.errors import BadEvent

__all__ = ["ROW_FIELDS", "Row", "interpret_row", "read_row"]

_FOREIGN_FIELDS: Final = frozenset({"ActionCadenceName"})
"""Another record's field: not known to travel in change events, and about now whenever it is read."""

_DERIVED_FIELDS: Final = frozenset({"IsTrackerActive"})
"""Says what ``State`` says, and is not known to travel: a difference in it alone is no news."""

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
"""What is asked for, by entity: everything that could travel in a change event."""

_METADATA_FIELDS: Final = frozenset({"attributes", "Id", "SystemModstamp", "IsDeleted"})

_IGNORED_FIELDS: Final = _DERIVED_FIELDS | _FOREIGN_FIELDS | _METADATA_FIELDS


@dataclass(frozen=True, slots=True)
class Row:
    """One record as REST knows it, dates and ids in the form of change events.

    Attributes:
        entity: API name of its object.
        record_id: 18 characters.
        at_ms: ``SystemModstamp`` in milliseconds; for a record that is gone without a trace, when that was seen.
        values: field to value, those that are empty left out.
        is_deleted: whether it is gone.
    """

    entity: str
    record_id: str
    at_ms: int
    values: Mapping[str, Any]
    is_deleted: bool = False


def read_row(entity: str, fields: Mapping[str, Any]) -> Row:
    """A row of an answer.

    Raises:
        BadEvent: it has no id or no stamp, or a documented field is not of its type.
    """
    try:
        at_ms = parse_iso_ms(_required_text(fields["SystemModstamp"]))
        record_id = _required_text(fields["Id"])
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
        raise ValueError("the row's Id or SystemModstamp is no text")  # noqa: TRY004 - a bad row
    return value


def interpret_row(
    row: Row, record: RecordState | None, run: RecordState | None, org: OrgInfo, origin: str
) -> tuple[RecordState | None, list[dict[str, Any]]]:
    """Compare a row with what is known and say what differs.

    Args:
        row: what REST answered.
        record: what is known of it, or None.
        run: for a step: what is known of its run, or None.
        org: for ids and links.
        origin: where it comes from: ``gap``, ``repair`` or ``snapshot``.

    Returns:
        The record's new state, or None when the row is older than what is known and adds nothing, or says nothing new; and the events.
    """
    known = record if record is not None else RecordState(row.entity, row.record_id)
    if _is_older(row, known):
        # What a row says of fields that no change has told of is right all the same, and no news.
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
    """Whether something was done to the record after the row was read, as far as is known."""
    if known.row_ms is not None and row.at_ms < known.row_ms:
        return True
    modified = known.get("LastModifiedDate")
    if isinstance(modified, str) and to_ms(datetime.fromisoformat(modified)) > row.at_ms:
        return True
    # A deletion says when it was committed, which is after the record was stamped.
    return known.is_deleted and not row.is_deleted and max(known.seen.values(), default=0) > row.at_ms


def _find_difference(row: Row, known: RecordState) -> tuple[str, dict[str, Any]] | None:
    """The kind of change that would explain the row, and the fields that it would have written; None when nothing is new."""
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
    """The row in the words of a change event, which knows how to read fields and what they mean."""
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
