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

from consumer.durations import as_written
from consumer.settings.loading import load_settings
from consumer.settings.model import without_password
from consumer.settings.schema import dotted
from consumer.settings.sources import Layer, read_environment, read_file
from consumer.settings.values import is_span

__all__ = ["HIDDEN", "Origin", "Shown", "shown_settings"]

HIDDEN: Final = "***"

Origin = Literal["default", "file", "environment", "secret_file"]


@dataclass(frozen=True, slots=True)
class Shown:
    """One setting.

    Attributes:
        setting: its full name, as in ``handlers.notify.on``.
        value: as it would be written, JSON-ready; :data:`HIDDEN` for a secret, None where there is none.
        origin: what kind of place it comes from.
        source: the settings file, the variable or the secret file; None for a default.
    """

    setting: str
    value: Any
    origin: Origin
    source: str | None


def shown_settings(config: Path | None, environ: Mapping[str, str]) -> list[Shown]:
    """Every setting, in the order of the documentation.

    Args:
        config: the TOML file; None for none.
        environ: usually ``os.environ``.

    Raises:
        SettingsError: they are unusable; every problem at once.
    """
    settings = load_settings(config, environ, connects=False)
    origins = _Origins(
        read_file(config) if config is not None else Layer(), read_environment(environ), str(config)
    )
    return [
        Shown(dotted(path), value, *origins.of(path))
        for path, value in (
            *_leaves(settings, ()),
            *(
                leaf
                for name, spec in settings.handlers_to_run().items()
                for leaf in _leaves(spec, ("handlers", name))
            ),
        )
    ]


def _leaves(model: BaseModel, at: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, field in type(model).model_fields.items():
        value, path = getattr(model, name), (*at, name)
        if isinstance(value, BaseModel):
            yield from _leaves(value, path)
        elif path == ("handlers",):
            continue
        elif isinstance(value, dict):
            yield from _own(value, path)
        else:
            yield path, _shown(value, field, path)


def _own(values: Mapping[str, Any], at: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _own(value, (*at, name))
        else:
            yield (*at, name), value if isinstance(value, bool | int | float) else HIDDEN


def _shown(value: Any, field: FieldInfo, path: tuple[str, ...]) -> Any:
    if isinstance(value, SecretStr):
        return HIDDEN
    if value is None:
        return None
    if path == ("store", "url"):
        return without_password(value)
    if is_span(field):
        return as_written(value)
    if isinstance(value, frozenset):
        return sorted(to_jsonable_python(value))
    return to_jsonable_python(value)


class _Origins:
    """Where values come from: what is nearest above a setting decides, for a variable may hold a whole table."""

    def __init__(self, file: Layer, environment: Layer, name: str) -> None:
        self._file = file
        self._environment = environment
        self._name = name

    def of(self, path: tuple[str, ...]) -> tuple[Origin, str | None]:
        """Kind of place, and which."""
        written = tuple(part.lower().replace("-", "_") for part in path)
        for given in _upwards(written):
            if (file := self._environment.files.get(given)) is not None:
                return "secret_file", f"{file} ({self._environment.names[given]})"
            if (variable := self._environment.names.get(given)) is not None:
                return "environment", variable
        if (file := self._file.files.get(path)) is not None:
            return "secret_file", f"{file} ({path[-1]}_file in {self._name})"
        place: Any = self._file.values
        for part in path:
            if not isinstance(place, Mapping) or part not in place:
                return "default", None
            place = place[part]
        return "file", self._name


def _upwards(path: tuple[str, ...]) -> Iterable[tuple[str, ...]]:
    return (path[:end] for end in range(len(path), 0, -1))
