"""Descriptions of invalid settings: full name, valid values, likely correction.

A secret's value is never repeated. Where a value came from the environment, the variable is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from consumer.durations import humanize_ms, preview
from consumer.errors import SettingProblem
from consumer.settings.field_paths import (
    closest_match,
    dotted,
    field_at,
    keys_at,
    variable,
)
from consumer.settings.values import is_duration, may_come_from_file

__all__ = ["to_problem"]


def to_problem(error: ErrorDetails, names: Mapping[tuple[str, ...], str]) -> SettingProblem:
    """Convert one of pydantic's errors to a problem.

    ``names`` maps paths to the environment variables that set them.
    """
    path = _setting_path(error)
    field = field_at(path)
    message = _message(error, path, field)
    source = next((names[path[:end]] for end in range(len(path), 0, -1) if path[:end] in names), None)
    return SettingProblem(dotted(path), f"{message} (set by {source})" if source else message)


def _setting_path(error: ErrorDetails) -> tuple[str, ...]:
    """Find the path of the setting, without the parts that pydantic adds.

    These are indexes of lists, branches of unions and ``[key]`` of mappings.
    """
    path = tuple(part for part in error["loc"] if isinstance(part, str) and "[" not in part)
    if error["type"] not in ("extra_forbidden", "missing"):
        while len(path) > 1 and field_at(path) is None and field_at(path[:-1]) is not None:
            path = path[:-1]
    return path


def _message(error: ErrorDetails, path: tuple[str, ...], field: FieldInfo | None) -> str:
    context: dict[str, Any] = error.get("ctx", {})
    kind = error["type"]
    if kind == "extra_forbidden":
        suggestion = closest_match(path[-1], keys_at(path[:-1]))
        return "is not a setting" + (
            f"; did you mean {dotted((*path[:-1], suggestion))}?" if suggestion else ""
        )
    if kind == "missing":
        return f"is needed; set it, or {variable(path)}"
    if kind == "value_error":
        return str(context.get("error", error["msg"]))
    if kind == "string_pattern_mismatch":
        return f"must have the form {context['pattern']}, not {preview(error['input'])}"
    if kind == "misfit":
        return error["msg"]
    secret = field is None or may_come_from_file(field)
    actual = "" if secret else f", not {preview(error['input'])}"
    if kind in ("literal_error", "enum"):
        expected = str(context["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
        suggestion = closest_match(str(error["input"]), expected)
        return f"must be one of {', '.join(expected)}{actual}" + (
            f"; did you mean {suggestion}?" if suggestion else ""
        )
    is_span_field = field is not None and is_duration(field)
    for name, comparison in (("ge", "at least"), ("le", "at most"), ("gt", "more than"), ("lt", "less than")):
        if name in context and kind.startswith(("greater_than", "less_than")):
            bound, value = context[name], error["input"]
            if is_span_field:
                actual = humanize_ms(value) if isinstance(value, int) else preview(value)
                return f"must be {comparison} {humanize_ms(bound)}, not {actual}"
            return f"must be {comparison} {bound}{actual}"
    return _MESSAGE_BY_KIND.get(kind, error["msg"][:1].lower() + error["msg"][1:]) + actual


_MESSAGE_BY_KIND = {
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be a table of keys",
    "model_type": "must be a table of keys",
    "model_attributes_type": "must be a table of keys",
}
