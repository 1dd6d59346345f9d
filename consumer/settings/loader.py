"""From file and environment to :class:`Settings`, or to every problem at once.

A person who starts the service for the first time has several things wrong; learning of them one per attempt is what makes people give up.
So reading, typing and the rules between fields all add to one list, and a setting is complained about once.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from consumer.delivery.handler_settings import HandlerSpec
from consumer.errors import SettingProblem, SettingsError
from consumer.settings.model import Settings
from consumer.settings.problems import to_problem
from consumer.settings.salesforce_settings import salesforce_problems
from consumer.settings.sources import (
    CONFIG_OPTION,
    CONTAINER_VARIABLE,
    Layer,
    merged,
    read_environment,
    read_file,
)

__all__ = ["load_settings", "readable_handlers"]


def load_settings(config: Path | None, environ: Mapping[str, str], *, connects: bool = True) -> Settings:
    """Settings from the TOML file ``config`` (if any) under the ``CADENCE_`` variables of ``environ``.

    Args:
        config: the file; None for none.
        environ: usually ``os.environ``; nothing else of the process is read.
        connects: whether Salesforce will be talked to. Commands that only read the store need no credentials.

    Raises:
        SettingsError: something is unusable; it carries every problem, one per setting.
    """
    file = read_file(config) if config is not None else Layer()
    environment = read_environment(environ)
    values = merged(file.values, environment.values)
    problems = [*file.problems, *environment.problems]
    settings: Settings | None = None
    try:
        settings = Settings(**values)
    except ValidationError as error:
        problems += [to_problem(detail, environment.names) for detail in error.errors(include_url=False)]
    # What may stand in a file that cannot be read is not missing.
    is_read = not any(problem.setting == CONFIG_OPTION for problem in file.problems)
    if is_read and environ.get(CONTAINER_VARIABLE) and not _has_store_url(values):
        problems.append(SettingProblem("store.url", _NO_DEFAULT_STORE))
    if is_read and connects:
        section = values.get("salesforce", {})
        problems += salesforce_problems(section if isinstance(section, Mapping) else {})
    if problems or settings is None:
        raise SettingsError(_first_per_setting(problems))
    return settings


def readable_handlers(config: Path | None, environ: Mapping[str, str]) -> dict[str, HandlerSpec]:
    """Those handlers of which the section can be read, whatever else is wrong with the settings.

    Whether they can be loaded does not depend on the rest, and is worth knowing in the same attempt.
    """
    file = read_file(config) if config is not None else Layer()
    sections = merged(file.values, read_environment(environ).values).get("handlers", {})
    found: dict[str, HandlerSpec] = {}
    for name, section in sections.items() if isinstance(sections, Mapping) else ():
        with suppress(ValidationError):
            found[name] = HandlerSpec.model_validate(section)
    return found


_NO_DEFAULT_STORE = (
    "is needed in a container, whose own disk would lose the replay positions; set it, or CADENCE_STORE__URL, "
    "to a redis:// server, or to sqlite://// and a file on a mounted volume"
)


def _has_store_url(values: Mapping[str, Any]) -> bool:
    store = values.get("store", {})
    return not isinstance(store, Mapping) or "url" in store


def _first_per_setting(problems: list[SettingProblem]) -> list[SettingProblem]:
    first: dict[str, SettingProblem] = {}
    for problem in problems:
        first.setdefault(problem.setting, problem)
    return list(first.values())
