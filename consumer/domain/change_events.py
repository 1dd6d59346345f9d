"""Salesforce change events, decoded into one change per record.

A change event describes one change of one *or several* records (Salesforce merges the same change of many records into one event), and
has one position in the stream. :func:`decode` turns the message into one :class:`Change` per record id. These changes share one header
and one body, and together they are one position with n parts.

The header is validated, because it decides order, identity and meaning. The types of the fields that the Object Reference documents are
validated too: every handler must be able to read what enters the journal. Values are kept as received; undocumented fields and picklist
values pass through unchanged, because a subscription uses the latest schema, and are listed in the header. Dates are converted to one
format, since events, old events and REST write them differently; ids are converted to 18 characters.

Source: Change Data Capture Developer Guide, "Change Event Fields" and "Change Event Message Structure".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, NotRequired, get_args

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from pydantic.fields import FieldInfo
from typing_extensions import TypedDict

from consumer.clock import iso, parse_iso_ms
from consumer.domain.objects import ENTITIES, IMMUTABLE_FIELDS, DocumentedField
from consumer.domain.record_ids import (
    EMPTY_ID,
    is_record_id,
    is_wildcard,
    to_18,
)
from consumer.errors import BadEvent
from consumer.safe_json import MAX_DEPTH, is_shallow

__all__ = ["Change", "Header", "OrderKey", "UnknownValue", "decode", "decode_event", "position_of"]

OrderKey = tuple[int, int, int]
"""Order of changes: ``(epoch, commitNumber, sequenceNumber)``.

Nothing else orders them: commit timestamps have a resolution of one second.
"""

UnknownValue = tuple[str, str | None]
"""Undocumented field (with None), or picklist field with an undocumented value."""

_YEAR_9999_MS = 253_402_300_799_999
_INT64 = 2**63 - 1
_MAX_EXACT_FLOAT = 2**53
"""Greatest magnitude below which every integer has an exact float representation."""
_match_canonical = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z").fullmatch


@with_config(ConfigDict(strict=True, extra="ignore"))
class _Header(TypedDict):
    entityName: str
    recordIds: list[str]
    changeType: str
    transactionKey: str
    sequenceNumber: Annotated[int, Field(ge=0, le=_INT64)]
    commitTimestamp: Annotated[int, Field(ge=0, le=_YEAR_9999_MS)]
    commitNumber: Annotated[int, Field(ge=0, le=_INT64)]
    commitUser: NotRequired[str | None]
    changeOrigin: NotRequired[str | None]
    changedFields: NotRequired[list[str] | None]


_validate_header = TypeAdapter(_Header).validate_python


@dataclass(frozen=True, slots=True)
class _FieldRule:
    """Constraints on the value of a documented field.

    Attributes:
        types: accepted JSON types; Salesforce writes integers as 3 or as 3.0.
        is_date: whether the field is a date and time.
        is_id: whether the field is a record id.
        values: documented values of a restricted picklist, one to which an org cannot add values; otherwise None.
    """

    types: tuple[type, ...]
    is_date: bool
    is_id: bool
    values: frozenset[str] | None


def _field_rule(field: FieldInfo) -> _FieldRule:
    kind = get_args(field.annotation)[0]
    documented_field = next(
        (metadata for metadata in field.metadata if isinstance(metadata, DocumentedField)), None
    )
    return _FieldRule(
        {int: (int, float), bool: (bool,)}.get(kind, (str,)),
        kind is datetime,
        documented_field is not None and documented_field.kind == "reference",
        frozenset(documented_field.values)
        if documented_field is not None and documented_field.values and documented_field.restricted
        else None,
    )


_FIELD_RULES: dict[str, dict[str, _FieldRule]] = {
    entity: {str(field.alias): _field_rule(field) for field in model.model_fields.values()}
    for entity, model in ENTITIES.items()
}
"""Entity to documented field to the rule for its value."""


class Header:
    """The change event header, shared by all parts of an event.

    Attributes:
        entity: API name of the object, as in ``ActionCadenceTracker``.
        kind: ``CREATE``, ``UPDATE``, ``DELETE``, ``UNDELETE`` or one of the ``GAP_*`` types.
        transaction: opaque key of the Salesforce transaction.
        commit_number: orders transactions within one database instance.
        sequence_number: order within the transaction, from 1; holes are legitimate (other entities).
        commit_ms: milliseconds since the epoch, in whole seconds.
        user: id of the user who made the change, or None.
        origin: ``changeOrigin``, often empty.
        changed: API names of the fields that this change wrote; None for "all of the body" (``CREATE`` and ``UNDELETE``).
        record_ids: ids of the changed records, without duplicates, 18 characters each.
        unknown_values: undocumented content of the body: (field, None) for a field, (field, value) for a picklist value.
        is_gap: whether the event only announces a change that the stream does not carry.
        identity: identifies the change among all changes of its records; stays the same on redelivery under another replay id.
    """

    __slots__ = (
        "changed",
        "commit_ms",
        "commit_number",
        "entity",
        "identity",
        "is_gap",
        "kind",
        "origin",
        "record_ids",
        "sequence_number",
        "transaction",
        "unknown_values",
        "user",
    )

    def __init__(
        self, raw: _Header, body: Mapping[str, Any], unknown_values: Sequence[UnknownValue] = ()
    ) -> None:
        self.unknown_values = unknown_values
        self.record_ids: Sequence[str] = raw["recordIds"]
        self.entity = raw["entityName"]
        self.kind = raw["changeType"]
        self.transaction = raw["transactionKey"]
        self.commit_number = raw["commitNumber"]
        self.sequence_number = raw["sequenceNumber"]
        self.commit_ms = raw["commitTimestamp"]
        self.is_gap = self.kind.startswith("GAP_")
        self.identity = f"{self.transaction}/{self.commit_number}/{self.sequence_number}"
        self.user = raw.get("commitUser") or None
        self.origin = raw.get("changeOrigin") or ""
        changed = raw.get("changedFields")
        if self.kind == "UPDATE":
            # One page documents changedFields as absent from CometD, yet every capture has it: derived where it is missing.
            self.changed: tuple[str, ...] | None = tuple(changed) if changed else tuple(body)
        else:
            self.changed = None


class Change:
    """Change of one record.

    Attributes:
        header: header shared by all parts of the event.
        record_id: 18 characters; a wildcard or the empty id only in events that concern no single record.
        body: field values as the event carried them, without the header.
        channel: channel on which the event arrived.
        position: replay id of the event, as text.
        identity: identity of the header.
        is_gap: whether the change announces that this record, or an unnamed one, changed, without saying how.
    """

    __slots__ = ("body", "channel", "header", "identity", "is_gap", "position", "record_id")

    def __init__(
        self, header: Header, record_id: str, body: dict[str, Any], channel: str, position: str | None
    ) -> None:
        self.header = header
        self.record_id = record_id
        self.body = body
        self.channel = channel
        self.position = position
        self.identity = header.identity
        self.is_gap = header.is_gap or record_id == EMPTY_ID or record_id[-1:] == "*"

    def __repr__(self) -> str:
        header = self.header
        return f"<{header.kind} {header.entity} {self.record_id} {header.commit_number}.{header.sequence_number} at {self.position}>"


_CHANGE_TYPES = frozenset({
    "CREATE", "UPDATE", "DELETE", "UNDELETE", "GAP_CREATE", "GAP_UPDATE", "GAP_DELETE", "GAP_UNDELETE", "GAP_OVERFLOW",
})  # fmt: skip


def position_of(data: Any) -> str | None:
    """Replay id in a message's ``data``, as text; None where the message has none."""
    event = data.get("event") if isinstance(data, dict) else None
    replay_id = event.get("replayId") if isinstance(event, dict) else None
    if isinstance(replay_id, str) and replay_id:
        return replay_id
    if isinstance(replay_id, int) and not isinstance(replay_id, bool):
        return str(replay_id)
    return None


def decode(message: Mapping[str, Any], channel: str, position: str | None) -> list[Change]:
    """Decode one CometD message into its changes, one per record id.

    Raises:
        BadEvent: the message is not a usable change event.
    """
    data = message.get("data")
    if not isinstance(data, dict):
        raise BadEvent("no_data", "the message has no data object")
    if position is None:
        raise BadEvent("no_position", "the message has no event.replayId")
    payload = data.get("payload")
    if not isinstance(payload, dict):
        raise BadEvent("no_payload", "the message has no data.payload object")
    return decode_event(payload, channel, position)


def decode_event(payload: dict[str, Any], channel: str, position: str | None) -> list[Change]:
    """Decode the payload of one event into its changes, one per record id.

    Raises:
        BadEvent: the header is missing or has wrong types, the entity or change type is unknown, or the record ids are unusable.
    """
    raw = payload.get("ChangeEventHeader")
    if raw is None:
        raise BadEvent("no_header", "the payload has no ChangeEventHeader")
    try:
        checked = _validate_header(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "ChangeEventHeader"
        raise BadEvent("wrong_type", f"ChangeEventHeader: {field}: {first['msg']}") from None
    entity = checked["entityName"]
    if entity not in ENTITIES:
        raise BadEvent(
            "unknown_entity", f"this service understands {' and '.join(ENTITIES)}, not {entity[:80]}"
        )
    kind = checked["changeType"]
    if kind not in _CHANGE_TYPES:
        raise BadEvent("unknown_change_type", f"changeType {kind[:40]}")
    changed = checked.get("changedFields") if kind == "UPDATE" else None
    body, unknown_values = _body(payload, entity, changed)
    header = Header(checked, body, unknown_values)
    record_ids = checked["recordIds"]
    if not record_ids:
        raise BadEvent("no_record_ids", "recordIds is empty")
    if len(record_ids) == 1 and is_record_id(record_ids[0]):
        return [Change(header, record_ids[0], body, channel, position)]
    header.record_ids = tuple(dict.fromkeys(map(_canonical_id, record_ids)))
    return [Change(header, record_id, body, channel, position) for record_id in header.record_ids]


def _canonical_id(record_id: str) -> str:
    if is_record_id(record_id) or is_wildcard(record_id):
        return record_id
    try:
        return to_18(record_id)
    except ValueError as error:
        raise BadEvent("wrong_type", f"ChangeEventHeader: recordIds: {error}") from None


_ALSO_KEPT = ("LastModifiedDate", *IMMUTABLE_FIELDS)


def _body(
    payload: dict[str, Any], entity: str, changed: Sequence[str] | None
) -> tuple[dict[str, Any], Sequence[UnknownValue]]:
    """Extract the meaningful fields, normalized, and list the undocumented ones.

    With ``changed`` these are the fields that the change wrote, plus the immutable ones among those that enrichment added. Enrichment
    values are read at delivery time, so the other ones are ignored and their types are not checked.

    Raises:
        BadEvent: a documented field does not have its documented type.
    """
    fields = _FIELD_RULES[entity]
    body: dict[str, Any] = {}
    unknown_values: list[UnknownValue] = []
    items: Iterable[tuple[str, Any]] = payload.items()
    if changed:
        items = ((name, payload[name]) for name in dict.fromkeys((*changed, *_ALSO_KEPT)) if name in payload)
    for name, value in items:
        rule = fields.get(name)
        if rule is None:
            if name != "ChangeEventHeader":
                if isinstance(value, dict | list) and not is_shallow(value):
                    raise BadEvent("too_deep", f"{name[:80]} is nested more than {MAX_DEPTH} levels deep")
                body[name] = value
                unknown_values.append((name, None))
        elif value is None:
            body[name] = None
        else:
            if type(value) not in rule.types or (type(value) is float and not _is_exact_integer(value)):
                raise BadEvent("wrong_type", f"{name} is {_preview(value)}")
            if rule.is_date:
                value = _canonical_date(name, value)  # noqa: PLW2901 - the same value, normalized
            elif rule.values is not None:
                if value not in rule.values:
                    unknown_values.append((name, value))
            elif rule.is_id and len(value) == 15:
                value = _full_id(value)  # noqa: PLW2901 - the same id, normalized
            body[name] = value
    return body, tuple(unknown_values)


def _is_exact_integer(value: float) -> bool:
    return value.is_integer() and abs(value) <= _MAX_EXACT_FLOAT


def _full_id(value: str) -> str:
    """Append the checksum, so that lookups by the 18-character ids of headers match.

    Text that is not an id is returned unchanged.
    """
    try:
        return to_18(value)
    except ValueError:
        return value


def _canonical_date(name: str, value: str) -> str:
    """Convert any of Salesforce's date formats to ``2026-01-31T09:30:00.000Z``."""
    try:
        instant_ms = parse_iso_ms(value)
        return value if _match_canonical(value) is not None else iso(instant_ms)
    except (ValueError, OverflowError):
        raise BadEvent("wrong_type", f"{name} is {_preview(value)}, which is not a date and time") from None


def _preview(value: Any) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"  # however large or deep
    return repr(value[:80] if isinstance(value, str) else value)[:80]
