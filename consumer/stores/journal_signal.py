"""Waiting for the journal to grow: at once when this process appended, soon when another one did.

Every waiter holds the event it began with, and appending replaces it, so that no waiter can clear another one's wake-up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

__all__ = ["JournalSignal"]

_POLL_MS: Final = 250
"""How often a waiting reader looks for entries of another process."""


class JournalSignal:
    """Wakes the readers of one store."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify(self) -> None:
        """This process has appended."""
        old, self._event = self._event, asyncio.Event()
        old.set()

    async def wait(self, last: Callable[[], Awaitable[int]], after: int, timeout_ms: int) -> bool:
        """Wait until ``last()`` is past ``after``; False when the time is over."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_ms / 1000
        while True:
            event = self._event
            if await last() > after:
                return True
            left = deadline - loop.time()
            if left <= 0:
                return False
            try:
                async with asyncio.timeout(min(left, _POLL_MS / 1000)):
                    await event.wait()
            except TimeoutError:
                continue
