"""Calls of a handler, with a context, a time limit, and outcomes as values.

The worker pool, ``handlers test`` and the test plugin for handler authors all call handlers here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import structlog

from consumer.delivery.lanes import Delivery
from consumer.delivery.loading import LoadedHandler
from consumer.delivery.retry import Outcome, outcomes
from consumer.domain.lifecycle_events import LifecycleEvent
from consumer.plugin import BatchHandler, Context, Memory

if TYPE_CHECKING:
    from aiohttp import ClientSession

    from consumer.actions.client import ActionSender

__all__ = ["CLOSE_MS", "HandlerInvoker", "TimedOut"]

CLOSE_MS = 5_000
"""Time limit of a handler's ``close``."""


class TimedOut(Exception):
    """Handler call that exceeded its time limit and was cancelled."""

    def __init__(self, limit_ms: int) -> None:
        super().__init__(f"not done after {limit_ms / 1000:g} s, and cancelled")


class HandlerInvoker:
    """Calls one handler.

    Args:
        loaded: the handler.
        http: makes or returns the HTTP session that all handlers share.
        action_sender: sends the handler's actions; None where there is no org.
        memory: answers ``ctx.latest`` and ``ctx.once``.
        dry_run: value of ``ctx.dry_run``, which says that nothing is to be changed anywhere.

    Attributes:
        is_open: whether the handler was opened, and has to be closed.
    """

    def __init__(
        self,
        loaded: LoadedHandler,
        http: Callable[[], ClientSession],
        action_sender: ActionSender | None = None,
        memory: Memory | None = None,
        *,
        dry_run: bool = False,
    ) -> None:
        self.is_open = False
        self._loaded = loaded
        self._handler = loaded.handler
        self._timeout_ms = loaded.spec.timeout
        self._http = http
        self._action_sender = action_sender
        self._memory = memory
        self._dry_run = dry_run
        self._log = structlog.get_logger("handler")

    async def open(self) -> None:
        """Open the handler.

        Raises:
            TimedOut: it exceeded the time limit of a call.
            Exception: raised by the handler.
        """
        context = Context(
            handler=self._loaded.name,
            log=self._log,
            http=self._http,
            action_sender=self._action_sender,
            dry_run=self._dry_run,
            memory=self._memory,
        )
        await _with_timeout(self._timeout_ms, self._handler.open(self._loaded.settings, context))
        self.is_open = True

    async def close(self) -> None:
        """Close the handler.

        Raises:
            TimedOut: it took longer than 5 s.
            Exception: raised by the handler.
        """
        self.is_open = False
        await _with_timeout(CLOSE_MS, self._handler.close())

    def attempt(
        self, deliveries: Sequence[Delivery], events: Sequence[LifecycleEvent]
    ) -> Awaitable[list[Outcome]]:
        """Make one attempt with one delivery, or with a batch; one outcome per delivery.

        Args:
            deliveries: the deliveries, whose ``attempts`` is counted up at once.
            events: their events, in the same order.

        Raises:
            asyncio.CancelledError: as :meth:`call`.
        """
        for delivery in deliveries:
            delivery.attempts += 1
        first = deliveries[0]
        return self.call(events, attempt=first.attempts, replayed=first.source.replayed)

    async def call(
        self, events: Sequence[LifecycleEvent], *, attempt: int = 1, replayed: bool = False
    ) -> list[Outcome]:
        """Call the handler with one event, or with a batch; one outcome per event.

        Args:
            events: more than one only for a :class:`~consumer.plugin.BatchHandler`.
            attempt: number of the attempt, from 1.
            replayed: whether a replay delivers the events again.

        Raises:
            asyncio.CancelledError: the caller was cancelled, which is no failure of the handler.
        """
        single = len(events) == 1
        context = Context(
            handler=self._loaded.name,
            log=self._log,
            http=self._http,
            attempt=attempt,
            replayed=replayed,
            event_id=events[0].id if single else None,
            run=events[0].tracker_id if single else None,
            action_sender=self._action_sender,
            dry_run=self._dry_run,
            memory=self._memory,
            allow_actions_on_replay=self._loaded.spec.allow_actions_on_replay,
        )
        error: BaseException | None = None
        try:
            async with asyncio.timeout(self._timeout_ms / 1000) as limit:
                if isinstance(self._handler, BatchHandler):
                    await self._handler.handle_batch(events, context)
                else:
                    await self._handler.handle(events[0], context)
        except asyncio.CancelledError as cancelled:
            if _is_being_cancelled():
                raise
            error = cancelled  # the handler awaited something that was cancelled; the caller was not
        except TimeoutError as timeout:
            error = TimedOut(self._timeout_ms) if limit.expired() else timeout
        except Exception as raised:  # noqa: BLE001 - a handler may raise anything; it becomes an outcome
            error = raised
        return outcomes([event.id for event in events], error)


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _with_timeout(limit_ms: int, call: Awaitable[None]) -> None:
    try:
        async with asyncio.timeout(limit_ms / 1000) as limit:
            await call
    except asyncio.CancelledError as error:
        if _is_being_cancelled():
            raise
        raise RuntimeError("something that it awaited was cancelled") from error
    except TimeoutError as error:
        if limit.expired():
            raise TimedOut(limit_ms) from error
        raise
