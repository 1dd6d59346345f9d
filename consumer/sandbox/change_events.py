"""The shape of a change event: header, body, and what never travels.

Salesforce publishes one event per record per transaction. A CREATE or UNDELETE carries every non-empty
field, an UPDATE only what changed plus `LastModifiedDate` (cleared fields as an explicit null), a DELETE
and all gap events nothing but the header. `changedFields` holds plain field names and is filled for
updates alone. The header has exactly ten keys, in the order that every modern public capture shows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from consumer.sandbox.schema import ENTITIES, event_value


@dataclass(frozen=True, slots=True)
class ChangeEvent:
    """One event on its way to the bus: its place in commit order and its payload."""

    entity: str
    commit_number: int
    sequence_number: int
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class CommitInfo:
    """What all events of one transaction share; `timestamp` is epoch ms, always a whole second."""

    number: int
    key: str
    timestamp: int
    user: str
    origin: str


@dataclass(frozen=True, slots=True)
class RecordChange:
    """What one transaction did to one record: change type, and the body fields in order (UPDATE: the changed ones)."""

    entity: str
    record_id: str
    change_type: str
    body: dict[str, Any]


def full_body(entity: str, record: dict[str, Any], hidden: frozenset[str]) -> dict[str, Any]:
    """The body of a CREATE or UNDELETE: all non-empty fields that may travel, dates formatted."""
    return {
        name: event_value(entity, name, record[name])
        for name, field in ENTITIES[entity].fields.items()
        if field.in_events and name not in hidden and record.get(name) is not None
    }


def changed_body(
    entity: str, record: dict[str, Any], changed: Iterable[str], hidden: frozenset[str]
) -> dict[str, Any]:
    """The body of an UPDATE: `LastModifiedDate` first, then the changed fields that may travel."""
    fields = ENTITIES[entity].fields
    body = {"LastModifiedDate": event_value(entity, "LastModifiedDate", record["LastModifiedDate"])}
    for name in changed:
        if fields[name].in_events and name not in hidden:
            body[name] = event_value(entity, name, record.get(name))
    return body


def merge(changes: list[RecordChange]) -> list[tuple[RecordChange, list[str]]]:
    """Group records of one object that underwent the same change, each group at its first record's place."""
    groups: dict[tuple[object, ...], tuple[RecordChange, list[str]]] = {}
    for change in changes:
        # Creations carry their own ids and dates and are never merged in practice.
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
    """One event, header last, as the documented samples have it."""
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
    """The same change as a gap event: header only, `GAP_` change type, no origin, as documented for gaps."""
    header = dict(event.payload["ChangeEventHeader"])
    if header["changeType"].startswith("GAP_"):
        return event
    header.update(changeType=f"GAP_{header['changeType']}", changedFields=[], changeOrigin="")
    return ChangeEvent(
        event.entity, event.commit_number, event.sequence_number, {"ChangeEventHeader": header}
    )


def as_overflow(event: ChangeEvent, empty_id: str) -> ChangeEvent:
    """The overflow event that stands for all of this entity's changes of the transaction."""
    header = dict(event.payload["ChangeEventHeader"])
    header.update(changeType="GAP_OVERFLOW", changedFields=[], recordIds=[empty_id])
    return ChangeEvent(
        event.entity, event.commit_number, event.sequence_number, {"ChangeEventHeader": header}
    )
