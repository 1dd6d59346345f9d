"""Isolation of handler calls from the tasks and the process that make them.

A handler may raise anything, also what ends a process, and it may cancel the task it runs in, at once or later, or ignore that the service
cancels it. All of that becomes the error of the call. The service therefore cancels a task that calls a handler only by
:meth:`CallTask.cancel`: any other cancellation is the handler's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

__all__ = ["CANCEL_MS", "CallTask", "CancelledItself", "Ignored", "TimedOut", "call_in_own_task"]

T = TypeVar("T")

CANCEL_MS = 5_000
"""Time in which a call that was cancelled has to end."""


class TimedOut(Exception):
    """Handler call that exceeded its time limit and was cancelled."""

    def __init__(self, limit_ms: int) -> None:
        super().__init__(f"not done after {limit_ms / 1000:g} s, and cancelled")


class Ignored(Exception):
    """Handler call that continues although it was cancelled."""

    def __init__(self) -> None:
        super().__init__("the call ignores that it was cancelled and still runs")


class CancelledItself(Exception):
    """Handler call that was cancelled, and not by the service."""


class CallTask:
    """Task that calls a handler, with the cause of each cancellation.

    Args:
        task: the task; every method but :meth:`cancel` is called in it.
        on_ignored: called with True when a call continues although it was cancelled, with False when that call has ended.

    Attributes:
        task: the task.
        is_cancelled: whether the service has cancelled it.
    """

    __slots__ = ("_is_ignored", "_loop", "_on_ignored", "_timed_out", "_timer", "is_cancelled", "task")

    def __init__(self, task: asyncio.Task[Any], on_ignored: Callable[[bool], None] | None = None) -> None:
        self.task = task
        self.is_cancelled = False
        self._loop = task.get_loop()
        self._on_ignored = on_ignored
        self._timer: asyncio.TimerHandle | None = None
        self._timed_out = False
        self._is_ignored = False

    def cancel(self) -> None:
        """Cancel the task, which ends."""
        self.is_cancelled = True
        self.task.cancel()

    async def call(
        self, limit_ms: int, handler_call: Callable[[], Awaitable[object]]
    ) -> BaseException | None:
        """Await what a handler returns; the error it ended with, or None.

        Args:
            limit_ms: time after which the call is cancelled.
            handler_call: called and awaited.

        Raises:
            asyncio.CancelledError: the service has cancelled the task.
        """
        error: BaseException | None = None
        self._timed_out = False
        self._timer = self._loop.call_later(limit_ms / 1000, self._expire)
        try:
            await handler_call()
        except BaseException as raised:  # noqa: BLE001 - a handler may raise anything; it becomes an outcome
            error = raised
        self._timer.cancel()
        if self._is_ignored and self._on_ignored is not None:
            self._is_ignored = False
            self._on_ignored(False)
        was_cancelled = isinstance(error, asyncio.CancelledError)
        if self.is_cancelled:
            if was_cancelled:
                raise asyncio.CancelledError
            return error
        if self.task.cancelling():
            await self.clear_cancellation()
            if error is None or was_cancelled:
                return TimedOut(limit_ms) if self._timed_out else CancelledItself("it cancelled its own task")
        elif was_cancelled:
            return CancelledItself("something that it awaited was cancelled")
        return error

    async def unaffected(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Await an operation of the service, whatever a handler cancels.

        It is awaited again when a handler cancels the task meanwhile.

        Raises:
            asyncio.CancelledError: the service has cancelled the task.
        """
        while True:
            try:
                return await operation()
            except asyncio.CancelledError:
                if not self.task.cancelling():
                    raise
                await self.clear_cancellation()

    async def clear_cancellation(self) -> None:
        """Forget the cancellations that a handler, or its time limit, has requested.

        Raises:
            asyncio.CancelledError: the service has cancelled the task.
        """
        if not self.is_cancelled:
            while self.task.uncancel():
                pass
            try:
                await asyncio.sleep(0)  # one that was requested in the last step arrives here
            except asyncio.CancelledError:
                while self.task.uncancel():
                    pass
        if self.is_cancelled:
            raise asyncio.CancelledError

    def _expire(self) -> None:
        self._timed_out = True
        self.task.cancel()
        self._timer = self._loop.call_later(CANCEL_MS / 1000, self._insist)

    def _insist(self) -> None:
        self.task.cancel()
        if self._on_ignored is not None:
            self._is_ignored = True
            self._on_ignored(True)


async def call_in_own_task(
    limit_ms: int, handler_call: Callable[[], Awaitable[object]]
) -> BaseException | None:
    """Await what a handler returns, in a task of its own.

    The result is the error with which it ended, or None.

    Args:
        limit_ms: time after which the call is cancelled.
        handler_call: called and awaited.

    Raises:
        asyncio.CancelledError: the caller was cancelled; so was the call.
    """
    ended: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
    calls: list[CallTask] = []

    def end(error: BaseException | None) -> None:
        if not ended.done():
            ended.set_result(error)

    async def run() -> None:
        current = asyncio.current_task()
        assert current is not None
        call_task = CallTask(current, lambda is_ignored: end(Ignored()) if is_ignored else None)
        calls.append(call_task)
        end(await call_task.call(limit_ms, handler_call))

    task = asyncio.create_task(run())
    try:
        await asyncio.shield(ended)
    except asyncio.CancelledError:
        for call_task in calls:
            call_task.cancel()
        await asyncio.wait({task}, timeout=CANCEL_MS / 1000)
        raise
    return ended.result()
