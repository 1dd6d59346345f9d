"""Everything a handler author needs, re-exported from ``consumer``.

A handler is one async function, or a class when it has settings or holds something open::

    @handler(on=["run.ended.*", "step.failed"])
    async def notify(event: LifecycleEvent, ctx: Context) -> None:
        await ctx.http.post(URL, json={"text": f"{event.cadence_name}: {event.type}"})

Decorating makes a value and registers nothing: the settings name it (``use = "module:notify"``), or an entry point of the group
``cadence_consumer.handlers`` does. To raise nothing is to be done with an event. :class:`Retry` and every other exception mean *again,
later*; :class:`Reject` means *never again*: the event becomes a dead letter at once; :class:`Disable` stops the
handler. A handler sees each event at least once, so it
should be able to see one twice: ``event.id`` is the same every time.
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

if TYPE_CHECKING:  # a third of a second of imports that `--help` need not pay
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


# ---------------------------------------------------------------- what a handler may raise


class Retry(Exception):
    """Not now: try this event again.

    It counts as an attempt. Later events of the same run wait for it; other runs do not.

    Args:
        after: how long to wait at least, a timedelta or seconds; None leaves it to the handler's back-off.
        reason: for people, one line.

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
    """Never: this event becomes a dead letter at once, whatever ``max_attempts`` and ``on_failure`` say.

    Args:
        reason: why it can never succeed, for people, one line.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Disable(Exception):
    """Stop this handler: no event can succeed until a person has changed something.

    The handler gets no more events, and this one is neither lost nor a dead letter: it and all that follow wait in the journal, and the
    handler goes on with them when it is paused and resumed, or after the next start. Until then the service is not ready. Other
    handlers are not concerned.

    Args:
        reason: what is to be changed, for people, one line.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class ActionsRefused(Reject):
    """``ctx.actions`` was asked for where acting would do something a second time, or where nothing is to be done.

    Args:
        handler: its name in the settings.
        dry_run: whether it is a dry run; else it is a replay.
    """

    def __init__(self, handler: str, *, dry_run: bool) -> None:
        if dry_run:
            reason = (
                f"handler {handler!r} asked for ctx.actions in a dry run, which changes nothing in Salesforce"
            )
        else:
            reason = (
                f"handler {handler!r} asked for ctx.actions for an event that a replay delivers again; what it does may have been done "
                f"then: look at ctx.replayed, or set handlers.{handler}.allow_actions_on_replay"
            )
        super().__init__(reason)


class Failed(Exception):
    """Some events of a batch failed, the rest succeeded.

    The rest counts as delivered, also those that follow a failed one of the same run; raise any other exception to have the whole batch
    tried again event by event.

    Args:
        why: event id to what went wrong: a sentence, or the exception (:class:`Retry` and :class:`Reject` keep their meaning).

    Raises:
        ValueError: ``why`` is empty.
    """

    def __init__(self, why: Mapping[str, str | Exception]) -> None:
        if not why:
            raise ValueError("Failed({}): name the events that failed; raise nothing when none did")
        self.why = dict(why)
        super().__init__(f"{len(self.why)} events of the batch failed")


# ---------------------------------------------------------------- what a handler is given


class Memory(Protocol):
    """What :class:`Context` asks of the store."""

    async def latest(self, record_id: str) -> Record | None:
        """What is known of a record now."""
        ...

    async def was_done(self, handler: str, key: str) -> bool:
        """Whether the handler has marked ``key``."""
        ...

    async def mark_done(self, handler: str, key: str) -> None:
        """Mark ``key``."""
        ...


class Context:
    """What an attempt knows and may use; a new one for every attempt.

    Args:
        handler: the handler's name in the settings.
        log: the logger to derive :attr:`log` from.
        http: makes or returns the HTTP session that all handlers share.
        attempt: which attempt this is, from 1.
        replayed: whether the event is delivered again because somebody asked for a replay.
        event_id: of the event, None for batches and for ``open``.
        run: of the event, where it has one; for the log.
        action_sender: what :attr:`actions` are sent with; None where there is no org to send them to.
        dry_run: whether nothing is to be changed anywhere.
        memory: what :meth:`latest` and :meth:`once` ask; None where there is no store.
        allow_actions_on_replay: whether :attr:`actions` may be used although the event is delivered again by a replay.
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
        """A structlog logger bound to this handler, event, run and attempt."""
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
        """The aiohttp session that all handlers share: opened on first use, closed by the service, 30 s for a request, keeps no cookies.

        Raises:
            RuntimeError: the service has stopped.
        """
        return self._http()

    @property
    def actions(self) -> Actions:
        """The Sales Engagement actions; each call is signed with the handler's name, paced by ``actions.rate`` and logged.

        What they change comes back as events. The handler that made a change does not get them as long as its setting
        ``ignore_own_changes`` is on; other handlers do.

        Raises:
            ActionsRefused: the event is delivered again by a replay, and the settings do not allow acting then; or this is a dry run. Left
                alone, it makes the event a dead letter.
            RuntimeError: there is no org to act in.
        """
        recorded = getattr(self._action_sender, "records", False)  # sends nothing
        if not recorded and (self.dry_run or (self.replayed and not self._allow_actions_on_replay)):
            raise ActionsRefused(self.handler, dry_run=self.dry_run)
        if self._action_sender is None:
            raise RuntimeError("ctx.actions: there is no Salesforce org to act in here")
        if self._actions is None:
            self._actions = Actions(self._action_sender, self.log, client=client_name_for(self.handler))
        return self._actions

    async def latest(self, record_id: str) -> Record | None:
        """What is known of a run or a step as of the last commit, which may be newer than the event; asks the store, not Salesforce.

        Args:
            record_id: 15 or 18 characters, or the record's URL.

        Returns:
            An ``ActionCadenceTracker`` or ``ActionCadenceStepTracker``, sparse where unknown; None when the record is unknown or deleted.

        Raises:
            ValueError: ``record_id`` is none.
            RuntimeError: there is no store here.
        """
        return await self._required_memory().latest(record_id)

    @asynccontextmanager
    async def once(self, key: str) -> AsyncIterator[bool]:
        """Do something once for this handler, however often the event is delivered.

        Such as::

            async with ctx.once(f"mail/{event.id}") as first:
                if first:
                    await send(...)

        ``key`` is recorded after the block has succeeded: an exception records nothing, and a crash inside the block repeats it. Keys are
        remembered for 30 days, the newest million of them. Of two calls at once with one key both may be the first. In a dry run
        everything is the first time and nothing is recorded.

        Args:
            key: what is done; of this handler alone.

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


# ---------------------------------------------------------------- what a handler is


class NoSettings(BaseModel):
    """For handlers that take none: any setting is an unknown one."""

    model_config = ConfigDict(extra="forbid")


class _HandlerBase:
    """What both classes of handlers share.

    Attributes:
        on: the event types it wants, exact or as patterns (``run.ended.*``), which mypy checks; the settings may say otherwise.
        Settings: a pydantic model of ``handlers.<name>.settings``, validated before anything starts.
    """

    on: EventPattern | Sequence[EventPattern] = ("*",)
    Settings: ClassVar[type[BaseModel]] = NoSettings

    async def open(self, settings: Any, ctx: Context) -> None:
        """Connect, create, check; called before the first event, and again after a back-off when it raised.

        Args:
            settings: an instance of ``Settings``.
            ctx: for ``log`` and ``http``.
        """

    def wants(self, event: LifecycleEvent) -> bool:  # noqa: ARG002 - for those that choose
        """The predicate: whether to be given ``event``, of those that ``on`` selects; must be quick and wait for nothing.

        An exception counts as a failed attempt.
        """
        return True

    wants.takes_everything = True  # type: ignore[attr-defined]  # nobody pays for asking it

    async def close(self) -> None:
        """Leave nothing behind, within 5 s; called once if ``open`` had returned."""


class Handler(_HandlerBase, ABC):
    """A handler with settings or something to hold open, one event at a time.

    Up to ``concurrency`` calls run at once, never two for the same run.
    """

    @abstractmethod
    async def handle(self, event: LifecycleEvent, ctx: Context) -> None:
        """Take ``event``; to return is to be done with it.

        Raises:
            Retry: again, later. Any other exception says the same.
            Reject: never again.
            Disable: no event can succeed; stop.
        """


class BatchHandler(_HandlerBase, ABC):
    """A handler that takes many events at a time, for sinks where a round trip costs more than an event.

    Attributes:
        batch_max: most events in a batch.
        batch_wait: milliseconds to wait for more after the first; 0 takes what is there.
    """

    batch_max: int = 500
    batch_wait: int = 50

    @abstractmethod
    async def handle_batch(self, events: Sequence[LifecycleEvent], ctx: Context) -> None:
        """Take ``events``, in journal order, possibly several of one run.

        When it raises anything but :class:`Failed`, every event is tried again alone, as a batch of one, so that a poison event fails
        alone.

        Raises:
            Failed: some failed, the rest succeeded.
            Retry: again, event by event, later. Any other exception says the same.
            Reject: in a batch of one, never again; else as any other exception, for it does not say which.
        """


class FunctionHandler(Handler):
    """An async function as a handler; still callable, so that a test calls it like the function it was.

    Attributes:
        function: what was decorated.
        on: the event types it wants.
        name: for people.
        when: the predicate; None takes every event that ``on`` selects.
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
        """Ask the predicate."""
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

    The result is a value; nothing is registered. What is wrong with it (not async, other arguments, a pattern that selects no event
    type) is reported when the settings enable it, together with all other problems.

    Args:
        on: the event types it wants, exact or as patterns: ``"run.*"``, ``["run.ended.*", "step.failed"]``; mypy checks them.
        when: a predicate, to be given only some of these, as in ``when=lambda event: event.owner_id == ME``; quick, waits for nothing.
        name: for people; the function's name by default.
    """
    # What a type checker lets pass may still be a wrong word, which loading reports.
    patterns: tuple[EventPattern, ...] = (on,) if isinstance(on, str) else tuple(on)

    def decorate(function: Callable[[LifecycleEvent, Context], Awaitable[None]]) -> FunctionHandler:
        return FunctionHandler(
            function, patterns, name or str(getattr(function, "__name__", "handler")), when
        )

    return decorate
