"""One handler and the journal: call, settle, save.

A feed fills the lanes from the journal and stops when enough is ready or the window is full; workers take from the lanes, at most
``concurrency`` of them, and go when there is nothing to take; a third task wakes the runs whose wait for another attempt is over; a fourth
saves the place. A slow, hanging or failing handler fills its own lanes and nobody else's. Replays and dead letters that are tried again
are feeds of their own into the same lanes, so that order and limits hold for all of them together.

What people ask for is read from the store every second (:meth:`Subscription.apply_commands`): pauses, replays, retries. A handler with as
many dead
letters as it may have is *halted*: it makes no more attempts until letters are tried again or discarded, and nothing is lost meanwhile.

On a stop nothing new is taken. Calls that are under way may finish within the grace; those that do not are cancelled, which is not a
failure: their events are unsettled and come again after the next start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

from consumer.backoff import Backoff
from consumer.clock import Clock
from consumer.delivery.context_store import ContextStore, HandlerContextStore
from consumer.delivery.cursor import WINDOW, Cursor
from consumer.delivery.cursor_saver import CursorSaver
from consumer.delivery.filters import EventFilter
from consumer.delivery.invocation import HandlerInvoker
from consumer.delivery.journal_reader import JournalReader
from consumer.delivery.lanes import BlockedRun, Delivery, DeliverySource, Lanes
from consumer.delivery.loading import LoadedHandler
from consumer.delivery.redrive import DeadLetterRedrive
from consumer.delivery.retry import (
    Acknowledge,
    BatchFailed,
    Block,
    DeadLetter,
    Disabled,
    Failure,
    Rejection,
    RetryLater,
    RetryPolicy,
    Skip,
    Stop,
    Success,
    one_line,
)
from consumer.delivery.start_offset import first_offset
from consumer.delivery.store_retry import retry_until_available, wait_until_set
from consumer.domain.lifecycle_events import LifecycleEvent
from consumer.plugin import BatchHandler
from consumer.ports.delivery import (
    CursorStore,
    HandlerCommand,
    HandlerDeadLetter,
    PendingCommands,
    SavedBlockedRun,
)
from consumer.ports.journal import JournalEntry, JournalStore
from consumer.ports.lease import Tenure
from consumer.ports.observers import DeliveryEvents
from consumer.rate_limit import RateLimiter

if TYPE_CHECKING:
    from aiohttp import ClientSession

    from consumer.actions.client import ActionSender

__all__ = ["DeliveryStore", "Subscription"]

P = ParamSpec("P")
T = TypeVar("T")

HALTED_RETRY_MS = 60_000
OPEN_BACKOFF = Backoff(1_000, 60_000, shortest=0.5)
"""Wait of an event whose dead letter would be one too many; a handler that is halted makes no attempts anyway."""
FINAL_SAVE_TIMEOUT_MS = 2_000
"""Given to the last save even when the grace is used up."""
YIELD_EVERY = 50
"""Calls in a row after which a worker lets others have a turn: a handler that awaits nothing would keep the event loop to itself."""


class DeliveryStore(JournalStore, CursorStore, ContextStore, Protocol):
    """What delivery needs of the store."""


class Subscription:
    """Delivers the journal to one handler.

    Args:
        loaded: the handler.
        store: journal and places.
        tenure: under which the place is saved.
        clock: monotonic for waiting, wall for ages and dead letters.
        random: chance in [0, 1), for jitter.
        observer: told of everything.
        decode: makes an event of an entry; raises ValueError when it cannot.
        http: makes or returns the HTTP session that all handlers share.
        window: most entries above the lowest unsettled one.
        action_sender: what the handler's actions are sent with.
    """

    def __init__(
        self,
        loaded: LoadedHandler,
        store: DeliveryStore,
        tenure: Tenure,
        *,
        clock: Clock,
        random: Callable[[], float],
        observer: DeliveryEvents,
        decode: Callable[[JournalEntry], LifecycleEvent],
        http: Callable[[], ClientSession],
        window: int = WINDOW,
        action_sender: ActionSender | None = None,
    ) -> None:
        spec = loaded.spec
        self.name = loaded.name
        self._start = spec.start
        self._types = loaded.types
        self._store = store
        self._clock = clock
        self._random = random
        self._observer = observer
        self._decode = decode
        self._invoker = HandlerInvoker(loaded, http, action_sender, HandlerContextStore(store, clock))
        self._event_filter = EventFilter(loaded, clock.wall_ms)
        self._policy = RetryPolicy(spec.max_attempts, spec.on_failure)
        self._rate_limiter = RateLimiter(spec.rate) if spec.rate is not None else None
        batch = loaded.handler if isinstance(loaded.handler, BatchHandler) else None
        self._batch_size = batch.batch_max if batch is not None else 1
        self._batch_wait_ms = batch.batch_wait if batch is not None else 0
        self._concurrency = loaded.concurrency
        self._target_ready_lanes = max(32, 2 * loaded.concurrency)
        self._tenure = tenure
        self._window = window
        self.lanes = Lanes()
        self._main_reader = self._new_reader(loaded.name)
        self._journal_readers = [self._main_reader]
        self._replays: dict[str, JournalReader] = {}
        self._finished_replays: set[str] = set()
        self._redrive = DeadLetterRedrive(loaded.name, store, self._add, random=random, observer=observer)
        self._pending_commands = PendingCommands()
        self._dead_letter_limit = spec.dead_letter_limit
        self._dead_letter_count = 0
        self._paused = False
        self._halted = False
        self._background_tasks: list[asyncio.Task[None]] = []
        self._saver_tasks: set[asyncio.Task[None]] = set()
        self._workers: set[asyncio.Task[Any]] = set()
        self._tasks: asyncio.TaskGroup | None = None
        self._prepare_task: asyncio.Task[None] | None = None
        self._opened = False
        self._disabled = False
        self._stopping = asyncio.Event()
        self._grace_ends_ms = 0
        self._demand_event = asyncio.Event()
        self._blocked_event = asyncio.Event()
        self._batch_full = asyncio.Event()

    @property
    def saved_offset(self) -> int | None:
        """The saved offset, at or below which everything is settled; None before the place was read."""
        return self._main_reader.cursor_saver.saved_offset

    @property
    def blocked_runs(self) -> int:
        """How many runs wait for another attempt, or for those before them."""
        return self._main_reader.cursor_saver.cursor.blocked_runs

    def stop(self, grace_ends_ms: int) -> None:
        """Take nothing new, let running calls finish until ``grace_ends_ms`` (monotonic), save, close; :meth:`run` returns then."""
        self._grace_ends_ms = grace_ends_ms
        self._stopping.set()
        self._batch_full.set()
        if self._prepare_task is not None:
            self._prepare_task.cancel()

    async def run(self) -> None:
        """Deliver until :meth:`stop`.

        Raises:
            ExceptionGroup: with :class:`~consumer.errors.CommitRefused` when the tenure is over,
                :class:`~consumer.errors.StoreForeign` when the place cannot be read.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                if not self._stopping.is_set():
                    self._prepare_task = tasks.create_task(self._prepare())
            if self._opened:
                await self._deliver()
        finally:
            if self._opened:
                await self._close()

    # ------------------------------------------------------------ beginning and end

    async def _prepare(self) -> None:
        await self._main_reader.cursor_saver.load_or_create(lambda: first_offset(self._store, self._start))
        await self._main_reader.recover()
        self.apply_commands(
            (await self._retry_until_available(self._store.pending_commands, [self.name]))[self.name]
        )
        for attempt in count(1):
            try:
                await self._invoker.open()
            except Exception as error:  # noqa: BLE001 - a handler may raise anything; it is opened again later
                retry_after_ms = OPEN_BACKOFF.delay_ms(attempt, self._random())
                self._observer.open_failed(self.name, error, retry_after_ms)
            else:
                self._opened = True
                self._observer.opened(self.name, self._main_reader.cursor_saver.cursor.offset)
                return
            await asyncio.sleep(retry_after_ms / 1000)

    async def _deliver(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._saver_tasks.add(tasks.create_task(self._main_reader.cursor_saver.run()))
            self._background_tasks = [
                tasks.create_task(each)
                for each in (self._main_reader.run(), self._wake_retries(), self._redrive.run())
            ]
            self.apply_commands(self._pending_commands)
            await self._stopping.wait()
            for task in self._background_tasks:
                task.cancel()
            await self._finish_calls()
            for reader in self._journal_readers:
                reader.cursor_saver.stop()
            last = tasks.create_task(self._redrive.save())
            remaining_ms = max(FINAL_SAVE_TIMEOUT_MS, self._grace_ends_ms - self._clock.monotonic_ms())
            _, unsaved = await asyncio.wait({*self._saver_tasks, last}, timeout=remaining_ms / 1000)
            for task in unsaved:
                task.cancel()
            if unsaved:
                self._observer.unsaved(self.name, self._main_reader.cursor_saver.saved_offset or 0)

    async def _finish_calls(self) -> None:
        if self._workers:
            remaining_ms = max(0, self._grace_ends_ms - self._clock.monotonic_ms())
            _, running = await asyncio.wait(set(self._workers), timeout=remaining_ms / 1000)
            for worker in running:
                worker.cancel()
            if running:
                await asyncio.wait(running)

    async def _close(self) -> None:
        try:
            await self._invoker.close()
        except Exception as error:  # noqa: BLE001 - a handler may raise anything; closing goes on with the next
            self._observer.close_failed(self.name, error)

    # ------------------------------------------------------------ what feeds need

    @property
    def types(self) -> frozenset[str]:
        """The event types the handler gets."""
        return self._types

    async def wait_for_demand(self, cursor: Cursor) -> None:
        """Returns when there is too little in the lanes and ``cursor`` has room."""
        while not (cursor.capacity and self._has_demand()):
            self._demand_event.clear()
            await self._demand_event.wait()

    def on_enqueued(self) -> None:
        """Something was added to the lanes."""
        if self.lanes.blocked_runs:
            self._blocked_event.set()  # what failed before a restart comes with its wait, which may be the next to end
        if self.lanes.fresh_events >= self._batch_size:
            self._batch_full.set()
        self._spawn_workers()

    def _add(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            self.lanes.add(delivery)
        self.on_enqueued()

    def _has_demand(self) -> bool:
        if self._batch_size > 1:
            return self.lanes.fresh_events < 2 * self._batch_size
        return self.lanes.ready < self._target_ready_lanes

    # ------------------------------------------------------------ what is asked

    def apply_commands(self, pending_commands: PendingCommands) -> None:
        """What the store says is asked of this handler; called every second or so."""
        self._pending_commands = pending_commands
        self._dead_letter_count = (
            pending_commands.dead_letters
            - pending_commands.redrives
            + sum(len(f.cursor_saver.unsaved) for f in self._journal_readers)
        )
        paused = any(command.kind == "pause" for command in pending_commands.commands)
        if paused != self._paused:
            self._paused = paused
            self._disabled &= (
                paused  # to pause and resume a handler that asked to be stopped is to let it try again
            )
            self._notify_state()
        if self._halted and self._dead_letter_count < self._dead_letter_limit:
            self._halted = False
            self._notify_state()
        elif self._dead_letter_count >= self._dead_letter_limit:
            self._halt()
        if self._tasks is None or self._stopping.is_set():
            return
        self._redrive.apply_commands(pending_commands)
        self._finished_replays &= {command.id for command in pending_commands.commands}
        replays = {command.id: command for command in pending_commands.commands if command.kind == "replay"}
        for command in replays.values():
            if command.id not in self._replays and command.id not in self._finished_replays:
                reader = self._new_reader(command.cursor, replayed=True, through=command.through)
                self._replays[command.id] = reader
                self._background_tasks.append(self._tasks.create_task(self._replay(command, reader)))
        for command_id in self._replays.keys() - replays.keys():
            self._replays[command_id].cancel()
        self._demand_event.set()
        self._spawn_workers()

    @property
    def _suspended(self) -> bool:
        return self._paused or self._halted or self._disabled

    def _halt(self) -> None:
        if not self._halted:
            self._halted = True
            self._notify_state()

    def _notify_state(self) -> None:
        if not self._halted and not self._disabled:
            self._observer.resumed(self.name)
        if self._paused:
            self._observer.paused(self.name)
        if self._halted:
            self._observer.halted(self.name, self._dead_letter_count, self._dead_letter_limit)

    def _new_reader(
        self, cursor: str, *, replayed: bool = False, through: int | None = None
    ) -> JournalReader:
        cursor_saver = CursorSaver(
            self.name,
            self._store,
            self._tenure,
            cursor_name=cursor,
            clock=self._clock,
            random=self._random,
            observer=self._observer,
            window=self._window,
        )
        return JournalReader(
            self,
            cursor_saver,
            self._store,
            clock=self._clock,
            random=self._random,
            observer=self._observer,
            replayed=replayed,
            through=through,
        )

    async def _replay(self, command: HandlerCommand, reader: JournalReader) -> None:
        """Carry a replay out, beside what is delivered anyway."""
        assert self._tasks is not None

        async def beginning() -> int:
            return command.after

        await reader.cursor_saver.load_or_create(beginning)
        await reader.recover()
        self._blocked_event.set()
        self._spawn_workers()
        self._observer.replay_began(self.name, command.id, reader.cursor_saver.cursor.offset, command.through)
        self._journal_readers.append(reader)
        saver = self._tasks.create_task(reader.cursor_saver.run())
        self._saver_tasks.add(saver)
        await reader.run()
        await reader.cursor_saver.wait_until_drained()
        reader.cursor_saver.stop()
        await saver
        self._saver_tasks.discard(saver)
        self._journal_readers.remove(reader)
        await self._retry_until_available(self._store.remove_command, command)
        self._finished_replays.add(command.id)  # what was read of the store before that may still name it
        del self._replays[command.id]
        self._observer.replay_ended(
            self.name, command.id, reader.cursor_saver.cursor.offset, cancelled=reader.cancelled
        )

    async def _retry_until_available(
        self, operation: Callable[P, Awaitable[T]], *arguments: P.args, **keywords: P.kwargs
    ) -> T:
        return await retry_until_available(
            lambda: operation(*arguments, **keywords),
            handler=self.name,
            observer=self._observer,
            random=self._random,
        )

    async def _wake_retries(self) -> None:
        while True:
            self._blocked_event.clear()
            due_ms = self.lanes.next_due_ms()
            now_ms = self._clock.monotonic_ms()
            if due_ms is None or due_ms > now_ms:
                await wait_until_set(self._blocked_event, None if due_ms is None else due_ms - now_ms)
                now_ms = self._clock.monotonic_ms()
            self.lanes.wake(now_ms)
            self._spawn_workers()

    # ------------------------------------------------------------ working

    def _spawn_workers(self) -> None:
        if self._tasks is None or self._stopping.is_set() or self._suspended:
            return
        for _ in range(min(self.lanes.ready, self._concurrency - len(self._workers))):
            worker = self._tasks.create_task(self._work())
            self._workers.add(worker)

    async def _work(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            await self._work_until_idle(task)
        finally:
            # At once and not by a done callback, which comes a turn later: who adds work until then would count this worker.
            self._workers.discard(task)

    async def _work_until_idle(self, task: asyncio.Task[Any]) -> None:
        for calls in count(1):
            # A handler that swallows the cancellation of its call must not keep its worker going.
            if self._stopping.is_set() or task.cancelling() or self._suspended:
                return
            if self._rate_limiter is not None and (
                delay_ms := self._rate_limiter.delay_ms(self._clock.monotonic_ms())
            ):
                await wait_until_set(self._stopping, delay_ms)
                continue
            if (
                self._batch_wait_ms
                and not self.lanes.retries
                and 0 < self.lanes.fresh_events < self._batch_size
            ):
                self._batch_full.clear()
                await wait_until_set(self._batch_full, self._batch_wait_ms)
                if self._stopping.is_set():
                    return
            now_ms = self._clock.monotonic_ms()
            deliveries = self.lanes.take(now_ms, self._batch_size)
            if not deliveries:
                return
            if self._rate_limiter is not None:
                self._rate_limiter.consume(now_ms, len(deliveries))
            await self._attempt(deliveries, now_ms)
            if self._has_demand() and any(
                reader.cursor_saver.cursor.capacity for reader in self._journal_readers
            ):
                self._demand_event.set()
            if calls % YIELD_EVERY == 0:
                await asyncio.sleep(0)

    async def _attempt(self, deliveries: list[Delivery], started_ms: int) -> None:
        accepted = [
            (delivery, event)
            for delivery in deliveries
            if (event := self._decode_and_filter(delivery)) is not None
        ]
        if not accepted:
            return
        called = [delivery for delivery, _ in accepted]
        try:
            results = await self._invoker.call(called, [event for _, event in accepted])
        except asyncio.CancelledError:
            for delivery in called:
                self._observer.interrupted(self.name, delivery.entry)
            raise
        ended_ms = self._clock.monotonic_ms()
        delivered = 0
        for delivery, outcome in zip(called, results, strict=True):
            if isinstance(outcome, Success):
                delivered += 1
                if delivery.attempts > 1:
                    self._observer.recovered(self.name, delivery.entry.type, delivery.attempts)
                self._acknowledge(delivery)
            else:
                self._decide(delivery, outcome, ended_ms)
        self._observer.called(self.name, ended_ms - started_ms, delivered)

    def _decode_and_filter(self, delivery: Delivery) -> LifecycleEvent | None:
        """The decoded event; None when it is settled without a call: filtered, or impossible to read."""
        if delivery.source.cancelled:
            self._acknowledge(delivery)
            return None
        if delivery.event is not None:
            return delivery.event
        try:
            event = self._decode(delivery.entry)
        except ValueError as error:
            self._decide(
                delivery, Rejection(f"the journal entry cannot be read: {one_line(error)}", error), 0
            )
            return None
        try:
            why = self._event_filter.rejected_by(event, replayed=delivery.source.replayed)
        except Exception as error:  # noqa: BLE001 - a predicate may raise anything; it counts as an attempt
            delivery.attempts += 1
            self._decide(delivery, Failure(one_line(error), None, error), self._clock.monotonic_ms())
            return None
        if why is not None:
            self._observer.filtered(self.name, event.type, why)
            self._acknowledge(delivery)
            return None
        delivery.event = event
        return event

    def _decide(
        self, delivery: Delivery, outcome: Failure | BatchFailed | Rejection | Disabled, now_ms: int
    ) -> None:
        entry, attempts, observer = delivery.entry, delivery.attempts, self._observer
        match self._policy.decide(attempts, outcome, self._random()):
            case RetryLater(after_ms):
                observer.failed(self.name, entry, attempts, outcome.error, outcome.cause, after_ms)
                self._block(delivery, outcome.error, now_ms + after_ms)
            case Block(after_ms):
                observer.blocked(self.name, entry, attempts, outcome.error, outcome.cause, after_ms)
                self._block(delivery, outcome.error, now_ms + after_ms)
            case Skip(reason):
                observer.skipped(self.name, entry, attempts, reason, outcome.cause)
                self._acknowledge(delivery)
            case DeadLetter() if (
                self._dead_letter_count >= self._dead_letter_limit and delivery.source is not self._redrive
            ):
                self._halt()
                observer.blocked(self.name, entry, attempts, outcome.error, outcome.cause, HALTED_RETRY_MS)
                self._block(delivery, outcome.error, now_ms + HALTED_RETRY_MS)
            case DeadLetter(reason):
                self._dead_letter_count += 1
                observer.dead_lettered(self.name, entry, attempts, reason, outcome.cause)
                self._acknowledge(delivery, self._new_dead_letter(delivery, reason))
            case Stop(reason):
                if not self._disabled:
                    self._disabled = True
                    observer.disabled(self.name, entry, reason)
                self._block(delivery, reason, now_ms + HALTED_RETRY_MS)
            case Acknowledge():
                self._acknowledge(delivery)

    def _acknowledge(self, delivery: Delivery, dead_letter: HandlerDeadLetter | None = None) -> None:
        delivery.source.acknowledged(delivery, dead_letter)
        blocked_run = self.lanes.acknowledged(delivery)
        if blocked_run is not None:
            self._save_blocked_run(blocked_run)

    def _block(self, delivery: Delivery, error: str, due_ms: int) -> None:
        delivery.error = error
        blocked_run = self.lanes.retry_later(delivery, due_ms)
        if blocked_run is not None:
            self._save_blocked_run(blocked_run)

    def _save_blocked_run(self, blocked_run: BlockedRun) -> None:
        """Tell every source which of its events wait now."""
        first = blocked_run.first
        due_ms = self._clock.wall_ms() + max(0, first.due_ms - self._clock.monotonic_ms())
        by_source: dict[DeliverySource, list[Delivery]] = {}
        for delivery in blocked_run.waiting:
            by_source.setdefault(delivery.source, []).append(delivery)
        for source, waiting in by_source.items():
            first_waiting = waiting[0]
            offset = first_waiting.entry.offset
            acknowledged = sorted(
                each.entry.offset
                for each in blocked_run.acknowledged
                if each.source is source and each.entry.offset > offset
            )
            row = SavedBlockedRun(
                first_waiting.entry.tracker_id,
                offset,
                first_waiting.attempts,
                due_ms if first_waiting.attempts else 0,
                first_waiting.error,
                tuple(acknowledged),
            )
            source.blocked_runs(row, [delivery.entry.offset for delivery in waiting])
        self._blocked_event.set()
        self._demand_event.set()

    def _new_dead_letter(self, delivery: Delivery, reason: str) -> HandlerDeadLetter:
        entry = delivery.entry
        return HandlerDeadLetter(
            handler=self.name,
            event_id=entry.id,
            offset=entry.offset,
            tracker_id=entry.tracker_id,
            type=entry.type,
            attempts=delivery.attempts,
            error=reason,
            at_ms=self._clock.wall_ms(),
            data=entry.data,
        )
