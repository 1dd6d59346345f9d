"""``config``: what the service would be told and by whom, and what it can be told."""

from __future__ import annotations

from typing import Any

import typer

from consumer.cli.options import Config, Json
from consumer.cli.output import json_line, table

__all__ = ["app"]

app = typer.Typer(help="What the service is told, and what it can be told.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """What the service is told, and what it can be told."""


@app.command("show")
def show(config: Config = None, json: Json = False) -> None:
    """Show every setting with its value and where that comes from: a default, the file, a variable or a secret file. Never a secret.

    Example: cadence-consumer config show --config cadence.toml
    """
    import os
    from dataclasses import asdict

    from consumer.settings.shown import shown_settings

    shown = shown_settings(config, os.environ)
    if json:
        for one in shown:
            json_line(asdict(one))
        return
    table(
        ("setting", "value", "from"),
        [(one.setting, _words(one.value), one.source or one.origin) for one in shown],
    )


@app.command("schema")
def schema(json: Json = False) -> None:
    """Print the JSON Schema of the settings file, for editors and for checks before a deployment.

    Example: cadence-consumer config schema > cadence.schema.json
    """
    import orjson

    from consumer.settings.json_schema import settings_schema

    told = settings_schema()
    if json:
        json_line(told)
    else:
        typer.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2))


def _words(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(str(one) for one in value)
    return str(value)
