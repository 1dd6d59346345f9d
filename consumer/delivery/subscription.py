"""One handler and the journal: call, settle, save.

A feed fills the lanes from the journal and stops when enough is ready or the window is full; workers take from the lanes, at most
``concurrency`` of them, and go when there is nothing to take; a third task wakes the runs whose wait for another attempt is over; a fourth
saves the place. A slow, hanging or failing handler fills its own lanes and nobody else's. Replays and dead letters that are tried again
are feeds of their own into the same lanes, so that order and limits hold for all of them together.

What people ask for is read from the store every second (:meth:`Subscription.asked`): pauses, replays, retries. A handler with as many dead
letters as it may have is *halted*: it makes no more attempts until letters are tried again or discarded, and nothing is lost meanwhile.

On a stop nothing new is taken. Calls that are under way may finish within the grace; those that do not are cancelled, which is not a
failure: their events are unsettled and come again after the next start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

from consumer.clock import Clock
from consumer.delivery.admission import Admission
from consumer.delivery.beginning import first_offset
from consumer.delivery.calling import Caller
from consumer.delivery.feed import Feed
from consumer.delivery.lanes import Delivery, Lanes, Source, Standstill
from consumer.delivery.loading import LoadedHandler
from consumer.delivery.memory import MemoryStore, StoreMemory
from consumer.delivery.observer import DeliveryEvents
from consumer.delivery.pace import Pace
from consumer.delivery.patience import patiently, wait_for
from consumer.delivery.place import WINDOW, Place
from consumer.delivery.place_keeper import PlaceKeeper
from consumer.delivery.retry import (
    Again,
    Block,
    DeadLetter,
    Disabling,
    Done,
    Failure,
    InCompany,
    Rejection,
    RetryPolicy,
    Skip,
    Stop,
    Success,
    back_off,
    one_line,
)
from consumer.delivery.retrying import RetriedLetters
from consumer.events import LifecycleEvent
from consumer.plugin import BatchHandler
from consumer.ports import (
    HandlerDeadLetter,
    HandlerOrder,
    HandlerRequests,
    JournalEntry,
    JournalStore,
    ParkedRun,
    PlaceStore,
    Tenure,
)

if TYPE_CHECKING:
    from aiohttp import ClientSession

    from consumer.acting import Performer

__all__ = ["DeliveryStore", "Subscription"]

P = ParamSpec("P")
T = TypeVar("T")

HALTED_MS = 60_000
"""Wait of an event whose dead letter would be one too many; a handler that is halted makes no attempts anyway."""
LAST_SAVE_MS = 2_000
"""Given to the last save even when the grace is used up."""
BREATH = 50
"""Calls in a row after which a worker lets others have a turn: a handler that awaits nothing would keep the event loop to itself."""


class DeliveryStore(JournalStore, PlaceStore, MemoryStore, Protocol):
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
        performer: what the handler's actions are sent with.
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
        performer: Performer | None = None,
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
        self._caller = Caller(loaded, http, performer, StoreMemory(store, clock))
        self._admission = Admission(loaded, clock.wall_ms)
        self._policy = RetryPolicy(spec.max_attempts, spec.on_failure)
        self._pace = Pace(spec.rate) if spec.rate is not None else None
        batch = loaded.handler if isinstance(loaded.handler, BatchHandler) else None
        self._limit = batch.batch_max if batch is not None else 1
        self._batch_wait_ms = batch.batch_wait if batch is not None else 0
        self._concurrency = loaded.concurrency
        self._enough_lanes = max(32, 2 * loaded.concurrency)
        self._tenure = tenure
        self._window = window
        self.lanes = Lanes()
        self._live = self._feed(loaded.name)
        self._feeds = [self._live]
        self._replays: dict[str, Feed] = {}
        self._replayed: set[str] = set()
        self._retried = RetriedLetters(loaded.name, store, self._add, random=random, observer=observer)
        self._requests = HandlerRequests()
        self._most_letters = spec.dead_letter_limit
        self._letters = 0
        self._paused = False
        self._halted = False
        self._readers: list[asyncio.Task[None]] = []
        self._savers: set[asyncio.Task[None]] = set()
        self._workers: set[asyncio.Task[Any]] = set()
        self._tasks: asyncio.TaskGroup | None = None
        self._preparing: asyncio.Task[None] | None = None
        self._opened = False
        self._disabled = False
        self._stopping = asyncio.Event()
        self._grace_ends_ms = 0
        self._hungry = asyncio.Event()
        self._parked = asyncio.Event()
        self._batch_full = asyncio.Event()

    @property
    def saved_offset(self) -> int | None:
        """The saved offset, at or below which everything is settled; None before the place was read."""
        return self._live.keeper.saved_offset

    @property
    def parked(self) -> int:
        """How many runs wait for another attempt, or for those before them."""
        return self._live.keeper.place.parked

    def stop(self, grace_ends_ms: int) -> None:
        """Take nothing new, let running calls finish until ``grace_ends_ms`` (monotonic), save, close; :meth:`run` returns then."""
        self._grace_ends_ms = grace_ends_ms
        self._stopping.set()
        self._batch_full.set()
        if self._preparing is not None:
            self._preparing.cancel()

    async def run(self) -> None:
        """Deliver until :meth:`stop`.

        Raises:
            ExceptionGroup: with :class:`~consumer.errors.CommitRefused` when the tenure is over,
                :class:`~consumer.errors.StoreForeign` when the place cannot be read.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                if not self._stopping.is_set():
                    self._preparing = tasks.create_task(self._prepare())
            if self._opened:
                await self._deliver()
        finally:
            if self._opened:
                await self._close()

    # ------------------------------------------------------------ beginning and end

    async def _prepare(self) -> None:
        await self._live.keeper.begin(lambda: first_offset(self._store, self._start))
        await self._live.recover()
        self.asked((await self._patiently(self._store.requests, [self.name]))[self.name])
        for attempt in count(1):
            try:
                await self._caller.open()
            except Exception as error:  # noqa: BLE001 - a handler may raise anything; it is opened again later
                again_ms = back_off(attempt, self._random(), base_ms=1_000, cap_ms=60_000)
                self._observer.open_failed(self.name, error, again_ms)
            else:
                self._opened = True
                self._observer.opened(self.name, self._live.keeper.place.offset)
                return
            await asyncio.sleep(again_ms / 1000)

    async def _deliver(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._savers.add(tasks.create_task(self._live.keeper.run()))
            self._readers = [
                tasks.create_task(each) for each in (self._live.run(), self._rouse(), self._retried.run())
            ]
            self.asked(self._requests)
            await self._stopping.wait()
            for task in self._readers:
                task.cancel()
            await self._finish_calls()
            for feed in self._feeds:
                feed.keeper.stop()
            last = tasks.create_task(self._retried.save())
            left_ms = max(LAST_SAVE_MS, self._grace_ends_ms - self._clock.monotonic_ms())
            _, unsaved = await asyncio.wait({*self._savers, last}, timeout=left_ms / 1000)
            for task in unsaved:
                task.cancel()
            if unsaved:
                self._observer.unsaved(self.name, self._live.keeper.saved_offset or 0)

    async def _finish_calls(self) -> None:
        if self._workers:
            left_ms = max(0, self._grace_ends_ms - self._clock.monotonic_ms())
            _, running = await asyncio.wait(set(self._workers), timeout=left_ms / 1000)
            for worker in running:
                worker.cancel()
            if running:
                await asyncio.wait(running)

    async def _close(self) -> None:
        try:
            await self._caller.close()
        except Exception as error:  # noqa: BLE001 - a handler may raise anything; closing goes on with the next
            self._observer.close_failed(self.name, error)

    # ------------------------------------------------------------ what feeds need

    @property
    def types(self) -> frozenset[str]:
        """The event types the handler gets."""
        return self._types

    async def hungry(self, place: Place) -> None:
        """Returns when there is too little in the lanes and ``place`` has room."""
        while not (place.room and self._wants_more()):
            self._hungry.clear()
            await self._hungry.wait()

    def fed(self) -> None:
        """Something was added to the lanes."""
        if self.lanes.parked:
            self._parked.set()  # what failed before a restart comes with its wait, which may be the next to end
        if self.lanes.fresh_events >= self._limit:
            self._batch_full.set()
        self._employ()

    def _add(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            self.lanes.add(delivery)
        self.fed()

    def _wants_more(self) -> bool:
        if self._limit > 1:
            return self.lanes.fresh_events < 2 * self._limit
        return self.lanes.ready < self._enough_lanes

    # ------------------------------------------------------------ what is asked

    def asked(self, requests: HandlerRequests) -> None:
        """What the store says is asked of this handler; called every second or so."""
        self._requests = requests
        self._letters = (
            requests.dead_letters - requests.retries + sum(len(f.keeper.unsaved) for f in self._feeds)
        )
        paused = any(order.kind == "pause" for order in requests.orders)
        if paused != self._paused:
            self._paused = paused
            self._disabled &= (
                paused  # to pause and resume a handler that asked to be stopped is to let it try again
            )
            self._tell_whether_it_runs()
        if self._halted and self._letters < self._most_letters:
            self._halted = False
            self._tell_whether_it_runs()
        elif self._letters >= self._most_letters:
            self._halt()
        if self._tasks is None or self._stopping.is_set():
            return
        self._retried.asked(requests)
        self._replayed &= {order.id for order in requests.orders}
        replays = {order.id: order for order in requests.orders if order.kind == "replay"}
        for order in replays.values():
            if order.id not in self._replays and order.id not in self._replayed:
                feed = self._feed(order.place, replayed=True, through=order.through)
                self._replays[order.id] = feed
                self._readers.append(self._tasks.create_task(self._replay(order, feed)))
        for order_id in self._replays.keys() - replays.keys():
            self._replays[order_id].cancel()
        self._hungry.set()
        self._employ()

    @property
    def _held_up(self) -> bool:
        return self._paused or self._halted or self._disabled

    def _halt(self) -> None:
        if not self._halted:
            self._halted = True
            self._tell_whether_it_runs()

    def _tell_whether_it_runs(self) -> None:
        if not self._halted and not self._disabled:
            self._observer.resumed(self.name)
        if self._paused:
            self._observer.paused(self.name)
        if self._halted:
            self._observer.halted(self.name, self._letters, self._most_letters)

    def _feed(self, place: str, *, replayed: bool = False, through: int | None = None) -> Feed:
        keeper = PlaceKeeper(
            self.name,
            self._store,
            self._tenure,
            place_name=place,
            clock=self._clock,
            random=self._random,
            observer=self._observer,
            window=self._window,
        )
        return Feed(
            self,
            keeper,
            self._store,
            clock=self._clock,
            random=self._random,
            observer=self._observer,
            replayed=replayed,
            through=through,
        )

    async def _replay(self, order: HandlerOrder, feed: Feed) -> None:
        """Carry a replay out, beside what is delivered anyway."""
        assert self._tasks is not None

        async def beginning() -> int:
            return order.after

        await feed.keeper.begin(beginning)
        await feed.recover()
        self._parked.set()
        self._employ()
        self._observer.replay_began(self.name, order.id, feed.keeper.place.offset, order.through)
        self._feeds.append(feed)
        saver = self._tasks.create_task(feed.keeper.run())
        self._savers.add(saver)
        await feed.run()
        await feed.keeper.drained()
        feed.keeper.stop()
        await saver
        self._savers.discard(saver)
        self._feeds.remove(feed)
        await self._patiently(self._store.remove_order, order)
        self._replayed.add(order.id)  # what was read of the store before that may still name it
        del self._replays[order.id]
        self._observer.replay_ended(self.name, order.id, feed.keeper.place.offset, cancelled=feed.cancelled)

    async def _patiently(self, ask: Callable[P, Awaitable[T]], *arguments: P.args, **named: P.kwargs) -> T:
        return await patiently(
            lambda: ask(*arguments, **named), handler=self.name, observer=self._observer, random=self._random
        )

    async def _rouse(self) -> None:
        while True:
            self._parked.clear()
            due_ms = self.lanes.next_due_ms()
            now_ms = self._clock.monotonic_ms()
            if due_ms is None or due_ms > now_ms:
                await wait_for(self._parked, None if due_ms is None else due_ms - now_ms)
                now_ms = self._clock.monotonic_ms()
            self.lanes.wake(now_ms)
            self._employ()

    # ------------------------------------------------------------ working

    def _employ(self) -> None:
        if self._tasks is None or self._stopping.is_set() or self._held_up:
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
            if self._stopping.is_set() or task.cancelling() or self._held_up:
                return
            if self._pace is not None and (delay_ms := self._pace.delay_ms(self._clock.monotonic_ms())):
                await wait_for(self._stopping, delay_ms)
                continue
            if self._batch_wait_ms and not self.lanes.retries and 0 < self.lanes.fresh_events < self._limit:
                self._batch_full.clear()
                await wait_for(self._batch_full, self._batch_wait_ms)
                if self._stopping.is_set():
                    return
            now_ms = self._clock.monotonic_ms()
            deliveries = self.lanes.take(now_ms, self._limit)
            if not deliveries:
                return
            if self._pace is not None:
                self._pace.spend(now_ms, len(deliveries))
            await self._attempt(deliveries, now_ms)
            if self._wants_more() and any(feed.keeper.place.room for feed in self._feeds):
                self._hungry.set()
            if calls % BREATH == 0:
                await asyncio.sleep(0)

    async def _attempt(self, deliveries: list[Delivery], started_ms: int) -> None:
        wanted = [
            (delivery, event) for delivery in deliveries if (event := self._admitted(delivery)) is not None
        ]
        if not wanted:
            return
        called = [delivery for delivery, _ in wanted]
        try:
            results = await self._caller.call(called, [event for _, event in wanted])
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
                self._settle(delivery)
            else:
                self._decide(delivery, outcome, ended_ms)
        self._observer.called(self.name, ended_ms - started_ms, delivered)

    def _admitted(self, delivery: Delivery) -> LifecycleEvent | None:
        """The decoded event; None when it is settled without a call: filtered, or impossible to read."""
        if delivery.source.cancelled:
            self._settle(delivery)
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
            why = self._admission.refusal(event, replayed=delivery.source.replayed)
        except Exception as error:  # noqa: BLE001 - a predicate may raise anything; it counts as an attempt
            delivery.attempts += 1
            self._decide(delivery, Failure(one_line(error), None, error), self._clock.monotonic_ms())
            return None
        if why is not None:
            self._observer.filtered(self.name, event.type, why)
            self._settle(delivery)
            return None
        delivery.event = event
        return event

    def _decide(
        self, delivery: Delivery, outcome: Failure | InCompany | Rejection | Disabling, now_ms: int
    ) -> None:
        entry, attempts, observer = delivery.entry, delivery.attempts, self._observer
        match self._policy.decide(attempts, outcome, self._random()):
            case Again(after_ms):
                observer.failed(self.name, entry, attempts, outcome.error, outcome.cause, after_ms)
                self._park(delivery, outcome.error, now_ms + after_ms)
            case Block(after_ms):
                observer.blocked(self.name, entry, attempts, outcome.error, outcome.cause, after_ms)
                self._park(delivery, outcome.error, now_ms + after_ms)
            case Skip(reason):
                observer.skipped(self.name, entry, attempts, reason, outcome.cause)
                self._settle(delivery)
            case DeadLetter() if self._letters >= self._most_letters and delivery.source is not self._retried:
                self._halt()
                observer.blocked(self.name, entry, attempts, outcome.error, outcome.cause, HALTED_MS)
                self._park(delivery, outcome.error, now_ms + HALTED_MS)
            case DeadLetter(reason):
                self._letters += 1
                observer.dead_lettered(self.name, entry, attempts, reason, outcome.cause)
                self._settle(delivery, self._dead_letter(delivery, reason))
            case Stop(reason):
                if not self._disabled:
                    self._disabled = True
                    observer.disabled(self.name, entry, reason)
                self._park(delivery, reason, now_ms + HALTED_MS)
            case Done():
                self._settle(delivery)

    def _settle(self, delivery: Delivery, dead_letter: HandlerDeadLetter | None = None) -> None:
        delivery.source.settled(delivery, dead_letter)
        standstill = self.lanes.settled(delivery)
        if standstill is not None:
            self._keep_aside(standstill)

    def _park(self, delivery: Delivery, error: str, due_ms: int) -> None:
        delivery.error = error
        standstill = self.lanes.again(delivery, due_ms)
        if standstill is not None:
            self._keep_aside(standstill)

    def _keep_aside(self, standstill: Standstill) -> None:
        """Tell every source which of its events wait now."""
        first = standstill.first
        due_ms = self._clock.wall_ms() + max(0, first.due_ms - self._clock.monotonic_ms())
        by_source: dict[Source, list[Delivery]] = {}
        for delivery in standstill.waiting:
            by_source.setdefault(delivery.source, []).append(delivery)
        for source, waiting in by_source.items():
            head = waiting[0]
            offset = head.entry.offset
            done = sorted(
                each.entry.offset
                for each in standstill.done
                if each.source is source and each.entry.offset > offset
            )
            row = ParkedRun(
                head.entry.tracker_id,
                offset,
                head.attempts,
                due_ms if head.attempts else 0,
                head.error,
                tuple(done),
            )
            source.parked(row, [delivery.entry.offset for delivery in waiting])
        self._parked.set()
        self._hungry.set()

    def _dead_letter(self, delivery: Delivery, reason: str) -> HandlerDeadLetter:
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
