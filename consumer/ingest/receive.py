"""Intake of answers, until their content is ready to be committed.

Positions are noted, changes are decoded and put in order, and bad input is put into dead letters.

Nothing is read from the store or written to it here: what has to be written waits in :class:`PendingCommit`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from consumer.clock import Clock
from consumer.domain.change_events import UnknownValue, decode, position_of
from consumer.domain.reconcile_task import ReconcileTask
from consumer.errors import BadEvent
from consumer.ingest.batch import Part
from consumer.ingest.channels import Channels
from consumer.ingest.dead_letters import to_dead_letter
from consumer.ingest.epochs import Epochs
from consumer.ingest.options import IngestOptions
from consumer.ingest.pending_commit import PendingCommit
from consumer.ingest.positions import PositionEntry
from consumer.ingest.reconcile import triggers
from consumer.ingest.sequencer import Sequencer
from consumer.ingest.stream_clock import StreamClock
from consumer.ingest.timer_watermark import TimerWatermark
from consumer.ingest.unreadable_answers import QUIET_SESSION_MS, UnreadableAnswers
from consumer.ports.observers.ingest_events import (
    BadEventReceived,
    ChangeEventsReceived,
    ChangesHeld,
    ChangesReleasedEarly,
    GapReceived,
    IngestEvent,
    InputRecovered,
    UnknownValuesReceived,
    ValuesReplaced,
)
from consumer.ports.observers.observer import Observer
from consumer.ports.source import Answer, SessionOpened

__all__ = ["Instance", "Intake"]


class Instance(Protocol):
    """Source of the org's instance name."""

    @property
    def name(self) -> str | None:
        """Name as in ``NA224``; None while it is not known."""
        ...

    async def refresh(self) -> None:
        """Ask for it again; returns within seconds, with or without an answer."""
        ...


class Intake:
    """Way of one tenure's answers from the buffer to the next commit.

    Args:
        options: settings of ingest.
        channels: channel states of the tenure.
        epochs: epochs of the tenure.
        pending_commit: takes what is ready.
        stream_clock: is given the times of answers.
        unreadable_answers: is reset by an answer that can be read.
        timer_watermark: is given Salesforce's time.
        instance: the name of the org's instance.
        reconcile_tasks: existing reconcile tasks; None where nothing can be fetched.
        clock: for naming instants.
        observer: notified of what arrives.
    """

    def __init__(
        self,
        options: IngestOptions,
        channels: Channels,
        epochs: Epochs,
        pending_commit: PendingCommit,
        stream_clock: StreamClock,
        unreadable_answers: UnreadableAnswers,
        timer_watermark: TimerWatermark,
        instance: Instance,
        reconcile_tasks: Callable[[], Mapping[str, ReconcileTask] | None],
        clock: Clock,
        observer: Observer[IngestEvent],
    ) -> None:
        self.channels = channels
        self.epochs = epochs
        self.pending_commit = pending_commit
        self._options = options
        self._stream_clock = stream_clock
        self._unreadable_answers = unreadable_answers
        self._timer_watermark = timer_watermark
        self._instance = instance
        self._reconcile_tasks = reconcile_tasks
        self._clock = clock
        self._observer = observer
        self._session_opened_ms = 0
        self._sequencer: Sequencer[Part] = Sequencer(
            options.channels,
            lateness_ms=options.lateness_ms,
            window=options.window,
            max_hold_ms=options.max_hold_ms,
            strict=options.strict,
            max_catch_up_ms=options.max_catch_up_ms,
            max_held=options.max_held,
        )
        self._forced = 0

    # ------------------------------------------------------------ held changes

    @property
    def held(self) -> int:
        """Number of changes that are held back."""
        return len(self._sequencer)

    def is_full(self) -> bool:
        """Check for the limit of held changes, at which nothing more is taken in."""
        return len(self._sequencer) >= self._options.max_held

    def held_parts(self) -> Iterator[Part]:
        """Changes that are held back, in no order."""
        return self._sequencer.items()

    def uncommitted(self) -> Iterator[Part]:
        """Changes that are held back or wait for the next commit."""
        yield from self._sequencer.items()
        yield from self.pending_commit.parts

    def release(self, *, buffer_has_more: bool) -> None:
        """Make ready what may be released.

        ``buffer_has_more`` is True while the buffer holds something.
        """
        now_ms = self._clock.monotonic_ms()
        answered_at_ms = self._stream_clock.answered_at_ms
        if buffer_has_more and answered_at_ms is not None:
            # After a slow commit, what waits in the buffer arrived before the held changes were due: it must not come late.
            now_ms = answered_at_ms
        released = self._sequencer.pop(
            session_ms=self._stream_clock.session_ms(now_ms), answered_ms=self._stream_clock.answered_ms
        )
        if self._sequencer.forced != self._forced:
            self._observer.observe(ChangesReleasedEarly(self._sequencer.forced - self._forced))
            self._forced = self._sequencer.forced
        if released:
            self.pending_commit.parts += released
            self._touch_pending()
        self._observer.observe(ChangesHeld(len(self._sequencer), not self._sequencer.catch_up.is_done))

    def wait_ms(self) -> int:
        """Time until a held change is due, or until what is ready has waited long enough."""
        now_ms = self._clock.monotonic_ms()
        due_ms = self._sequencer.due_ms()
        until_ms = None if due_ms is None else self._stream_clock.until_ms(due_ms, now_ms)
        wait_ms = 60_000 if until_ms is None else until_ms
        if self.pending_commit and self.pending_commit.since_ms is not None:
            wait_ms = min(wait_ms, self.pending_commit.since_ms + self._options.max_delay_ms - now_ms)
        return max(wait_ms, 1)

    def _touch_pending(self) -> None:
        self.pending_commit.touch(self._clock.monotonic_ms())

    # ------------------------------------------------------------ sessions

    async def opened(self, opened: SessionOpened) -> None:
        """Begin a session that has every channel acknowledged."""
        # Before any of its answers is taken: the epoch of their changes depends on whether the org has moved.
        await self._instance.refresh()
        self._session_opened_ms = opened.received_ms
        server_ms = opened.server_ms or self._clock.wall_ms()
        self._stream_clock.opened(opened.received_ms, server_ms, opened.poll_limit_ms)
        self._sequencer.catch_up.opened(
            opened.server_ms,
            session_ms=self._stream_clock.session_ms(opened.received_ms),
            answered_ms=self._stream_clock.answered_ms,
        )
        # Objects that another channel carried before are known already and need no snapshot.
        known = triggers.entities_of(self.channels.states)
        new_channels = [
            channel for channel in opened.resumed if not set(triggers.entities_of([channel])) & set(known)
        ]
        if self.channels.opened(opened, server_ms):
            self.pending_commit.channels = True
            self._touch_pending()
        reconcile_tasks = self._reconcile_tasks()
        if reconcile_tasks is not None:
            for task in triggers.on_opening(self._options, new_channels, reconcile_tasks, server_ms):
                self.pending_commit.reconcile_tasks[task.id] = task
                self._touch_pending()

    def ended(self, now_ms: int) -> None:
        """End the session at monotonic ``now_ms``; time without one does not count."""
        self._stream_clock.ended(now_ms)

    # ------------------------------------------------------------ answers

    def answer(self, answer: Answer) -> None:
        """Take an answer to a poll."""
        self._stream_clock.answered(answer.received_ms, answer.server_ms)
        session_ms = self._stream_clock.session_ms(answer.received_ms)
        if not answer.messages:
            self._sequencer.catch_up.answered_empty(
                session_ms=session_ms, answered_ms=self._stream_clock.answered_ms
            )
        if self.epochs.learn_instance(self._instance.name):
            self.pending_commit.epochs = True
            self._touch_pending()
        oldest_ms: int | None = None
        received: dict[str, int] = {}
        unknown_values: Counter[tuple[str, UnknownValue]] = Counter()
        for index, message in enumerate(answer.messages):
            channel = str(message["channel"])
            changes, commit_ms = self._message(answer, index, message, channel, unknown_values)
            received[channel] = received.get(channel, 0) + changes
            if commit_ms is not None and (oldest_ms is None or commit_ms < oldest_ms):
                oldest_ms = commit_ms
        for channel, changes in received.items():
            self._observer.observe(ChangeEventsReceived(channel, changes))
        if unknown_values:
            self._observer.observe(UnknownValuesReceived(unknown_values))
        for index, fields in answer.repaired.items():
            self._observer.observe(ValuesReplaced(str(answer.messages[index]["channel"]), fields))
        # An empty answer at the beginning of a session may come before what waits at its position.
        is_quiet = answer.received_ms - self._session_opened_ms >= QUIET_SESSION_MS
        if (answer.messages or is_quiet) and self._unreadable_answers.recovered():
            self._observer.observe(InputRecovered(" ".join(sorted(self._options.channels))))
        if self.channels.answer_ended(answer.server_ms):
            self.pending_commit.channels = True
            self._touch_pending()
        if answer.server_ms is not None:
            self._timer_watermark.answered(
                answer.server_ms, oldest_ms, empty=not answer.messages, now_ms=answer.received_ms
            )

    def _message(
        self,
        answer: Answer,
        index: int,
        message: Mapping[str, Any],
        channel: str,
        unknown_values: Counter[tuple[str, UnknownValue]],
    ) -> tuple[int, int | None]:
        """Take a message and count its unknown values.

        The result is the number of its changes and their commit time.
        """
        position = position_of(message.get("data"))
        positions = self.channels.positions(channel)
        if positions is None:
            # No session subscribed to it: kept for the operator, without influence on any checkpoint.
            not_subscribed = BadEvent("unknown_channel", f"{channel} is not subscribed")
            reason = answer.unusable.get(index, not_subscribed)
            return self._dead_letter(answer, index, channel, position, reason, None)
        try:
            if index in answer.unusable:
                raise answer.unusable[index]
            changes = decode(message, channel, position)
        except BadEvent as error:
            return self._dead_letter(answer, index, channel, position, error, positions.arrive(position, 1))
        entry = positions.arrive(position, len(changes))
        header = changes[0].header
        if header.unknown_values:
            unknown_values.update((header.entity, each) for each in header.unknown_values)
        if self.epochs.observe(header.commit_number, header.commit_ms, self._instance.name):
            self.pending_commit.epochs = True
        key = (
            self.epochs.epoch_of(header.commit_number, header.commit_ms),
            header.commit_number,
            header.sequence_number,
        )
        session_ms = self._stream_clock.session_ms(answer.received_ms)
        for change in changes:
            if change.is_gap:
                self._observer.observe(GapReceived(change))
            self._sequencer.push(
                key,
                channel,
                Part(change, key, entry),
                commit_ms=header.commit_ms,
                session_ms=session_ms,
                answered_ms=self._stream_clock.answered_ms,
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
