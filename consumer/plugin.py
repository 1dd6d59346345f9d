"""Public API for handler authors, re-exported from ``consumer``.

A handler is one async function, or a class when it has settings or holds something open::

    @handler(on=["run.ended.*", "step.failed"])
    async def notify(event: LifecycleEvent, ctx: Context) -> None:
        await ctx.http.post(URL, json={"text": f"{event.cadence_name}: {event.type}"})

The decorator makes a value and registers nothing: the settings name it (``use = "module:notify"``), or an entry point of the group
``cadence_consumer.handlers`` does. A handler that returns acknowledges the event. :class:`Retry` and every other exception ask for another
attempt; :class:`Reject` makes the event a dead letter at once; :class:`Disable` stops the handler. A handler gets each event at least once,
so it must be able to get one twice: ``event.id`` is the same every time.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict

from consumer.actions.client import Actions, ActionSender, client_name_for
from consumer.domain.lifecycle_events import LifecycleEvent
from consumer.domain.objects import Record
from consumer.event_types import EventPattern

if TYPE_CHECKING:  # importing these takes a third of a second, which `--help` does not need
    from aiohttp import ClientSession
    from structlog.typing import FilteringBoundLogger

__all__ = [
    "ActionsRefused",
    "BatchHandler",
    "Context",
    "Disable",
    "Failed",
    "FunctionHandler",
    "Handler",
    "NoSettings",
    "Reject",
    "Retry",
    "handler",
]


# ---------------------------------------------------------------- exceptions for handlers


class Retry(Exception):
    """Ask for another attempt with this event, later.

    The call counts as an attempt. Later events of the same run wait for it; other runs do not.

    Args:
        after: wait until the next attempt, a timedelta or seconds; None for the handler's backoff.
        reason: reason for the log, one line.

    Raises:
        ValueError: ``after`` is negative or not a number.
    """

    def __init__(self, after: timedelta | float | None = None, reason: str = "") -> None:
        seconds = after.total_seconds() if isinstance(after, timedelta) else after
        if seconds is not None and not (seconds >= 0 and math.isfinite(seconds)):
            raise ValueError(f"Retry(after={after!r}): wait zero seconds or more")
        self.after_ms = None if seconds is None else math.ceil(seconds * 1000)
        self.reason = reason
        super().__init__(reason or "the handler asked for another attempt")


class Reject(Exception):
    """Make this event a dead letter at once.

    The settings ``max_attempts`` and ``on_failure`` do not matter then.

    Args:
        reason: reason why the event can never succeed, one line.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Disable(Exception):
    """Disable this handler until an operator has changed something.

    No event could succeed before that.

    The handler gets no more events, and this one is neither lost nor a dead letter: it and all later ones wait in the journal. The handler
    continues with them when it is paused and resumed, or after the next start. Until then the service is not ready. Other handlers are
    not affected.

    Args:
        reason: change that is needed, one line.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class ActionsRefused(Reject):
    """Refusal of ``ctx.actions``: in a replay they would be repeated, or in a dry run.

    Args:
        handler: name of the handler in the settings.
        dry_run: true in a dry run, false in a replay.
    """

    def __init__(self, handler: str, *, dry_run: bool) -> None:
        if dry_run:
            reason = f"handler {handler!r} used ctx.actions in a dry run, which changes nothing in Salesforce"
        else:
            reason = (
                f"handler {handler!r} used ctx.actions for an event that a replay delivers again, so the action may have been taken "
                f"before: check ctx.replayed, or set handlers.{handler}.allow_actions_on_replay"
            )
        super().__init__(reason)


class Failed(Exception):
    """Report that events of a batch failed while the rest succeeded.

    The rest counts as delivered, also events that follow a failed one of the same run; raise any other exception to have the whole batch
    attempted again event by event.

    Args:
        why: error by event id: a sentence, or an exception (:class:`Retry` and :class:`Reject` keep their meaning).

    Raises:
        ValueError: ``why`` is empty.
    """

    def __init__(self, why: Mapping[str, str | Exception]) -> None:
        if not why:
            raise ValueError("Failed({}): name the events that failed; raise nothing when none did")
        self.why = dict(why)
        super().__init__(f"{len(self.why)} events of the batch failed")


# ---------------------------------------------------------------- context of a call


class Memory(Protocol):
    """Part of the store that :class:`Context` uses."""

    async def latest(self, record_id: str) -> Record | None:
        """Current record; None when it is unknown or deleted."""
        ...

    async def was_done(self, handler: str, key: str) -> bool:
        """Return true when the handler has marked ``key`` as done."""
        ...

    async def mark_done(self, handler: str, key: str) -> None:
        """Mark ``key`` as done."""
        ...


class Context:
    """Context of one attempt: facts about it, and the means that a handler may use.

    Args:
        handler: name of the handler in the settings.
        log: logger from which :attr:`log` is derived.
        http: makes or returns the HTTP session of the handler.
        attempt: number of the attempt, from 1.
        replayed: whether a replay delivers the event again.
        event_id: id of the event; None for batches and for ``open``.
        run: run of the event, if it has one; for the log.
        action_sender: sends :attr:`actions`; None where there is no org.
        dry_run: whether nothing is to be changed anywhere.
        memory: answers :meth:`latest` and :meth:`once`; None where there is no store.
        allow_actions_on_replay: whether :attr:`actions` may be used in a replay.
    """

    __slots__ = (
        "_action_sender",
        "_actions",
        "_allow_actions_on_replay",
        "_bound",
        "_event_id",
        "_http",
        "_log",
        "_memory",
        "_run",
        "attempt",
        "dry_run",
        "handler",
        "replayed",
    )

    def __init__(
        self,
        *,
        handler: str,
        log: FilteringBoundLogger,
        http: Callable[[], ClientSession],
        attempt: int = 1,
        replayed: bool = False,
        event_id: str | None = None,
        run: str | None = None,
        action_sender: ActionSender | None = None,
        dry_run: bool = False,
        allow_actions_on_replay: bool = False,
        memory: Memory | None = None,
    ) -> None:
        self.handler = handler
        self.attempt = attempt
        self.replayed = replayed
        self._log = log
        self._http = http
        self._event_id = event_id
        self._run = run
        self._bound: FilteringBoundLogger | None = None
        self.dry_run = dry_run
        self._action_sender = action_sender
        self._allow_actions_on_replay = allow_actions_on_replay
        self._memory = memory
        self._actions: Actions | None = None

    @property
    def log(self) -> FilteringBoundLogger:
        """Structlog logger bound to this handler, event, run and attempt."""
        if self._bound is None:  # bound on first use: most attempts log nothing
            facts: dict[str, Any] = {"handler": self.handler}
            if self._event_id is not None:
                facts.update(event_id=self._event_id, attempt=self.attempt)
            if self._run is not None:
                facts["run"] = self._run
            self._bound = self._log.bind(**facts)
        return self._bound

    @property
    def http(self) -> ClientSession:
        """HTTP session of aiohttp, one for all calls of the handler.

        It is opened on first use and closed by the service; its requests may take 30 s, and it keeps no cookies.

        Raises:
            RuntimeError: the service has stopped.
        """
        return self._http()

    @property
    def actions(self) -> Actions:
        """Sales Engagement actions, on behalf of the handler.

        Each call carries the handler's name, is limited by ``actions.rate`` and is logged.

        Their changes come back as events. The handler that made a change does not get them while its setting ``ignore_own_changes`` is
        on; other handlers do.

        Raises:
            ActionsRefused: a replay delivers the event again, and the settings do not allow actions then; or this is a dry run. When the
                handler does not catch it, the event becomes a dead letter.
            RuntimeError: there is no org.
        """
        recorded = getattr(self._action_sender, "records", False)  # a recording sender sends nothing
        if not recorded and (self.dry_run or (self.replayed and not self._allow_actions_on_replay)):
            raise ActionsRefused(self.handler, dry_run=self.dry_run)
        if self._action_sender is None:
            raise RuntimeError("ctx.actions: there is no Salesforce org here")
        if self._actions is None:
            self._actions = Actions(self._action_sender, self.log, client=client_name_for(self.handler))
        return self._actions

    async def latest(self, record_id: str) -> Record | None:
        """Read a run or a step from the store, as of the last commit.

        The record may be newer than the event.

        Args:
            record_id: 15 or 18 characters, or the record's URL.

        Returns:
            An ``ActionCadenceTracker`` or ``ActionCadenceStepTracker`` with the fields that are known; None when the record is unknown or
            deleted.

        Raises:
            ValueError: ``record_id`` is no record id.
            RuntimeError: there is no store here.
        """
        return await self._required_memory().latest(record_id)

    @asynccontextmanager
    async def once(self, key: str) -> AsyncIterator[bool]:
        """Do something once for this handler, however often the event is delivered.

        For example::

            async with ctx.once(f"mail/{event.id}") as first:
                if first:
                    await send(...)

        ``key`` is stored after the block has succeeded: an exception stores nothing, and a crash inside the block repeats it. Keys are
        kept for 30 days, the newest million of them. Two simultaneous calls with one key may both be the first. In a dry run every call
        is the first and nothing is stored.

        Args:
            key: name of the work; keys of different handlers are independent.

        Raises:
            RuntimeError: there is no store here.
        """
        memory = self._required_memory()
        first = self.dry_run or not await memory.was_done(self.handler, key)
        yield first
        if first and not self.dry_run:
            await memory.mark_done(self.handler, key)

    def _required_memory(self) -> Memory:
        if self._memory is None:
            raise RuntimeError("ctx.latest and ctx.once: there is no store here")
        return self._memory


# ---------------------------------------------------------------- handlers


class NoSettings(BaseModel):
    """Settings of handlers that have none: every setting is rejected as unknown."""

    model_config = ConfigDict(extra="forbid")


class _HandlerBase:
    """Common part of both handler classes.

    Attributes:
        on: event types of the handler, exact or as patterns (``run.ended.*``), which mypy checks; the settings may override it.
        Settings: pydantic model of ``handlers.<name>.settings``, validated before anything starts.
    """

    on: EventPattern | Sequence[EventPattern] = ("*",)
    Settings: ClassVar[type[BaseModel]] = NoSettings

    async def open(self, settings: Any, ctx: Context) -> None:
        """Connect, create, check.

        Called before the first event, and again after a backoff when it raised.

        Args:
            settings: instance of ``Settings``.
            ctx: context with ``log`` and ``http``.
        """

    def wants(self, event: LifecycleEvent) -> bool:  # noqa: ARG002 - for subclasses
        """Return true when the handler is to get ``event``, which ``on`` selects.

        The predicate must be fast and not block.

        An exception counts as a failed attempt.
        """
        return True

    wants.takes_everything = True  # type: ignore[attr-defined]  # lets delivery skip the call of a predicate that is not overridden

    async def close(self) -> None:
        """Release everything within 5 s; called once if ``open`` had returned."""


class Handler(_HandlerBase, ABC):
    """Handler of single events, with settings or resources of its own.

    Up to ``concurrency`` calls run at once, never two for the same run.
    """

    @abstractmethod
    async def handle(self, event: LifecycleEvent, ctx: Context) -> None:
        """Handle ``event``; returning acknowledges it.

        Raises:
            Retry: another attempt is needed; any other exception means the same.
            Reject: the event can never succeed.
            Disable: no event can succeed; the handler is stopped.
        """


class BatchHandler(_HandlerBase, ABC):
    """Handler of batches, for sinks where a round trip costs more than an event.

    Attributes:
        batch_max: largest number of events in a batch.
        batch_wait: milliseconds to wait for a batch to fill up; 0 for no wait.
    """

    batch_max: int = 500
    batch_wait: int = 50

    @abstractmethod
    async def handle_batch(self, events: Sequence[LifecycleEvent], ctx: Context) -> None:
        """Handle ``events``, in journal order, possibly several of one run.

        After any exception but :class:`Failed`, every event is attempted again alone, as a batch of one, so that a poison event fails
        alone.

        Raises:
            Failed: some events failed, the rest succeeded.
            Retry: another attempt is needed, event by event; any other exception means the same.
            Reject: in a batch of one, the event can never succeed; otherwise as any other exception, because it does not say which.
        """


class FunctionHandler(Handler):
    """Async function as a handler, which can still be called like the function.

    Attributes:
        function: decorated function.
        on: event types of the handler.
        name: name for log lines and listings.
        when: predicate; None for every event that ``on`` selects.
    """

    def __init__(
        self,
        function: Callable[[LifecycleEvent, Context], Awaitable[None]],
        on: Sequence[EventPattern],
        name: str,
        when: Callable[[LifecycleEvent], bool] | None = None,
    ) -> None:
        self.function = function
        self.on = tuple(on)
        self.when = when
        self.name = name
        self.__doc__ = function.__doc__
        self.__module__ = function.__module__

    def __call__(self, event: LifecycleEvent, ctx: Context) -> Awaitable[None]:
        """Call the function."""
        return self.function(event, ctx)

    def __repr__(self) -> str:
        return f"<handler {self.name} on {', '.join(self.on)}>"

    def wants(self, event: LifecycleEvent) -> bool:
        """Call the predicate."""
        return self.when is None or self.when(event)

    async def handle(self, event: LifecycleEvent, ctx: Context) -> None:
        """Call the function."""
        await self.function(event, ctx)


def handler(
    *,
    on: EventPattern | Sequence[EventPattern] = "*",
    when: Callable[[LifecycleEvent], bool] | None = None,
    name: str | None = None,
) -> Callable[[Callable[[LifecycleEvent, Context], Awaitable[None]]], FunctionHandler]:
    """Make a handler of ``async def f(event, ctx)``.

    The result is a value; nothing is registered. Problems (not async, other arguments, a pattern that selects no event type) are reported
    when the settings enable the handler, together with all other problems.

    Args:
        on: event types of the handler, exact or as patterns: ``"run.*"``, ``["run.ended.*", "step.failed"]``; mypy checks them.
        when: predicate that selects among these, as in ``when=lambda event: event.owner_id == ME``; must be fast and not block.
        name: name for log lines and listings; that of the function by default.
    """
    # A pattern that a type checker accepts may still select nothing, which loading reports.
    patterns: tuple[EventPattern, ...] = (on,) if isinstance(on, str) else tuple(on)

    def decorate(function: Callable[[LifecycleEvent, Context], Awaitable[None]]) -> FunctionHandler:
        return FunctionHandler(
            function, patterns, name or str(getattr(function, "__name__", "handler")), when
        )

    return decorate
