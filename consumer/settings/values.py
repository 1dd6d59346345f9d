"""What every section of the settings is made of: its strictness, secrets, and complaints about two keys at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError

from consumer.durations import humanize_ms, parse_ms

__all__ = ["FromFile", "Secret", "Section", "conflict_error", "is_duration", "may_come_from_file"]


class FromFile:
    """Marks a field whose value may also stand in a file that ``<key>_file`` names."""


Secret = Annotated[SecretStr, FromFile()]
"""A value that is shown as asterisks and may come from a file."""


class Section(BaseModel):
    """A table of keys: nothing unknown in it, nothing changed later, no value repeated in messages."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def conflict_error(key: str, message: str, value: int) -> ValidationError:
    """A rule between two keys, reported at the one to change."""
    error = PydanticCustomError("misfit", "{message}", {"message": f"{message}, not {humanize_ms(value)}"})
    return ValidationError.from_exception_data(
        "settings", [InitErrorDetails(type=error, loc=(key,), input=value)]
    )


def may_come_from_file(field: FieldInfo) -> bool:
    """Whether ``<key>_file`` may name a file with its value."""
    return any(isinstance(marker, FromFile) for marker in (*field.metadata, *_metadata_of(field.annotation)))


def is_duration(field: FieldInfo) -> bool:
    """Whether it is a span of time, written with its unit."""
    metadata = (*field.metadata, *_metadata_of(field.annotation))
    return any(isinstance(marker, BeforeValidator) and marker.func is parse_ms for marker in metadata)


def _metadata_of(annotation: Any) -> Iterator[Any]:
    yield from getattr(annotation, "__metadata__", ())
    for arg in get_args(annotation):
        yield from _metadata_of(arg)
