"""One handler and the journal: read ahead, call, settle, save.

A reader fills the lanes from the journal and stops when enough is ready or the window is full; workers take from the lanes, at most
``concurrency`` of them, and go when there is nothing to take; a third task wakes the runs whose wait for another attempt is over; a fourth
saves the place. A slow, hanging or failing handler fills its own lanes and nobody else's.

On a stop nothing new is taken. Calls that are under way may finish within the grace; those that do not are cancelled, which is not a
failure: their events are unsettled and come again after the next start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

from consumer.acting import client_of, made_by
from consumer.clock import Clock, to_ms
from consumer.delivery.beginning import first_offset
from consumer.delivery.calling import Caller
from consumer.delivery.lanes import Delivery, Lanes, Standstill
from consumer.delivery.loading import LoadedHandler
from consumer.delivery.observer import DeliveryEvents
from consumer.delivery.pace import Pace
from consumer.delivery.patience import patiently, wait_for
from consumer.delivery.place import WINDOW
from consumer.delivery.place_keeper import PlaceKeeper
from consumer.delivery.retry import (
    Again,
    Block,
    DeadLetter,
    Done,
    Failure,
    InCompany,
    Rejection,
    RetryPolicy,
    Skip,
    Success,
    back_off,
    one_line,
)
from consumer.events import LifecycleEvent
from consumer.plugin import BatchHandler
from consumer.ports import HandlerDeadLetter, JournalEntry, JournalStore, ParkedRun, PlaceStore, Tenure

if TYPE_CHECKING:
    from aiohttp import ClientSession

    from consumer.acting import Performer

__all__ = ["DeliveryStore", "Subscription"]

P = ParamSpec("P")
T = TypeVar("T")

READ = 256
"""Entries asked of the journal at a time."""
WAIT_MS = 5_000
"""Longest wait for new entries before the journal is read anyway."""
LAST_SAVE_MS = 2_000
"""Given to the last save even when the grace is used up."""
BREATH = 50
"""Calls in a row after which a worker lets others have a turn: a handler that awaits nothing would keep the event loop to itself."""


class DeliveryStore(JournalStore, PlaceStore, Protocol):
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
        self._spec = spec
        self._types = loaded.types
        self._store = store
        self._clock = clock
        self._random = random
        self._observer = observer
        self._decode = decode
        self._caller = Caller(loaded, http, performer)
        self._client = client_of(loaded.name)
        self._policy = RetryPolicy(spec.max_attempts, spec.on_failure)
        self._pace = Pace(spec.rate) if spec.rate is not None else None
        batch = loaded.handler if isinstance(loaded.handler, BatchHandler) else None
        self._limit = batch.batch_max if batch is not None else 1
        self._batch_wait_ms = batch.batch_wait if batch is not None else 0
        self._concurrency = loaded.concurrency
        self._enough_lanes = max(32, 2 * loaded.concurrency)
        self._keeper = PlaceKeeper(
            loaded.name, store, tenure, clock=clock, random=random, observer=observer, window=window
        )
        self._lanes = Lanes()
        self._recovered: dict[int, tuple[ParkedRun, int]] = {}
        self._workers: set[asyncio.Task[Any]] = set()
        self._tasks: asyncio.TaskGroup | None = None
        self._preparing: asyncio.Task[None] | None = None
        self._opened = False
        self._stopping = asyncio.Event()
        self._grace_ends_ms = 0
        self._hungry = asyncio.Event()
        self._parked = asyncio.Event()
        self._batch_full = asyncio.Event()

    @property
    def saved_offset(self) -> int | None:
        """The saved offset, at or below which everything is settled; None before the place was read."""
        return self._keeper.saved_offset

    @property
    def parked(self) -> int:
        """How many runs wait for another attempt, or for those before them."""
        return self._keeper.place.parked

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
        await self._keeper.begin(lambda: first_offset(self._store, self._spec.start))
        await self._recover()
        for attempt in count(1):
            try:
                await self._caller.open()
            except Exception as error:  # noqa: BLE001 - a handler may raise anything; it is opened again later
                again_ms = back_off(attempt, self._random(), base_ms=1_000, cap_ms=60_000)
                self._observer.open_failed(self.name, error, again_ms)
            else:
                self._opened = True
                self._observer.opened(self.name, self._keeper.place.offset)
                return
            await asyncio.sleep(again_ms / 1000)

    async def _recover(self) -> None:
        """Fetch what is unsettled of parked runs and lies behind the offset; the reader meets the rest."""
        place = self._keeper.place
        now_ms = self._clock.wall_ms()
        for row in place.rows():
            if row.attempts:
                due_ms = self._clock.monotonic_ms() + max(0, row.due_ms - now_ms)
                self._recovered[row.first] = (row, due_ms)
            if row.first > place.offset:
                continue
            entries = [
                entry
                for entry in await self._entries_of(row.tracker_id, row.first, place.offset)
                if entry.type in self._types and entry.offset not in row.done
            ]
            place.resume(row.tracker_id, [entry.offset for entry in entries])
            for entry in entries:
                self._lanes.add(self._delivery(entry))

    async def _entries_of(self, tracker_id: str | None, first: int, through: int) -> list[JournalEntry]:
        if tracker_id is not None:
            entries = await self._patiently(self._store.of_run, tracker_id, first)
            return [entry for entry in entries if entry.offset <= through]
        found: list[JournalEntry] = []
        after = first - 1
        while after < through and (entries := await self._patiently(self._store.read, after, READ)):
            after = entries[-1].offset
            found += [each for each in entries if each.tracker_id is None and each.offset <= through]
        return found

    def _delivery(self, entry: JournalEntry) -> Delivery:
        """With what was tried before a restart."""
        row, due_ms = self._recovered.pop(entry.offset, (None, 0))
        return Delivery(entry) if row is None else Delivery(entry, row.attempts, due_ms, error=row.error)

    async def _deliver(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._employ()
            keeper = tasks.create_task(self._keeper.run())
            readers = [tasks.create_task(self._read()), tasks.create_task(self._rouse())]
            await self._stopping.wait()
            for task in readers:
                task.cancel()
            await self._finish_calls()
            self._keeper.stop()
            left_ms = max(LAST_SAVE_MS, self._grace_ends_ms - self._clock.monotonic_ms())
            await asyncio.wait({keeper}, timeout=left_ms / 1000)
            if not keeper.done():
                keeper.cancel()
                self._observer.unsaved(self.name, self._keeper.saved_offset or 0)

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

    # ------------------------------------------------------------ reading

    async def _read(self) -> None:
        place, after = self._keeper.place, self._keeper.place.offset
        while True:
            while not self._wants_more():
                self._hungry.clear()
                await self._hungry.wait()
            entries = await self._patiently(self._store.read, after, min(READ, place.room))
            if not entries:
                await self._patiently(self._store.wait, after, WAIT_MS)
                continue
            if entries[0].offset > after + 1:
                await self._look_for_a_gap(after, entries[0].offset)
            after = entries[-1].offset
            self._accept(entries)
            await asyncio.sleep(0)  # a store that answers from memory would never let anyone else have a turn

    def _accept(self, entries: Sequence[JournalEntry]) -> None:
        keeper, types, add = self._keeper, self._types, self._lanes.add
        place = keeper.place
        for entry in entries:
            if entry.type not in types:
                keeper.passed(entry.offset)
            elif place.taken(entry.offset, entry.tracker_id):
                add(self._delivery(entry) if self._recovered else Delivery(entry))
        if place.expects:
            place.miss()
        if self._lanes.fresh_events >= self._limit:
            self._batch_full.set()
        self._employ()

    def _wants_more(self) -> bool:
        if self._keeper.place.room == 0:
            return False
        if self._limit > 1:
            return self._lanes.fresh_events < 2 * self._limit
        return self._lanes.ready < self._enough_lanes

    async def _look_for_a_gap(self, after: int, found: int) -> None:
        first, _ = await self._patiently(self._store.bounds)
        if first >= found > after + 1:
            self._observer.outrun(self.name, after, found)

    async def _patiently(self, ask: Callable[P, Awaitable[T]], *arguments: P.args, **named: P.kwargs) -> T:
        return await patiently(
            lambda: ask(*arguments, **named), handler=self.name, observer=self._observer, random=self._random
        )

    async def _rouse(self) -> None:
        while True:
            self._parked.clear()
            due_ms = self._lanes.next_due_ms()
            now_ms = self._clock.monotonic_ms()
            if due_ms is None or due_ms > now_ms:
                await wait_for(self._parked, None if due_ms is None else due_ms - now_ms)
                now_ms = self._clock.monotonic_ms()
            self._lanes.wake(now_ms)
            self._employ()

    # ------------------------------------------------------------ working

    def _employ(self) -> None:
        assert self._tasks is not None
        for _ in range(min(self._lanes.ready, self._concurrency - len(self._workers))):
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
            if self._stopping.is_set() or task.cancelling():
                return
            if self._pace is not None and (delay_ms := self._pace.delay_ms(self._clock.monotonic_ms())):
                await wait_for(self._stopping, delay_ms)
                continue
            if self._batch_wait_ms and not self._lanes.retries and 0 < self._lanes.fresh_events < self._limit:
                self._batch_full.clear()
                await wait_for(self._batch_full, self._batch_wait_ms)
                if self._stopping.is_set():
                    return
            now_ms = self._clock.monotonic_ms()
            deliveries = self._lanes.take(now_ms, self._limit)
            if not deliveries:
                return
            if self._pace is not None:
                self._pace.spend(now_ms, len(deliveries))
            await self._attempt(deliveries, now_ms)
            if self._wants_more():
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
        for delivery, outcome in zip(called, results, strict=True):
            if isinstance(outcome, Success):
                self._observer.delivered(
                    self.name, delivery.entry.type, ended_ms - started_ms, delivery.attempts
                )
                self._settle(delivery)
            else:
                self._decide(delivery, outcome, ended_ms)

    def _admitted(self, delivery: Delivery) -> LifecycleEvent | None:
        """The decoded event; None when it is settled without a call: filtered, or impossible to read."""
        if delivery.event is not None:
            return delivery.event
        try:
            event = self._decode(delivery.entry)
        except ValueError as error:
            self._decide(
                delivery, Rejection(f"the journal entry cannot be read: {one_line(error)}", error), 0
            )
            return None
        why = None
        if event.origin not in self._spec.origins:
            why = "origin"
        elif self._spec.ignore_own_changes and made_by(event.change_origin, self._client):
            why = "own_change"
        elif (
            self._spec.max_age is not None and self._clock.wall_ms() - to_ms(event.time) > self._spec.max_age
        ):
            why = "max_age"
        if why is not None:
            self._observer.filtered(self.name, event.type, why)
            self._settle(delivery)
            return None
        delivery.event = event
        return event

    def _decide(self, delivery: Delivery, outcome: Failure | InCompany | Rejection, now_ms: int) -> None:
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
            case DeadLetter(reason):
                observer.dead_lettered(self.name, entry, attempts, reason, outcome.cause)
                self._settle(delivery, self._dead_letter(delivery, reason))
            case Done():
                self._settle(delivery)

    def _settle(self, delivery: Delivery, dead_letter: HandlerDeadLetter | None = None) -> None:
        self._keeper.settled(delivery.entry.offset, dead_letter)
        standstill = self._lanes.settled(delivery)
        if standstill is not None:
            self._keep_aside(standstill)

    def _park(self, delivery: Delivery, error: str, due_ms: int) -> None:
        delivery.error = error
        standstill = self._lanes.again(delivery, due_ms)
        if standstill is not None:
            self._keep_aside(standstill)

    def _keep_aside(self, standstill: Standstill) -> None:
        first = standstill.first
        wait_ms = max(0, first.due_ms - self._clock.monotonic_ms())
        row = ParkedRun(
            first.entry.tracker_id,
            first.entry.offset,
            first.attempts,
            self._clock.wall_ms() + wait_ms,
            first.error,
            standstill.done,
        )
        self._keeper.parked(row, standstill.waiting)
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
