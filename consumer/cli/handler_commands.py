"""Commands ``handlers pause``, ``resume`` and ``forget``.

They store handler commands, which the lease holder applies within about a second.
"""

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

Name = Annotated[str, typer.Argument(metavar="HANDLER", help="Name of the handler in the settings.")]


def pause(name: Name, config: Config = None) -> None:
    """Pause a handler until `handlers resume`, also across restarts.

    The handler makes no more attempts and keeps its cursor.

    Example: cadence-consumer handlers pause crm
    """

    async def put_pause(settings: Settings, store: Store) -> None:
        from consumer.clock import SystemClock
        from consumer.ports.delivery import HandlerCommand

        await require_handler(settings, store, name)
        await store.put_command(HandlerCommand(f"pause-{name}", name, "pause", SystemClock().wall_ms()))
        print_message(f"{name} is paused; its events wait in the journal, where retention keeps them")

    run_with_store(config, put_pause, read_only=False)


def resume(name: Name, config: Config = None) -> None:
    """Resume a paused handler at its cursor.

    Example: cadence-consumer handlers resume crm
    """

    async def remove_pauses(_: Settings, store: Store) -> None:
        pauses = [command for command in await commands(store, name) if command.kind == "pause"]
        for command in pauses:
            await store.remove_command(command)
        print_message(f"{name} is resumed" if pauses else f"{name} was not paused")

    run_with_store(config, remove_pauses, read_only=False)


def forget(
    name: Name,
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove it; without this, only print what would be removed.")
    ] = False,
    config: Config = None,
) -> None:
    """Remove a handler's cursor, blocked runs, replays and dead letters.

    A dry run unless --yes is set. A handler that is still configured starts anew at its setting `start`, which ends the current tenure.

    Example: cadence-consumer handlers forget old-crm --yes
    """

    async def describe_and_forget(settings: Settings, store: Store) -> None:
        from consumer.delivery.cursor import Cursor

        await require_handler(settings, store, name)
        saved = await store.cursor(name)
        pending = (await store.pending_commands([name]))[name]
        offset = "no cursor" if saved is None else f"cursor at offset {Cursor.restore(name, saved).offset}"
        blocked_runs = len(await store.blocked_runs(name))
        print_message(
            f"{name}: {offset}, {blocked_runs} blocked runs, {len(pending.commands)} commands, {pending.dead_letters} dead letters"
        )
        if not yes:
            print_message("nothing was changed; pass --yes to apply it")
            return
        await store.forget_handler(name)
        if name in settings.handlers_to_run():
            print_message(f"removed; {name} is still configured and starts anew at its setting start")
        else:
            print_message("removed")

    run_with_store(config, describe_and_forget, read_only=not yes)


async def require_handler(settings: Settings, store: Store, name: str) -> None:
    """Check that a handler exists, in the settings or in the store.

    Raises:
        typer.Exit: there is no handler of this name.
    """
    with_cursor = (cursor for cursor in await store.cursors() if "/" not in cursor)
    names = {*settings.handlers_to_run(), *with_cursor}
    if name not in names:
        raise fail(f"there is no handler {name}; known handlers: {', '.join(sorted(names)) or 'none'}")


async def commands(store: Store, name: str) -> tuple[HandlerCommand, ...]:
    """Return the pending commands of a handler."""
    return (await store.pending_commands([name]))[name].commands
