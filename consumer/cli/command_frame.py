"""Frame of every command that works asynchronously: settings are read, store or Salesforce opened, and the event loop runs to the result.

Errors need no frame here: :mod:`consumer.cli.error_reporting` turns what a command raises into lines and an exit code.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from consumer.cli.options import read_settings

if TYPE_CHECKING:
    from pathlib import Path

    from consumer.ports.store import Store
    from consumer.salesforce.action_sender import RestActionSender
    from consumer.salesforce.rest import RestClient
    from consumer.settings import Settings

__all__ = ["run_async", "run_with_rest", "run_with_store"]

T = TypeVar("T")


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, in an event loop of its own."""
    import asyncio

    return asyncio.run(work)


def run_with_store(
    config: Path | None, work: Callable[[Settings, Store], Awaitable[T]], *, read_only: bool = True
) -> T:
    """The result of ``work`` with the settings and the opened store; no credentials of Salesforce are needed.

    Args:
        config: the settings file, if any.
        work: is called once.
        read_only: False for what changes the store.

    Raises:
        SettingsError: the settings are unusable.
        StoreUnavailable: the store cannot be reached, or nothing has been written yet.
    """
    settings = read_settings(config)

    async def open_and_work() -> T:
        from consumer.wiring import open_store

        async with open_store(settings, read_only=read_only) as store:
            return await work(settings, store)

    return run_async(open_and_work())


def run_with_rest(
    config: Path | None, work: Callable[[Settings, RestClient, RestActionSender], Awaitable[T]]
) -> T:
    """The result of ``work`` with the settings and Salesforce over REST.

    Args:
        config: the settings file, if any.
        work: is called once.

    Raises:
        SettingsError: the settings are unusable.
        StoreUnavailable: the refresh token is kept in the store, and the store cannot be reached.
    """
    settings = read_settings(config, connects=True)

    async def open_and_work() -> T:
        from consumer.wiring import open_rest

        async with open_rest(settings) as (rest, action_sender):
            return await work(settings, rest, action_sender)

    return run_async(open_and_work())
