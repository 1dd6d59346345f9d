"""``sandbox``: the simulated org alone, for plug-in authors and for trying the service without Salesforce."""

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
    port: Annotated[int, typer.Option(min=0, max=65_535, help="TCP port; 0 takes a free one.")] = 8180,
    host: Annotated[
        str, typer.Option(help="Address to listen on; localhost is this machine alone.")
    ] = "localhost",
    rate: Annotated[float, typer.Option(min=0.0, help="Change events a second.")] = 5.0,
    population: Annotated[int, typer.Option(min=1, help="Runs kept open.")] = 100,
    seed: Annotated[int, typer.Option(help="The same seed makes the same org.")] = 1,
    speed: Annotated[float, typer.Option(min=0.001, help="How fast its clock runs; 1 is real time.")] = 1.0,
    reorder: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Share of events that are published later than they should."),
    ] = 0.0,
    duplicate: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of events that are delivered twice.")
    ] = 0.0,
    drop_session: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of polls answered with 403::Unknown client.")
    ] = 0.0,
) -> None:
    """Run a simulated Salesforce org until interrupted; the settings that connect to it go to standard output.

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
                f"simulated org at {org.url}, trouble on demand at {org.url}/sandbox/trouble; Ctrl-C ends it"
            )
            print_message(
                "connect with: cadence-consumer run --config FILE, where FILE holds the lines on standard output"
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
