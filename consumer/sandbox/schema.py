"""Objects of the simulated org and their fields.

Only objects that a cadence consumer can see are modelled: the two trackers with all their documented fields, and the
few objects whose names it looks up. The schema holds three facts about a field that matter on the wire: whether it is
a date (the event bus and REST format dates differently), whether it is calculated (change events never carry it, as
Salesforce documents for fields derived from other data), and whether only REST has it (`Id`, `IsDeleted`,
`SystemModstamp`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, Literal

TRACKER: Final = "ActionCadenceTracker"
STEP_TRACKER: Final = "ActionCadenceStepTracker"
CADENCE: Final = "ActionCadence"
CADENCE_STEP: Final = "ActionCadenceStep"
ORGANIZATION: Final = "Organization"
USER: Final = "User"

Kind = Literal["id", "text", "datetime", "boolean", "number"]


@dataclass(frozen=True, slots=True)
class Field:
    """A field: its API name, its kind, and whether change events may carry it."""

    name: str
    kind: Kind = "text"
    in_events: bool = True


@dataclass(frozen=True, slots=True)
class Entity:
    """An object: its API name, and its fields in the order of a CREATE event."""

    name: str
    fields: dict[str, Field]


def _entity(name: str, *fields: Field) -> Entity:
    system = (
        Field("Id", "id", in_events=False),
        Field("IsDeleted", "boolean", in_events=False),
        Field("SystemModstamp", "datetime", in_events=False),
        Field("CreatedDate", "datetime"),
        Field("CreatedById", "id"),
        Field("LastModifiedDate", "datetime"),
        Field("LastModifiedById", "id"),
    )
    return Entity(name, {field.name: field for field in (*system, *fields)})


ENTITIES: Final = {
    entity.name: entity
    for entity in (
        _entity(
            TRACKER,
            Field("OwnerId", "id"),
            Field("ActionCadenceId", "id"),
            Field("TargetId", "id"),
            Field("State"),
            Field("IsTrackerActive", "boolean"),
            Field("DaisyChainIteration", "number"),
            Field("CurrentStepId", "id"),
            Field("LastCompletedStepId", "id"),
            Field("CompletionReason"),
            Field("CompletionDisposition"),
            Field("ErrorMessage"),
            Field("ExitGlobalRuleId", "id"),
            Field("RelatedToId", "id"),
            Field("RelatedToAttributionType"),
            Field("ScheduledResumeDateTime", "datetime"),
        ),
        _entity(
            STEP_TRACKER,
            Field("ActionCadenceId", "id"),
            Field("ActionCadenceName"),
            Field("ActionCadenceTrackerId", "id"),
            Field("ActionCadenceStepId", "id"),
            Field("TargetId", "id"),
            Field("State"),
            Field("StepType"),
            Field("StepTitle"),
            Field("WasEverPaused", "boolean"),
            Field("DueDateTime", "datetime"),
            Field("ScheduledStartDateTime", "datetime"),
            Field("ActionTakenDateTime", "datetime"),
            Field("CompletedById", "id"),
            Field("CompletionDate", "datetime"),
            Field("CompletionReason"),
            Field("ErrorCode"),
            Field("GoToStepIterationCount", "number"),
            Field("IsActionTaken", "boolean", in_events=False),
            Field("SecondsOverdue", "number", in_events=False),
        ),
        _entity(CADENCE, Field("Name"), Field("State"), Field("Type")),
        _entity(CADENCE_STEP, Field("Title"), Field("Type"), Field("ActionCadenceId", "id")),
        _entity(ORGANIZATION, Field("Name"), Field("InstanceName"), Field("IsSandbox", "boolean")),
        _entity(USER, Field("Name"), Field("Username"), Field("IsActive", "boolean")),
    )
}

_OPEN_STEP_STATES: Final = frozenset({"Active", "InProgress", "Scheduled", "Queued", "Paused", "Error"})


@lru_cache(maxsize=4096)
def event_time(ms: int) -> str:
    """Format epoch ms as change events do over CometD: `2024-04-09T20:26:27.000Z`."""
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{ms % 1000:03d}Z"


def rest_time(ms: int) -> str:
    """Format epoch ms as REST does: `2013-05-08T21:20:00.000+0000`."""
    return event_time(ms)[:-1] + "+0000"


def event_value(entity: str, field: str, value: Any) -> Any:
    """Format a stored value as in a change event."""
    if value is not None and ENTITIES[entity].fields[field].kind == "datetime":
        return event_time(value)
    return value


def read_value(entity: str, record: dict[str, Any], field: str, now: int) -> Any:
    """Read a stored or calculated field at org time `now` (ms); dates are epoch ms."""
    if entity == STEP_TRACKER and field == "IsActionTaken":
        return record.get("ActionTakenDateTime") is not None
    if entity == STEP_TRACKER and field == "SecondsOverdue":
        due = record.get("DueDateTime")
        if due is None or record.get("State") not in _OPEN_STEP_STATES or now <= due:
            return None
        return (now - due) // 1000
    return record.get(field)


def rest_value(entity: str, record: dict[str, Any], field: str, now: int) -> Any:
    """Read and format a field as in a REST answer at org time `now` (ms)."""
    value = read_value(entity, record, field, now)
    if value is not None and ENTITIES[entity].fields[field].kind == "datetime":
        return rest_time(value)
    return value
