"""Signal for journal growth: immediate in this process, polled for others.

Every waiter keeps the event it began with, and appending replaces the event, so that no waiter can clear the wake-up of another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

__all__ = ["JournalSignal"]

_POLL_MS: Final = 250
"""Interval at which a waiting reader checks for entries of another process."""


class JournalSignal:
    """Signal that wakes the readers of one store."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify(self) -> None:
        """Wake every waiter: this process has appended to the journal."""
        old, self._event = self._event, asyncio.Event()
        old.set()

    async def wait(self, last: Callable[[], Awaitable[int]], after: int, timeout_ms: int) -> bool:
        """Wait until ``last()`` exceeds ``after``; False on timeout."""
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
