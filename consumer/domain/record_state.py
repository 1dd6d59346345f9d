"""State of one record as it is known, and the application of changes to it.

Changes are sparse and may arrive late, so every field carries the order key of the change that wrote it: a change writes a field unless a
newer change did. The result is therefore independent of arrival order (*convergence*). For the same reason duplicates are recognised by
identity and never by "version <= stored": a late change is not a repeated one.

A full image (``CREATE``, ``UNDELETE``) also states which fields are empty: its key, :attr:`RecordState.image`, is the version of every
absent field. A deletion leaves a tombstone with its own key. ``Processing`` is a transitional state of a run; :attr:`RecordState.announced`
therefore keeps the last State that is announced, with a key of its own.

Values are immutable: :meth:`RecordState.with_change` returns a new one. The stored form is JSON with a format version.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import orjson

from consumer.clock import to_ms
from consumer.domain.change_events import Change, OrderKey
from consumer.domain.objects import IMMUTABLE_FIELDS, RUN
from consumer.domain.state_machines import NEW
from consumer.domain.stored_json import decode_stored, load_object

__all__ = ["IDENTITY_RETENTION_MS", "IMMUTABLE_FIELDS", "TRANSITIONAL", "RecordState"]

FORMAT: Final = 2
"""Version of the stored form: 1 kept one due time per timer, 2 keeps several."""

IDENTITY_RETENTION_MS: Final = 96 * 3600 * 1000
"""Retention of identities, counted from their commit time.

The bus keeps events for 72 h and may purge late.
"""

TRANSITIONAL: Final = frozenset({"Processing"})
"""States that yield no event.

Documented: "Salesforce is working on changing the state".
"""

MAX_FIRED_TIMES: Final = 100
"""Maximum number of fired due times kept per timer.

A due time that moves more often is moved by a person, who knows about it.
"""

_ENRICHMENT_KEY: Final[OrderKey] = (-1, -1, -1)
"""Key of enrichment values, older than every change."""

UNWRITTEN_KEY: Final[OrderKey] = (0, 0, 0)
"""Key of a row for a record that no change has written.

Newer than enrichment, older than any change.
"""


class RecordState:
    """State of one record as it is known.

    Attributes:
        entity: API name of the record's object.
        record_id: 18 characters.
        fields: API name to (value, key of the change that wrote it).
        image: key of the newest full image; fields absent from ``fields`` are null as of it. None: absent means unknown.
        deleted: (whether the record is deleted, key of the change that deleted or restored it), or None.
        announced: (last State that is not transitional, its key), or None; NEW for a created record without such a State since.
        highest_key: for a run (and for a step whose run is unknown): greatest key committed for it or one of its steps.
        seen: identity of each change to its commit time in milliseconds.
        fired: event type to the due times, in milliseconds, for which a timer has fired; a due time may return.
        previous: for a run in a daisy chain, the run before it, where known.
        row_ms: ``SystemModstamp``, in milliseconds, of the record's newest row that REST returned; the row reflects every modification up
            to then, so a change from before it that arrives later writes nothing.
        last_activity_ms: time of the last known activity, in milliseconds of Salesforce time: the newest commit time or stamp of the record
            and, for a run, of its steps; 0 where an older release wrote the state.
    """

    __slots__ = (
        "announced", "deleted", "entity", "fields", "fired", "highest_key", "image",
        "last_activity_ms", "previous", "record_id", "row_ms", "seen",
    )  # fmt: skip

    def __init__(
        self,
        entity: str,
        record_id: str,
        fields: dict[str, tuple[Any, OrderKey]] | None = None,
        image: OrderKey | None = None,
        deleted: tuple[bool, OrderKey] | None = None,
        announced: tuple[Any, OrderKey] | None = None,
        highest_key: OrderKey | None = None,
        seen: dict[str, int] | None = None,
        fired: dict[str, tuple[int, ...]] | None = None,
        previous: str | None = None,
        row_ms: int | None = None,
        last_activity_ms: int = 0,
    ) -> None:
        self.entity = entity
        self.record_id = record_id
        self.fields = fields if fields is not None else {}
        self.image = image
        self.deleted = deleted
        self.announced = announced
        self.highest_key = highest_key
        self.seen = seen if seen is not None else {}
        self.fired = fired if fired is not None else {}
        self.previous = previous
        self.row_ms = row_ms
        self.last_activity_ms = last_activity_ms

    # ------------------------------------------------------------ reading

    def get(self, name: str) -> Any:
        """Value of a field; None when empty or unknown."""
        pair = self.fields.get(name)
        return pair[0] if pair is not None else None

    def values(self) -> dict[str, Any]:
        """Values of all known fields by API name."""
        return {name: pair[0] for name, pair in self.fields.items()}

    @property
    def is_deleted(self) -> bool:
        """True if a deletion is newer than any creation or restoration."""
        return self.deleted is not None and self.deleted[0]

    @property
    def exists(self) -> bool:
        """True if a change of the record itself is known, not only of a run's steps."""
        return bool(self.fields) or self.image is not None or self.deleted is not None

    @property
    def tracker_id(self) -> str | None:
        """Run that the record belongs to, or is; None for a step whose run is unknown."""
        return self.record_id if self.entity == RUN else self.get("ActionCadenceTrackerId")

    def is_reflected_in_row(self, change: Change) -> bool:
        """Report whether a row of this record was read after ``change`` was made.

        Both clocks have a resolution of one second, and a row is used only when the answer is at least two seconds younger than the row.
        """
        if self.row_ms is None:
            return False
        modified = change.body.get("LastModifiedDate")
        return (
            to_ms(datetime.fromisoformat(modified)) if isinstance(modified, str) else change.header.commit_ms
        ) <= self.row_ms

    @property
    def newest_key(self) -> OrderKey:
        """Greatest key of the changes that wrote to this state; below all changes if none."""
        keys = [pair[1] for pair in self.fields.values()]
        keys += [versioned[1] for versioned in (self.deleted, self.announced) if versioned is not None]
        if self.image is not None:
            keys.append(self.image)
        return max(keys, default=UNWRITTEN_KEY)

    # ------------------------------------------------------------ writing

    def with_row(self, values: Mapping[str, Any], row_ms: int, *, deleted: bool) -> RecordState:
        """Replace every field by a row's, at the version of the newest known change.

        Args:
            values: field to value without the empty fields; nothing for a deletion.
            row_ms: the row's ``SystemModstamp`` in milliseconds.
            deleted: whether the row reports the record as deleted.
        """
        key = max(self.newest_key, UNWRITTEN_KEY)
        after = self._copy()
        after.row_ms = row_ms
        after.last_activity_ms = max(self.last_activity_ms, row_ms)
        after.deleted = (deleted, key)
        if deleted:
            return after
        after.fields = {name: (value, key) for name, value in values.items()}
        after.image = key
        state = values.get("State")
        if state not in TRANSITIONAL:
            after.announced = (state, key)
        return after

    def with_older_row(self, values: Mapping[str, Any], row_ms: int) -> RecordState:
        """Fill in unwritten fields of a partly known record from an older row.

        Args:
            values: field to value without the empty fields.
            row_ms: the row's ``SystemModstamp`` in milliseconds.
        """
        after = self._copy()
        after.fields = {name: (value, UNWRITTEN_KEY) for name, value in values.items()} | {
            name: pair for name, pair in self.fields.items() if pair[1] > UNWRITTEN_KEY
        }
        after.image = UNWRITTEN_KEY
        after.row_ms = row_ms
        if self.announced is None and values.get("State") not in TRANSITIONAL:
            after.announced = (values.get("State"), UNWRITTEN_KEY)
        return after

    def with_change(self, change: Change, key: OrderKey) -> RecordState:
        """Apply a change and return the new state; changes may be applied in any order."""
        header = change.header
        fields = dict(self.fields)
        after = RecordState(
            self.entity,
            self.record_id,
            fields,
            self.image,
            self.deleted,
            self.announced,
            self.highest_key,
            {**self.seen, change.identity: header.commit_ms},
            self.fired,
            self.previous,
            self.row_ms,
            max(self.last_activity_ms, header.commit_ms),
        )
        kind = header.kind
        if self.is_reflected_in_row(change):
            return after
        if kind == "DELETE":
            if self.deleted is None or self.deleted[1] < key:
                after.deleted = (True, key)
            return after
        if header.changed is None:
            if kind == "CREATE":
                # Created in a transitional state, or without one: the next State is a transition from NEW.
                after._announce(NEW, key)
            after._write(change.body, change.body, key)
            after._replace_image(change.body, key, created=kind == "CREATE")
        else:
            after._write(change.body, header.changed, key)
            after._add_immutable_fields(change.body, header.changed)
        return after

    def with_highest_key(self, key: OrderKey, commit_ms: int) -> RecordState:
        """Copy that covers ``key``, the key of a change committed at ``commit_ms``."""
        if self.highest_key is not None and self.highest_key >= key and self.last_activity_ms >= commit_ms:
            return self
        after = self._copy()
        after.highest_key = key if self.highest_key is None else max(self.highest_key, key)
        after.last_activity_ms = max(self.last_activity_ms, commit_ms)
        return after

    def with_seen(self, identity: str, commit_ms: int) -> RecordState:
        """Copy with one more identity."""
        after = self._copy()
        after.seen = {**self.seen, identity: commit_ms}
        after.last_activity_ms = max(self.last_activity_ms, commit_ms)
        return after

    def with_fired(self, name: str, due_ms: int) -> RecordState:
        """Copy in which a timer has fired."""
        after = self._copy()
        after.fired = {**self.fired, name: (*self.fired.get(name, ()), due_ms)[-MAX_FIRED_TIMES:]}
        return after

    def with_previous(self, tracker_id: str) -> RecordState:
        """Copy with the preceding run of the daisy chain."""
        after = self._copy()
        after.previous = tracker_id
        return after

    def with_immutable_fields(self, values: Mapping[str, Any]) -> RecordState:
        """Copy with immutable fields from a lookup; known values are kept."""
        after = self._copy()
        after.fields = dict(self.fields)
        if self.image is None:
            for name, value in values.items():
                if value is not None and name not in after.fields:
                    after.fields[name] = (value, _ENRICHMENT_KEY)
        return after

    def _copy(self) -> RecordState:
        return RecordState(
            self.entity,
            self.record_id,
            self.fields,
            self.image,
            self.deleted,
            self.announced,
            self.highest_key,
            self.seen,
            self.fired,
            self.previous,
            self.row_ms,
            self.last_activity_ms,
        )

    def forget_identities(self, before_ms: int) -> None:
        """Drop identities of changes committed before ``before_ms``.

        Unknown changes that old are no longer accepted from the stream.
        """
        if self.seen and min(self.seen.values()) < before_ms:
            self.seen = {
                identity: commit_ms for identity, commit_ms in self.seen.items() if commit_ms >= before_ms
            }

    def _write(
        self, body: Mapping[str, Any], names: Mapping[str, Any] | tuple[str, ...], key: OrderKey
    ) -> None:
        fields, image = self.fields, self.image
        for name in names:
            if name not in body:
                continue
            pair = fields.get(name)
            version = pair[1] if pair is not None else image
            if version is None or version <= key:
                fields[name] = (body[name], key)
        if "State" in names and "State" in body:
            self._announce(body["State"], key)

    def _announce(self, state: Any, key: OrderKey) -> None:
        if state not in TRANSITIONAL and (self.announced is None or self.announced[1] <= key):
            self.announced = (state, key)

    def _replace_image(self, body: Mapping[str, Any], key: OrderKey, *, created: bool) -> None:
        if "State" not in body and not created:
            self._announce(None, key)
        if self.image is None or self.image < key:
            self.image = key
            for name in [name for name, pair in self.fields.items() if pair[1] < key and name not in body]:
                del self.fields[name]
        if self.deleted is None or self.deleted[1] < key:
            self.deleted = (False, key)

    def _add_immutable_fields(self, body: Mapping[str, Any], changed: tuple[str, ...]) -> None:
        if self.image is not None:
            return
        for name in IMMUTABLE_FIELDS:
            if name in body and name not in changed and name not in self.fields:
                self.fields[name] = (body[name], _ENRICHMENT_KEY)

    # ------------------------------------------------------------ storing

    def encode(self) -> bytes:
        """Encode as stored."""
        return orjson.dumps(
            {
                "v": FORMAT,
                "e": self.entity,
                "r": self.record_id,
                "f": self.fields,
                "i": self.image,
                "d": self.deleted,
                "a": self.announced,
                "h": self.highest_key,
                "s": self.seen,
                "t": self.fired,
                "p": self.previous,
                "w": self.row_ms,
                "m": self.last_activity_ms,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> RecordState:
        """Read the stored form.

        Raises:
            StoreForeign: a newer version wrote the data.
            StoreDamaged: the data is not a stored state.
        """
        return decode_stored("state of a record", data, cls._from_json)

    @classmethod
    def _from_json(cls, data: bytes) -> RecordState:
        value = load_object(data, FORMAT, identity="r")
        return cls(
            value["e"],
            value["r"],
            {name: (pair[0], tuple(pair[1])) for name, pair in value["f"].items()},
            _decode_key(value["i"]),
            _decode_versioned(value["d"]),
            _decode_versioned(value["a"]),
            _decode_key(value["h"]),
            value["s"],
            {name: (due,) if value["v"] == 1 else tuple(due) for name, due in value["t"].items()},
            value["p"],
            value.get("w"),
            value.get("m", 0),
        )


def _decode_key(value: list[int] | None) -> OrderKey | None:
    return None if value is None else (value[0], value[1], value[2])


def _decode_versioned(value: list[Any] | None) -> tuple[Any, OrderKey] | None:
    return None if value is None else (value[0], (value[1][0], value[1][1], value[1][2]))
