"""Paths of settings, as in ``("store", "url")``, with their fields and variables."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from consumer.settings.model import Settings
from consumer.settings.values import may_come_from_file

__all__ = [
    "PREFIX",
    "closest_match",
    "dotted",
    "field_at",
    "is_handler_setting",
    "is_list",
    "is_mapping",
    "is_section",
    "keys_at",
    "variable",
    "variables",
]

PREFIX = "CADENCE_"
"""Prefix of every environment variable of the service."""

_Path = Sequence[str]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for arg in get_args(annotation) if (model := _model_in(arg))), None)


def field_at(path: _Path) -> FieldInfo | None:
    """Find the field at ``path``, or None; any name is accepted for a handler."""
    model: type[BaseModel] | None = Settings
    field: FieldInfo | None = None
    parts = iter(path)
    for part in parts:
        if model is None or (field := model.model_fields.get(part)) is None:
            return None
        if is_mapping(field):
            model = _model_in(field.annotation)
            if model is not None and next(parts, None) is None:
                return field
        else:
            model = _model_in(field.annotation)
    return field


def keys_at(path: _Path) -> list[str]:
    """List the keys allowed under ``path``; empty for other than a section.

    Also empty for the names of handlers, which are free.
    """
    if not path:
        return list(Settings.model_fields)
    field = field_at(path)
    if field is None or (is_mapping(field) and len(path) == 1):
        return []
    model = _model_in(field.annotation)
    return list(model.model_fields) if model else []


def is_mapping(field: FieldInfo) -> bool:
    """Report whether a field has free keys: handlers, and a handler's own settings."""
    return get_origin(field.annotation) is dict


def is_list(field: FieldInfo) -> bool:
    """Report whether a field is a list, which a variable separates by commas."""
    return any(
        get_origin(annotation) in (tuple, list, frozenset, set)
        for annotation in (field.annotation, *get_args(field.annotation))
    )


def is_section(path: _Path) -> bool:
    """Report whether only keys below ``path`` can be set."""
    return bool(keys_at(path)) or tuple(path) == ("handlers",)


def is_handler_setting(path: _Path) -> bool:
    """Report whether ``path`` lies in a handler's own settings.

    Only the handler knows these.
    """
    return len(path) > 3 and path[0] == "handlers" and path[2] == "settings"


def dotted(path: Iterable[str | int]) -> str:
    """Join a path to a name, as in ``handlers.notify.on``."""
    return ".".join(str(part) for part in path)


def variable(path: Iterable[str | int]) -> str:
    """Name the environment variable of a setting, as in ``CADENCE_STORE__URL``."""
    return PREFIX + "__".join(str(part).upper().replace("-", "_") for part in path)


def variables() -> list[str]:
    """List every variable except those of the handlers."""
    names: list[str] = []
    for section in Settings.model_fields:
        keys = keys_at([section])
        names += [variable([section, key]) for key in keys] or [variable([section])]
        names += [
            variable([section, f"{key}_file"])
            for key in keys
            if (field := field_at([section, key])) and may_come_from_file(field)
        ]
    return names


def closest_match(word: str, known: Iterable[str]) -> str | None:
    """Find the known word closest to ``word``, or None."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)), None)
