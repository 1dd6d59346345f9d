"""Frame of asynchronous commands: settings, store or Salesforce, event loop.

Errors are handled elsewhere: :mod:`consumer.cli.error_reporting` reports what a command raises, with an exit code.
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
    """Run ``work`` in an event loop of its own; return its result."""
    import asyncio

    return asyncio.run(work)


def run_with_store(
    config: Path | None, work: Callable[[Settings, Store], Awaitable[T]], *, read_only: bool = True
) -> T:
    """Run ``work`` with the settings and the open store; return its result.

    Salesforce credentials are not needed.

    Args:
        config: the settings file, if any.
        work: called once.
        read_only: False if ``work`` changes the store.

    Raises:
        SettingsError: the settings are invalid.
        StoreUnavailable: the store cannot be reached, or does not exist yet.
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
    """Run ``work`` with the settings and Salesforce over REST; return its result.

    Args:
        config: the settings file, if any.
        work: called once.

    Raises:
        SettingsError: the settings are invalid.
        StoreUnavailable: the store, which holds the refresh token, cannot be reached.
    """
    settings = read_settings(config, connects=True)

    async def open_and_work() -> T:
        from consumer.wiring import open_rest

        async with open_rest(settings) as (rest, action_sender):
            return await work(settings, rest, action_sender)

    return run_async(open_and_work())
