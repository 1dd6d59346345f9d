"""Commands ``channel``: metadata of a custom channel that carries both objects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consumer.cli.error_reporting import fail
from consumer.cli.options import Config, Json, read_settings
from consumer.cli.render.output import print_json, print_message
from consumer.process import ExitCode

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Generate the metadata of a custom channel for the change events."""


@app.command("generate")
def generate(
    name: Annotated[str, typer.Option(help="Name of the channel, without __chn.")] = "Cadences",
    label: Annotated[
        str, typer.Option(help="Label of the channel in Salesforce.")
    ] = "Sales Engagement cadences",
    enrich: Annotated[
        bool,
        typer.Option(
            "--enrich",
            help="Add target, cadence and run to updates and deletions, which saves look-ups.",
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIRECTORY", help="Write the files there, with package.xml."),
    ] = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Print the metadata of a custom channel that carries both objects.

    Prints files for the Metadata API, with --json requests to the Tooling API. Sends nothing; deploying it needs the permission Customize
    Application.

    Example: cadence-consumer channel generate --out channel && sf project deploy start --metadata-dir channel
    """
    from consumer.salesforce.custom_channel import CustomChannel

    channel_name = name.removeprefix("/data/").removesuffix("__chn")
    try:
        channel = CustomChannel(channel_name, label, enrich, read_settings(config).salesforce.api_version)
    except ValueError as error:
        raise fail(str(error), ExitCode.USAGE) from None
    if json:
        for request in channel.requests():
            print_json(request)
    elif out is not None:
        _write(out, channel.files())
    else:
        for path, content in channel.files().items():
            declaration, _, rest = content.partition("\n")
            typer.echo(f"{declaration}\n<!-- {path} -->\n{rest}")
    print_message(
        f'subscribe to it with channels = ["{channel.subscription}"], and check it with `cadence-consumer doctor`'
    )


def _write(directory: Path, files: dict[str, str]) -> None:
    for path, content in files.items():
        target = directory / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content, encoding="utf-8")
        except OSError as error:
            raise fail(f"--out: {target} cannot be written: {error.strerror}", ExitCode.USAGE) from None
        print_message(f"wrote {target}")
