"""Supervisor that keeps one session open.

It puts the answers of the session into the buffer, and decides what the end of a session requires.

Sessions are disposable and never repaired, so there is one loop and one path to test::

    wait until everything handed over is processed → ask where to resume → open → hand over answers → the session ends → wait → repeat

The reason of the end decides the wait. Most ends require a new session after a backoff that grows while sessions fail and is reset after
one that was healthy for a minute. A refused token requires a new one, and from the second refusal in a row a long wait, because logins that
fail quickly lock accounts. With a used-up daily allocation the supervisor stays disconnected: Salesforce counts deliveries over a rolling
24 hours and keeps events for 72. A refused position requires the replay policy. A fault that only an operator can remove ends the service.
A buffer that stays full ends the session too: without a poll Salesforce forgets the client after 40 s anyway, and resuming by position is
safe.

Nothing stops silently: the observer is notified of every end, with the wait until the next attempt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from consumer.backoff import Backoff
from consumer.clock import Clock
from consumer.errors import AuthenticationFailed, EndReason, Remedy, SessionFault, StopService
from consumer.ingest.buffer import IntakeBuffer
from consumer.ingest.poll_timeout import PollTimeout
from consumer.ingest.resume_plan import ResumePlan
from consumer.ports.observers.observer import Observer
from consumer.ports.observers.session_events import (
    PollAnswered,
    SessionClosed,
    SessionEvent,
    SessionOpening,
    SessionStarted,
    TokenRequestFailed,
)
from consumer.ports.source import (
    Session,
    SessionEnded,
    Source,
)

__all__ = ["Supervisor", "SupervisorOptions"]

_PERMISSION = "permission_denied"
_NO_TOKEN = "authentication_failed"  # noqa: S105 - a label
_FULL = "backpressure"


@dataclass(frozen=True, slots=True)
class SupervisorOptions:
    """Intervals between two sessions and limits of one, in milliseconds.

    Attributes:
        first_ms: upper bound of the wait after the first failure; doubles with each further one. The wait is uniform below the bound
            (full jitter), so that many replicas and many consumers do not come back together.
        max_ms: the bound grows no further.
        healthy_ms: a session that was open this long makes the next failure the first.
        min_interval_ms: least time between the starts of two sessions.
        locked_first_ms: least wait after a permanent authentication failure, or a token refused twice in a row; doubles.
        locked_max_ms: and grows no further.
        quota_ms: wait when the daily allocation is used up; up to a tenth is added.
        buffer_full_ms: time that an answer may wait for room in the buffer before the session is ended.
    """

    first_ms: int = 500
    max_ms: int = 60_000
    healthy_ms: int = 60_000
    min_interval_ms: int = 1_000
    locked_first_ms: int = 30_000
    locked_max_ms: int = 600_000
    quota_ms: int = 900_000
    buffer_full_ms: int = 10_000

    @property
    def failed(self) -> Backoff:
        """Backoff after failures in a row."""
        return Backoff(self.first_ms, self.max_ms, shortest=0.0)

    @property
    def locked(self) -> Backoff:
        """Backoff after refused authentications in a row."""
        return Backoff(self.locked_first_ms, self.locked_max_ms, longest=1.25)

    @property
    def quota(self) -> Backoff:
        """Wait until the window of the daily allocation has moved on."""
        return Backoff(self.quota_ms, 2 * self.quota_ms, factor=1, longest=1.1)


class Supervisor:
    """Supervisor of one session at a time.

    It runs until it is cancelled or the service has to stop.
    """

    def __init__(
        self,
        source: Source,
        plan: ResumePlan,
        buffer: IntakeBuffer,
        observer: Observer[SessionEvent],
        clock: Clock,
        *,
        lateness_ms: int,
        random: Random,
        options: SupervisorOptions | None = None,
    ) -> None:
        self._source = source
        self._plan = plan
        self._buffer = buffer
        self._observer = observer
        self._clock = clock
        self._random = random
        self._options = options or SupervisorOptions()
        self._held_poll_timeout = PollTimeout(lateness_ms)
        self._refusals = 0
        self._session_number = 0
        """Number of the current or last session; 0 before the first."""
        self._opened_ms: int | None = None
        """Monotonic milliseconds at which the current session had every channel acknowledged."""
        self._failures = 0
        """Number of ends in a row without a healthy session between them."""
        self._started_ms: int | None = None

    async def run(self) -> None:
        """Run until cancelled; cancellation closes the session politely.

        Raises:
            StopService: only an operator can remove the fault.
            BufferClosed: the buffer was closed.
        """
        while True:
            await self._buffer.wait_drained()
            try:
                resume = await self._plan.resume()
            except SessionFault as refusal:
                await self._handle_end(refusal)
                continue
            await self._wait_min_interval()
            fault = await self._session(resume)
            ended = SessionEnded(self._session_number, fault.reason.code, self._clock.monotonic_ms())
            await self._buffer.put(ended)
            await self._handle_end(fault)

    async def _session(self, resume: Mapping[str, str]) -> SessionFault:
        """Run one session from its opening to its end; returns the fault that ended it."""
        self._session_number += 1
        self._started_ms = self._clock.monotonic_ms()
        self._observer.observe(SessionOpening(self._session_number))
        session = self._source.session(self._session_number, self._poll_timeout)
        try:
            opened = await session.open(resume)
            self._opened_ms = opened.received_ms
            self._refusals = 0
            self._observer.observe(SessionStarted(opened))
            await self._buffer.put(opened)
            return await self._forward_answers(session)
        except SessionFault as fault:
            return fault
        except AuthenticationFailed as failure:
            return _no_token(failure)
        finally:
            await session.aclose()

    async def _forward_answers(self, session: Session) -> SessionFault:
        async for answer in session.answers():
            self._held_poll_timeout.answered(answer.received_ms, bool(answer.messages))
            self._observer.observe(PollAnswered(answer))
            try:
                async with asyncio.timeout(self._options.buffer_full_ms / 1000):
                    await self._buffer.put(answer)
            except TimeoutError:
                waited = f"an answer waited {self._options.buffer_full_ms / 1000:g} s for room"
                held = f"{self._buffer.messages} messages, {self._buffer.bytes} bytes are in front of it"
                return SessionFault(EndReason(_FULL, f"{waited}: {held}"))
        return SessionFault(EndReason("answers_ended", "the session gave no more answers and no reason"))

    async def _handle_end(self, fault: SessionFault) -> None:
        """Do what the end of a session requires, notify the observer, and wait."""
        reason = fault.reason
        self._count_failure(reason)
        body = fault.body
        if reason.remedy is Remedy.STOP:
            self._observer.observe(SessionClosed(self._session_number, reason, None, body))
            what = f"Salesforce refuses: {reason.detail}."
            raise StopService(reason.code, what, reason.action, permission=reason.code == _PERMISSION)
        if body is not None:
            await self._plan.unreadable(body, reason.detail)
        if reason.channel is not None and reason.position is not None and reason.remedy is Remedy.RECONCILE:
            try:
                await self._plan.refused(reason.channel, reason.position, reason.detail, reason.server_ms)
            except StopService:
                self._observer.observe(SessionClosed(self._session_number, reason, None, body))
                raise
        failure = fault.__cause__ if isinstance(fault.__cause__, AuthenticationFailed) else None
        wait_ms = self._wait_ms(reason, failure)
        self._opened_ms = None
        if failure is not None:
            self._observer.observe(TokenRequestFailed(failure, wait_ms))
        self._observer.observe(SessionClosed(self._session_number, reason, wait_ms, body))
        await asyncio.sleep(wait_ms / 1000)

    def _count_failure(self, reason: EndReason) -> None:
        now = self._clock.monotonic_ms()
        if self._opened_ms is not None and now - self._opened_ms >= self._options.healthy_ms:
            self._failures = 0
        if reason.code != _FULL:
            # A full buffer is caused by slow processing; its backoff is the wait until the buffer is drained.
            self._failures += 1
        if reason.remedy is Remedy.REAUTHENTICATE:
            self._refusals += 1

    def _wait_ms(self, reason: EndReason, failure: AuthenticationFailed | None) -> int:
        if reason.code == _FULL:
            return 0
        jitter = self._random.random()
        if reason.remedy is Remedy.WAIT_QUOTA:
            return self._options.quota.delay_ms(1, jitter)
        if failure is not None and failure.permanent:
            return self._options.locked.delay_ms(self._refusals, jitter)
        if reason.remedy is Remedy.REAUTHENTICATE and self._refusals > 1:
            # The first refusal is a token that has expired; a second in a row is not cured by asking faster.
            return self._options.locked.delay_ms(self._refusals - 1, jitter)
        return self._options.failed.delay_ms(self._failures, jitter)

    async def _wait_min_interval(self) -> None:
        if self._started_ms is None:
            return
        early_ms = self._started_ms + self._options.min_interval_ms - self._clock.monotonic_ms()
        if early_ms > 0:
            await asyncio.sleep(early_ms / 1000)

    def _poll_timeout(self) -> int | None:
        limits_ms = (self._held_poll_timeout.timeout(self._clock.monotonic_ms()), self._plan.poll_within_ms())
        return min((limit_ms for limit_ms in limits_ms if limit_ms is not None), default=None)


def _no_token(failure: AuthenticationFailed) -> SessionFault:
    """Fault of a session without a token.

    An unreachable endpoint is a failed connection, a refusal is a refused token.
    """
    remedy = Remedy.REAUTHENTICATE if failure.permanent else Remedy.RETRY
    fault = SessionFault(EndReason(_NO_TOKEN, str(failure), remedy))
    fault.__cause__ = failure
    return fault
