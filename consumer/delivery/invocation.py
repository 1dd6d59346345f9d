"""Calls of a handler, with a context, a time limit, and outcomes as values.

The worker pool, ``handlers test`` and the test plugin for handler authors all call handlers here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import structlog

from consumer.delivery.isolation import CallTask, call_in_own_task
from consumer.delivery.lanes import Delivery
from consumer.delivery.loading import LoadedHandler
from consumer.delivery.retry import Outcome, Success, one_line, outcomes
from consumer.domain.lifecycle_events import LifecycleEvent
from consumer.plugin import BatchHandler, Context, Memory

if TYPE_CHECKING:
    from aiohttp import ClientSession

    from consumer.actions.client import ActionSender

__all__ = ["CLOSE_MS", "HandlerInvoker"]

CLOSE_MS = 5_000
"""Time limit of a handler's ``close``."""


class HandlerRaised(Exception):
    """Handler that raised what ends a process or a task, such as SystemExit.

    It did so when it was opened or closed.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(one_line(error))
        self.__cause__ = error


class HandlerInvoker:
    """Invoker of one handler.

    Args:
        loaded: the handler.
        http: makes or returns the HTTP session of the handler.
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
            HandlerRaised: the handler raised what is not an ``Exception``.
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
        error = await call_in_own_task(
            self._timeout_ms, lambda: self._handler.open(self._loaded.settings, context)
        )
        if error is not None:
            raise error if isinstance(error, Exception) else HandlerRaised(error)
        self.is_open = True

    async def close(self) -> None:
        """Close the handler.

        Raises:
            TimedOut: it took longer than 5 s.
            HandlerRaised: the handler raised what is not an ``Exception``.
            Exception: raised by the handler.
        """
        self.is_open = False
        error = await call_in_own_task(CLOSE_MS, self._handler.close)
        if error is not None:
            raise error if isinstance(error, Exception) else HandlerRaised(error)

    def attempt(
        self,
        deliveries: Sequence[Delivery],
        events: Sequence[LifecycleEvent],
        call_task: CallTask | None = None,
    ) -> Awaitable[list[Outcome]]:
        """Make one attempt with one delivery, or with a batch; one outcome per delivery.

        Args:
            deliveries: the deliveries, whose ``attempts`` is counted up at once.
            events: their events, in the same order.
            call_task: as :meth:`call`.

        Raises:
            asyncio.CancelledError: as :meth:`call`.
        """
        for delivery in deliveries:
            delivery.attempts += 1
        first = deliveries[0]
        return self.call(events, attempt=first.attempts, replayed=first.source.replayed, call_task=call_task)

    async def call(
        self,
        events: Sequence[LifecycleEvent],
        *,
        attempt: int = 1,
        replayed: bool = False,
        call_task: CallTask | None = None,
    ) -> list[Outcome]:
        """Call the handler with one event, or with a batch; one outcome per event.

        Args:
            events: more than one only for a :class:`~consumer.plugin.BatchHandler`.
            attempt: number of the attempt, from 1.
            replayed: whether a replay delivers the events again.
            call_task: current task, in which the handler is called; None to call it in a task of its own.

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
        handler = self._handler
        handler_call = (
            (lambda: handler.handle_batch(events, context))
            if isinstance(handler, BatchHandler)
            else (lambda: handler.handle(events[0], context))
        )
        if call_task is None:
            error = await call_in_own_task(self._timeout_ms, handler_call)
        else:
            error = await call_task.call(self._timeout_ms, handler_call)
        if error is None:
            return [Success()] * len(events)
        return outcomes([event.id for event in events], error)
