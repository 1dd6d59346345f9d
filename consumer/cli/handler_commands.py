"""``handlers pause|resume|forget``: wishes written into the store, carried out within a second or so by whoever holds the lease."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from consumer.cli.command_frame import run_with_store
from consumer.cli.error_reporting import fail
from consumer.cli.options import Config
from consumer.cli.render.output import print_message

if TYPE_CHECKING:
    from consumer.ports.delivery import HandlerCommand
    from consumer.ports.store import Store
    from consumer.settings import Settings

__all__ = ["forget", "pause", "resume"]

Name = Annotated[str, typer.Argument(metavar="HANDLER", help="Its name in the settings.")]


def pause(name: Name, config: Config = None) -> None:
    """Let a handler make no more attempts; its place is kept, also over restarts, until `handlers resume`.

    Example: cadence-consumer handlers pause crm
    """

    async def do(settings: Settings, store: Store) -> None:
        from consumer.clock import SystemClock
        from consumer.ports.delivery import HandlerCommand

        await require_handler(settings, store, name)
        await store.put_command(HandlerCommand(f"pause-{name}", name, "pause", SystemClock().wall_ms()))
        print_message(f"{name} is paused; what comes waits in the journal, which retention keeps for it")

    run_with_store(config, do, read_only=False)


def resume(name: Name, config: Config = None) -> None:
    """Let a paused handler go on where it was.

    Example: cadence-consumer handlers resume crm
    """

    async def do(_: Settings, store: Store) -> None:
        pauses = [command for command in await commands(store, name) if command.kind == "pause"]
        for command in pauses:
            await store.remove_command(command)
        print_message(f"{name} goes on" if pauses else f"{name} was not paused")

    run_with_store(config, do, read_only=False)


def forget(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this, only say what would go.")] = False,
    config: Config = None,
) -> None:
    """Remove all that is kept of a handler: its place, parked runs, replays and dead letters. A dry run until --yes.

    A handler that is still configured begins anew, where its `start` says; the tenure under way ends for that.

    Example: cadence-consumer handlers forget old-crm --yes
    """

    async def forget_if_wanted(settings: Settings, store: Store) -> None:
        from consumer.delivery.cursor import Cursor

        await require_handler(settings, store, name)
        saved = await store.cursor(name)
        pending = (await store.pending_commands([name]))[name]
        offset = "no place" if saved is None else f"its place at offset {Cursor.restore(name, saved).offset}"
        blocked_runs = len(await store.blocked_runs(name))
        print_message(
            f"{name}: {offset}, {blocked_runs} parked runs, {len(pending.commands)} orders, {pending.dead_letters} dead letters"
        )
        if not yes:
            print_message("nothing was changed; --yes does it")
            return
        await store.forget_handler(name)
        if name in settings.handlers_to_run():
            print_message(f"forgotten; {name} is still configured and begins anew where its start says")
        else:
            print_message("forgotten")

    run_with_store(config, forget_if_wanted, read_only=not yes)


async def require_handler(settings: Settings, store: Store, name: str) -> None:
    """Make sure that there is such a handler, in the settings or in the store.

    Raises:
        typer.Exit: there is none.
    """
    names = {*settings.handlers_to_run(), *(each for each in await store.cursors() if "/" not in each)}
    if name not in names:
        raise fail(f"there is no handler {name}; there are {', '.join(sorted(names)) or 'none'}")


async def commands(store: Store, name: str) -> tuple[HandlerCommand, ...]:
    """What is asked of a handler."""
    return (await store.pending_commands([name]))[name].commands
