"""``config``: what the service would be told and by whom, and what it can be told."""

from __future__ import annotations

from typing import Any

import typer

from consumer.cli.options import Config, Json
from consumer.cli.render.output import print_json, table

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

    from consumer.settings.effective import effective_settings

    shown = effective_settings(config, os.environ)
    if json:
        for item in shown:
            print_json(asdict(item))
        return
    table(
        ("setting", "value", "from"),
        [(item.setting, _as_text(item.value), item.source or item.origin) for item in shown],
    )


@app.command("schema")
def schema(json: Json = False) -> None:
    """Print the JSON Schema of the settings file, for editors and for checks before a deployment.

    Example: cadence-consumer config schema > cadence.schema.json
    """
    import orjson

    from consumer.settings.json_schema import settings_schema

    document = settings_schema()
    if json:
        print_json(document)
    else:
        typer.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    return str(value)
