"""The org: records, transactions, and commit and sequence numbers.

Every change in the sandbox is made in a transaction. It collects the effects of its statements on each record; on
commit the org stamps the records, converts the net changes to change events (one per record: first kind of change,
final data) and hands them to `on_commit` in sequence. A transaction that raises is rolled back. The org has no part in
channels, clients or faults: the listener of `on_commit` decides what becomes of the events.

Behaviour of these objects that Salesforce does not document is an option here, so that a consumer can be tested
against every plausible variant.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from consumer.sandbox.change_events import (
    ChangeEvent,
    CommitInfo,
    RecordChange,
    change_event,
    changed_body,
    full_body,
    merge,
)
from consumer.sandbox.clock import MillisecondClock
from consumer.sandbox.errors import UnknownRecord
from consumer.sandbox.ids import IdFactory
from consumer.sandbox.schema import ENTITIES, ORGANIZATION, STEP_TRACKER, TRACKER, USER

_DEFAULT_ORIGIN = "com/salesforce/api/rest/66.0;client=SfdcInternalAPI/"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrgOptions:
    """Behaviour of the org; defaults are the plausible readings of the documentation.

    Attributes:
        selected: entities selected for change data capture; others leave holes in sequence numbers.
        tracker_active_in_events: whether events carry `IsTrackerActive` (unconfirmed by Salesforce).
        cadence_name_in_events: whether events carry `ActionCadenceName` (unconfirmed; it is another record's field).
        separate_transactions: whether tracker and step changes are made in transactions of their own instead of one.
        merge_updates: whether equal changes to several records of an object share an event with several record ids.
        sequence_holes: probability that an invisible entity takes a sequence number before an event.
    """

    selected: tuple[str, ...] = (TRACKER, STEP_TRACKER)
    tracker_active_in_events: bool = True
    cadence_name_in_events: bool = False
    separate_transactions: bool = False
    merge_updates: bool = True
    sequence_holes: float = 0.0


@dataclass(slots=True)
class _TouchedRecord:
    """Effect of a transaction on one record so far."""

    entity: str
    before: dict[str, Any] | None
    kind: str
    fields: dict[str, None] = field(default_factory=dict)


class Org:
    """Records of every object, changed only in transactions.

    Org time comes from `clock` (epoch ms).
    """

    def __init__(self, options: OrgOptions | None = None, *, clock: MillisecondClock, seed: int = 1) -> None:
        self.options = options or OrgOptions()
        self.clock = clock
        self.ids = IdFactory()
        self.records: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in ENTITIES}
        self.on_commit: Callable[[list[ChangeEvent]], None] = lambda _events: None
        self.purged: set[str] = set()
        self.transactions = 0
        self._random = random.Random(f"org-{seed}")
        self._commit_number = 1_082_985_383_811
        hidden = {
            "IsTrackerActive": self.options.tracker_active_in_events,
            "ActionCadenceName": self.options.cadence_name_in_events,
        }
        self._hidden = frozenset(name for name, visible in hidden.items() if not visible)
        self.organization_id = self.ids.next(ORGANIZATION)
        self.integration_user_id = self.ids.next(USER)
        self._caller = (self.integration_user_id, _DEFAULT_ORIGIN)
        self.install(
            ORGANIZATION,
            {"Id": self.organization_id, "Name": "Sandbox", "InstanceName": "WP1S", "IsSandbox": True},
        )
        self.install(
            USER,
            {
                "Id": self.integration_user_id,
                "Name": "Integration User",
                "Username": "integration@sandbox.example",
                "IsActive": True,
            },
        )

    def now_second(self) -> int:
        """Return org time in epoch ms, cut to whole seconds like Salesforce's dates."""
        return self.clock() // 1000 * 1000

    def install(self, entity: str, values: dict[str, Any]) -> str:
        """Install a record as set-up, without a transaction or an event; return its id."""
        record_id = str(values.get("Id") or self.ids.next(entity))
        now = self.now_second()
        user = self.integration_user_id
        self.records[entity][record_id] = {
            **values,
            "Id": record_id,
            "IsDeleted": False,
            "SystemModstamp": now,
            "CreatedDate": now,
            "CreatedById": user,
            "LastModifiedDate": now,
            "LastModifiedById": user,
        }
        return record_id

    def get(self, entity: str, record_id: str) -> dict[str, Any]:
        """Return a record; raises `UnknownRecord` if there is none or it is deleted."""
        record = self.records[entity].get(record_id)
        if record is None or record["IsDeleted"]:
            raise UnknownRecord(entity=entity, record_id=record_id)
        return record

    def empty_recycle_bin(self) -> None:
        """Purge every deleted record.

        Queries no longer find it and it cannot be undeleted, but it remains in the delete log.
        """
        self.purged |= {
            record_id
            for records in self.records.values()
            for record_id, record in records.items()
            if record["IsDeleted"]
        }

    @contextmanager
    def on_behalf_of(self, user: str, origin: str) -> Iterator[None]:
        """Set the default user and origin of the transactions made inside."""
        before = self._caller
        self._caller = (user, origin)
        try:
            yield
        finally:
            self._caller = before

    @contextmanager
    def transaction(self, *, user: str | None = None, origin: str | None = None) -> Iterator[OrgTransaction]:
        """Open a transaction; it commits on leaving, and rolls back on an exception.

        `user` and `origin` default to those of `on_behalf_of`, else to the integration user and the REST API.
        """
        transaction = OrgTransaction(self)
        try:
            yield transaction
        except BaseException:
            transaction.roll_back()
            raise
        self._commit(transaction, user or self._caller[0], origin or self._caller[1])

    def _commit(self, transaction: OrgTransaction, user: str, origin: str) -> None:
        now = self.now_second()
        changes = [
            change
            for record_id, touched_record in transaction.touched.items()
            if (change := self._finalize(record_id, touched_record, user, now)) is not None
        ]
        if not changes:
            return
        if self.options.separate_transactions:
            entities = dict.fromkeys(change.entity for change in changes)
            groups = [[change for change in changes if change.entity == entity] for entity in entities]
        else:
            groups = [changes]
        for group in groups:
            self._publish(group, user, origin, now)

    def _finalize(
        self, record_id: str, touched_record: _TouchedRecord, user: str, now: int
    ) -> RecordChange | None:
        """Stamp a touched record; return its net change, if any."""
        record = self.records[touched_record.entity][record_id]
        kind = touched_record.kind
        if touched_record.before is None:
            if record["IsDeleted"]:
                del self.records[touched_record.entity][record_id]
                return None
            record.update(CreatedDate=now, CreatedById=user)
        elif touched_record.before["IsDeleted"] and record["IsDeleted"]:
            return None
        elif not touched_record.before["IsDeleted"] and not record["IsDeleted"]:
            kind = "UPDATE"
        changed = [
            name
            for name in touched_record.fields
            if touched_record.before is None or record.get(name) != touched_record.before.get(name)
        ]
        if kind == "UPDATE" and not changed:
            return None
        if record.get("LastModifiedById") != user:
            record["LastModifiedById"] = user
            changed.append("LastModifiedById")
        record.update(LastModifiedDate=now, SystemModstamp=now)
        if kind == "UPDATE":
            body = changed_body(touched_record.entity, record, changed, self._hidden)
        elif kind == "DELETE":
            body = {}
        else:
            body = full_body(touched_record.entity, record, self._hidden)
        return RecordChange(touched_record.entity, record_id, kind, body)

    def _publish(self, changes: list[RecordChange], user: str, origin: str, now: int) -> None:
        self.transactions += 1
        self._commit_number += self._random.randrange(1_000, 90_000)
        digits = f"{self._random.getrandbits(128):032x}"
        key = f"000{digits[3:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
        commit = CommitInfo(self._commit_number, key, now, user, origin)
        grouped = (
            merge(changes)
            if self.options.merge_updates
            else [(change, [change.record_id]) for change in changes]
        )
        events: list[ChangeEvent] = []
        sequence_number = 0
        for change, record_ids in grouped:
            sequence_number += 1
            if self.options.sequence_holes and self._random.random() < self.options.sequence_holes:
                sequence_number += 1
            if change.entity in self.options.selected:
                events.append(change_event(commit, sequence_number, change, record_ids))
        if events:
            self.on_commit(events)


class OrgTransaction:
    """Statements of a transaction: visible in the org at once, published on commit."""

    def __init__(self, org: Org) -> None:
        self.org = org
        self.touched: dict[str, _TouchedRecord] = {}

    def create(self, entity: str, values: dict[str, Any]) -> str:
        """Insert a record and return its id; an `Id` among `values` is kept."""
        record_id = str(values.get("Id") or self.org.ids.next(entity))
        self.org.records[entity][record_id] = {**values, "Id": record_id, "IsDeleted": False}
        self.touched[record_id] = _TouchedRecord(entity, None, "CREATE")
        return record_id

    def update(self, entity: str, record_id: str, **values: Any) -> None:
        """Set fields of a record (dates in epoch ms, None clears); raises `UnknownRecord`."""
        record = self.org.get(entity, record_id)
        touched_record = self._touched_record(entity, record_id, "UPDATE")
        record.update(values)
        touched_record.fields.update(dict.fromkeys(values))

    def delete(self, entity: str, record_id: str) -> None:
        """Move a record to the recycle bin; raises `UnknownRecord`."""
        record = self.org.get(entity, record_id)
        self._touched_record(entity, record_id, "DELETE").kind = "DELETE"
        record["IsDeleted"] = True

    def undelete(self, entity: str, record_id: str) -> None:
        """Restore a record from the recycle bin; raises `UnknownRecord` if not in it."""
        record = self.org.records[entity].get(record_id)
        if record is None or not record["IsDeleted"] or record_id in self.org.purged:
            raise UnknownRecord(entity=entity, record_id=record_id)
        self._touched_record(entity, record_id, "UNDELETE").kind = "UNDELETE"
        record["IsDeleted"] = False

    def roll_back(self) -> None:
        """Undo every statement of this transaction."""
        for record_id, touched_record in self.touched.items():
            if touched_record.before is None:
                del self.org.records[touched_record.entity][record_id]
            else:
                self.org.records[touched_record.entity][record_id] = touched_record.before
        self.touched.clear()

    def _touched_record(self, entity: str, record_id: str, kind: str) -> _TouchedRecord:
        touched_record = self.touched.get(record_id)
        if touched_record is None:
            touched_record = _TouchedRecord(entity, dict(self.org.records[entity][record_id]), kind)
            self.touched[record_id] = touched_record
        return touched_record
