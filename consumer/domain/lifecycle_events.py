"""Lifecycle event that handlers receive, the journal stores and ``--json`` prints.

A frozen pydantic model with one JSON form, the same in the journal, in sinks and on the command line. JSON that this service wrote to the
journal itself is not validated again: :meth:`LifecycleEvent.from_journal` converts records and positions on first access, because most
handlers read a few fields of most events, and typing two whole records per event would cost more than everything else in delivery.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from copy import deepcopy
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import orjson
from pydantic import (
    BaseModel,
    ConfigDict,
    FieldSerializationInfo,
    PrivateAttr,
    field_serializer,
    field_validator,
    model_validator,
)
from pydantic_core.core_schema import ValidationInfo

from consumer.domain.objects import (
    ENTITIES,
    ActionCadenceStepTracker,
    ActionCadenceTracker,
    Record,
)
from consumer.domain.record_ids import ORG_PREFIX
from consumer.domain.step_error_codes import ErrorKind
from consumer.domain.stored_json import VERSION_KEY, load_object

__all__ = ["ErrorDetail", "LifecycleEvent", "Origin", "Position", "Transaction"]

FORMAT = 1
"""Version of the journal's JSON; a reader refuses a greater one."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class Origin(StrEnum):
    """Source from which the service learned of a change."""

    STREAM = "stream"
    SNAPSHOT = "snapshot"
    GAP = "gap"
    REPAIR = "repair"
    TIMER = "timer"


class Position(_Frozen):
    """Position of a change in the stream.

    Attributes:
        channel: as in ``/data/ActionCadenceTrackerChangeEvent``.
        replay_id: an opaque position; never compare by size, never compute with it.
    """

    channel: str
    replay_id: str | None


class Transaction(_Frozen):
    """The Salesforce transaction that made the change.

    Attributes:
        key: ``ChangeEventHeader.transactionKey``, opaque.
        commit_number: ``ChangeEventHeader.commitNumber``; orders transactions of one database instance.
        sequence_number: ``ChangeEventHeader.sequenceNumber``; orders changes within the transaction, from 1, with holes.
    """

    key: str
    commit_number: int
    sequence_number: int


class ErrorDetail(_Frozen):
    """Error with which a run or a step failed.

    Attributes:
        code: ``ErrorCode`` of a step; None for runs.
        message: ``ErrorMessage`` of a run; None for steps.
        kind: area to check first.
    """

    code: str | None = None
    message: str | None = None
    kind: ErrorKind = "unknown"


class LifecycleEvent(_Frozen):
    """Occurrence in the life of a run or of one of its steps.

    Attributes:
        id: deterministic: the same change yields the same id, however often it is read.
        type: one of ``consumer.event_types.ALL_TYPES``.
        time: when Salesforce committed the change (resolution one second); for timers, the due time.
        tracker_id: id of the run; all events of one run are delivered in order. None for system events.
        entity: API name of the changed record's object.
        record_id: id of the changed record.
        url: URL of the record in Salesforce.
        cadence_id: ``ActionCadenceId``.
        cadence_name: name of the cadence, where the event or a lookup provided it.
        target_id: the prospect: Lead, Contact or person account.
        owner_id: the run's assignee, where known.
        actor_id: user who made the change (``ChangeEventHeader.commitUser``).
        change_origin: API and client that made the change (``ChangeEventHeader.changeOrigin``), as in
            ``com/salesforce/api/rest/66.0;client=cadence-consumer.close_bounced``; None where Salesforce names none.
        step_tracker_id: the step's record, for ``step.*`` and ``run.advanced``.
        cadence_step_id: ``ActionCadenceStepId``.
        step_type: as in ``SendAnEmail``.
        step_title: as in ``First Touch``.
        iteration: of a run, its number in a daisy chain; of a step, how often it was created for the same step.
        previous_tracker_id: the run before this one in a daisy chain, where it can be determined.
        before: the record before the change, sparse where unknown; None where it cannot be known.
        after: the record after the change.
        changed: API names of the fields that changed.
        reason: ``CompletionReason``, for endings.
        disposition: ``CompletionDisposition``.
        exit_rule_id: ``ExitGlobalRuleId``.
        error: cause of a failure, for ``*.failed``.
        late: whether the change arrived after something newer of the same run had been committed.
        missed_transitions: whether Salesforce merged away states between ``before`` and ``after``.
        origin: source from which the service learned of the change.
        position: position in the stream; None unless ``origin`` is ``stream``.
        transaction: Salesforce transaction that made the change; None unless ``origin`` is ``stream``.
    """

    id: str
    type: str
    time: datetime
    tracker_id: str | None = None
    entity: str | None = None
    record_id: str | None = None
    url: str | None = None
    cadence_id: str | None = None
    cadence_name: str | None = None
    target_id: str | None = None
    owner_id: str | None = None
    actor_id: str | None = None
    change_origin: str | None = None
    step_tracker_id: str | None = None
    cadence_step_id: str | None = None
    step_type: str | None = None
    step_title: str | None = None
    iteration: int | None = None
    previous_tracker_id: str | None = None
    before: ActionCadenceTracker | ActionCadenceStepTracker | None = None
    after: ActionCadenceTracker | ActionCadenceStepTracker | None = None
    changed: tuple[str, ...] = ()
    reason: str | None = None
    disposition: str | None = None
    exit_rule_id: str | None = None
    error: ErrorDetail | None = None
    late: bool = False
    missed_transitions: bool = False
    origin: Origin = Origin.STREAM
    position: Position | None = None
    transaction: Transaction | None = None

    _untyped: dict[str, Any] | None = PrivateAttr(None)
    """Raw journal values by field, to be converted on first access."""
    _is_typed: bool = PrivateAttr(default=True)
    """True once all fields have been converted."""

    @field_validator("before", "after", mode="plain")
    @classmethod
    def _validate_record(cls, value: Any, info: ValidationInfo) -> Record | None:
        if value is None or isinstance(value, Record):
            return value
        return _record(info.data.get("entity"), value)

    @field_serializer("before", "after")
    def _serialize_record(self, value: Record | None, info: FieldSerializationInfo) -> dict[str, Any] | None:
        # Without this serializer pydantic's union warns about the result of the plain validator.
        if value is None:
            return None
        return value.model_dump(
            mode=info.mode,
            by_alias=info.by_alias,
            exclude_unset=info.exclude_unset,
            exclude_defaults=info.exclude_defaults,
            exclude_none=info.exclude_none,
            round_trip=info.round_trip,
        )

    @classmethod
    def from_json(cls, data: bytes) -> LifecycleEvent:
        """Read the JSON that the journal, ``tail --json`` or a sink wrote.

        Raises:
            ValueError: the JSON is not a lifecycle event, or has a newer format.
        """
        return cls.model_validate(_fields(data))

    @classmethod
    def from_journal(cls, data: bytes) -> LifecycleEvent:
        """Read an event from this service's own journal, without validating it again.

        Equal to :meth:`from_json` for callers: the journal was written from validated changes. Records, position, transaction and error
        are converted on first access.

        Raises:
            ValueError: the JSON is not a lifecycle event, or has a newer format.
        """
        value = _fields(data)
        values = {**_DEFAULTS, **value}
        if len(values) > len(_DEFAULTS) or not ("id" in value and "type" in value and "time" in value):
            return cls.model_validate(value)
        try:
            values["time"] = datetime.fromisoformat(values["time"])
            values["changed"] = tuple(values["changed"])
            if "origin" in value:
                values["origin"] = Origin(values["origin"])
            hash((values["id"], values["type"], values["entity"]))
        except TypeError as error:
            raise ValueError(
                "not a lifecycle event that this service wrote: a field has another type"
            ) from error
        event = cls.__new__(cls)
        untyped = {}
        for name in _LAZY_FIELDS:
            if values[name] is not None:
                untyped[name] = values.pop(name)
        set_attribute = object.__setattr__
        set_attribute(event, "__dict__", values)
        set_attribute(event, "__pydantic_fields_set__", set(value))
        set_attribute(event, "__pydantic_extra__", None)
        set_attribute(event, "__pydantic_private__", {"_untyped": untyped, "_is_typed": False})
        return event

    def __getattr__(self, name: str) -> Any:
        convert = _LAZY_FIELDS.get(name)
        if convert is not None:
            # Handlers look at an event from several threads. The untyped values are never removed, and copies share them; threads that
            # convert at the same time get the value of the first.
            untyped = (self.__pydantic_private__ or {}).get("_untyped") or {}
            if name in untyped:
                return self.__dict__.setdefault(name, convert(self.__dict__["entity"], untyped[name]))
        # The base class defines __getattr__ for private attributes, but hides it from type checkers, lest they allow every misspelling.
        return super().__getattr__(name)  # type: ignore[misc]

    def _typed(self) -> LifecycleEvent:
        if self._untyped is not None and not self._is_typed:
            # Field order, which is the order of the JSON. The new dictionary is complete before anybody sees it.
            object.__setattr__(self, "__dict__", {name: getattr(self, name) for name in _DEFAULTS})
            self._is_typed = True
        return self

    def own_copy(self) -> LifecycleEvent:
        """Copy for one handler, of an event that nobody has looked at.

        Whatever the handler does to the copy reaches no other copy: what they share is immutable, or converted for each.
        """
        cls = type(self)
        event = cls.__new__(cls)
        set_attribute = object.__setattr__
        set_attribute(event, "__dict__", dict(self.__dict__))
        set_attribute(event, "__pydantic_fields_set__", set(self.__pydantic_fields_set__))
        set_attribute(event, "__pydantic_extra__", None)
        set_attribute(event, "__pydantic_private__", dict(self.__pydantic_private__ or {}))
        return event

    # The methods below read all fields at once, so they convert them first.

    @model_validator(mode="after")
    def _typed_in_parent_model(self) -> LifecycleEvent:
        # A parent model reads and writes this model's fields without calling the methods below.
        return self._typed()

    def model_dump(self, **options: Any) -> dict[str, Any]:
        """See pydantic."""
        return super(LifecycleEvent, self._typed()).model_dump(**options)

    def model_dump_json(self, **options: Any) -> str:
        """See pydantic."""
        return super(LifecycleEvent, self._typed()).model_dump_json(**options)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LifecycleEvent):
            return NotImplemented
        return self._typed().__dict__ == other._typed().__dict__

    def __hash__(self) -> int:
        return hash(self.id)

    def __iter__(self) -> Generator[tuple[str, Any], None, None]:  # noqa: PYI058 - as in the base
        return super(LifecycleEvent, self._typed()).__iter__()

    def __repr_args__(self) -> Any:
        return super(LifecycleEvent, self._typed()).__repr_args__()

    def to_json(self) -> bytes:
        """Encode as one line of NDJSON without the line break, leaving out unknown fields."""
        value = self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"before", "after"})
        for name in ("before", "after"):
            record: Record | None = getattr(self, name)
            if record is not None:
                value[name] = record.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return orjson.dumps({"v": FORMAT, **value})

    def to_cloudevent(self, source: str) -> bytes:
        """Encode as a CloudEvent in structured mode, with the event as its ``data``.

        Content type ``application/cloudevents+json``, version 1.0. The ``type`` is ``cadence.`` and the event's type, the ``subject`` the
        run, the ``source`` the org.

        Args:
            source: value of ``source`` for an event that does not name its org.
        """
        org = self.id.partition("/")[0]
        attributes = {
            "specversion": "1.0",
            "id": self.id,
            "source": f"/salesforce/{org}" if org.startswith(ORG_PREFIX) else source,
            "type": f"cadence.{self.type}",
            "time": self.time.astimezone(UTC).isoformat(),
            "datacontenttype": "application/json",
        }
        if self.tracker_id is not None:
            attributes["subject"] = self.tracker_id
        return orjson.dumps({**attributes, "data": orjson.Fragment(self.to_json())})


def _fields(data: bytes) -> dict[str, Any]:
    try:
        value = load_object(data, FORMAT, default=FORMAT)
    except ValueError as error:
        raise ValueError(f"not a lifecycle event of a format this version reads: {error}") from error
    value.pop(VERSION_KEY, None)
    return value


def _record(entity: str | None, raw: Any) -> Record:
    if isinstance(raw, dict) and any(isinstance(value, dict | list) for value in raw.values()):
        # A record keeps the value of a field that it does not know, and its owner may change it.
        raw = deepcopy(raw)
    return ENTITIES.get(entity or "", Record).model_validate(raw)


_LAZY_FIELDS: Final[dict[str, Callable[[str | None, Any], Any]]] = {
    "before": _record,
    "after": _record,
    "error": lambda _, raw: ErrorDetail.model_validate(raw),
    "position": lambda _, raw: Position.model_validate(raw),
    "transaction": lambda _, raw: Transaction.model_validate(raw),
}
_DEFAULTS: Final = {name: field.get_default() for name, field in LifecycleEvent.model_fields.items()}
"""Field to the value it has when the journal's JSON lacks it."""
