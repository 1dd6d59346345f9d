"""What arrives, until it is ready to be committed: positions noted, changes decoded and put in order, bad input put aside.

Also the supervisor's plan of where to resume, because what has arrived decides that: positions are finished here, a refused one becomes
a reconcile task here, and the org's clock is read here.

Pure but for the clock and the name of the org's instance: what has to be read from the store is given to :meth:`Intake.prepare`, what has
to be written waits in :attr:`Intake.pending_commit`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import orjson

from consumer import event_types as v
from consumer.clock import Clock, iso
from consumer.domain.bus_retention import BUS_RETENTION_MS
from consumer.domain.change_events import UnknownValue, decode, position_of
from consumer.domain.lifecycle import OrgInfo
from consumer.domain.lifecycle_events import FORMAT
from consumer.domain.reconcile_task import ReconcileTask
from consumer.errors import BadEvent, StopService
from consumer.ingest.channels import Channels
from consumer.ingest.dead_letters import to_dead_letter
from consumer.ingest.epochs import Epochs
from consumer.ingest.interpret import Part
from consumer.ingest.options import IngestOptions
from consumer.ingest.pending_commit import PendingCommit
from consumer.ingest.positions import PositionEntry
from consumer.ingest.reconcile import triggers
from consumer.ingest.sequencer import Sequencer
from consumer.ingest.timer_watermark import TimerWatermark
from consumer.ingest.unreadable_answers import UnreadableAnswers
from consumer.ports.commit import ChannelState, Epoch, JournalRecord
from consumer.ports.observers.ingest_events import (
    BadEventReceived,
    ChangeEventsReceived,
    ChangesHeld,
    GapReceived,
    IngestEvent,
    InputRecovered,
    InputStuck,
    PositionRefused,
    UnknownValuesReceived,
)
from consumer.ports.observers.observer import Observer
from consumer.ports.source import Answer, SessionOpened

__all__ = ["Instance", "Intake"]


class Instance(Protocol):
    """Where the org's instance name comes from."""

    @property
    def name(self) -> str | None:
        """As in ``NA224``; None while it is not known."""
        ...

    async def refresh(self) -> None:
        """Ask for it again; returns within seconds, with or without an answer."""
        ...


class Intake:
    """The beginning of one tenure's way from the socket to the journal.

    Args:
        options: plain arguments.
        org: where sessions lead to; asked when one has opened.
        instance: the name of the org's instance.
        timer_watermark: told of Salesforce's time.
        reconcile_tasks: reconcile tasks that there are; None where nothing can be fetched.
        clock: for naming instants.
        observer: told what happens.
    """

    def __init__(
        self,
        options: IngestOptions,
        org: Callable[[], OrgInfo],
        instance: Instance,
        timer_watermark: TimerWatermark,
        reconcile_tasks: Callable[[], Mapping[str, ReconcileTask] | None],
        clock: Clock,
        observer: Observer[IngestEvent],
    ) -> None:
        self.pending_commit = PendingCommit()
        self._options = options
        self._org = org
        self._instance = instance
        self._timer_watermark = timer_watermark
        self._tasks = reconcile_tasks
        self._clock = clock
        self._observer = observer
        self._unknown_values: Counter[tuple[str, UnknownValue]] = Counter()
        self._unreadable = UnreadableAnswers()
        self._sequencer: Sequencer[Part] = Sequencer(
            options.channels,
            lateness_ms=options.lateness_ms,
            window=options.window,
            max_hold_ms=options.max_hold_ms,
            strict=options.strict,
        )
        self.channels = Channels(options.channels, options.start, {})
        self.epochs = Epochs(())
        self._answered_ms = 0
        self._answered_at_ms: int | None = None
        self._server_ms: int | None = None

    def prepare(self, channels: Mapping[str, ChannelState], epochs: Sequence[Epoch]) -> None:
        """Begin from what the store holds."""
        self.channels = Channels(self._options.channels, self._options.start, channels)
        self.epochs = Epochs(epochs)
        for state in self.channels.states.values():
            self.epochs.restore_greatest(state.commit_number)

    @property
    def server_now_ms(self) -> int | None:
        """What time it is in Salesforce, going on from the last answer; None before the first session."""
        if self._server_ms is None or self._answered_at_ms is None:
            return self._server_ms
        return self._server_ms + self._clock.monotonic_ms() - self._answered_at_ms

    # ------------------------------------------------------------ what is held and what waits

    @property
    def held(self) -> int:
        """How many changes are held back."""
        return len(self._sequencer)

    def is_full(self) -> bool:
        """Whether so many are held back that nothing more is taken in."""
        return len(self._sequencer) >= self._options.max_held

    def held_parts(self) -> Iterator[Part]:
        """What is held back, in no order."""
        return self._sequencer.items()

    def uncommitted(self) -> Iterator[Part]:
        """What is held back or waits for the next commit."""
        yield from self._sequencer.items()
        yield from self.pending_commit.parts

    def release(self, *, buffer_has_more: bool) -> None:
        """Make ready what may go; ``buffer_has_more`` when the inbox holds something."""
        now_ms = self._clock.monotonic_ms()
        if buffer_has_more and self._answered_at_ms is not None and not self.is_full():
            # After a commit that took long, what waits in the inbox was here before what is held was due: it must not come late.
            now_ms = self._answered_at_ms
        released = self._sequencer.pop(now_ms=now_ms, answered_ms=self._answered_ms)
        if released:
            self.pending_commit.parts += released
            self._touch_pending()
        self._observer.observe(ChangesHeld(len(self._sequencer)))

    def wait_ms(self) -> int:
        """Until a held change is due by wall time, or what is ready has waited long enough."""
        now_ms = self._clock.monotonic_ms()
        due_ms = self._sequencer.due_ms()
        wait_ms = 60_000 if due_ms is None else due_ms - now_ms
        if self.pending_commit and self.pending_commit.since_ms is not None:
            wait_ms = min(wait_ms, self.pending_commit.since_ms + self._options.max_delay_ms - now_ms)
        return max(wait_ms, 1)

    def _touch_pending(self) -> None:
        self.pending_commit.touch(self._clock.monotonic_ms())

    # ------------------------------------------------------------ answers

    async def opened(self, opened: SessionOpened) -> None:
        """A session has every channel acknowledged."""
        self._answered_at_ms = opened.received_ms
        # Before any of its answers is taken: whether the org has moved decides where their changes belong.
        await self._instance.refresh()
        self._server_ms = opened.server_ms or self._clock.wall_ms()
        # What another channel has carried already is known, so that its objects need no snapshot.
        known = triggers.entities_of(self.channels.states)
        new_channels = [
            channel for channel in opened.resumed if not set(triggers.entities_of([channel])) & set(known)
        ]
        if self.channels.opened(opened, self._server_ms):
            self.pending_commit.channels = True
            self._touch_pending()
        reconcile_tasks = self._tasks()
        if reconcile_tasks is not None:
            for task in triggers.on_opening(self._options, new_channels, reconcile_tasks, self._server_ms):
                self.pending_commit.reconcile_tasks[task.id] = task
                self._touch_pending()

    def ended(self) -> None:
        """The session is over; time without one is no time with answered polls."""
        self._answered_at_ms = None

    def answer(self, answer: Answer) -> None:
        """A poll was answered."""
        if self._answered_at_ms is not None:
            self._answered_ms += max(answer.received_ms - self._answered_at_ms, 0)
        self._answered_at_ms = answer.received_ms
        if self.epochs.learn_instance(self._instance.name):
            self.pending_commit.epochs = True
            self._touch_pending()
        oldest_ms: int | None = None
        received: dict[str, int] = {}
        for index, message in enumerate(answer.messages):
            channel = str(message["channel"])
            changes, commit_ms = self._message(answer, index, message, channel)
            received[channel] = received.get(channel, 0) + changes
            if commit_ms is not None and (oldest_ms is None or commit_ms < oldest_ms):
                oldest_ms = commit_ms
        for channel, changes in received.items():
            self._observer.observe(ChangeEventsReceived(channel, changes))
        if self._unknown_values:
            self._observer.observe(UnknownValuesReceived(self._unknown_values))
            self._unknown_values = Counter()
        if answer.messages and self._unreadable.recovered():
            self._observer.observe(InputRecovered(" ".join(sorted(self._options.channels))))
        if self.channels.answer_ended(answer.server_ms):
            self.pending_commit.channels = True
            self._touch_pending()
        if answer.server_ms is not None:
            self._server_ms = answer.server_ms
            self._timer_watermark.answered(
                answer.server_ms, oldest_ms, empty=not answer.messages, now_ms=answer.received_ms
            )

    def _message(
        self, answer: Answer, index: int, message: Mapping[str, Any], channel: str
    ) -> tuple[int, int | None]:
        """How many changes it held, and their commit time."""
        position = position_of(message.get("data"))
        positions = self.channels.positions(channel)
        if positions is None:
            # Nobody subscribed to it: kept, so that it is seen, without a say in any checkpoint.
            not_subscribed = BadEvent("unknown_channel", f"{channel} is not subscribed")
            return self._dead_letter(answer, index, channel, position, not_subscribed, None)
        try:
            changes = decode(message, channel, position)
        except BadEvent as error:
            return self._dead_letter(answer, index, channel, position, error, positions.arrive(position, 1))
        entry = positions.arrive(position, len(changes))
        header = changes[0].header
        if header.unknown_values:
            self._unknown_values.update((header.entity, each) for each in header.unknown_values)
        if self.epochs.observe(header.commit_number, header.commit_ms, self._instance.name):
            self.pending_commit.epochs = True
        key = (
            self.epochs.epoch_of(header.commit_number, header.commit_ms),
            header.commit_number,
            header.sequence_number,
        )
        for change in changes:
            if change.is_gap:
                self._observer.observe(GapReceived(change))
            self._sequencer.push(
                key,
                channel,
                Part(change, key, entry),
                now_ms=answer.received_ms,
                answered_ms=self._answered_ms,
            )
        return len(changes), header.commit_ms

    def _dead_letter(
        self,
        answer: Answer,
        index: int,
        channel: str,
        position: str | None,
        error: BadEvent,
        entry: PositionEntry | None,
    ) -> tuple[int, None]:
        dead_letter = to_dead_letter(answer, index, channel, position, error, self._clock.wall_ms())
        self.pending_commit.dead_letters.append((dead_letter, entry))
        self._touch_pending()
        self._observer.observe(BadEventReceived(dead_letter))
        return 1, None

    def unreadable(self, body: bytes, detail: str) -> None:
        """An answer could not be read; the third identical one in a row is kept, and the service is not ready."""
        dead_letter = self._unreadable.failed(body, self.channels.resume(), detail, self._clock.wall_ms())
        if dead_letter is not None:
            self.pending_commit.dead_letters.append((dead_letter, None))
            self._touch_pending()
            self._observer.observe(
                InputStuck(dead_letter.channel, f"the same answer could not be read three times: {detail}")
            )

    # ------------------------------------------------------------ a refused position

    def refused(self, channel: str, position: str, detail: str, server_ms: int | None) -> None:
        """Salesforce does not know ``position`` any more; how long ago the last poll was is counted on its own clock.

        Raises:
            StopService: ``replay.on_expired`` is ``halt``.
        """
        polled_ms = self.channels.polled_through(channel)
        now_ms = server_ms or self._server_ms or self._clock.wall_ms()
        missed = polled_ms is None or now_ms - polled_ms > BUS_RETENTION_MS
        policy = self._options.on_expired
        self._observer.observe(
            PositionRefused(channel, position, policy if missed else "earliest", missed=missed)
        )
        if missed and policy == "halt":
            raise StopService(
                "position_refused",
                f"Salesforce refused the stored position {position} of {channel} ({detail}): changes since then may be lost to the stream.",
                "Set replay.on_expired to earliest (re-read what the bus still holds) or latest (go on from now), then start again.",
            )
        option = self.channels.restart(channel, from_tip=missed and policy == "latest")
        # In one commit, so that a restart neither asks for the position nor announces it again.
        self.pending_commit.channels = True
        if missed:
            self.pending_commit.journal.append(self._gap_record(channel, position, polled_ms, now_ms, option))
            since_ms = polled_ms if polled_ms is not None else self.channels.states[channel].birth_ms
            for task in triggers.on_refusal(self._options, channel, position, since_ms, now_ms):
                self.pending_commit.reconcile_tasks[task.id] = task
        self._touch_pending()

    def _gap_record(
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
