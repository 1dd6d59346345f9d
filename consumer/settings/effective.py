"""Effective settings, each with its value and origin, and without secrets.

Only a handler knows which of its own settings are secret, and people paste URLs that contain secrets: text in these settings is hidden,
numbers and booleans are shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from consumer.durations import format_ms
from consumer.settings.field_paths import dotted
from consumer.settings.loader import load_settings
from consumer.settings.sources import Layer, read_environment, read_file
from consumer.settings.store_settings import without_password
from consumer.settings.values import is_duration

__all__ = ["HIDDEN", "EffectiveSetting", "SettingOrigin", "effective_settings"]

HIDDEN: Final = "***"

SettingOrigin = Literal["default", "file", "environment", "secret_file"]


@dataclass(frozen=True, slots=True)
class EffectiveSetting:
    """Setting with its value and origin.

    Attributes:
        setting: full name of the setting, as in ``handlers.notify.on``.
        value: the value as written in settings, JSON-ready; :data:`HIDDEN` for a secret, None if unset.
        origin: kind of the value's origin.
        source: the settings file, the variable or the secret file; None for a default.
    """

    setting: str
    value: Any
    origin: SettingOrigin
    source: str | None


def effective_settings(config: Path | None, environ: Mapping[str, str]) -> list[EffectiveSetting]:
    """List every setting, in the order of the documentation.

    Args:
        config: the TOML file; None for none.
        environ: usually ``os.environ``.

    Raises:
        SettingsError: a setting is invalid; carries every problem.
    """
    settings = load_settings(config, environ, connects=False)
    origins = _OriginLookup(
        read_file(config) if config is not None else Layer(), read_environment(environ), str(config)
    )
    return [
        EffectiveSetting(dotted(path), value, *origins.of(path))
        for path, value in (
            *_leaves(settings, ()),
            *(
                leaf
                for name, spec in settings.handlers_to_run().items()
                for leaf in _leaves(spec, ("handlers", name))
            ),
        )
    ]


def _leaves(model: BaseModel, path_prefix: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, field in type(model).model_fields.items():
        value, path = getattr(model, name), (*path_prefix, name)
        if isinstance(value, BaseModel):
            yield from _leaves(value, path)
        elif path == ("handlers",):
            continue
        elif isinstance(value, dict):
            yield from _handler_leaves(value, path)
        else:
            yield path, _display_value(value, field, path)


def _handler_leaves(
    values: Mapping[str, Any], path_prefix: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _handler_leaves(value, (*path_prefix, name))
        else:
            yield (*path_prefix, name), value if isinstance(value, bool | int | float) else HIDDEN


def _display_value(value: Any, field: FieldInfo, path: tuple[str, ...]) -> Any:
    if isinstance(value, SecretStr):
        return HIDDEN
    if value is None:
        return None
    if path == ("store", "url"):
        return without_password(value)
    if is_duration(field):
        return format_ms(value)
    if isinstance(value, frozenset):
        return sorted(to_jsonable_python(value))
    return to_jsonable_python(value)


class _OriginLookup:
    """Lookup of the origin of values.

    A variable may hold a whole table, so the nearest ancestor of a setting that a source sets decides.
    """

    def __init__(self, file: Layer, environment: Layer, name: str) -> None:
        self._file = file
        self._environment = environment
        self._name = name

    def of(self, path: tuple[str, ...]) -> tuple[SettingOrigin, str | None]:
        """Find the origin of the setting at ``path``, and its source."""
        normalized = tuple(part.lower().replace("-", "_") for part in path)
        for ancestor in _ancestors(normalized):
            if (file := self._environment.files.get(ancestor)) is not None:
                return "secret_file", f"{file} ({self._environment.names[ancestor]})"
            if (variable := self._environment.names.get(ancestor)) is not None:
                return "environment", variable
        if (file := self._file.files.get(path)) is not None:
            return "secret_file", f"{file} ({path[-1]}_file in {self._name})"
        table: Any = self._file.values
        for part in path:
            if not isinstance(table, Mapping) or part not in table:
                return "default", None
            table = table[part]
        return "file", self._name


def _ancestors(path: tuple[str, ...]) -> Iterable[tuple[str, ...]]:
    return (path[:end] for end in range(len(path), 0, -1))
