"""JSON that somebody else wrote, taken only where everybody can go on with it.

What is nested hundreds of levels deep is JSON to the parser and can be neither written again nor shown: whoever tries ends with an error
that nobody expects. Salesforce nests its answers three or four levels deep.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import orjson
from pydantic import TypeAdapter

__all__ = ["DEEPEST", "in_form", "is_shallow", "parsed"]

T = TypeVar("T")

DEEPEST: Final = 64


def parsed(body: bytes) -> Any:
    """The value; None when it is no JSON, or nested deeper than :data:`DEEPEST`."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return value if is_shallow(value) else None


def in_form(form: TypeAdapter[T], data: bytes) -> T:
    """What the JSON says, of exactly these types; whole numbers of more than 64 bits are none, for nobody could write them again.

    Raises:
        ValueError: it is something else.
    """
    try:
        return form.validate_json(orjson.dumps(orjson.loads(data)), strict=True)
    except TypeError as error:
        raise ValueError("nested too deep to be written again") from error


def is_shallow(value: Any) -> bool:
    """Whether it is nested at most :data:`DEEPEST` levels deep; asks without recursion."""
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return True
    return False
