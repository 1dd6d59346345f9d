"""Sources of settings: one TOML file, the environment, and files with secrets.

A layer consists of nested values and the problems found while reading it; it records the variable of each value, so that a message can name
it. The environment takes precedence over the file. An empty variable counts as unset, because ``${TOKEN:-}`` in a compose file produces
one. Kubernetes injects variables for every Service in the namespace (``CADENCE_CONSUMER_SERVICE_HOST``): those are ignored. Any other
unknown ``CADENCE_`` variable is a problem, because a misspelt setting that is silently ignored is found at 3 a.m.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from consumer.durations import preview
from consumer.errors import SettingProblem
from consumer.safe_json import MAX_DEPTH, is_shallow
from consumer.settings.field_paths import (
    PREFIX,
    closest_match,
    dotted,
    field_at,
    is_handler_setting,
    is_list,
    is_mapping,
    is_section,
    keys_at,
    variable,
    variables,
)
from consumer.settings.values import may_come_from_file

__all__ = [
    "CONFIG_OPTION",
    "CONFIG_VARIABLE",
    "CONTAINER_VARIABLE",
    "Layer",
    "merged",
    "read_environment",
    "read_file",
]

CONFIG_VARIABLE = "CADENCE_CONFIG"
"""Variable that names the settings file in the absence of ``--config``."""

CONFIG_OPTION = "--config"
"""Name under which problems of the file as a whole are reported."""

CONTAINER_VARIABLE = "CADENCE_CONTAINER"
"""Variable that the image sets; not a setting.

Files outside of mounted volumes are lost with the container, so ``store.url`` has no default there.
"""

_SERVICE_LINK = re.compile(
    r"_SERVICE_HOST$|_SERVICE_PORT(_[A-Z0-9_]+)?$|_PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?$"
)
_FILE = "_file"
_TOO_DEEP = f"nested more than {MAX_DEPTH} levels deep, deeper than any setting"


@dataclass(slots=True)
class Layer:
    """Values of one source.

    Attributes:
        values: nested values, as input of the models.
        names: path to the environment variable that set it.
        files: path to the file that contained the value, where a file was named in its place.
        problems: problems found while reading.
    """

    values: dict[str, Any] = field(default_factory=dict)
    names: dict[tuple[str, ...], str] = field(default_factory=dict)
    files: dict[tuple[str, ...], Path] = field(default_factory=dict)
    problems: list[SettingProblem] = field(default_factory=list)


def read_file(path: Path) -> Layer:
    """Read the TOML file at ``path``, to whose directory secret files are relative."""
    layer = Layer()
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        if is_shallow(values):
            layer.values = values
        else:
            layer.problems.append(SettingProblem(CONFIG_OPTION, f"{path} is {_TOO_DEEP}"))
    except OSError as error:
        layer.problems.append(SettingProblem(CONFIG_OPTION, f"{path} cannot be read: {error.strerror}"))
    except UnicodeDecodeError:
        layer.problems.append(SettingProblem(CONFIG_OPTION, f"{path} is not UTF-8 text"))
    except RecursionError:
        layer.problems.append(SettingProblem(CONFIG_OPTION, f"{path} is {_TOO_DEEP}"))
    except ValueError as error:
        layer.problems.append(SettingProblem(CONFIG_OPTION, f"{path} is not valid TOML: {error}"))
    _resolve_files(layer.values, (), path.parent, layer)
    return layer


def _resolve_files(values: dict[str, Any], path: tuple[str, ...], base: Path, layer: Layer) -> None:
    for key, value in list(values.items()):
        if isinstance(value, dict):
            _resolve_files(value, (*path, key), base, layer)
            continue
        if _exceeds_64_bits(value):
            del values[key]
            layer.problems.append(
                SettingProblem(
                    dotted((*path, key)), "is an integer of more than 64 bits, which TOML does not allow"
                )
            )
            continue
        setting = key.removesuffix(_FILE)
        target = (*path, setting)
        if setting == key or (known := field_at(target)) is None or not may_come_from_file(known):
            continue
        del values[key]
        if setting in values:
            layer.problems.append(SettingProblem(dotted(target), f"is set twice, also by {key}; keep one"))
        elif not isinstance(value, str):
            layer.problems.append(
                SettingProblem(dotted(target), f"{key} must be the path of a file, not {preview(value)}")
            )
        elif (text := _read_secret_file(base / value, target, key, layer)) is not None:
            values[setting] = text


def _exceeds_64_bits(value: object) -> bool:
    if isinstance(value, list):
        return any(map(_exceeds_64_bits, value))
    return isinstance(value, int) and value.bit_length() > 63


def read_environment(environ: Mapping[str, str]) -> Layer:
    """Read every ``CADENCE_<SECTION>__<KEY>`` in ``environ``.

    Secret files are relative to the working directory.
    """
    layer = Layer()
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in (CONFIG_VARIABLE, CONTAINER_VARIABLE) or not environ[name]:
            continue
        path = tuple(part.lower() for part in name.removeprefix(PREFIX).split("__"))
        known = field_at(path)
        if is_handler_setting(path) or (known is not None and not is_section(path)):
            _set_value(layer, path, name, _parse_value(environ[name], known, path, name, layer))
        elif known is not None:
            example = next((v for v in variables() if v.startswith(f"{name}__")), f"{name}__NOTIFY__USE")
            layer.problems.append(
                SettingProblem(name, f"is a section; set its keys one by one, as in {example}")
            )
        elif (secret := _secret_path(path)) is not None:
            if variable(secret) in environ and environ[variable(secret)]:
                layer.problems.append(
                    SettingProblem(
                        dotted(secret), f"is set twice, by {variable(secret)} and {name}; keep one"
                    )
                )
            elif (text := _read_secret_file(Path(environ[name]), secret, name, layer)) is not None:
                _set_value(layer, secret, name, text)
            else:
                layer.names[secret] = name
        elif not _SERVICE_LINK.search(name) or "__" in name:
            layer.problems.append(SettingProblem(name, _unknown_message(name, path)))
    return layer


def _secret_path(path: tuple[str, ...]) -> tuple[str, ...] | None:
    target = (*path[:-1], path[-1].removesuffix(_FILE))
    known = field_at(target)
    return target if target != path and known is not None and may_come_from_file(known) else None


def _unknown_message(name: str, path: tuple[str, ...]) -> str:
    known = variables()
    if path[0] == "handlers" and len(path) == 3:
        known += [variable((*path[:2], key)) for key in keys_at(path[:2])]
    suggestion = closest_match(name, known)
    return "is not a setting" + (f"; did you mean {suggestion}?" if suggestion else "")


def _parse_value(text: str, known: Any, path: tuple[str, ...], name: str, layer: Layer) -> Any:
    structured = text.lstrip().startswith(("[", "{"))
    if known is not None and is_list(known) and not structured:
        return [part.strip() for part in text.split(",") if part.strip()]
    if structured and (known is None or is_list(known) or is_mapping(known)):
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError as error:
            layer.problems.append(
                SettingProblem(dotted(path), f"{name} begins like JSON but is not valid JSON: {error}")
            )
            return None
    return text


def _set_value(layer: Layer, path: tuple[str, ...], name: str, value: Any) -> None:
    table = layer.values
    for depth, part in enumerate(path[:-1], 1):
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            layer.problems.append(
                SettingProblem(
                    dotted(path),
                    f"{name} sets a key of a table that {layer.names[path[:depth]]} sets as a whole; keep one",
                )
            )
            return
    layer.names[path] = name
    table[path[-1]] = value


def _read_secret_file(file: Path, target: tuple[str, ...], named_by: str, layer: Layer) -> str | None:
    try:
        text = file.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        layer.problems.append(
            SettingProblem(dotted(target), f"the file {file} ({named_by}) cannot be read: {error.strerror}")
        )
    except UnicodeDecodeError:
        layer.problems.append(
            SettingProblem(dotted(target), f"the file {file} ({named_by}) is not UTF-8 text")
        )
    except ValueError as error:
        layer.problems.append(
            SettingProblem(dotted(target), f"{named_by} is not the path of a file: {error}")
        )
    else:
        if text:
            layer.files[target] = file
            return text
        layer.problems.append(SettingProblem(dotted(target), f"the file {file} ({named_by}) is empty"))
    return None


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge ``above`` into ``below``, key by key; ``above`` takes precedence.

    Variable names have neither lower case nor hyphens, so ``MY_CRM`` matches ``my-crm`` where the file contains it.
    """
    result = dict(below)
    for key, value in above.items():
        existing_key = next((known for known in below if known.lower().replace("-", "_") == key), key)
        existing = result.get(existing_key)
        result[existing_key] = (
            merged(existing, value) if isinstance(existing, Mapping) and isinstance(value, Mapping) else value
        )
    return result
