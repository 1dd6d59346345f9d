"""The sentence of ingest: take an answer, put it in order, say what it means, commit it with its positions.

One loop does all of it, for one tenure, on state that it built from the store after winning the lease and that dies with the tenure. The
supervisor fills the inbox beside it, so the next poll is under way while a commit is.

Nothing is awaited per event: an answer is decoded whole, and a commit takes everything that is ready, up to ``commit.max_events``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import orjson

from consumer import targets
from consumer import vocabulary as v
from consumer.changes import decode, position_of
from consumer.clock import Clock, iso
from consumer.errors import BadEvent, StopService, StoreUnavailable
from consumer.events import FORMAT
from consumer.ingest.channels import RETENTION_MS, Channels
from consumer.ingest.committer import Committer
from consumer.ingest.due import DueTimers
from consumer.ingest.epochs import Epochs
from consumer.ingest.inbox import Inbox
from consumer.ingest.interpreter import Batch, Interpreter, Part
from consumer.ingest.letters import dead_letter
from consumer.ingest.lookup import Lookup, Rows
from consumer.ingest.observer import IngestEvents
from consumer.ingest.options import IngestOptions
from consumer.ingest.positions import Entry
from consumer.ingest.reconcile import Fetches, Page, Reconciler
from consumer.ingest.sequencer import Sequencer
from consumer.ingest.unreadable import UnreadableAnswers
from consumer.lifecycle import Org
from consumer.ports import (
    Answer,
    Commit,
    Fetched,
    Inbound,
    IngestDeadLetter,
    IngestStore,
    JournalRecord,
    SessionOpened,
)
from consumer.records import ENTITIES
from consumer.tasks import Task, of_window, sweep_of

__all__ = ["Ingest", "IngestOptions", "Instance"]

_FAR_FUTURE_MS = 2**53

_LOAD_AGAIN_MS = 200
"""Between two attempts to load states from a store that does not answer."""

_REMEMBER_EVERY_MS = 60 * 1000
"""How often positions go into the history that people can go back to."""


class Instance(Protocol):
    """Where the org's instance name comes from."""

    @property
    def name(self) -> str | None:
        """As in ``NA224``; None while it is not known."""
        ...

    async def refresh(self) -> None:
        """Ask for it again; returns within seconds, with or without an answer."""
        ...


@dataclass(slots=True)
class _Summary:
    number: int
    changes: int
    duplicates: int
    late: int
    ignored: int
    events: Mapping[str, int]
    newest_commit_ms: int | None
    duration_ms: int


@dataclass(slots=True)
class _Ready:
    """What waits for the next commit."""

    parts: list[Part] = field(default_factory=list)
    letters: list[tuple[IngestDeadLetter, Entry | None]] = field(default_factory=list)
    journal: list[JournalRecord] = field(default_factory=list)
    since_ms: int | None = None
    """Monotonic milliseconds when the oldest of it became ready."""
    channels: bool = False
    """Whether channel states have to be written even if nothing else is ready."""
    epochs: bool = False
    """Whether the epochs have to be written."""
    tasks: dict[str, Task] = field(default_factory=dict)
    """Reconcile tasks to begin."""

    def __bool__(self) -> bool:
        return bool(self.parts or self.letters or self.journal or self.channels or self.epochs or self.tasks)


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
        self._committer = committer
        self._inbox = inbox
        self._org = org
        self._instance = instance
        self._options = options
        self._clock = clock
        self._observer = observer
        lookup = Lookup(rows, clock, observer.lookup_failed)
        self._interpreter = Interpreter(store, lookup, hydrate=options.hydrate)
        self.reconciler = (
            None
            if fetches is None
            else Reconciler(fetches, store, inbox, clock, self._server_now_ms, observer)
        )
        self._pages: list[Fetched] = []
        self._due = DueTimers(options.lateness_ms)
        self._unreadable = UnreadableAnswers()
        self._sequencer: Sequencer[Part] = Sequencer(
            options.channels,
            lateness_ms=options.lateness_ms,
            window=options.window,
            max_hold_ms=options.max_hold_ms,
            strict=options.strict,
        )
        self._channels = Channels(options.channels, options.start, {})
        self._epochs = Epochs(())
        self._remembered_ms: int | None = None
        self._ready = _Ready()
        self._answered_ms = 0
        self._answered_at_ms: int | None = None
        self._server_ms: int | None = None
        self._stopping = False

    async def prepare(self) -> None:
        """Build everything from the store; the token must have been written before.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        options = self._options
        self._channels = Channels(options.channels, options.start, await self._store.channels())
        self._epochs = Epochs(await self._store.epochs())
        for state in self._channels.states.values():
            self._epochs.greatest_is(state.commit_number)
        if self.reconciler is not None:
            self.reconciler.know(
                {one: Task.decode(data) for one, data in (await self._store.tasks()).items()}
            )
        await self._look_for_timers()

    async def _look_for_timers(self) -> None:
        first = await self._store.timers(_FAR_FUTURE_MS, 1)
        self._due.first_is(first[0][1] if first else None)

    # ------------------------------------------------------------ the plan of the supervisor

    async def resume(self) -> Mapping[str, str]:
        """The replay option of each channel for a new session."""
        return self._channels.resume()

    def poll_within_ms(self) -> int | None:
        """How soon the next poll should be answered even without events."""
        return self._due.poll_within_ms(self._clock.monotonic_ms())

    async def unreadable(self, body: bytes, detail: str) -> None:
        """An answer could not be read; the third identical one in a row is kept, and the service is not ready."""
        letter = self._unreadable.failed(body, self._channels.resume(), detail, self._clock.wall_ms())
        if letter is not None:
            self._ready.letters.append((letter, None))
            self._mark_ready()
            self._observer.input_stuck(
                letter.channel, f"the same answer could not be read three times: {detail}"
            )

    async def refused(self, channel: str, position: str, detail: str, server_ms: int | None = None) -> None:
        """Salesforce does not know ``position`` any more; how long ago the last poll was is counted on its own clock.

        Raises:
            StopService: ``replay.on_expired`` is ``halt``.
        """
        polled_ms = self._channels.polled_through(channel)
        now_ms = server_ms or self._server_ms or self._clock.wall_ms()
        missed = polled_ms is None or now_ms - polled_ms > RETENTION_MS
        policy = self._options.on_expired
        self._observer.position_refused(channel, position, policy if missed else "earliest", missed=missed)
        if missed and policy == "halt":
            raise StopService(
                "position_refused",
                f"Salesforce refused the stored position {position} of {channel} ({detail}): changes since then may be lost to the stream.",
                "Set replay.on_expired to earliest (re-read what the bus still holds) or latest (go on from now), then start again.",
            )
        option = self._channels.restart(channel, from_tip=missed and policy == "latest")
        # In one commit, so that a restart neither asks for the position nor announces it again.
        self._ready.channels = True
        if missed:
            self._ready.journal.append(self._gap_at(channel, position, polled_ms, now_ms, option))
            since_ms = polled_ms if polled_ms is not None else self._channels.states[channel].birth_ms
            for entity in _entities_of(channel):
                task = of_window("expired", f"{channel}/{position}", entity, since_ms, 0)
                self._ready.tasks[task.id] = task
        self._mark_ready()

    def _gap_at(
        self, channel: str, position: str, since_ms: int | None, now_ms: int, option: str
    ) -> JournalRecord:
        event_id = f"{self._org().id}/{channel}/{position}/{v.SYSTEM_GAP}"
        since = iso(since_ms) if since_ms is not None else None
        event = {
            "v": FORMAT,
            "id": event_id,
            "type": v.SYSTEM_GAP,
            "time": iso(now_ms),
            "after": {"kind": "EXPIRED_POSITION", "since": since, "resumed": option},
            "position": {"channel": channel, "replay_id": position},
        }
        return JournalRecord(event_id, v.SYSTEM_GAP, None, orjson.dumps(event))

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
        while not self._stopping:
            if self._is_full():
                await asyncio.sleep(min(self._wait_ms(), 100) / 1000)
            else:
                item = await self._inbox.get(self._wait_ms())
                while item is not None:
                    await self._take(item)
                    if self._is_full() or len(self._ready.parts) >= self._options.max_events:
                        break
                    self._release()
                    item = await self._inbox.get(0)
            self._release()
            while self._should_commit():
                await self._commit()
            await self._compare_pages()
            await self._fire_timers()
            self._inbox.processed()

    async def finish(self) -> None:
        """Commit what was released; what is still held back stays unfinished and is delivered again to the next tenure."""
        while self._ready:
            await self._commit()

    def _is_full(self) -> bool:
        return len(self._sequencer) >= self._options.max_held

    def _wait_ms(self) -> int:
        """Until a held change is due by wall time, or what is ready has waited long enough."""
        now_ms = self._clock.monotonic_ms()
        due_ms = self._sequencer.due_ms()
        wait_ms = 60_000 if due_ms is None else due_ms - now_ms
        if self._ready and self._ready.since_ms is not None:
            wait_ms = min(wait_ms, self._ready.since_ms + self._options.max_delay_ms - now_ms)
        return max(wait_ms, 1)

    def _should_commit(self) -> bool:
        ready = self._ready
        if not ready:
            return False
        if len(ready.parts) >= self._options.max_events or len(self._inbox) == 0:
            return True  # waiting longer would only add latency: more arrives while the commit is under way
        return (
            ready.since_ms is not None
            and self._clock.monotonic_ms() - ready.since_ms >= self._options.max_delay_ms
        )

    def _release(self) -> None:
        now_ms = self._clock.monotonic_ms()
        if len(self._inbox) and self._answered_at_ms is not None and not self._is_full():
            # After a commit that took long, what waits in the inbox was here before what is held was due: it must not come late.
            now_ms = self._answered_at_ms
        released = self._sequencer.pop(now_ms=now_ms, answered_ms=self._answered_ms)
        if released:
            self._ready.parts += released
            self._mark_ready()
        self._observer.held(len(self._sequencer))

    def _mark_ready(self) -> None:
        if self._ready.since_ms is None:
            self._ready.since_ms = self._clock.monotonic_ms()

    # ------------------------------------------------------------ what arrives

    async def _take(self, item: Inbound) -> None:
        if isinstance(item, Answer):
            self._take_answer(item)
        elif isinstance(item, Fetched):
            self._pages.append(item)
        elif isinstance(item, SessionOpened):
            await self._take_opening(item)
        else:
            self._answered_at_ms = None

    async def _take_opening(self, opened: SessionOpened) -> None:
        self._answered_at_ms = opened.received_ms
        # Before any of its answers is taken: whether the org has moved decides where their changes belong.
        await self._instance.refresh()
        self._server_ms = opened.server_ms or self._clock.wall_ms()
        if self._channels.opened(opened, self._server_ms):
            self._ready.channels = True
            self._mark_ready()
        self._begin_sweeps(self._server_ms)

    def _take_answer(self, answer: Answer) -> None:
        if self._answered_at_ms is not None:
            self._answered_ms += max(answer.received_ms - self._answered_at_ms, 0)
        self._answered_at_ms = answer.received_ms
        if self._epochs.named(self._instance.name):
            self._ready.epochs = True
            self._mark_ready()
        oldest_ms: int | None = None
        received: dict[str, int] = {}
        for index, message in enumerate(answer.messages):
            channel = str(message["channel"])
            changes, commit_ms = self._take_message(answer, index, channel)
            received[channel] = received.get(channel, 0) + changes
            if commit_ms is not None and (oldest_ms is None or commit_ms < oldest_ms):
                oldest_ms = commit_ms
        for channel, changes in received.items():
            self._observer.received(channel, changes)
        if answer.messages and self._unreadable.flows():
            self._observer.input_flows(" ".join(sorted(self._options.channels)))
        if self._channels.answer_ended(answer.server_ms):
            self._ready.channels = True
            self._mark_ready()
        if answer.server_ms is not None:
            self._server_ms = answer.server_ms
            self._due.answered(
                answer.server_ms, oldest_ms, empty=not answer.messages, now_ms=answer.received_ms
            )

    def _take_message(self, answer: Answer, index: int, channel: str) -> tuple[int, int | None]:
        """How many changes it held, and their commit time."""
        message = answer.messages[index]
        position = position_of(message.get("data"))
        positions = self._channels.positions(channel)
        if positions is None:
            # Nobody subscribed to it: kept, so that it is seen, without a say in any checkpoint.
            stray = BadEvent("unknown_channel", f"{channel} is not subscribed")
            return self._put_aside(answer, index, channel, position, stray, None)
        try:
            changes = decode(message, channel, position)
        except BadEvent as error:
            return self._put_aside(answer, index, channel, position, error, positions.arrive(position, 1))
        entry = positions.arrive(position, len(changes))
        header = changes[0].header
        if header.novel:
            self._observer.undocumented(header.entity, header.novel)
        if self._epochs.arrived(header.commit_number, header.commit_ms, self._instance.name):
            self._ready.epochs = True
        key = (
            self._epochs.of(header.commit_number, header.commit_ms),
            header.commit_number,
            header.sequence_number,
        )
        for change in changes:
            if change.is_gap:
                self._observer.gap(change)
            self._sequencer.push(
                key,
                channel,
                Part(change, key, entry),
                now_ms=answer.received_ms,
                answered_ms=self._answered_ms,
            )
        return len(changes), header.commit_ms

    def _put_aside(
        self,
        answer: Answer,
        index: int,
        channel: str,
        position: str | None,
        error: BadEvent,
        entry: Entry | None,
    ) -> tuple[int, None]:
        letter = dead_letter(answer, index, channel, position, error, self._clock.wall_ms())
        self._ready.letters.append((letter, entry))
        self._mark_ready()
        self._observer.bad_event(letter)
        return 1, None

    # ------------------------------------------------------------ what REST answered

    def _server_now_ms(self) -> int | None:
        """What time it is in Salesforce, going on from the last answer; None before the first session."""
        if self._server_ms is None or self._answered_at_ms is None:
            return self._server_ms
        return self._server_ms + self._clock.monotonic_ms() - self._answered_at_ms

    def _begin_sweeps(self, server_ms: int) -> None:
        """See to it that every object has its sweep, from now on."""
        if self.reconciler is None or self._options.sweep_ms is None:
            return
        for entity in dict.fromkeys(
            one for channel in self._options.channels for one in _entities_of(channel)
        ):
            task = sweep_of(entity, server_ms, self._options.sweep_ms)
            if task.id not in self.reconciler.tasks:
                self._ready.tasks[task.id] = task
                self._mark_ready()

    async def _compare_pages(self) -> None:
        """Commit the pages that were fetched, once everything has been committed that was here before them."""
        while self._pages and not self._stopping:
            fetched = self._pages[0]
            waited_ms = self._clock.monotonic_ms() - fetched.received_ms
            if len(self._sequencer) and waited_ms < self._options.max_hold_ms:
                return
            try:
                await self._compare(fetched)
            except StoreUnavailable as error:
                self._observer.commit_failing(self._committer.number + 1, error.why, 0)
                return  # the next turn tries again
            del self._pages[0]

    async def _compare(self, fetched: Fetched) -> None:
        began_ms = self._clock.monotonic_ms()
        page: Page = fetched.page
        task = page.task
        batch = await self._interpreter.compare(
            page.rows, "gap" if task.reason == "gap" else "repair", self._org()
        )
        commit = self._draft(batch)
        task = task.counted(fetched=len(page.rows), changed=batch.compared, events=len(batch.journal))
        known: dict[str, Task | None] = {task.id: task}
        if page.is_last:
            self._end(task, known, commit)
        commit.tasks = {one: None if kept is None else kept.encode() for one, kept in known.items()}
        await self._committer.send(commit)
        assert self.reconciler is not None
        self.reconciler.know(known)
        self._due.committed(batch.timers.values())
        self._tell(commit, batch, 0, began_ms)
        for record_id, why in page.unread:
            self._observer.row_unread(task.entity, record_id, why)
        self._observer.reconciled(task.reason, len(page.rows), batch.compared)
        if page.is_last:
            self._observer.task_done(task.id, task.report())

    def _end(self, task: Task, known: dict[str, Task | None], commit: Commit) -> None:
        """Report what was mended; a sweep that found nothing says so in the log alone."""
        sweep_ms = self._options.sweep_ms
        known[task.id] = task.again(sweep_ms) if task.reason == "sweep" and sweep_ms is not None else None
        if task.reason == "sweep" and not task.events:
            return
        cause = f"{task.id}/{task.until_ms}" if task.reason == "sweep" else task.id
        event_id = f"{self._org().id}/{cause}/{v.SYSTEM_REPAIRED}"
        event = {
            "v": FORMAT,
            "id": event_id,
            "type": v.SYSTEM_REPAIRED,
            "time": iso(self._server_ms or self._clock.wall_ms()),
            "entity": task.entity,
            "origin": "repair",
            "after": task.report(),
        }
        commit.journal.append(JournalRecord(event_id, v.SYSTEM_REPAIRED, None, orjson.dumps(event)))

    # ------------------------------------------------------------ timers

    async def _fire_timers(self) -> None:
        """Journal what has come due, once everything up to then is committed: downtime raises no false alarm."""
        uncommitted = (
            part.change.header.commit_ms for part in (*self._sequencer.items(), *self._ready.parts)
        )
        horizon_ms = self._due.horizon_ms(uncommitted)
        if horizon_ms is None or self._stopping:
            return
        began_ms = self._clock.monotonic_ms()
        try:
            due = await self._store.timers(horizon_ms, self._options.max_events)
            batch = await self._interpreter.fire(due, self._org())
        except StoreUnavailable as error:
            self._observer.commit_failing(self._committer.number + 1, error.why, 0)
            return  # the next answer asks again
        commit = self._draft(batch)
        await self._committer.send(commit)
        self._tell(commit, batch, 0, began_ms)
        try:
            await self._look_for_timers()
        except StoreUnavailable as error:
            self._observer.commit_failing(self._committer.number + 1, error.why, 0)

    # ------------------------------------------------------------ the commit

    async def _commit(self) -> None:
        began_ms = self._clock.monotonic_ms()
        ready = self._ready
        parts = ready.parts[: self._options.max_events]
        rest = ready.parts[self._options.max_events :]
        # Whatever becomes ready while the commit is under way belongs to the next one.
        self._ready = _Ready(parts=rest, since_ms=began_ms if rest else None)
        batch = await self._interpret(parts)
        commit = self._draft(batch)
        commit.journal = ready.journal + batch.journal
        begun = {**ready.tasks, **batch.tasks} if self.reconciler is not None else {}
        commit.tasks = {task_id: task.encode() for task_id, task in begun.items()}
        commit.dead_letters = [letter for letter, _ in ready.letters]
        for part in parts:
            part.entry.settle()
        for _, entry in ready.letters:
            if entry is not None:
                entry.settle()
        commit.channels = self._channels.settled(
            self._clock.wall_ms(), self._epochs.greatest, everything=ready.channels
        )
        if ready.epochs:
            commit.epochs = self._epochs.all
        if commit.channels and (
            self._remembered_ms is None or began_ms - self._remembered_ms >= _REMEMBER_EVERY_MS
        ):
            self._remembered_ms = began_ms
            commit.remember_ms = self._clock.wall_ms()
        await self._committer.send(commit)
        if self.reconciler is not None and begun:
            self.reconciler.know(begun)
        self._due.committed(batch.timers.values())
        self._tell(commit, batch, len(parts), began_ms)

    def _draft(self, batch: Batch) -> Commit:
        commit = self._committer.draft(self._org().id)
        commit.states = {record_id: state.encode() for record_id, state in batch.states.items()}
        for target_id, runs in batch.targets.items():
            commit.states[targets.key_of(target_id)] = runs.encode()
        commit.journal = batch.journal
        commit.timers = batch.timers
        return commit

    def _tell(self, commit: Commit, batch: Batch, changes: int, began_ms: int) -> None:
        self._observer.committed(
            _Summary(
                commit.number,
                changes,
                batch.duplicates,
                batch.late,
                batch.ignored,
                batch.events,
                batch.newest_commit_ms,
                self._clock.monotonic_ms() - began_ms,
            )
        )

    async def _interpret(self, parts: Sequence[Part]) -> Batch:
        if not parts:
            return Batch(self._org())
        while True:
            try:
                return await self._interpreter.interpret(parts, self._channels.states, self._org())
            except StoreUnavailable as error:
                self._observer.commit_failing(self._committer.number + 1, error.why, 0)
                await asyncio.sleep(_LOAD_AGAIN_MS / 1000)


def _entities_of(channel: str) -> tuple[str, ...]:
    """The objects that a channel carries, as far as its name tells."""
    named = channel.removeprefix("/data/").removesuffix("ChangeEvent")
    return (named,) if named in ENTITIES else tuple(ENTITIES)
