"""JSON that somebody else wrote, taken only where everybody can go on with it.

What is nested hundreds of levels deep is JSON to the parser and can be neither written again nor shown: whoever tries ends with an error
that nobody expects. Salesforce nests its answers three or four levels deep.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import orjson
from pydantic import TypeAdapter

__all__ = ["MAX_DEPTH", "is_shallow", "parse", "validate"]

T = TypeVar("T")

MAX_DEPTH: Final = 64


def parse(body: bytes) -> Any:
    """The value; None when it is no JSON, or nested deeper than :data:`MAX_DEPTH`."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return value if is_shallow(value) else None


def validate(adapter: TypeAdapter[T], data: bytes) -> T:
    """What the JSON says, of exactly these types; whole numbers of more than 64 bits are none, for nobody could write them again.

    Raises:
        ValueError: it is something else.
    """
    try:
        return adapter.validate_json(orjson.dumps(orjson.loads(data)), strict=True)
    except TypeError as error:
        raise ValueError("nested too deep to be written again") from error


def is_shallow(value: Any) -> bool:
    """Whether it is nested at most :data:`MAX_DEPTH` levels deep; asks without recursion."""
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
