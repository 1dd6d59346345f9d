"""Stored JSON with a format version: the one way to decode it.

A version greater than the newest that this release knows was written by a newer release, which the operator can run. Any other unreadable
data was damaged, or written by another program.
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
    """Data that a newer release wrote."""

    def __init__(self, name: str, version: int, newest: int) -> None:
        super().__init__(f"{name} has format {version}; this version reads up to {newest}")


def load_object(
    data: bytes, newest: int, *, identity: str | None = None, default: int | None = None
) -> dict[str, Any]:
    """Parse a JSON object and check that this release reads its version.

    Args:
        data: JSON.
        newest: version of the format that this release writes.
        identity: key whose value identifies the object in every version, including newer ones; None where there is no such key.
        default: version of an object that has none; None makes the version mandatory.

    Raises:
        NewerFormat: a newer release wrote the data.
        KeyError: the data has a newer version and lacks its identity.
        ValueError: the data is not a JSON object with a version.
    """
    value = orjson.loads(data)
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - the data is wrong, not the type of an argument
    version = value.get(VERSION_KEY, default)
    if type(version) is not int or version < 1:
        raise ValueError("it has no format version")
    if version > newest:
        raise NewerFormat("it" if identity is None else str(value[identity]), version, newest)
    return value


def decode_stored(what: str, data: bytes, read: Callable[[bytes], T]) -> T:
    """Decode stored data with ``read``, converting its errors.

    Args:
        what: name of the kind of data for people, as in ``state of a record``.
        data: the stored data.
        read: decoder of the data.

    Raises:
        StoreForeign: a newer release wrote the data.
        StoreDamaged: the data has another form.
    """
    try:
        return read(data)
    except NewerFormat as error:
        raise StoreForeign(f"the store contains the {what}, and {error}: run the newer release") from error
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise StoreDamaged(what, data) from error
