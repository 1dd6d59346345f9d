"""Delivery of the journal to one handler, from opening the handler to closing it.

::

    journal_reader ─▶ lanes ─▶ worker_pool ─▶ attempts ─▶ acknowledge ─▶ cursor ─▶ cursor_saver
       replays ─▶─────┤                           │
       redrive ─▶─────┘      ◀─ retry later ──────┘

A reader fills the lanes from the journal, until enough is ready or the window is full; workers take from the lanes. Replays and redriven
dead letters fill the same lanes, so that order and limits hold for all of them together. A slow, hanging or failing handler fills its own
lanes and no others.

On a stop nothing new is taken. Running calls may finish within the grace period; the rest is cancelled, which is not a failure: their
events stay unacknowledged and are delivered again after the next start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Protocol

from consumer.backoff import Backoff
from consumer.clock import Clock
from consumer.delivery.context_store import ContextStore, HandlerContextStore
from consumer.delivery.control import HandlerControl
from consumer.delivery.cursor import WINDOW
from consumer.delivery.cursor_saver import CursorSaver
from consumer.delivery.handler_state import HandlerStateMachine
from consumer.delivery.invocation import HandlerInvoker
from consumer.delivery.journal_reader import JournalReader
from consumer.delivery.loading import LoadedHandler
from consumer.delivery.redrive import DeadLetterRedrive
from consumer.delivery.replays import Replays
from consumer.delivery.start_offset import first_offset
from consumer.delivery.store_retry import StoreRetry
from consumer.delivery.worker_pool import WorkerPool
from consumer.domain.lifecycle_events import LifecycleEvent
from consumer.ports.delivery import CursorStore, PendingCommands
from consumer.ports.journal import JournalEntry, JournalStore
from consumer.ports.lease import Tenure
from consumer.ports.observers.delivery_events import DeliveryEvent
from consumer.ports.observers.handler_events import (
    CursorUnsaved,
    HandlerCloseFailed,
)
from consumer.ports.observers.observer import Observer

if TYPE_CHECKING:
    from aiohttp import ClientSession

    from consumer.actions.client import ActionSender

__all__ = ["DeliveryStore", "Subscription"]

OPEN_BACKOFF = Backoff(1_000, 60_000, shortest=0.5)
"""Waits between two attempts to open the handler."""
FINAL_SAVE_TIMEOUT_MS = 2_000
"""Time for the last save even when the grace period is used up."""


class DeliveryStore(JournalStore, CursorStore, ContextStore, Protocol):
    """Part of the store that delivery uses."""


class Subscription:
    """Delivery of the journal to one handler.

    Args:
        loaded: the handler.
        store: journal, cursors and commands.
        tenure: tenure under which cursors are saved.
        clock: monotonic for waits, wall for ages and dead letters.
        random: chance in [0, 1), for jitter.
        observer: notified of everything.
        decode: decodes an entry; raises ValueError when it cannot.
        http: makes or returns the HTTP session of the handler.
        window: largest number of entries above the lowest unacknowledged one.
        action_sender: sends the handler's actions.
    """

    def __init__(
        self,
        loaded: LoadedHandler,
        store: DeliveryStore,
        tenure: Tenure,
        *,
        clock: Clock,
        random: Callable[[], float],
        observer: Observer[DeliveryEvent],
        decode: Callable[[JournalEntry], LifecycleEvent],
        http: Callable[[], ClientSession],
        window: int = WINDOW,
        action_sender: ActionSender | None = None,
    ) -> None:
        self.name = loaded.name
        self._first_offset = lambda: first_offset(store, loaded.spec.start)
        self._clock = clock
        self._random = random
        self._observer = observer
        self._stopping = asyncio.Event()
        self._grace_ends_ms = 0
        self._prepare_task: asyncio.Task[None] | None = None
        self._invoker = HandlerInvoker(loaded, http, action_sender, HandlerContextStore(store, clock))
        self._state = state = HandlerStateMachine(loaded.name, loaded.spec.dead_letter_limit, observer)
        self._pool = WorkerPool(
            loaded,
            self._invoker,
            state,
            self._stopping,
            clock=clock,
            random=random,
            observer=observer,
            decode=decode,
        )
        queue, retry = self._pool.queue, StoreRetry(loaded.name, observer, random)

        def new_reader(
            cursor_name: str, *, replayed: bool = False, through: int | None = None
        ) -> JournalReader:
            return JournalReader(
                queue,
                CursorSaver(
                    loaded.name,
                    store,
                    tenure,
                    cursor_name=cursor_name,
                    random=random,
                    observer=observer,
                    window=window,
                ),
                store,
                clock=clock,
                random=random,
                observer=observer,
                replayed=replayed,
                through=through,
            )

        self._main_reader = new_reader(loaded.name)
        self._control = HandlerControl(
            state,
            self._pool,
            self._main_reader,
            DeadLetterRedrive(loaded.name, store, queue.add, random=random, observer=observer),
            Replays(queue, store, new_reader, retry, observer),
            store,
            retry,
            self._stopping,
        )

    @property
    def saved_offset(self) -> int | None:
        """Offset of the saved cursor; None before the cursor was read."""
        return self._main_reader.cursor_saver.saved_offset

    @property
    def blocked_runs(self) -> int:
        """Number of runs whose first event waits for another attempt."""
        return self._main_reader.cursor_saver.cursor.blocked_runs

    def apply_commands(self, pending_commands: PendingCommands) -> None:
        """Apply what the store says about the handler; called every second or so."""
        self._control.apply_commands(pending_commands)

    def stop(self, grace_ends_ms: int) -> None:
        """Stop in order; :meth:`run` returns when everything is saved and closed.

        Nothing new is taken, and running calls may finish until ``grace_ends_ms`` (monotonic).
        """
        self._grace_ends_ms = grace_ends_ms
        self._stopping.set()
        self._pool.stop()
        if self._prepare_task is not None:
            self._prepare_task.cancel()

    async def run(self) -> None:
        """Deliver until :meth:`stop`.

        Raises:
            ExceptionGroup: with :class:`~consumer.errors.CommitRefused` when the tenure is over,
                :class:`~consumer.errors.StoreForeign` when the cursor cannot be read.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                if not self._stopping.is_set():
                    self._prepare_task = tasks.create_task(self._prepare())
            if self._invoker.is_open:
                await self._deliver()
        finally:
            if self._invoker.is_open:
                await self._close()

    async def _prepare(self) -> None:
        await self._main_reader.cursor_saver.load_or_create(self._first_offset)
        await self._main_reader.recover()
        await self._control.load_commands()
        for attempt in count(1):
            try:
                await self._invoker.open()
            except Exception as error:  # noqa: BLE001 - a handler may raise anything; it is opened again later
                retry_after_ms = OPEN_BACKOFF.delay_ms(attempt, self._random())
                self._state.opening_failed(error, retry_after_ms)
            else:
                self._state.opened(self._main_reader.cursor_saver.cursor.offset)
                return
            await asyncio.sleep(retry_after_ms / 1000)

    async def _deliver(self) -> None:
        cursor_saver = self._main_reader.cursor_saver
        async with asyncio.TaskGroup() as tasks:
            saver = tasks.create_task(cursor_saver.run())
            reader = tasks.create_task(self._main_reader.run())
            retries = tasks.create_task(self._pool.wake_retries())
            self._pool.start(tasks)
            self._control.start(tasks)
            await self._stopping.wait()
            reader.cancel()
            retries.cancel()
            self._control.stop()
            await self._pool.finish_calls(self._grace_ends_ms)
            cursor_saver.stop()
            savers = {saver, *self._control.save(tasks)}
            remaining_ms = max(FINAL_SAVE_TIMEOUT_MS, self._grace_ends_ms - self._clock.monotonic_ms())
            _, unsaved = await asyncio.wait(savers, timeout=remaining_ms / 1000)
            for task in unsaved:
                task.cancel()
            if unsaved:
                self._observer.observe(CursorUnsaved(self.name, cursor_saver.saved_offset or 0))

    async def _close(self) -> None:
        try:
            await self._invoker.close()
        except Exception as error:  # noqa: BLE001 - a handler may raise anything; the others are closed all the same
            self._observer.observe(HandlerCloseFailed(self.name, error))
