"""Command ``check``: validate the settings and load the handlers, offline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from consumer.cli.options import Config, Json, settings_without_credentials
from consumer.cli.render.output import print_json, print_message, table

if TYPE_CHECKING:
    from consumer.delivery.loading import LoadedHandler
    from consumer.settings import Settings

__all__ = ["check"]


def check(config: Config = None, json: Json = False) -> None:
    """Validate the settings and load the handlers without connecting to anything.

    Reports all problems at once.

    Example: cadence-consumer check --config cadence.toml
    """
    import os

    from consumer.delivery.loading import load_handlers
    from consumer.errors import SettingProblem, SettingsError
    from consumer.settings import load_settings, readable_handlers

    problems: list[SettingProblem] = []
    settings: Settings | None = None
    try:
        settings = load_settings(config, os.environ)
        handlers = settings.handlers_to_run()
    except SettingsError as error:
        problems += error.problems
        settings = settings_without_credentials(config)
        handlers = readable_handlers(config, os.environ)
    loaded: list[LoadedHandler] = []
    try:
        loaded = load_handlers(handlers)
    except SettingsError as error:
        problems += error.problems
    if settings is not None:
        directory = settings.store.path.parent
        if not settings.store.is_redis and not directory.is_dir():
            problems.append(
                SettingProblem(
                    "store.url", f"the directory {directory} does not exist; create it, or set another path"
                )
            )
    if problems or settings is None:
        raise SettingsError(problems)
    if json:
        print_json(_summary(settings, loaded))
    else:
        _show(settings, loaded)
    print_message("settings are valid")


def _summary(settings: Settings, loaded: list[LoadedHandler]) -> dict[str, Any]:
    return {
        "salesforce": {
            "login_url": settings.salesforce.login_url,
            "auth": settings.salesforce.auth.value,
            "api_version": settings.salesforce.api_version,
        },
        "channels": list(settings.channels),
        "store": settings.store.shown,
        "handlers": [
            {
                "name": handler.name,
                "use": handler.spec.use,
                "types": sorted(handler.types),
            }
            for handler in loaded
        ],
    }


def _show(settings: Settings, loaded: list[LoadedHandler]) -> None:
    summary = _summary(settings, loaded)
    org = summary["salesforce"]
    rows = [
        ("salesforce", f"{org['login_url']} with {org['auth']}, API {org['api_version']}"),
        *(("channel", channel) for channel in summary["channels"]),
        ("store", summary["store"]),
        *(
            ("handler", f"{handler['name']}: {handler['use']}, {len(handler['types'])} event types")
            for handler in summary["handlers"]
        ),
    ]
    table(("item", "value"), rows)
