"""Everything a handler author needs, re-exported from ``consumer``.

A handler is one async function, or a class when it has settings or holds something open::

    @handler(on=["run.ended.*", "step.failed"])
    async def notify(event: LifecycleEvent, ctx: Context) -> None:
        await ctx.http.post(URL, json={"text": f"{event.cadence_name}: {event.type}"})

Decorating makes a value and registers nothing: the settings name it (``use = "module:notify"``), or an entry point of the group
``cadence_consumer.handlers`` does. To raise nothing is to be done with an event. :class:`Retry` and every other exception mean *again,
later*; :class:`Reject` means *never again*: the event becomes a dead letter at once. A handler sees each event at least once, so it
should be able to see one twice: ``event.id`` is the same every time.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

from consumer.events import LifecycleEvent

if TYPE_CHECKING:  # a third of a second of imports that `--help` need not pay
    from aiohttp import ClientSession
    from structlog.typing import FilteringBoundLogger

__all__ = [
    "BatchHandler",
    "Context",
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


class Context:
    """What an attempt knows and may use; a new one for every attempt.

    Args:
        handler: the handler's name in the settings.
        log: the logger to derive :attr:`log` from.
        http: makes or returns the HTTP session that all handlers share.
        attempt: which attempt this is, from 1.
        replayed: whether the event is delivered again because somebody asked for a replay.
        event_id: of the event, None for batches and for ``open``.
    """

    __slots__ = ("_bound", "_event_id", "_http", "_log", "attempt", "handler", "replayed")

    def __init__(
        self,
        *,
        handler: str,
        log: FilteringBoundLogger,
        http: Callable[[], ClientSession],
        attempt: int = 1,
        replayed: bool = False,
        event_id: str | None = None,
    ) -> None:
        self.handler = handler
        self.attempt = attempt
        self.replayed = replayed
        self._log = log
        self._http = http
        self._event_id = event_id
        self._bound: FilteringBoundLogger | None = None

    @property
    def log(self) -> FilteringBoundLogger:
        """A structlog logger bound to this handler, event and attempt."""
        if self._bound is None:  # bound on first use: most attempts log nothing
            facts: dict[str, Any] = {"handler": self.handler}
            if self._event_id is not None:
                facts.update(event_id=self._event_id, attempt=self.attempt)
            self._bound = self._log.bind(**facts)
        return self._bound

    @property
    def http(self) -> ClientSession:
        """The aiohttp session that all handlers share: opened on first use, closed by the service, 30 s for a request, keeps no cookies.

        Raises:
            RuntimeError: the service has stopped.
        """
        return self._http()


# ---------------------------------------------------------------- what a handler is


class NoSettings(BaseModel):
    """For handlers that take none: any setting is an unknown one."""

    model_config = ConfigDict(extra="forbid")


class _Plugin:
    """What both classes of handlers share.

    Attributes:
        on: the event types it wants, exact or as patterns (``run.ended.*``); the settings may say otherwise.
        Settings: a pydantic model of ``handlers.<name>.settings``, validated before anything starts.
    """

    on: Sequence[str] = ("*",)
    Settings: ClassVar[type[BaseModel]] = NoSettings

    async def open(self, settings: Any, ctx: Context) -> None:
        """Connect, create, check; called before the first event, and again after a back-off when it raised.

        Args:
            settings: an instance of ``Settings``.
            ctx: for ``log`` and ``http``.
        """

    async def close(self) -> None:
        """Leave nothing behind, within 5 s; called once if ``open`` had returned."""


class Handler(_Plugin, ABC):
    """A handler with settings or something to hold open, one event at a time.

    Up to ``concurrency`` calls run at once, never two for the same run.
    """

    @abstractmethod
    async def handle(self, event: LifecycleEvent, ctx: Context) -> None:
        """Take ``event``; to return is to be done with it.

        Raises:
            Retry: again, later. Any other exception says the same.
            Reject: never again.
        """


class BatchHandler(_Plugin, ABC):
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
    """

    def __init__(
        self, function: Callable[[LifecycleEvent, Context], Awaitable[None]], on: Sequence[str], name: str
    ) -> None:
        self.function = function
        self.on = tuple(on)
        self.name = name
        self.__doc__ = function.__doc__
        self.__module__ = function.__module__

    def __call__(self, event: LifecycleEvent, ctx: Context) -> Awaitable[None]:
        """Call the function."""
        return self.function(event, ctx)

    def __repr__(self) -> str:
        return f"<handler {self.name} on {', '.join(self.on)}>"

    async def handle(self, event: LifecycleEvent, ctx: Context) -> None:
        """Call the function."""
        await self.function(event, ctx)


def handler(
    *, on: str | Sequence[str] = "*", name: str | None = None
) -> Callable[[Callable[[LifecycleEvent, Context], Awaitable[None]]], FunctionHandler]:
    """Make a handler of ``async def f(event, ctx)``.

    The result is a value; nothing is registered. What is wrong with it (not async, other arguments, a pattern that selects no event
    type) is reported when the settings enable it, together with all other problems.

    Args:
        on: the event types it wants, exact or as patterns: ``"run.*"``, ``["run.ended.*", "step.failed"]``.
        name: for people; the function's name by default.
    """
    patterns = (on,) if isinstance(on, str) else tuple(on)

    def decorate(function: Callable[[LifecycleEvent, Context], Awaitable[None]]) -> FunctionHandler:
        return FunctionHandler(function, patterns, name or str(getattr(function, "__name__", "handler")))

    return decorate
