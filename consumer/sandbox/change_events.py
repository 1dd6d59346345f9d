"""Change events: header, body, and the fields that are never published.

Salesforce publishes one event per record per transaction. A CREATE or UNDELETE carries every non-empty field, an
UPDATE only the changed ones plus `LastModifiedDate` (cleared fields as an explicit null), a DELETE and all gap events
only the header. `changedFields` holds plain field names and is filled for updates only. The header has exactly ten
keys, in the order seen in every recent public capture.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from consumer.sandbox.schema import ENTITIES, event_value


@dataclass(frozen=True, slots=True)
class ChangeEvent:
    """A committed event before publication: its commit order and payload."""

    entity: str
    commit_number: int
    sequence_number: int
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class CommitInfo:
    """Header values shared by all events of a transaction.

    `timestamp` is epoch ms, always a whole second.
    """

    number: int
    key: str
    timestamp: int
    user: str
    origin: str


@dataclass(frozen=True, slots=True)
class RecordChange:
    """The net change of one record in a transaction.

    `body` holds its fields in order: all that are not empty, or those that an UPDATE changed.
    """

    entity: str
    record_id: str
    change_type: str
    body: dict[str, Any]


def full_body(entity: str, record: dict[str, Any], hidden: frozenset[str]) -> dict[str, Any]:
    """Build the body of a CREATE or UNDELETE: all non-empty published fields."""
    return {
        name: event_value(entity, name, record[name])
        for name, field in ENTITIES[entity].fields.items()
        if field.in_events and name not in hidden and record.get(name) is not None
    }


def changed_body(
    entity: str, record: dict[str, Any], changed: Iterable[str], hidden: frozenset[str]
) -> dict[str, Any]:
    """Build the body of an UPDATE: `LastModifiedDate`, then changed published fields."""
    fields = ENTITIES[entity].fields
    body = {"LastModifiedDate": event_value(entity, "LastModifiedDate", record["LastModifiedDate"])}
    for name in changed:
        if fields[name].in_events and name not in hidden:
            body[name] = event_value(entity, name, record.get(name))
    return body


def merge(changes: list[RecordChange]) -> list[tuple[RecordChange, list[str]]]:
    """Group records of an object with the same change.

    Each group has the position of its first record.
    """
    groups: dict[tuple[object, ...], tuple[RecordChange, list[str]]] = {}
    for change in changes:
        # Creations differ in ids and dates, so Salesforce never merges them in practice.
        own_id = change.record_id if change.change_type in {"CREATE", "UNDELETE"} else None
        key = (change.entity, change.change_type, own_id, tuple(change.body.items()))
        if key in groups:
            groups[key][1].append(change.record_id)
        else:
            groups[key] = (change, [change.record_id])
    return list(groups.values())


def change_event(
    commit: CommitInfo, sequence_number: int, change: RecordChange, record_ids: list[str]
) -> ChangeEvent:
    """Build an event, with the header last as in the documented samples."""
    header = {
        "commitNumber": commit.number,
        "commitUser": commit.user,
        "sequenceNumber": sequence_number,
        "entityName": change.entity,
        "changeType": change.change_type,
        "changedFields": list(change.body) if change.change_type == "UPDATE" else [],
        "changeOrigin": commit.origin,
        "transactionKey": commit.key,
        "commitTimestamp": commit.timestamp,
        "recordIds": record_ids,
    }
    return ChangeEvent(
        change.entity, commit.number, sequence_number, {**change.body, "ChangeEventHeader": header}
    )


def as_gap(event: ChangeEvent) -> ChangeEvent:
    """Convert an event to a gap event.

    As documented: header only, `GAP_` change type, no origin.
    """
    header = dict(event.payload["ChangeEventHeader"])
    if header["changeType"].startswith("GAP_"):
        return event
    header.update(changeType=f"GAP_{header['changeType']}", changedFields=[], changeOrigin="")
    return ChangeEvent(
        event.entity, event.commit_number, event.sequence_number, {"ChangeEventHeader": header}
    )


def as_overflow(event: ChangeEvent, empty_id: str) -> ChangeEvent:
    """Build the overflow event that replaces an entity's changes in a transaction."""
    header = dict(event.payload["ChangeEventHeader"])
    header.update(changeType="GAP_OVERFLOW", changedFields=[], recordIds=[empty_id])
    return ChangeEvent(
        event.entity, event.commit_number, event.sequence_number, {"ChangeEventHeader": header}
    )
