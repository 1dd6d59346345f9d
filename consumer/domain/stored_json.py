"""Stored JSON that carries the version of its format: read in one way by whatever is stored.

A version that is greater than what this release knows belongs to a newer one, which the operator can run. Anything else that cannot be read
was damaged, or was written by something else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import orjson

from consumer.errors import StoreDamaged, StoreForeign

__all__ = ["VERSION_KEY", "NewerFormat", "decode_stored", "load_object"]

T = TypeVar("T")

VERSION_KEY = "v"


class NewerFormat(ValueError):
    """A newer release wrote it."""

    def __init__(self, name: str, version: int, newest: int) -> None:
        super().__init__(f"{name} is of format {version}; this version reads up to {newest}")


def load_object(
    data: bytes, newest: int, *, identity: str | None = None, default: int | None = None
) -> dict[str, Any]:
    """The JSON object, whose version is one that this release reads.

    Args:
        data: JSON.
        newest: version of the format that this release writes.
        identity: key of what names the object in every version, also in newer ones; None where nothing does.
        default: version where none is named; None requires one.

    Raises:
        NewerFormat: a newer release wrote it.
        KeyError: of a newer version and without its identity.
        ValueError: it is no JSON object with a version.
    """
    value = orjson.loads(data)
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - the caller is told of the data, not of a type
    version = value.get(VERSION_KEY, default)
    if type(version) is not int or version < 1:
        raise ValueError("it names no version of its format")
    if version > newest:
        raise NewerFormat("it" if identity is None else str(value[identity]), version, newest)
    return value


def decode_stored(what: str, data: bytes, read: Callable[[bytes], T]) -> T:
    """The result of ``read``.

    Args:
        what: names it for people, as in ``state of a record``.
        data: stored form.
        read: decodes it.

    Raises:
        StoreForeign: a newer release wrote it.
        StoreDamaged: it is no stored form.
    """
    try:
        return read(data)
    except NewerFormat as error:
        raise StoreForeign(f"the store holds the {what}, and {error}: run the newer release") from error
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise StoreDamaged(what, data) from error
