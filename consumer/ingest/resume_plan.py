"""Plan of a tenure where sessions resume.

The supervisor asks it before a session, and reports to it when one ends badly.

Sessions resume after the last position that was handed over completely (:mod:`consumer.ingest.positions`). A position that Salesforce
refuses is forgotten, and what was missed since the last poll becomes reconcile tasks (:mod:`consumer.ingest.reconcile.triggers`). An answer
that cannot be read three times in a row at the same positions is kept as a dead letter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import orjson

from consumer import event_types as v
from consumer.clock import Clock, iso
from consumer.domain.bus_retention import BUS_RETENTION_MS
from consumer.domain.lifecycle import OrgInfo
from consumer.domain.lifecycle_events import FORMAT
from consumer.errors import CadenceError, SessionFault, StopService
from consumer.ingest.channels import Channels
from consumer.ingest.options import IngestOptions
from consumer.ingest.pending_commit import PendingCommit
from consumer.ingest.quota_guard import QuotaGuard
from consumer.ingest.reconcile import triggers
from consumer.ingest.stream_clock import StreamClock
from consumer.ingest.timer_watermark import TimerWatermark
from consumer.ingest.unreadable_answers import UnreadableAnswers
from consumer.ports.commit import JournalRecord
from consumer.ports.observers.ingest_events import IngestEvent, InputStuck, PositionRefused, QuotaUnknown
from consumer.ports.observers.observer import Observer

__all__ = ["ResumePlan"]


class ResumePlan:
    """Plan where the sessions of one tenure resume.

    Args:
        channels: channel states of the tenure.
        pending_commit: takes what a refusal or an unreadable answer has to write.
        stream_clock: Salesforce's time.
        unreadable_answers: counts unreadable answers.
        timer_watermark: asked when the next timer is due.
        held: number of changes that are held back.
        quota_guard: asked before each session; None admits every session.
        org: asked for the org's id.
        options: settings of ingest.
        clock: for waiting and for naming instants.
        observer: notified of refusals and unreadable answers.
    """

    def __init__(
        self,
        channels: Channels,
        pending_commit: PendingCommit,
        stream_clock: StreamClock,
        unreadable_answers: UnreadableAnswers,
        timer_watermark: TimerWatermark,
        held: Callable[[], int],
        quota_guard: QuotaGuard | None,
        org: Callable[[], OrgInfo],
        options: IngestOptions,
        clock: Clock,
        observer: Observer[IngestEvent],
    ) -> None:
        self._channels = channels
        self._pending_commit = pending_commit
        self._stream_clock = stream_clock
        self._unreadable_answers = unreadable_answers
        self._timer_watermark = timer_watermark
        self._quota_guard = quota_guard
        self._org = org
        self._options = options
        self._held = held
        self._clock = clock
        self._observer = observer

    async def resume(self) -> Mapping[str, str]:
        """Replay option of each channel: ``-1``, ``-2`` or a replay id.

        It is asked for when everything handed over is processed.

        Raises:
            SessionFault: no session should be opened now: the org's delivery allocation would not last.
        """
        resume = self._channels.resume()
        if self._quota_guard is not None:
            now_ms = self._stream_clock.server_now_ms(self._clock.monotonic_ms()) or self._clock.wall_ms()
            try:
                await self._quota_guard.admit(resume, now_ms)
            except SessionFault:
                raise
            except CadenceError as error:
                self._observer.observe(QuotaUnknown(str(error)))
        return resume

    def poll_within_ms(self) -> int | None:
        """Time within which the next poll should be answered even without events.

        The result is None where nothing waits for an answer.

        A timer waits for Salesforce's time; a held change waits for the proof that nothing earlier is under way, and that every channel has
        caught up.
        """
        within_ms = self._timer_watermark.poll_within_ms(self._clock.monotonic_ms())
        if not self._held():
            return within_ms
        held_ms = max(self._options.lateness_ms, 1)
        return held_ms if within_ms is None else min(within_ms, held_ms)

    async def unreadable(self, body: bytes, detail: str) -> None:
        """Count an answer that could not be read.

        The third in a row at the same positions is kept, and the service is not ready.
        """
        dead_letter = self._unreadable_answers.failed(
            body, self._channels.resume(), detail, self._clock.wall_ms()
        )
        if dead_letter is not None:
            self._pending_commit.dead_letters.append((dead_letter, None))
            self._pending_commit.touch(self._clock.monotonic_ms())
            self._observer.observe(
                InputStuck(
                    dead_letter.channel, f"three answers at the same positions could not be read: {detail}"
                )
            )

    async def refused(self, channel: str, position: str, detail: str, server_ms: int | None = None) -> None:
        """Decide how a channel resumes whose position Salesforce refused.

        Args:
            channel: the channel.
            position: the refused replay id.
            detail: Salesforce's message.
            server_ms: Salesforce's time of the refusal, by which the age of the last poll is counted.

        Raises:
            StopService: ``replay.on_expired`` is ``halt``.
        """
        polled_ms = self._channels.polled_through(channel)
        now_ms = server_ms or self._stream_clock.server_ms or self._clock.wall_ms()
        missed = polled_ms is None or now_ms - polled_ms > BUS_RETENTION_MS
        policy = self._options.on_expired
        self._observer.observe(
            PositionRefused(channel, position, policy if missed else "earliest", missed=missed)
        )
        if missed and policy == "halt":
            raise StopService(
                "position_refused",
                f"Salesforce refused the stored position {position} of {channel} ({detail}): changes since then may be lost to the stream.",
                "Set replay.on_expired to earliest (re-read what the bus still holds) or latest (continue from now), then start again.",
            )
        option = self._channels.restart(channel, from_tip=missed and policy == "latest")
        # In one commit, so that a restart neither asks for the position nor announces it again.
        self._pending_commit.channels = True
        if missed:
            self._pending_commit.journal.append(
                self._gap_record(channel, position, polled_ms, now_ms, option)
            )
            since_ms = polled_ms if polled_ms is not None else self._channels.states[channel].birth_ms
            for task in triggers.on_refusal(self._options, channel, position, since_ms, now_ms):
                self._pending_commit.reconcile_tasks[task.id] = task
        self._pending_commit.touch(self._clock.monotonic_ms())

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
