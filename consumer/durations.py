"""How people write spans of time in settings, and what the service makes of them: whole milliseconds.

One rule everywhere: text carries its unit (``"500ms"``, ``"1.5s"``, ``"15m"``, ``"1h30m"``, ``"72h"``, ``"7d"``, or ISO 8601 such as
``"PT15M"``), a bare number means seconds. Inside the service a span is an ``int`` of milliseconds, because float deadlines livelock
under fake clocks.
"""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator

__all__ = ["Milliseconds", "format_ms", "humanize_ms", "parse_ms", "preview"]

_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_MAX_MS = 1_000 * 365 * 86_400_000
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_TEXT_WITH_UNITS = re.compile(rf"(?:{_PART.pattern}\s*)+")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_ISO = re.compile(
    r"P(?:(?P<d>\d+)D)?(?:T(?:(?P<h>\d+(?:\.\d+)?)H)?(?:(?P<m>\d+(?:\.\d+)?)M)?(?:(?P<s>\d+(?:\.\d+)?)S)?)?"
)


def parse_ms(value: object) -> int:
    """The whole milliseconds in what somebody wrote: a number of seconds, text with units, ISO 8601, or a ``timedelta``.

    Raises:
        ValueError: it is none of these, or negative.
    """
    if isinstance(value, timedelta):
        return _bounded_ms(Decimal(value // timedelta(milliseconds=1)), value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _bounded_ms(Decimal(value if isinstance(value, int) else str(value)) * 1_000, value)
    if isinstance(value, str):
        text = value.strip()
        if _NUMBER.fullmatch(text):
            return _bounded_ms(Decimal(text) * 1_000, value)
        if _TEXT_WITH_UNITS.fullmatch(text.lower()):
            parts = _PART.findall(text.lower())
            return _bounded_ms(
                sum((Decimal(number) * _UNITS[unit] for number, unit in parts), Decimal(0)), value
            )
        if (match := _ISO.fullmatch(text.upper())) and (
            given := {unit: number for unit, number in match.groupdict().items() if number}
        ):
            return _bounded_ms(
                sum((Decimal(number) * _UNITS[unit] for unit, number in given.items()), Decimal(0)), value
            )
    raise ValueError(
        f'must be a span of time such as "500ms", "1s", "15m", "72h" or a number of seconds, not {preview(value)}'
    )


def _bounded_ms(ms: Decimal, value: object) -> int:
    if not ms.is_finite() or ms < 0:
        raise ValueError(f"must not be a negative or endless span of time, as {preview(value)} is")
    if ms > _MAX_MS:
        raise ValueError(f"must be a span of at most a thousand years, not {preview(value)}")
    return int(ms.to_integral_value())


def preview(value: object) -> str:
    """What somebody wrote, for a message of one line: cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of more digits than Python writes
        return "a number without end"
    return text if len(text) <= 80 else f"{text[:79]}…"


def humanize_ms(ms: int) -> str:
    """A span for people, in at most two units: ``340 ms``, ``4.2 s``, ``3 min 20 s``, ``5 h 10 min``, ``2 d 3 h``."""
    if ms < 1_000:
        return f"{ms} ms"
    if ms < 60_000:
        return f"{ms / 1_000:.1f} s".replace(".0 s", " s")
    for unit, name, smaller_unit, smaller_name in (
        (86_400_000, "d", 3_600_000, "h"),
        (3_600_000, "h", 60_000, "min"),
    ):
        if ms >= unit:
            rest = ms % unit // smaller_unit
            return f"{ms // unit} {name} {rest} {smaller_name}" if rest else f"{ms // unit} {name}"
    rest = ms % 60_000 // 1_000
    return f"{ms // 60_000} min {rest} s" if rest else f"{ms // 60_000} min"


def format_ms(ms: int) -> str:
    """A span as it stands in settings, exact and in the largest unit that it is a whole number of: ``20ms``, ``15s``, ``90d``."""
    unit, size = next(
        ((unit, size) for unit, size in reversed(_UNITS.items()) if ms and ms % size == 0), ("s", 1)
    )
    return f"{ms // size}{unit}"


Milliseconds = Annotated[int, BeforeValidator(parse_ms, json_schema_input_type=str | float)]
"""A settings field that holds a span of time: whole milliseconds, written as :func:`parse_ms` reads it."""
