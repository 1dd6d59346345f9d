"""Loader of :class:`Settings` from file and environment; reports all problems.

A person who starts the service for the first time makes several mistakes, and gives up if each attempt reports only one. So reading, typing
and the rules between fields all add to one list, in which a setting occurs once.
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
    """Load the TOML file ``config``, overridden by ``CADENCE_`` variables.

    Args:
        config: the file; None for none.
        environ: usually ``os.environ``; nothing else of the process is read.
        connects: whether the caller will connect to Salesforce. Commands that only read the store need no credentials.

    Raises:
        SettingsError: a setting is invalid; carries every problem, one per setting.
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
    # A setting is not reported as missing if it may be in a file that cannot be read.
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
    """Load the handlers whose section is valid, whatever other settings are invalid.

    Loading them does not depend on the other settings, so their problems can be reported in the same attempt.
    """
    file = read_file(config) if config is not None else Layer()
    sections = merged(file.values, read_environment(environ).values).get("handlers", {})
    handlers: dict[str, HandlerSpec] = {}
    for name, section in sections.items() if isinstance(sections, Mapping) else ():
        with suppress(ValidationError):
            handlers[name] = HandlerSpec.model_validate(section)
    return handlers


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
