"""``channel``: the custom channel that carries both objects, as Salesforce wants it described."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consumer.cli.error_reporting import fail
from consumer.cli.options import Config, Json, read_settings
from consumer.cli.render.output import print_json, print_message
from consumer.process import ExitCode

__all__ = ["app"]

app = typer.Typer(help="The channel that carries the change events.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """The channel that carries the change events."""


@app.command("generate")
def generate(
    name: Annotated[str, typer.Option(help="Name of the channel, without __chn.")] = "Cadences",
    label: Annotated[
        str, typer.Option(help="What Salesforce shows to people.")
    ] = "Sales Engagement cadences",
    enrich: Annotated[
        bool,
        typer.Option(
            "--enrich",
            help="Let updates and deletions name target, cadence and run too, which saves look-ups.",
        ),
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Write the files there, with package.xml.")
    ] = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Print the metadata of a custom channel with both objects: files for the Metadata API; with --json requests to the Tooling API.

    Nothing is sent. Whoever deploys it needs the permission Customize Application.

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
        f'subscribe to it with channels = ["{channel.subscription}"], and look with `cadence-consumer doctor`'
    )


def _write(folder: Path, files: dict[str, str]) -> None:
    for path, content in files.items():
        target = folder / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content, encoding="utf-8")
        except OSError as error:
            raise fail(f"--out: {target} cannot be written: {error.strerror}", ExitCode.USAGE) from None
        print_message(f"wrote {target}")
