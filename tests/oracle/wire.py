"""What a ledger says, message by message: changes, gaps, and what is neither.

A usable change event has a header whose fields have their documented types and names one of the two tracker objects. A merged event
says the same about several records and is fanned out, one change per record id. The same change may be on the ledger several times, under
other replay ids or on several channels; it is known by record and place in its transaction, and the first copy counts. Gap events
say that something happened but not what, so they are only listed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, TypeGuard

RUN: Final = "ActionCadenceTracker"
STEP: Final = "ActionCadenceStepTracker"

CHANGE_TYPES: Final = frozenset({"CREATE", "UPDATE", "DELETE", "UNDELETE"})
GAP_TYPES: Final = frozenset({"GAP_CREATE", "GAP_UPDATE", "GAP_DELETE", "GAP_UNDELETE", "GAP_OVERFLOW"})

Key = tuple[int, int]
"""Commit number and sequence number: the order of changes."""

Identity = tuple[str, str, str, int, int]
"""Entity, record id, transaction key, commit number, sequence number: what makes a change the same change."""


@dataclass(frozen=True, slots=True)
class LedgerChange:
    """What one transaction did to one record.

    Attributes:
        entity: API name of the record's object.
        record_id: the changed record.
        kind: ``CREATE``, ``UPDATE``, ``DELETE`` or ``UNDELETE``.
        transaction_key: opaque.
        commit_number: orders transactions.
        sequence_number: orders changes within the transaction.
        commit_ms: when it was committed, epoch ms.
        written: the fields that the change wrote, with their values.
        enrichment: body fields that it did not write.
    """

    entity: str
    record_id: str
    kind: str
    transaction_key: str
    commit_number: int
    sequence_number: int
    commit_ms: int
    written: dict[str, Any]
    enrichment: dict[str, Any]

    @property
    def key(self) -> Key:
        """Its place in the order of all changes."""
        return (self.commit_number, self.sequence_number)

    @property
    def identity(self) -> Identity:
        """What two copies of the same change have in common."""
        return (self.entity, self.record_id, self.transaction_key, *self.key)

    def id(self, org_id: str) -> str:
        """What the ids of all its lifecycle events begin with."""
        return "/".join((org_id, *map(str, self.identity)))


@dataclass(frozen=True, slots=True)
class Gap:
    """Salesforce could not say what changed; `record_ids` may be one impossible id (overflow) or a wildcard."""

    entity: str
    record_ids: tuple[str, ...]
    kind: str
    transaction_key: str
    commit_number: int
    sequence_number: int
    commit_ms: int


@dataclass(slots=True)
class Reading:
    """A whole ledger, read: changes in order of (commit number, sequence number, first appearance)."""

    changes: list[LedgerChange] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    bad: list[Any] = field(default_factory=list)


def read(ledger: Iterable[Any]) -> Reading:
    """Sort a ledger's messages into distinct changes in order, distinct gaps, and unusable messages."""
    changes: dict[Identity, LedgerChange] = {}
    gaps: dict[Gap, None] = {}
    bad: list[Any] = []
    for message in ledger:
        payload = _payload(message)
        header = payload.get("ChangeEventHeader")
        if not _is_usable(header):
            bad.append(message)
        elif header["changeType"] in GAP_TYPES:
            gaps.setdefault(_gap(header))
        else:
            for record_id in header["recordIds"]:
                change = _change(header, record_id, payload)
                changes.setdefault(change.identity, change)
    # Sorting is stable, so that equal keys stay in order of first appearance.
    return Reading(sorted(changes.values(), key=lambda change: change.key), list(gaps), bad)


def _payload(message: Any) -> dict[str, Any]:
    data = message.get("data") if isinstance(message, dict) else None
    payload = data.get("payload") if isinstance(data, dict) else None
    return payload if isinstance(payload, dict) else {}


def _is_usable(header: Any) -> TypeGuard[dict[str, Any]]:
    if not isinstance(header, dict):
        return False
    texts = all(isinstance(header.get(name), str) for name in ("entityName", "changeType", "transactionKey"))
    numbers = all(
        type(header.get(name)) is int for name in ("commitNumber", "sequenceNumber", "commitTimestamp")
    )
    return (
        texts
        and numbers
        and header["entityName"] in (RUN, STEP)
        and header["changeType"] in CHANGE_TYPES | GAP_TYPES
        and _is_texts(header.get("recordIds"))
        and len(header["recordIds"]) > 0
        and (header.get("changedFields") is None or _is_texts(header["changedFields"]))
    )


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _gap(header: dict[str, Any]) -> Gap:
    return Gap(
        header["entityName"],
        tuple(header["recordIds"]),
        header["changeType"],
        header["transactionKey"],
        header["commitNumber"],
        header["sequenceNumber"],
        header["commitTimestamp"],
    )


def _change(header: dict[str, Any], record_id: str, payload: dict[str, Any]) -> LedgerChange:
    body = {name: value for name, value in payload.items() if name != "ChangeEventHeader"}
    match header["changeType"]:
        case "UPDATE":
            names = header.get("changedFields") or body.keys()
        case "DELETE":
            names = ()
        case _:
            names = body.keys()
    return LedgerChange(
        header["entityName"],
        record_id,
        header["changeType"],
        header["transactionKey"],
        header["commitNumber"],
        header["sequenceNumber"],
        header["commitTimestamp"],
        written={name: body[name] for name in names if name in body},
        enrichment={name: value for name, value in body.items() if name not in names},
    )
