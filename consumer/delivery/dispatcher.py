"""Delivery to all handlers, with one subscription each.

The HTTP session is made when the first handler asks for it. Journal entries are decoded once for all handlers, whose cursors are mostly
near each other. Handlers do not affect each other otherwise: only the end of the tenure ends them all.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import structlog

from consumer.clock import Clock
from consumer.delivery.cursor import WINDOW
from consumer.delivery.loading import LoadedHandler
from consumer.delivery.subscription import DeliveryStore, Subscription
from consumer.domain.lifecycle_events import LifecycleEvent
from consumer.errors import CommitRefused, StoreForeign, StoreUnavailable, first_error
from consumer.ports.journal import JournalEntry
from consumer.ports.lease import Tenure
from consumer.ports.observers.delivery_events import DeliveryEvent
from consumer.ports.observers.handler_events import CursorSaved
from consumer.ports.observers.observer import Observer

if TYPE_CHECKING:
    from aiohttp import ClientSession

    from consumer.actions.client import ActionSender

__all__ = ["Dispatcher", "SharedHttp"]

REPORT_INTERVAL_MS = 1_000
"""Interval of reading handler commands, and of reporting cursors and lags."""
CACHED_EVENTS = 1_024
"""Number of decoded events that are cached for the other handlers."""
HTTP_TIMEOUT_S = 30


class Dispatcher:
    """Delivery of the journal to every handler, for one tenure.

    Args:
        store: journal, cursors and commands.
        tenure: tenure under which cursors are saved.
        handlers: handlers from :func:`~consumer.delivery.loading.load_handlers`.
        clock: monotonic for waits, wall for ages and dead letters.
        random: chance in [0, 1), for jitter.
        observer: notified of everything.
        window: per handler, largest number of entries above its lowest unacknowledged one.
        action_sender: sends the handlers' actions; None where there is no org.
    """

    def __init__(
        self,
        store: DeliveryStore,
        tenure: Tenure,
        handlers: Sequence[LoadedHandler],
        *,
        clock: Clock,
        random: Callable[[], float],
        observer: Observer[DeliveryEvent],
        window: int = WINDOW,
        action_sender: ActionSender | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._observer = observer = _UnfailingObserver(observer)
        self._http = [SharedHttp() for _ in handlers]
        decode = _CachingDecoder().decode if len(handlers) > 1 else _decode
        self._subscriptions = [
            Subscription(
                loaded,
                store,
                tenure,
                clock=clock,
                random=random,
                observer=observer,
                decode=decode,
                http=http.session,
                window=window,
                action_sender=action_sender,
            )
            for loaded, http in zip(handlers, self._http, strict=True)
        ]
        self._stopping = asyncio.Event()
        self._running = False
        self._ended = asyncio.Event()
        self._reported: dict[str, tuple[int | None, int, int, int]] = {}

    async def run(self) -> None:
        """Deliver until :meth:`stop`; may be called once.

        Raises:
            CommitRefused: the tenure has ended. Running calls were cancelled; their events are delivered again.
            StoreForeign: a cursor has a newer format.
        """
        self._running = True
        try:
            async with asyncio.TaskGroup() as tasks:
                reporter = tasks.create_task(self._report())
                deliveries = [tasks.create_task(subscription.run()) for subscription in self._subscriptions]
                await self._stopping.wait()
                if deliveries:
                    await asyncio.wait(deliveries)
                reporter.cancel()
            await self._report_once()
        except BaseExceptionGroup as group:
            known, rest = group.split((CommitRefused, StoreForeign))
            if known is not None and rest is None:
                raise first_error(known) from group
            raise
        finally:
            self._running = False
            try:
                for http in self._http:
                    await http.aclose()
            finally:
                self._ended.set()

    async def stop(self, grace_ms: int) -> None:
        """Stop in order, and return when everything is saved and closed.

        Nothing new is taken. Running calls have ``grace_ms``, after which the rest is cancelled. Then cursors are saved, and handlers and
        HTTP session closed. Returns at once if nothing runs.

        Cancelled calls are not failures: their events are delivered again after the next start. Beyond the grace period, saving may take
        2 s and closing slow handlers 5 s.
        """
        self._stopping.set()
        ends_ms = self._clock.monotonic_ms() + grace_ms
        for subscription in self._subscriptions:
            subscription.stop(ends_ms)
        if self._running:
            await self._ended.wait()

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(REPORT_INTERVAL_MS / 1000)
            await self._report_once()

    async def _report_once(self) -> None:
        try:
            _, last = await self._store.bounds()
            pending_commands = await self._store.pending_commands(
                [subscription.name for subscription in self._subscriptions]
            )
        except StoreUnavailable:
            return  # the subscriptions see the same error and report it
        for subscription in self._subscriptions:
            if subscription.saved_offset is not None:
                subscription.apply_commands(pending_commands[subscription.name])
        for subscription in self._subscriptions:
            offset = subscription.saved_offset
            dead_letters = pending_commands[subscription.name].dead_letters
            now = (offset, last, subscription.blocked_runs, dead_letters)
            if offset is not None and self._reported.get(subscription.name) != now:
                self._reported[subscription.name] = now
                lag = max(0, last - offset)
                self._observer.observe(
                    CursorSaved(subscription.name, offset, lag, subscription.blocked_runs, dead_letters)
                )


class _UnfailingObserver:
    """Observer that never raises; a failing metric must not end delivery."""

    def __init__(self, observer: Observer[DeliveryEvent]) -> None:
        self._observe = observer.observe

    def observe(self, event: DeliveryEvent) -> None:
        try:
            self._observe(event)
        except Exception:  # noqa: BLE001 - whatever it is, it is no reason to end delivery
            structlog.get_logger().exception("observer_failed", observed=type(event).__name__)


class _CachingDecoder:
    """Decoder that decodes an entry once for all handlers, with a bounded cache.

    Each handler gets a copy of its own.
    """

    def __init__(self) -> None:
        self._events: OrderedDict[int, LifecycleEvent] = OrderedDict()

    def decode(self, entry: JournalEntry) -> LifecycleEvent:
        event = self._events.get(entry.offset)
        if event is None:
            event = self._events[entry.offset] = _decode(entry)
            if len(self._events) > CACHED_EVENTS:
                self._events.popitem(last=False)
        return event.own_copy()


def _decode(entry: JournalEntry) -> LifecycleEvent:
    return LifecycleEvent.from_journal(entry.data)


class SharedHttp:
    """HTTP session of one handler, shared by its calls and made on first use.

    Handlers do not share one: they could close it, or use up its connections.
    """

    def __init__(self) -> None:
        self._session: ClientSession | None = None
        self._closed = False

    def session(self) -> ClientSession:
        """Return the session, which is made on the first call.

        Another one is made when the handler has closed it.

        Raises:
            RuntimeError: the session was closed for good.
        """
        if self._closed:
            raise RuntimeError(
                "the service has stopped and closed ctx.http; finish requests before the handler returns"
            )
        if self._session is None or self._session.closed:
            import aiohttp  # a slow import that only handlers with requests need

            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=HTTP_TIMEOUT_S), cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session

    async def aclose(self) -> None:
        """Close the session for good."""
        self._closed = True
        if self._session is not None:
            await self._session.close()
