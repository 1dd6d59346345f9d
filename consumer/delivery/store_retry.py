"""Retries of store calls until the store answers.

An unavailable store is no reason to lose what is in memory or to stop: handlers continue with the events they have, and the call is
repeated, unchanged, after growing waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from consumer.backoff import Backoff
from consumer.errors import StoreUnavailable
from consumer.ports.observers.delivery_events import DeliveryEvent
from consumer.ports.observers.handler_events import HandlerStoreUnreachable
from consumer.ports.observers.observer import Observer

__all__ = ["StoreRetry", "retry_until_available", "wait_until_set"]

P = ParamSpec("P")
T = TypeVar("T")

BACKOFF = Backoff(100, 5_000, shortest=0.5)


async def retry_until_available(
    operation: Callable[[], Awaitable[T]],
    *,
    handler: str,
    observer: Observer[DeliveryEvent],
    random: Callable[[], float],
) -> T:
    """Result of ``operation``, which is repeated while the store is unavailable.

    Args:
        operation: store call that is safe to repeat.
        handler: name of the handler, for the observer.
        observer: notified of every failure.
        random: chance in [0, 1), for the jitter.

    Raises:
        StoreError: any but :class:`~consumer.errors.StoreUnavailable`.
    """
    attempt = 0
    while True:
        try:
            return await operation()
        except StoreUnavailable as error:
            attempt += 1
            retry_after_ms = BACKOFF.delay_ms(attempt, random())
            observer.observe(HandlerStoreUnreachable(handler, error, retry_after_ms))
        await asyncio.sleep(retry_after_ms / 1000)


class StoreRetry:
    """Store calls of one handler, each repeated until the store answers.

    Args:
        handler: name in the settings.
        observer: notified of every failed call.
        random: chance in [0, 1), for the jitter of waits.
    """

    def __init__(self, handler: str, observer: Observer[DeliveryEvent], random: Callable[[], float]) -> None:
        self._handler = handler
        self._observer = observer
        self._random = random

    async def call(self, operation: Callable[P, Awaitable[T]], *arguments: P.args, **keywords: P.kwargs) -> T:
        """Call ``operation``, which must be safe to repeat, until the store is available.

        Raises:
            StoreError: any but :class:`~consumer.errors.StoreUnavailable`.
        """
        return await retry_until_available(
            lambda: operation(*arguments, **keywords),
            handler=self._handler,
            observer=self._observer,
            random=self._random,
        )


async def wait_until_set(event: asyncio.Event, ms: int | None) -> bool:
    """Wait for ``event``, at most ``ms`` milliseconds; true when it is set.

    Without ``ms`` there is no limit.
    """
    try:
        async with asyncio.timeout(None if ms is None else ms / 1000):
            return await event.wait()
    except TimeoutError:
        return False
