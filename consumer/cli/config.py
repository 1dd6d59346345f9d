"""Commands ``config``: effective settings and their origin, and the schema."""

from __future__ import annotations

from typing import Any

import typer

from consumer.cli.options import Config, Json
from consumer.cli.render.output import print_json, table

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Show the effective settings, and the schema of the settings file."""


@app.command("show")
def show(config: Config = None, json: Json = False) -> None:
    """Show every setting with its value and the origin of the value.

    Origins are the default, the settings file, an environment variable or a secret file. Secrets are never shown.

    Example: cadence-consumer config show --config cadence.toml
    """
    import os
    from dataclasses import asdict

    from consumer.settings.effective import effective_settings

    effective = effective_settings(config, os.environ)
    if json:
        for item in effective:
            print_json(asdict(item))
        return
    table(
        ("setting", "value", "from"),
        [(item.setting, _as_text(item.value), item.source or item.origin) for item in effective],
    )


@app.command("schema")
def schema(json: Json = False) -> None:
    """Print the JSON Schema of the settings file, for editors and pipelines.

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
