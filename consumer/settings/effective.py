"""What the service would be told, setting by setting, and where each value comes from; without a secret.

Which of the settings of a handler's own are secret is known to the handler alone, and people paste web addresses that are: text in there
is hidden, numbers and switches are shown.
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
from consumer.settings.model import without_password
from consumer.settings.sources import Layer, read_environment, read_file
from consumer.settings.values import is_duration

__all__ = ["HIDDEN", "EffectiveSetting", "SettingOrigin", "effective_settings"]

HIDDEN: Final = "***"

SettingOrigin = Literal["default", "file", "environment", "secret_file"]


@dataclass(frozen=True, slots=True)
class EffectiveSetting:
    """One setting.

    Attributes:
        setting: its full name, as in ``handlers.notify.on``.
        value: as it would be written, JSON-ready; :data:`HIDDEN` for a secret, None where there is none.
        origin: what kind of place it comes from.
        source: the settings file, the variable or the secret file; None for a default.
    """

    setting: str
    value: Any
    origin: SettingOrigin
    source: str | None


def effective_settings(config: Path | None, environ: Mapping[str, str]) -> list[EffectiveSetting]:
    """Every setting, in the order of the documentation.

    Args:
        config: the TOML file; None for none.
        environ: usually ``os.environ``.

    Raises:
        SettingsError: they are unusable; every problem at once.
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
    """Where values come from: what is nearest above a setting decides, for a variable may hold a whole table."""

    def __init__(self, file: Layer, environment: Layer, name: str) -> None:
        self._file = file
        self._environment = environment
        self._name = name

    def of(self, path: tuple[str, ...]) -> tuple[SettingOrigin, str | None]:
        """Kind of place, and which."""
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
