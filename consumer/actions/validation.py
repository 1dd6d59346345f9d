"""Field types of the Sales Engagement actions: ids, closed lists, instants.

Each rule is a pydantic type; its error message names the invalid value and a valid alternative. The first three characters of an id
identify its object. Salesforce does not document whether a person account is identified by its contact id or by its own, so a target's
prefix is refused where it certainly belongs to another object, but no particular prefix is required.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, PlainSerializer, ValidationError

from consumer.domain.picklists import Disposition, WritableAttribution
from consumer.domain.record_ids import (
    CADENCE_PREFIX,
    OPPORTUNITY_PREFIX,
    RUN_PREFIX,
    STEP_PREFIX,
    USER_PREFIX,
    to_18,
)

__all__ = [
    "OPPORTUNITY_PREFIX",
    "AttributionType",
    "CadenceNameOrId",
    "DispositionName",
    "EventName",
    "Instant",
    "ManuallyRemoved",
    "RelatedId",
    "RunId",
    "StepId",
    "TargetId",
    "UserId",
    "is_cadence_id",
    "validation_message",
]

_OBJECT_BY_PREFIX = {
    RUN_PREFIX: "a run (ActionCadenceTracker)",
    STEP_PREFIX: "a step (ActionCadenceStepTracker)",
    CADENCE_PREFIX: "a cadence",
    USER_PREFIX: "a user",
    OPPORTUNITY_PREFIX: "an opportunity",
}

StepEventType = Literal["Skip", "ManualComplete"]


def _id_with_prefix(prefix: str) -> Callable[[object], object]:
    """Build a validator for ids of the object whose ids begin with ``prefix``."""

    def check(value: object) -> object:
        if not isinstance(value, str):
            return value
        record_id = to_18(value.strip())
        if not record_id.startswith(prefix):
            actual_object = _OBJECT_BY_PREFIX.get(record_id[:3], "another object's")
            raise ValueError(
                f"{record_id} is {actual_object}; give {_OBJECT_BY_PREFIX[prefix]}, whose id begins with {prefix}"
            )
        return record_id

    return check


def _target_id(value: object) -> object:
    if not isinstance(value, str):
        return value
    record_id = to_18(value.strip())
    if record_id[:3] in _OBJECT_BY_PREFIX:
        raise ValueError(
            f"{record_id} is {_OBJECT_BY_PREFIX[record_id[:3]]}; give a Lead, a Contact or a person account"
        )
    return record_id


def _related_id(value: object) -> object:
    return to_18(value.strip()) if isinstance(value, str) else value


def _one_of(noun: str, *values: str) -> Callable[[object], object]:
    """Build a validator for a closed list, which suggests the closest match."""

    def check(value: object) -> object:
        if not isinstance(value, str) or value in values:
            return value
        close_matches = difflib.get_close_matches(value, values, n=1, cutoff=0.75)
        suggestion = f"; did you mean {close_matches[0]!r}?" if close_matches else "."
        raise ValueError(f"{value!r} is not {noun}{suggestion} Valid values: {', '.join(values)}")

    return check


_known_attribution = _one_of("an attribution type", *get_args(WritableAttribution))


def _attribution(value: object) -> object:
    if value == "Collection Advancement":
        raise ValueError(
            "'Collection Advancement' can be read but not written; write Activation, Maturation or Collected"
        )
    return _known_attribution(value)


# datetime.fromisoformat accepts any character before the fraction, even the colon of Salesforce's malformed sample.
_ISO = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?(Z|[+-]\d\d(:?\d\d)?)?")


def _instant(value: object) -> object:
    original = value
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip()) if _ISO.fullmatch(value.strip()) else None
        except ValueError:
            value = None
        if value is None:
            raise ValueError(f"{original!r} is not ISO 8601; use a form such as 2026-01-31T09:30:00.000Z")
    if isinstance(value, datetime) and value.tzinfo is None:
        raise ValueError(f"{value.isoformat()} has no time zone; append Z or an offset such as +01:00")
    return value


def _to_iso(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


TargetId = Annotated[str, BeforeValidator(_target_id)]
RunId = Annotated[str, BeforeValidator(_id_with_prefix(RUN_PREFIX))]
StepId = Annotated[str, BeforeValidator(_id_with_prefix(STEP_PREFIX))]
UserId = Annotated[str, BeforeValidator(_id_with_prefix(USER_PREFIX))]
RelatedId = Annotated[str, BeforeValidator(_related_id)]
Instant = Annotated[
    datetime, BeforeValidator(_instant), PlainSerializer(_to_iso, return_type=str, when_used="json")
]


def is_cadence_id(text: str) -> bool:
    """Report whether the text is a cadence's id rather than its name."""
    try:
        return to_18(text).startswith(CADENCE_PREFIX)
    except ValueError:
        return False


def _cadence(value: object) -> object:
    if isinstance(value, str):
        value = value.strip()
        if not value:
            raise ValueError("give the name or the id of a cadence")
        return to_18(value) if is_cadence_id(value) else value
    return value


CadenceNameOrId = Annotated[str, BeforeValidator(_cadence)]
DispositionName = Annotated[Disposition, BeforeValidator(_one_of("a disposition", *get_args(Disposition)))]
AttributionType = Annotated[WritableAttribution, BeforeValidator(_attribution)]
EventName = Annotated[StepEventType, BeforeValidator(_one_of("an event", *get_args(StepEventType)))]
ManuallyRemoved = Annotated[
    Literal["ManuallyRemoved"], BeforeValidator(_one_of("a completion reason", "ManuallyRemoved"))
]


def validation_message(error: ValidationError) -> str:
    """Format the problems of an input in one line, each with the name of its field."""
    lines = []
    for problem in error.errors(include_url=False, include_context=False):
        field = ".".join(str(part) for part in problem["loc"] if isinstance(part, str) and "-" not in part)
        message = {
            "missing": "is required",
            "extra_forbidden": "is not an input of this action",
        }.get(problem["type"], problem["msg"].removeprefix("Value error, "))
        separator = " " if problem["type"] in {"missing", "extra_forbidden"} else ": "
        lines.append(f"{field}{separator}{message}" if field else message)
    return "; ".join(lines)
