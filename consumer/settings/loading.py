"""From file and environment to :class:`Settings`, or to every problem at once.

A person who starts the service for the first time has several things wrong; learning of them one per attempt is what makes people give up.
So reading, typing and the rules between fields all add to one list, and a setting is complained about once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from consumer.errors import Problem, SettingsError
from consumer.settings.model import Settings
from consumer.settings.problems import in_our_words
from consumer.settings.salesforce import salesforce_problems
from consumer.settings.sources import CONTAINER_VARIABLE, Layer, merged, read_environment, read_file

__all__ = ["load_settings"]


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
        problems += [in_our_words(detail, environment.names) for detail in error.errors(include_url=False)]
    if environ.get(CONTAINER_VARIABLE) and not _names_store(values):
        problems.append(Problem("store.url", _NO_DEFAULT_STORE))
    if connects:
        section = values.get("salesforce", {})
        problems += salesforce_problems(section if isinstance(section, Mapping) else {})
    if problems or settings is None:
        raise SettingsError(_one_per_setting(problems))
    return settings


_NO_DEFAULT_STORE = (
    "is needed in a container, whose own disk would lose the replay positions; set it, or CADENCE_STORE__URL, "
    "to a redis:// server, or to sqlite://// and a file on a mounted volume"
)


def _names_store(values: Mapping[str, Any]) -> bool:
    store = values.get("store", {})
    return not isinstance(store, Mapping) or "url" in store


def _one_per_setting(problems: list[Problem]) -> list[Problem]:
    first: dict[str, Problem] = {}
    for problem in problems:
        first.setdefault(problem.setting, problem)
    return list(first.values())
