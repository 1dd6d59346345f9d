"""What is wrong, in the words of the person who has to change it: the setting's full name, what it must be, what was probably meant.

A secret's value is never repeated. Where a value came from the environment, the variable is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from consumer.durations import in_words, shown
from consumer.errors import Problem
from consumer.settings.schema import closest, dotted, field_at, keys_at, variable
from consumer.settings.values import is_span, may_come_from_file

__all__ = ["in_our_words"]


def in_our_words(error: ErrorDetails, names: Mapping[tuple[str, ...], str]) -> Problem:
    """One of pydantic's errors as a problem; ``names`` maps paths to the environment variables that set them."""
    path = _setting_path(error)
    field = field_at(path)
    message = _message(error, path, field)
    by = next((names[path[:end]] for end in range(len(path), 0, -1) if path[:end] in names), None)
    return Problem(dotted(path), f"{message} (set by {by})" if by else message)


def _setting_path(error: ErrorDetails) -> tuple[str, ...]:
    """Where it is, without what pydantic adds: indexes of lists, branches of unions, ``[key]`` of mappings."""
    path = tuple(part for part in error["loc"] if isinstance(part, str) and "[" not in part)
    if error["type"] not in ("extra_forbidden", "missing"):
        while len(path) > 1 and field_at(path) is None and field_at(path[:-1]) is not None:
            path = path[:-1]
    return path


def _message(error: ErrorDetails, path: tuple[str, ...], field: FieldInfo | None) -> str:
    context: dict[str, Any] = error.get("ctx", {})
    kind = error["type"]
    if kind == "extra_forbidden":
        meant = closest(path[-1], keys_at(path[:-1]))
        return "is not a setting" + (f"; did you mean {dotted((*path[:-1], meant))}?" if meant else "")
    if kind == "missing":
        return f"is needed; set it, or {variable(path)}"
    if kind == "value_error":
        return str(context.get("error", error["msg"]))
    if kind == "string_pattern_mismatch":
        return f"must have the form {context['pattern']}, not {shown(error['input'])}"
    if kind == "misfit":
        return error["msg"]
    secret = field is None or may_come_from_file(field)
    got = "" if secret else f", not {shown(error['input'])}"
    if kind in ("literal_error", "enum"):
        expected = str(context["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
        meant = closest(str(error["input"]), expected)
        return f"must be one of {', '.join(expected)}{got}" + (f"; did you mean {meant}?" if meant else "")
    span = field is not None and is_span(field)
    for name, words in (("ge", "at least"), ("le", "at most"), ("gt", "more than"), ("lt", "less than")):
        if name in context and kind.startswith(("greater_than", "less_than")):
            bound, value = context[name], error["input"]
            if span:
                got = in_words(value) if isinstance(value, int) else shown(value)
                return f"must be {words} {in_words(bound)}, not {got}"
            return f"must be {words} {bound}{got}"
    return _BY_KIND.get(kind, error["msg"][:1].lower() + error["msg"][1:]) + got


_BY_KIND = {
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
