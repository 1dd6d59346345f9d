"""Bounded buffer between the supervisor and the ingest loop.

The supervisor polls, the ingest loop processes.

Its limits count messages, and bytes of answers, that are waiting to be taken. An answer that does not fit waits, and with it the next poll;
a supervisor that waits too long ends the session. An empty buffer takes one answer of any size, or an answer larger than the limits could
never be consumed. Notices of sessions weigh nothing and never wait.

``wait_drained`` is the other half of back-pressure: a new session resumes by position, and positions are complete only once everything of
the old one has been taken *and* the ingest loop has reported it as processed.
"""

from __future__ import annotations

import asyncio
from collections import deque

from consumer.errors import CadenceError
from consumer.ports.source import Answer, Inbound

__all__ = ["BufferClosed", "IntakeBuffer"]


class BufferClosed(CadenceError):
    """An item was put into a buffer whose tenure is over."""

    def __init__(self) -> None:
        super().__init__("the buffer is closed: its tenure is over, and it takes nothing more")


class IntakeBuffer:
    """Queue with any number of producers, which wait for room, and one consumer."""

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        if max_messages < 1 or max_bytes < 1:
            raise ValueError(f"a buffer needs room: {max_messages} messages, {max_bytes} bytes")
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._items: deque[Inbound] = deque()
        self._messages = 0
        self._bytes = 0
        self._answers = 0
        self._unprocessed = False
        self._closed = False
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._items)

    def __bool__(self) -> bool:
        # An empty buffer is a buffer: "buffer or another" must not replace it.
        return True

    @property
    def messages(self) -> int:
        """Number of messages that are waiting to be taken."""
        return self._messages

    @property
    def bytes(self) -> int:
        """Number of bytes of the answers that are waiting to be taken."""
        return self._bytes

    async def put(self, item: Inbound) -> None:
        """Append ``item``; an answer waits until it fits.

        Raises:
            BufferClosed: before or while waiting.
        """
        if isinstance(item, Answer):
            while not self._closed and self._answers and not self._fits(item):
                await self._wait_for_change()
        if self._closed:
            raise BufferClosed
        self._items.append(item)
        if isinstance(item, Answer):
            self._answers += 1
            self._messages += len(item.messages)
            self._bytes += len(item.body)
        self._wake()

    async def get(self, timeout_ms: int | None = None) -> Inbound | None:
        """Take the oldest item.

        The result is None when none came in time, or when the buffer is closed and empty.

        Args:
            timeout_ms: None to wait without limit, 0 to look only.
        """
        if not self._items and not self._closed and timeout_ms != 0:
            try:
                async with asyncio.timeout(None if timeout_ms is None else timeout_ms / 1000):
                    while not self._items and not self._closed:
                        await self._wait_for_change()
            except TimeoutError:
                return None
        if not self._items:
            return None
        item = self._items.popleft()
        self._unprocessed = True
        if isinstance(item, Answer):
            self._answers -= 1
            self._messages -= len(item.messages)
            self._bytes -= len(item.body)
        self._wake()
        return item

    def mark_processed(self) -> None:
        """Report everything that was taken so far as processed."""
        self._unprocessed = False
        self._wake()

    async def wait_drained(self) -> None:
        """Wait until everything was taken and processed.

        Raises:
            BufferClosed: before or while waiting.
        """
        while not self._closed and (self._items or self._unprocessed):
            await self._wait_for_change()
        if self._closed:
            raise BufferClosed

    def close(self) -> None:
        """Close the buffer.

        What it holds can still be taken, nothing can be put, and every waiter wakes.
        """
        self._closed = True
        self._wake()

    def _fits(self, answer: Answer) -> bool:
        return (
            self._messages + len(answer.messages) <= self._max_messages
            and self._bytes + len(answer.body) <= self._max_bytes
        )

    async def _wait_for_change(self) -> None:
        await self._changed.wait()

    def _wake(self) -> None:
        """Wake every waiter to look again.

        Each waits on the old event; the next change sets a new one.
        """
        old, self._changed = self._changed, asyncio.Event()
        old.set()
