"""The sentence of ingest: take an answer, put it in order, say what it means, commit it with its positions.

One loop does all of it, for one tenure, on state that it built from the store after winning the lease and that dies with the tenure. The
supervisor fills the inbox beside it, so the next poll is under way while a commit is. What arrives goes through the intake
(:mod:`consumer.ingest.intake`), what REST answered through the mending (:mod:`consumer.ingest.mending`); both end in the writer's commits.

Nothing is awaited per event: an answer is decoded whole, and a commit takes everything that is ready, up to ``commit.max_events``. While
more waits in the inbox, the next batch is interpreted beside the commit before it; one is under way at a time, in order, and whatever else
reads or writes states (rows, timers, what is forgotten) waits until it has landed. Nothing is under way while ingest waits for more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from consumer.clock import Clock
from consumer.errors import CadenceError, SessionFault, StoreUnavailable
from consumer.ingest.allocation import AllocationGuard
from consumer.ingest.committer import Committer
from consumer.ingest.due import DueTimers
from consumer.ingest.expirer import Expirer
from consumer.ingest.inbox import Inbox
from consumer.ingest.intake import Instance, Intake
from consumer.ingest.interpreter import Batch, Interpreter, Part
from consumer.ingest.lookup import Lookup, Rows
from consumer.ingest.mending import Mending
from consumer.ingest.observer import IngestEvents
from consumer.ingest.options import IngestOptions
from consumer.ingest.pages import Fetches
from consumer.ingest.reconcile import Reconciler
from consumer.ingest.writer import Writer
from consumer.lifecycle import Org
from consumer.ports import Answer, Fetched, Inbound, IngestStore, SessionOpened
from consumer.tasks import Task

__all__ = ["Ingest", "IngestOptions", "Instance"]

_FAR_FUTURE_MS = 2**53

_LOAD_AGAIN_MS = 200
"""Between two attempts to load states from a store that does not answer."""

_REMEMBER_EVERY_MS = 60 * 1000
"""How often positions go into the history that people can go back to."""


class Ingest:
    """The ingest half of one tenure; also the supervisor's plan of where to resume.

    Args:
        store: for states and channels.
        committer: numbers and sends the commits.
        inbox: what the supervisor delivers.
        org: where sessions lead to; asked when one has opened, for ids and links.
        instance: the name of the org's instance.
        rows: where records that were never seen are looked up; None looks nothing up.
        fetches: where reconcile tasks fetch from; None leaves tasks as they are, for a tenure that can.
        options: plain arguments.
        clock: for waiting and for naming instants.
        observer: told what happens.
    """

    def __init__(
        self,
        store: IngestStore,
        committer: Committer,
        inbox: Inbox,
        org: Callable[[], Org],
        instance: Instance,
        rows: Rows | None,
        options: IngestOptions,
        clock: Clock,
        observer: IngestEvents,
        fetches: Fetches | None = None,
    ) -> None:
        self._store = store
        self._inbox = inbox
        self._org = org
        self._options = options
        self._clock = clock
        self._observer = observer
        self._due = DueTimers(options.lateness_ms)
        self._intake = Intake(options, org, instance, self._due, self._tasks, clock, observer)
        self._interpreter = Interpreter(
            store, Lookup(rows, clock, observer.lookup_failed), hydrate=options.hydrate
        )
        self._writer = Writer(committer, self._due, clock, observer)
        self.reconciler = (
            None
            if fetches is None
            else Reconciler(fetches, store, inbox, clock, lambda: self._intake.server_now_ms, observer)
        )
        self.expirer = Expirer(store, inbox, clock, self._certainly_ms, options.retention_ms, observer)
        self._mending = Mending(
            self._intake,
            self._interpreter,
            self._writer,
            self.reconciler,
            self.expirer,
            org,
            options,
            clock,
            observer,
        )
        self._guard = None if fetches is None or options.spend_allocation else AllocationGuard(fetches)
        self._remembered_ms: int | None = None
        self._stopping = False

    async def prepare(self) -> None:
        """Build everything from the store; the token must have been written before.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        self._intake.prepare(await self._store.channels(), await self._store.epochs())
        if self.reconciler is not None:
            self.reconciler.know(
                {one: Task.decode(data) for one, data in (await self._store.tasks()).items()}
            )
        await self._look_for_timers()

    def _tasks(self) -> Mapping[str, Task] | None:
        return None if self.reconciler is None else self.reconciler.tasks

    def _certainly_ms(self) -> int | None:
        """Up to when Salesforce's time has come by its own word and by that of its changes; None before both have been heard."""
        newest_ms, now_ms = self._interpreter.newest_ms, self._intake.server_now_ms
        return None if newest_ms is None or now_ms is None else min(newest_ms, now_ms)

    # ------------------------------------------------------------ the plan of the supervisor

    async def resume(self) -> Mapping[str, str]:
        """The replay option of each channel for a new session.

        Raises:
            SessionFault: the org's delivery allocation does not bear it now.
        """
        resume = self._intake.channels.resume()
        if self._guard is not None:
            try:
                await self._guard.admit(resume, self._intake.server_now_ms or self._clock.wall_ms())
            except SessionFault:
                raise
            except CadenceError as error:
                self._observer.allocation_unknown(str(error))
        return resume

    def poll_within_ms(self) -> int | None:
        """How soon the next poll should be answered even without events."""
        return self._due.poll_within_ms(self._clock.monotonic_ms())

    async def unreadable(self, body: bytes, detail: str) -> None:
        """An answer could not be read; the third identical one in a row is kept, and the service is not ready."""
        self._intake.unreadable(body, detail)

    async def refused(self, channel: str, position: str, detail: str, server_ms: int | None = None) -> None:
        """Salesforce does not know ``position`` any more.

        Raises:
            StopService: ``replay.on_expired`` is ``halt``.
        """
        self._intake.refused(channel, position, detail, server_ms)

    # ------------------------------------------------------------ the loop

    def stop(self) -> None:
        """End :meth:`run` after what it is doing now; a commit under way is never abandoned half-known."""
        self._stopping = True
        self._inbox.close()

    async def run(self) -> None:
        """Ingest until :meth:`stop`.

        Raises:
            CommitRefused: the tenure is over.
            StoreForeign: the store belongs to another org.
        """
        async with self._writer.landing():
            await self._ingest()

    async def _ingest(self) -> None:
        intake, options = self._intake, self._options
        while not self._stopping:
            if intake.is_full():
                await asyncio.sleep(min(intake.wait_ms(), 100) / 1000)
            else:
                item = await self._inbox.get(intake.wait_ms())
                while item is not None:
                    await self._take(item)
                    if intake.is_full() or len(intake.ready.parts) >= options.max_events:
                        break
                    self._release()
                    item = await self._inbox.get(0)
            self._release()
            while self._should_commit():
                await self._commit()
            if len(self._inbox) == 0 or intake.is_full():
                await self._writer.landed()
            if not self._stopping:
                await self._mending.turn()
                await self._fire_timers()
            self._inbox.processed()

    async def finish(self) -> None:
        """Commit what was released; what is still held back stays unfinished and is delivered again to the next tenure."""
        async with self._writer.landing():
            while self._intake.ready:
                await self._commit()

    async def _take(self, item: Inbound) -> None:
        if isinstance(item, Answer):
            self._intake.answer(item)
        elif isinstance(item, Fetched):
            self._mending.take(item)
        elif isinstance(item, SessionOpened):
            await self._intake.opened(item)
        else:
            self._intake.ended()

    def _release(self) -> None:
        self._intake.release(more_waits=len(self._inbox) > 0)

    def _should_commit(self) -> bool:
        ready = self._intake.ready
        if not ready:
            return False
        if len(ready.parts) >= self._options.max_events or len(self._inbox) == 0:
            return True  # waiting longer would only add latency: more arrives while the commit is under way
        return (
            ready.since_ms is not None
            and self._clock.monotonic_ms() - ready.since_ms >= self._options.max_delay_ms
        )

    # ------------------------------------------------------------ the commit

    async def _commit(self) -> None:
        """Begin the commit of what is ready, once the one before has landed."""
        began_ms = self._clock.monotonic_ms()
        intake, ready = self._intake, self._intake.ready
        # Whatever becomes ready while the commit is under way belongs to the next one.
        intake.ready = ready.split(self._options.max_events, began_ms)
        batch = await self._interpret(ready.parts)
        commit = self._writer.draft(batch)
        commit.journal = ready.journal + batch.journal
        begun = {**ready.tasks, **batch.tasks} if self.reconciler is not None else {}
        commit.tasks = {task_id: task.encode() for task_id, task in begun.items()}
        commit.dead_letters = [letter for letter, _ in ready.letters]
        await self._writer.landed()
        self._interpreter.shrink(batch)
        ready.settle()
        commit.channels = intake.channels.settled(
            self._clock.wall_ms(), intake.epochs.greatest, everything=ready.channels
        )
        if ready.epochs:
            commit.epochs = intake.epochs.all
        if commit.channels and (
            self._remembered_ms is None or began_ms - self._remembered_ms >= _REMEMBER_EVERY_MS
        ):
            self._remembered_ms = began_ms
            commit.remember_ms = self._clock.wall_ms()
        await self._writer.begin(
            commit, batch, changes=len(ready.parts), began_ms=began_ms, then=lambda: self._begun(begun)
        )

    def _begun(self, tasks: Mapping[str, Task]) -> None:
        if self.reconciler is not None and tasks:
            self.reconciler.know(tasks)

    async def _interpret(self, parts: Sequence[Part]) -> Batch:
        if not parts:
            return Batch(self._org())
        while True:
            try:
                return await self._interpreter.interpret(parts, self._intake.channels.states, self._org())
            except StoreUnavailable as error:
                self._writer.failing(error.why)
                await asyncio.sleep(_LOAD_AGAIN_MS / 1000)

    # ------------------------------------------------------------ timers

    async def _look_for_timers(self) -> None:
        first = await self._store.timers(_FAR_FUTURE_MS, 1)
        self._due.first_is(first[0][1] if first else None)

    async def _fire_timers(self) -> None:
        """Journal what has come due, once everything up to then is committed: downtime raises no false alarm."""
        if self._due.horizon_ms(()) is None:
            return  # whatever is not committed yet
        await self._writer.landed()
        horizon_ms = self._due.horizon_ms(part.change.header.commit_ms for part in self._intake.uncommitted())
        if horizon_ms is None:
            return
        began_ms = self._clock.monotonic_ms()
        try:
            due = await self._store.timers(horizon_ms, self._options.max_events)
            batch = await self._interpreter.fire(due, self._org())
        except StoreUnavailable as error:
            self._writer.failing(error.why)
            return  # the next answer asks again
        await self._writer.apply(self._writer.draft(batch), batch, changes=0, began_ms=began_ms)
        try:
            await self._look_for_timers()
        except StoreUnavailable as error:
            self._writer.failing(error.why)
