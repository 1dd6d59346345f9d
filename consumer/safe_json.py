"""JSON from outside, accepted only where it can be encoded again.

The strict parser is fast and reads what Salesforce sends. What it refuses although JSON's grammar allows it is read by a second one, which
changes values that cannot be encoded again: half of a surrogate pair becomes U+FFFD, and a number beyond every float stays text. Both are
noted with the name of the field. ``NaN`` is not JSON.

The parser accepts JSON that is nested hundreds of levels deep, but it can be neither encoded nor shown again: any attempt ends in an
unexpected error. Salesforce nests its answers three or four levels deep.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeVar

import orjson
from pydantic import TypeAdapter

__all__ = [
    "MAX_DEPTH",
    "NestedTooDeep",
    "NotJson",
    "Repaired",
    "is_shallow",
    "loads",
    "loads_lenient",
    "parse",
    "prune",
    "split_array",
    "validate",
]

T = TypeVar("T")

MAX_DEPTH: Final = 64
MAX_VALUES: Final = 2_000_000
"""Maximum number of values in one document, roughly: as objects they take some hundred megabytes of memory."""
MAX_ELEMENTS: Final = 250_000
"""Maximum number of elements of an array that is split."""

_COUNTED_FROM: Final = 256 * 1024
"""Bytes; shorter documents cannot hold many values."""
_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_LONG_INTEGER: Final = 19
"""Characters, sign included, up to which every integer fits into 64 bits."""
_PRUNED_DEPTH: Final = 8


class NotJson(ValueError):
    """Bytes that are not JSON by its grammar."""


class NestedTooDeep(ValueError):
    """JSON that is nested deeper than any parser follows."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """Value read by the lenient parser.

    Attributes:
        value: what was read.
        fields: names of the fields whose value or name was changed to make it usable.
    """

    value: Any
    fields: tuple[str, ...]


def parse(body: bytes) -> Any:
    """Parse JSON.

    None when it is invalid, too large, or nested deeper than :data:`MAX_DEPTH`.
    """
    try:
        value = loads(body)
    except ValueError:
        return None
    return value if is_shallow(value) else None


def loads(body: bytes) -> Any:
    """Parse JSON strictly, and leniently where that fails.

    Raises:
        NotJson: it is not JSON, or has more than :data:`MAX_VALUES` values.
        NestedTooDeep: no parser can follow it.
    """
    if len(body) > _COUNTED_FROM:
        require_few_values(body)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return loads_lenient(body).value


def require_few_values(body: bytes) -> None:
    """Refuse a document that would fill the memory once it is parsed.

    Raises:
        NotJson: it has more than :data:`MAX_VALUES` values.
    """
    if body.count(b",") + body.count(b"[") + body.count(b"{") > MAX_VALUES:
        raise NotJson(f"more than {MAX_VALUES} values")


def loads_lenient(body: bytes) -> Repaired:
    """Parse everything that JSON's grammar allows.

    The fields whose value had to be changed are noted.

    Raises:
        NotJson: it is not JSON.
        NestedTooDeep: no parser can follow it.
    """
    try:
        value = _DECODER.decode(_text(body))
    except RecursionError as error:
        raise NestedTooDeep("nested deeper than any parser can follow") from error
    except ValueError as error:
        raise NotJson(str(error)) from error
    fields: dict[str, None] = {}
    return Repaired(_without_surrogates(value, fields), tuple(fields))


def _text(body: bytes) -> str:
    body = body.removeprefix(b"\xef\xbb\xbf")
    try:
        return body.decode()
    except UnicodeDecodeError:
        # Surrogates encoded as if they were characters; anything else that is not UTF-8 is not JSON.
        return body.decode("utf-8", "surrogatepass")


class _OutOfRange(str):
    """Number that stays text."""

    __slots__ = ()


def _integer(digits: str) -> int | str:
    if len(digits) <= _LONG_INTEGER:
        return int(digits)
    # The longest integers of 64 bits have 20 characters.
    number = int(digits) if len(digits) <= _LONG_INTEGER + 1 else None
    return number if number is not None and -(2**63) <= number < 2**64 else _OutOfRange(digits)


def _float(digits: str) -> float | str:
    number = float(digits)
    return number if abs(number) != float("inf") else _OutOfRange(digits)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER: Final = json.JSONDecoder(parse_int=_integer, parse_float=_float, parse_constant=_refuse)


def _without_surrogates(value: Any, fields: dict[str, None]) -> Any:
    """Replace lone surrogates in place, iteratively: the depth is not ours."""
    top: list[Any] = [value]
    containers: list[Any] = [top]
    while containers:
        container = containers.pop()
        items = list(container.items() if isinstance(container, dict) else enumerate(container))
        for key, each in items:
            if isinstance(each, dict | list):
                containers.append(each)
            elif isinstance(each, str) and (isinstance(each, _OutOfRange) or _SURROGATES.search(each)):
                container[key] = _SURROGATES.sub("\ufffd", str(each))
                fields[_name(key)] = None
        if isinstance(container, dict) and any(_SURROGATES.search(key) for key in container):
            usable = {_SURROGATES.sub("\ufffd", key): each for key, each in container.items()}
            fields.update((name, None) for name in usable if name not in container)
            container.clear()
            container.update(usable)
    return top[0]


def _name(key: Any) -> str:
    return _SURROGATES.sub("\ufffd", key) if isinstance(key, str) else "an element"


# ---------------------------------------------------------------- arrays, element by element

_TO_BRACKET: Final = re.compile(rb'(?:[^"\[\]{}]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+([\[\]{}])', re.DOTALL)
"""Matches up to the next bracket outside of strings."""
_TO_COMMA: Final = re.compile(rb'(?:[^",]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+(?:,|\Z)', re.DOTALL)
_ARRAY_BEGIN: Final = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*\[")
_OPENING: Final = (b"[", b"{")
_SPACE: Final = b" \t\r\n"


def split_array(body: bytes) -> list[tuple[int, int]]:
    """Locate the elements of a JSON array.

    Their content is not validated beyond brackets and strings.

    Raises:
        NotJson: it is not an array, or has more than :data:`MAX_ELEMENTS` elements, or more than :data:`MAX_VALUES` brackets in them.
    """
    if body.count(b"[") + body.count(b"{") > MAX_VALUES:
        raise NotJson(f"more than {MAX_VALUES} arrays and objects")
    array = _ARRAY_BEGIN.match(body)
    if array is None:
        raise NotJson("not an array")
    spans: list[tuple[int, int]] = []
    depth, begin, at = 1, array.end(), array.end()
    after_container = False
    while depth:
        match = _TO_BRACKET.match(body, at)
        if match is None:
            raise NotJson("the array does not end")
        at = match.end()
        if match[1] in _OPENING:
            depth += 1
            if depth == 2:
                _add_scalars(spans, body, begin, at - 1, after=after_container, before=True)
                begin = at - 1
        else:
            depth -= 1
            if depth == 1:
                if len(spans) >= MAX_ELEMENTS:
                    raise NotJson(f"the array has more than {MAX_ELEMENTS} elements")
                spans.append((begin, at))
                begin, after_container = at, True
    if body[at - 1 : at] != b"]":
        raise NotJson("the array ends with a brace")
    _add_scalars(spans, body, begin, at - 1, after=after_container, before=False)
    if body[at:].strip(_SPACE):
        raise NotJson("data after the array")
    return spans


def _add_scalars(
    spans: list[tuple[int, int]], body: bytes, begin: int, end: int, *, after: bool, before: bool
) -> None:
    """Add the elements between two containers, from which commas separate them."""
    if after and before and end - begin == 1 and body[begin:end] == b",":
        return
    parts: list[tuple[int, int]] = []
    at = begin
    while at <= end:
        match = _TO_COMMA.match(body, at, end)
        if match is None:
            raise NotJson("a string in the array does not end")
        ended = match.end() == end and body[end - 1 : end] != b","
        parts.append(_stripped(body, at, match.end() if ended else match.end() - 1))
        at = match.end()
        if ended or at == end:
            if not ended:
                parts.append((end, end))
            break
        if len(parts) > MAX_ELEMENTS:
            raise NotJson(f"the array has more than {MAX_ELEMENTS} elements")
    blank = [first == last for first, last in parts]
    if after and blank[:1] != [True]:
        raise NotJson("a comma is missing in the array")
    if before and blank[-1:] != [True]:
        raise NotJson("a comma is missing in the array")
    if after and before and len(parts) < 2:
        raise NotJson("a comma is missing in the array")
    inner = parts[1 if after else 0 : len(parts) - (1 if before else 0)]
    if not after and not before and inner and blank == [True]:
        return  # an empty array
    if any(first == last for first, last in inner):
        raise NotJson("an element is missing in the array")
    spans += inner


def _stripped(body: bytes, begin: int, end: int) -> tuple[int, int]:
    piece = body[begin:end]
    begin += len(piece) - len(piece.lstrip(_SPACE))
    return begin, begin + len(piece.strip(_SPACE))


def prune(element: bytes) -> bytes:
    """Replace everything that is nested deeper than a few levels by ``null``.

    Raises:
        NotJson: the brackets do not match.
    """
    kept: list[bytes] = []
    depth = begin = at = 0
    while (match := _TO_BRACKET.match(element, at)) is not None:
        at = match.end()
        if match[1] in _OPENING:
            depth += 1
            if depth == _PRUNED_DEPTH + 1:
                kept += (element[begin : at - 1], b"null")
        else:
            if depth == _PRUNED_DEPTH + 1:
                begin = at
            depth -= 1
    if depth:
        raise NotJson("brackets do not match")
    return b"".join((*kept, element[begin:]))


# ---------------------------------------------------------------- stored values


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
