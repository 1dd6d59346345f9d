"""JSON from outside, accepted only where it can be encoded again.

The parser accepts JSON that is nested hundreds of levels deep, but it can be neither encoded nor shown again: any attempt ends in an
unexpected error. Salesforce nests its answers three or four levels deep.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import orjson
from pydantic import TypeAdapter

__all__ = ["MAX_DEPTH", "is_shallow", "parse", "validate"]

T = TypeVar("T")

MAX_DEPTH: Final = 64


def parse(body: bytes) -> Any:
    """Parse JSON; None when it is invalid, or nested deeper than :data:`MAX_DEPTH`."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return value if is_shallow(value) else None


def validate(adapter: TypeAdapter[T], data: bytes) -> T:
    """Parse JSON into exactly the adapter's types.

    Integers of more than 64 bits are refused, because they cannot be encoded again.

    Raises:
        ValueError: the data is not JSON, or has other types.
    """
    try:
        return adapter.validate_json(orjson.dumps(orjson.loads(data)), strict=True)
    except TypeError as error:
        raise ValueError("nested too deeply to be encoded again") from error


def is_shallow(value: Any) -> bool:
    """Report whether a value is nested at most :data:`MAX_DEPTH` levels, iteratively."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            inner
            for container in level
            if isinstance(container, dict | list)
            for inner in (container.values() if isinstance(container, dict) else container)
        ]
        if not level:
            return True
    return False
