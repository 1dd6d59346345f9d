"""``handlers pause|resume|forget``: wishes written into the store, carried out within a second or so by whoever holds the lease."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from consumer.cli.failures import fail
from consumer.cli.options import Config, read_settings
from consumer.cli.output import say

if TYPE_CHECKING:
    from consumer.ports import HandlerOrder, Store
    from consumer.settings import Settings

__all__ = ["forget", "pause", "resume"]

Name = Annotated[str, typer.Argument(metavar="HANDLER", help="Its name in the settings.")]


def pause(name: Name, config: Config = None) -> None:
    """Let a handler make no more attempts; its place is kept, also over restarts, until `handlers resume`.

    Example: cadence-consumer handlers pause crm
    """
    import asyncio

    async def do() -> None:
        from consumer.app import open_store
        from consumer.clock import SystemClock
        from consumer.ports import HandlerOrder

        settings = read_settings(config)
        async with open_store(settings, read_only=False) as store:
            await known(settings, store, name)
            await store.put_order(HandlerOrder(f"pause-{name}", name, "pause", SystemClock().wall_ms()))
            say(f"{name} is paused; what comes waits in the journal, which retention keeps for it")

    asyncio.run(do())


def resume(name: Name, config: Config = None) -> None:
    """Let a paused handler go on where it was.

    Example: cadence-consumer handlers resume crm
    """
    import asyncio

    async def do() -> None:
        from consumer.app import open_store

        settings = read_settings(config)
        async with open_store(settings, read_only=False) as store:
            pauses = [order for order in await orders(store, name) if order.kind == "pause"]
            for order in pauses:
                await store.remove_order(order)
            say(f"{name} goes on" if pauses else f"{name} was not paused")

    asyncio.run(do())


def forget(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this, only say what would go.")] = False,
    config: Config = None,
) -> None:
    """Remove all that is kept of a handler: its place, parked runs, replays and dead letters. A dry run until --yes.

    A handler that is still configured begins anew, where its `start` says; the tenure under way ends for that.

    Example: cadence-consumer handlers forget old-crm --yes
    """
    import asyncio

    async def do() -> None:
        from consumer.app import open_store
        from consumer.delivery.place import Place

        settings = read_settings(config)
        async with open_store(settings, read_only=not yes) as store:
            await known(settings, store, name)
            saved = await store.place(name)
            asked = (await store.requests([name]))[name]
            offset = "no place" if saved is None else f"its place at offset {Place.load(saved.data).offset}"
            parked = len(await store.parked(name))
            say(
                f"{name}: {offset}, {parked} parked runs, {len(asked.orders)} orders, {asked.dead_letters} dead letters"
            )
            if not yes:
                say("nothing was changed; --yes does it")
                return
            await store.forget_handler(name)
            if name in settings.handlers_to_run():
                say(f"forgotten; {name} is still configured and begins anew where its start says")
            else:
                say("forgotten")

    asyncio.run(do())


async def known(settings: Settings, store: Store, name: str) -> None:
    """Make sure that there is such a handler, in the settings or in the store.

    Raises:
        typer.Exit: there is none.
    """
    names = {*settings.handlers_to_run(), *(each for each in await store.places() if "/" not in each)}
    if name not in names:
        raise fail(f"there is no handler {name}; there are {', '.join(sorted(names)) or 'none'}")


async def orders(store: Store, name: str) -> tuple[HandlerOrder, ...]:
    """What is asked of a handler."""
    return (await store.requests([name]))[name].orders
