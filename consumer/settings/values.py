"""Building blocks of the settings: sections, secrets, and errors between two keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError

from consumer.durations import humanize_ms, parse_ms

__all__ = ["FromFile", "Secret", "Section", "conflict_error", "is_duration", "may_come_from_file"]


class FromFile:
    """Marker of a field whose value may also come from a file named by ``<key>_file``."""


Secret = Annotated[SecretStr, FromFile()]
"""Value that is shown as asterisks and may come from a file."""


class Section(BaseModel):
    """Table of keys: no unknown keys, immutable, and no value repeated in messages."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def conflict_error(key: str, message: str, value: int) -> ValidationError:
    """Build the error of a rule between two keys, reported at the one to change."""
    error = PydanticCustomError("misfit", "{message}", {"message": f"{message}, not {humanize_ms(value)}"})
    return ValidationError.from_exception_data(
        "settings", [InitErrorDetails(type=error, loc=(key,), input=value)]
    )


def may_come_from_file(field: FieldInfo) -> bool:
    """Report whether ``<key>_file`` may name a file with the field's value."""
    return any(isinstance(marker, FromFile) for marker in (*field.metadata, *_metadata_of(field.annotation)))


def is_duration(field: FieldInfo) -> bool:
    """Report whether a field is a duration, written with its unit."""
    metadata = (*field.metadata, *_metadata_of(field.annotation))
    return any(isinstance(marker, BeforeValidator) and marker.func is parse_ms for marker in metadata)


def _metadata_of(annotation: Any) -> Iterator[Any]:
    yield from getattr(annotation, "__metadata__", ())
    for arg in get_args(annotation):
        yield from _metadata_of(arg)
