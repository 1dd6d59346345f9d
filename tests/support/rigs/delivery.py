"""What the delivery tests share: events, a recording observer, a dispatcher that is started and stopped around a test."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from typing import Any

import orjson

from consumer.clock import SystemClock
from consumer.delivery.cursor import Cursor
from consumer.delivery.dispatcher import Dispatcher
from consumer.delivery.handler_settings import HandlerSpec
from consumer.delivery.loading import LoadedHandler
from consumer.domain.lifecycle_events import LifecycleEvent
from consumer.event_types import ALL_TYPES, matching_types
from consumer.plugin import BatchHandler, Context, Handler, NoSettings, handler
from consumer.ports.commit import Commit, JournalRecord
from consumer.ports.lease import Tenure
from tests.support.rigs.observing import Recorder

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def record(
    number: int, run: str | None = "run-1", type_: str = "run.advanced", **facts: Any
) -> JournalRecord:
    event = LifecycleEvent(id=f"e{number}", type=type_, time=facts.pop("time", NOON), tracker_id=run, **facts)
    return JournalRecord(event.id, type_, run, event.to_json())


class FixedWall(SystemClock):
    """The wall stands still, the loop's time goes on."""

    def __init__(self, wall_ms: int) -> None:
        self._wall_ms = wall_ms

    def wall_ms(self) -> int:
        return self._wall_ms


def loaded(what: Any, name: str = "h", types: str = "*", **spec: Any) -> LoadedHandler:
    """As the loader would make it, of a handler instance or an async function."""
    spec.setdefault("start", "earliest")
    made = what if isinstance(what, Handler | BatchHandler) else handler(on=types)(what)
    return LoadedHandler(name, HandlerSpec(use="x", **spec), matching_types(types), made, NoSettings())


class World:
    def __init__(self, store: Any, tenure: Tenure) -> None:
        self.store = store
        self.tenure = tenure
        self.observer = Recorder()
        self.clock: SystemClock = FixedWall(int(NOON.timestamp() * 1000))
        self._commits = 0

    async def publish(self, *records: JournalRecord) -> None:
        self._commits += 1
        await self.store.commit(
            Commit(self.tenure.token, self._commits, "00D000000000001EAA", journal=list(records))
        )

    def dispatcher(self, *handlers: LoadedHandler, window: int = 10_000) -> Dispatcher:
        return Dispatcher(
            self.store,
            self.tenure,
            handlers,
            clock=self.clock,
            random=lambda: 0.0,
            observer=self.observer,
            window=window,
        )

    @asynccontextmanager
    async def delivering(
        self, *handlers: LoadedHandler, window: int = 10_000, grace_ms: int = 1_000
    ) -> AsyncIterator[Dispatcher]:
        """Run a dispatcher, stop it at the end, and let nothing it raised go unseen."""
        dispatcher = self.dispatcher(*handlers, window=window)
        running = asyncio.create_task(dispatcher.run())
        try:
            yield dispatcher
            if running.done():
                await running
        finally:
            await dispatcher.stop(grace_ms)
            await running

    async def cursor(self, name: str = "h") -> Cursor:
        saved = await self.store.cursor(name)
        assert saved is not None
        return Cursor.load(saved.data, blocked_runs=await self.store.blocked_runs(name))

    async def acknowledged_through(self, offset: int, name: str = "h", limit_s: float = 3_600) -> None:
        """Until the *saved* place has passed ``offset`` and no run is blocked before it; the limit is virtual time where time is."""

        async def passed() -> bool:
            saved = await self.store.cursor(name)
            if saved is None or orjson.loads(saved.data)["offset"] < offset:
                return False
            return all(row.first > offset for row in await self.store.blocked_runs(name))

        await until(passed, limit_s)


async def until(condition: Callable[[], Any], limit_s: float = 3_600) -> None:
    """Wait for a condition, with a deadline."""
    async with asyncio.timeout(limit_s):
        for look in count():
            answer = condition()
            if isinstance(answer, Awaitable):
                answer = await answer
            if answer:
                return
            await asyncio.sleep(
                0.01 if look < 500 else 10
            )  # virtual hours should not be looked through in hundredths


class Log:
    """A handler's function that writes down what it got."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.runs: dict[str | None, list[str]] = {}
        self.attempts: list[int] = []

    def note(self, event: LifecycleEvent, ctx: Context | None = None) -> None:
        self.ids.append(event.id)
        self.runs.setdefault(event.tracker_id, []).append(event.id)
        if ctx is not None:
            self.attempts.append(ctx.attempt)

    async def __call__(self, event: LifecycleEvent, ctx: Context) -> None:
        self.note(event, ctx)

    @property
    def counts(self) -> Counter[str]:
        return Counter(self.ids)


class Batches(BatchHandler):
    """A batch handler that writes down what it got and does as told."""

    batch_wait = 0

    def __init__(
        self, act: Callable[[Sequence[LifecycleEvent]], None] | None = None, batch_max: int = 500
    ) -> None:
        self.batch_max = batch_max
        self.calls: list[list[str]] = []
        self.done: list[str] = []
        self._act = act

    async def handle_batch(self, events: Sequence[LifecycleEvent], ctx: Context) -> None:
        del ctx
        self.calls.append([event.id for event in events])
        if self._act is not None:
            self._act(events)
        self.done += [event.id for event in events]


__all__ = [
    "ALL_TYPES",
    "NOON",
    "Batches",
    "FixedWall",
    "Log",
    "World",
    "loaded",
    "record",
    "until",
]
