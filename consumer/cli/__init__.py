"""The command line: ``cadence-consumer``, also ``python -m consumer``.

Every command has a module of its own and is registered below. Data goes to standard output (``--json``: one JSON object per line),
messages go to standard error, ``NO_COLOR`` is honoured. Exit codes: 0 success, 1 failure, 2 usage or settings, 69 unavailable, 77 not
permitted.

Commands import slow modules (the HTTP client, stores, handlers) inside their functions, so that ``--help`` is immediate.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from consumer import __version__
from consumer.cli import (
    actions,
    channel,
    check,
    checkpoint,
    config,
    dead_letters,
    demo,
    doctor,
    handlers,
    repair,
    replay,
    run,
    sandbox,
    state,
    status,
    tail,
    timeline,
    top,
    why,
)
from consumer.cli.error_reporting import errors_reported

__all__ = ["app", "main"]


class _Commands(TyperGroup):
    """Run a command, and report the service's errors in one line each, with a code."""

    def invoke(self, ctx: Any) -> Any:
        """Invoke the command.

        Raises:
            typer.Exit: the command failed; the reason is on standard error.
        """
        with errors_reported():
            return super().invoke(ctx)


app = typer.Typer(
    name="cadence-consumer",
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Salesforce cadences as lifecycle events. Start with `cadence-consumer doctor --config cadence.toml`, "
    "then `cadence-consumer run --config cadence.toml`; CADENCE_… variables can replace the file.",
)


def _show_version(requested: bool) -> None:
    if requested:
        typer.echo(f"cadence-consumer {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    del version


app.command("run")(run.run)
app.command("demo")(demo.demo)
app.command("check")(check.check)
app.command("doctor")(doctor.doctor)
app.command("status")(status.status)
app.command("top")(top.top)
app.command("tail")(tail.tail)
app.command("timeline")(timeline.timeline)
app.command("why")(why.why)
app.command("replay")(replay.replay)
app.command("repair")(repair.repair)
app.add_typer(state.app, name="state")
app.add_typer(checkpoint.app, name="checkpoint")
app.add_typer(handlers.app, name="handlers")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(actions.app, name="actions")
app.add_typer(channel.app, name="channel")
app.add_typer(config.app, name="config")
app.command("sandbox")(sandbox.sandbox)


def main() -> None:
    """Run the command line; entry point of the console script.

    Appends the working directory to ``sys.path``, where users have handlers (``use = "module:attribute"``); last, so that it shadows
    no installed module.
    """
    if (working_directory := str(Path.cwd())) not in sys.path:
        sys.path.append(working_directory)
    app(prog_name="cadence-consumer")
