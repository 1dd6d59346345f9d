"""Asking the store again until it answers.

A store that cannot be reached is no reason to lose what is known here or to stop: handlers go on with what they have, and the question is
repeated, unchanged, after growing pauses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from consumer.delivery.observer import DeliveryEvents
from consumer.delivery.retry import back_off
from consumer.errors import StoreUnavailable

__all__ = ["patiently", "wait_for"]

T = TypeVar("T")

FIRST_MS = 100
LONGEST_MS = 5_000


async def patiently(
    ask: Callable[[], Awaitable[T]], *, handler: str, observer: DeliveryEvents, random: Callable[[], float]
) -> T:
    """What ``ask`` answers, asked again while the store is unavailable.

    Args:
        ask: the question, safe to repeat.
        handler: on whose behalf, for the observer.
        observer: told of every failure.
        random: chance in [0, 1), for the jitter.

    Raises:
        StoreError: any but :class:`~consumer.errors.StoreUnavailable`.
    """
    attempt = 0
    while True:
        try:
            return await ask()
        except StoreUnavailable as error:
            attempt += 1
            again_ms = back_off(attempt, random(), base_ms=FIRST_MS, cap_ms=LONGEST_MS)
            observer.store_unavailable(handler, error, again_ms)
        await asyncio.sleep(again_ms / 1000)


async def wait_for(event: asyncio.Event, ms: int | None) -> bool:
    """Wait for ``event``, at most ``ms`` milliseconds (None: as long as it takes); whether it is set."""
    try:
        async with asyncio.timeout(None if ms is None else ms / 1000):
            return await event.wait()
    except TimeoutError:
        return False
