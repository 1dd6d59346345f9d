"""Command ``sandbox``: the simulated org, to try the service without Salesforce."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from consumer.cli.command_frame import run_async
from consumer.cli.error_reporting import fail
from consumer.cli.render.output import print_message
from consumer.process import ExitCode, on_signals

if TYPE_CHECKING:
    from consumer.sandbox import Sandbox, SandboxOptions

__all__ = ["sandbox"]


def sandbox(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="TCP port; 0 for any free one.")] = 8180,
    host: Annotated[
        str, typer.Option(help="Address to listen on; localhost for this machine only.")
    ] = "localhost",
    rate: Annotated[float, typer.Option(min=0.0, help="Change events per second.")] = 5.0,
    population: Annotated[int, typer.Option(min=1, help="Number of runs kept open.")] = 100,
    seed: Annotated[int, typer.Option(help="Seed of the random activity.")] = 1,
    speed: Annotated[float, typer.Option(min=0.001, help="Speed of the org's clock; 1 is real time.")] = 1.0,
    reorder: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of events published after later ones.")
    ] = 0.0,
    duplicate: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of events delivered twice.")
    ] = 0.0,
    drop_session: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of polls answered with 403::Unknown client.")
    ] = 0.0,
) -> None:
    """Run a simulated Salesforce org until interrupted.

    Prints the settings that connect to it on standard output.

    Example: cadence-consumer sandbox --port 8180 --rate 20 > sandbox.toml
    """
    from consumer.sandbox import FaultOptions, PortUnavailable, Sandbox, SandboxOptions, WorldOptions

    options = SandboxOptions(
        port=port,
        host=host,
        seed=seed,
        speed=speed,
        world=WorldOptions(events_per_second=rate, population=population),
        faults=FaultOptions(reorder=reorder, duplicate=duplicate, drop_session=drop_session),
    )
    try:
        run_async(_serve(Sandbox, options))
    except PortUnavailable as error:
        raise fail(str(error), ExitCode.UNAVAILABLE) from None


async def _serve(sandbox_class: type[Sandbox], options: SandboxOptions) -> None:
    import asyncio

    stop = asyncio.Event()
    with on_signals(stop.set):
        async with sandbox_class(options) as org:
            typer.echo(_settings(org))
            print_message(
                f"simulated org at {org.url}, fault injection at {org.url}/sandbox/trouble; Ctrl-C stops it"
            )
            print_message(
                "to connect, save the lines on standard output as FILE and run: cadence-consumer run --config FILE"
            )
            await stop.wait()
    print_message("simulated org stopped")


def _settings(org: Sandbox) -> str:
    credentials = org.credentials
    return "\n".join(
        (
            "[salesforce]",
            'auth = "client_credentials"',
            f'login_url = "{org.url}"',
            f'client_id = "{credentials.client_id}"',
            f'client_secret = "{credentials.client_secret}"',
        )
    )
