"""Durations as written in settings, converted to whole milliseconds.

One rule everywhere: text carries its unit (``"500ms"``, ``"1.5s"``, ``"15m"``, ``"1h30m"``, ``"72h"``, ``"7d"``, or ISO 8601 such as
``"PT15M"``), and a bare number means seconds. Inside the service a duration is an ``int`` of milliseconds, because float deadlines livelock
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
    """Parse a number of seconds, text with units, ISO 8601 or a ``timedelta``.

    Returns:
        Whole milliseconds.

    Raises:
        ValueError: the value is none of these, or negative.
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
            amounts := {unit: number for unit, number in match.groupdict().items() if number}
        ):
            return _bounded_ms(
                sum((Decimal(number) * _UNITS[unit] for unit, number in amounts.items()), Decimal(0)), value
            )
    raise ValueError(
        f'must be a duration such as "500ms", "1s", "15m", "72h" or a number of seconds, not {preview(value)}'
    )


def _bounded_ms(ms: Decimal, value: object) -> int:
    if not ms.is_finite() or ms < 0:
        raise ValueError(f"must not be a negative or infinite duration, such as {preview(value)}")
    if ms > _MAX_MS:
        raise ValueError(f"must be at most a thousand years, not {preview(value)}")
    return int(ms.to_integral_value())


def preview(value: object) -> str:
    """Represent a value in one line of a message, cut to 80 characters."""
    try:
        text = repr(value)
    except ValueError:  # an integer with more digits than Python converts to text
        return "an integer with too many digits"
    return text if len(text) <= 80 else f"{text[:79]}…"


def humanize_ms(ms: int) -> str:
    """Format a duration for people, in at most two units.

    As in ``340 ms``, ``4.2 s``, ``3 min 20 s``, ``5 h 10 min`` and ``2 d 3 h``.
    """
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
    """Format a duration as in settings, exactly and in the largest whole unit.

    As in ``20ms``, ``15s`` and ``90d``.
    """
    unit, size = next(
        ((unit, size) for unit, size in reversed(_UNITS.items()) if ms and ms % size == 0), ("s", 1)
    )
    return f"{ms // size}{unit}"


Milliseconds = Annotated[int, BeforeValidator(parse_ms, json_schema_input_type=str | float)]
"""Settings field for a duration, read by :func:`parse_ms`, in whole milliseconds."""
