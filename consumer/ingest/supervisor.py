"""Keeps one session open: opens it, hands its answers to the inbox, and decides what the end of it asks for.

Sessions are disposable and never repaired, so there is one loop and one path to test::

    wait until everything handed over is processed → ask where to resume → open → hand over answers → the session ends → wait → again

How long it waits is the reason's business. Most ends ask for a new session after a back-off that grows while sessions fail and is
forgotten after one that was healthy for a minute. A refused token asks for a new one, and from the second refusal in a row for
patience, because logins that fail quickly lock accounts. A used-up daily allocation asks to stay down: Salesforce counts deliveries
over a rolling 24 hours and keeps events for 72. A refused position asks the replay policy. What only a person can change ends the
service. An inbox that stays full ends the session too: without a poll Salesforce forgets the client after 40 s anyway, and coming back
by position is safe.

Nothing gives up silently: every end is told to the observer with the time of the next attempt, and stands in :attr:`Supervisor.status`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Protocol

from consumer.clock import Clock
from consumer.errors import AuthenticationFailed, EndReason, Remedy, SessionFault, StopService
from consumer.ingest.inbox import Inbox
from consumer.ingest.pacing import PollPacing
from consumer.ports import Answer, Session, SessionEnded, SessionOpened, Source

__all__ = ["Backoff", "ResumePlan", "State", "Status", "Supervisor", "SupervisorEvents"]

_PERMISSION = "permission_denied"
_NO_TOKEN = "authentication_failed"  # noqa: S105 - a label
_FULL = "backpressure"


class ResumePlan(Protocol):
    """Where sessions resume: the part of the tenure that knows positions."""

    async def resume(self) -> Mapping[str, str]:
        """Per channel the replay option: ``-1``, ``-2`` or a replay id. Asked when everything handed over is processed.

        Raises:
            SessionFault: no session should be opened now.
        """
        ...

    def poll_within_ms(self) -> int | None:
        """How soon the next poll should be answered even without events; None for no such wish."""
        ...

    async def unreadable(self, body: bytes, detail: str) -> None:
        """An answer could not be read; the next session asks for it again."""
        ...

    async def refused(self, channel: str, position: str, detail: str, server_ms: int | None) -> None:
        """Salesforce refused ``position``, at ``server_ms`` of its own time; decide what :meth:`resume` says next.

        Raises:
            StopService: the replay policy is to stop.
        """
        ...


class SupervisorEvents(Protocol):
    """What the supervisor tells: to logs, metrics and readiness. None of it may block or raise."""

    def session_opening(self, number: int) -> None:
        """A session is about to authenticate and shake hands."""
        ...

    def session_opened(self, opened: SessionOpened) -> None:
        """Every channel is acknowledged."""
        ...

    def polled(self, answer: Answer) -> None:
        """A poll was answered; also without messages."""
        ...

    def session_ended(
        self, number: int, reason: EndReason, next_in_ms: int | None, body: bytes | None
    ) -> None:
        """A session is over.

        Args:
            number: of the session.
            reason: why.
            next_in_ms: when the next one is tried; None when the service stops.
            body: the exact answer, where it could not be read.
        """
        ...

    def authentication_failed(self, failure: AuthenticationFailed, next_in_ms: int) -> None:
        """No token could be had; followed by :meth:`session_ended`."""
        ...


class State(StrEnum):
    """What the supervisor is doing."""

    DRAINING = "draining"
    """Waiting until everything handed over is processed."""
    OPENING = "opening"
    POLLING = "polling"
    CLOSING = "closing"
    WAITING = "waiting"
    """Backing off until ``Status.next_attempt_ms``."""
    STOPPED = "stopped"


@dataclass(slots=True)
class Status:
    """For readiness and for people. Times are monotonic milliseconds.

    Attributes:
        state: what it is doing.
        session: number of the current or last session; 0 before the first.
        channels: acknowledged in the current session; empty while there is none.
        opened_ms: when the current session had every channel acknowledged.
        last_answer_ms: when the last answer came, of any session.
        last_reason: why the last session ended.
        next_attempt_ms: when the next session is tried, while waiting.
        failures: ends in a row without a healthy session between them.
    """

    state: State = State.DRAINING
    session: int = 0
    channels: frozenset[str] = frozenset()
    opened_ms: int | None = None
    last_answer_ms: int | None = None
    last_reason: EndReason | None = None
    next_attempt_ms: int | None = None
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait for what, in milliseconds.

    Attributes:
        first_ms: upper bound of the wait after the first failure; doubles with each further one. The wait is uniform below the bound
            (full jitter), so that many replicas and many consumers do not come back together.
        most_ms: the bound grows no further.
        healthy_ms: a session that was open this long makes the next failure the first.
        apart_ms: least time between the starts of two sessions.
        locked_first_ms: least wait after a permanent authentication failure, or a token refused twice in a row; doubles.
        locked_most_ms: and grows no further.
        quota_ms: wait when the daily allocation is used up; up to a tenth is added.
        full_ms: how long an answer may wait for room in the inbox before the session is ended.
    """

    first_ms: int = 500
    most_ms: int = 60_000
    healthy_ms: int = 60_000
    apart_ms: int = 1_000
    locked_first_ms: int = 30_000
    locked_most_ms: int = 600_000
    quota_ms: int = 900_000
    full_ms: int = 10_000

    def retry_ms(self, failures: int, random: Random) -> int:
        """Wait after the ``failures``-th failure in a row, counting from 1."""
        bound = min(self.most_ms, self.first_ms << min(failures - 1, 32))
        return random.randint(0, bound)

    def locked_ms(self, refusals: int, random: Random) -> int:
        """Wait after the ``refusals``-th refused authentication in a row, counting from 1."""
        base = min(self.locked_most_ms, self.locked_first_ms << min(refusals - 1, 32))
        return min(self.locked_most_ms, base + random.randint(0, base // 4))

    def quota_wait_ms(self, random: Random) -> int:
        """Wait for the allocation's window to move on."""
        return self.quota_ms + random.randint(0, self.quota_ms // 10)


class Supervisor:
    """One session at a time, until it is cancelled or the service has to stop."""

    def __init__(
        self,
        source: Source,
        plan: ResumePlan,
        inbox: Inbox,
        events: SupervisorEvents,
        clock: Clock,
        *,
        lateness_ms: int,
        random: Random,
        backoff: Backoff | None = None,
    ) -> None:
        self.status = Status()
        self._source = source
        self._plan = plan
        self._inbox = inbox
        self._events = events
        self._clock = clock
        self._random = random
        self._backoff = backoff or Backoff()
        self._pacing = PollPacing(lateness_ms)
        self._refusals = 0
        self._started_ms: int | None = None

    async def run(self) -> None:
        """Run until cancelled; cancellation closes the session politely.

        Raises:
            StopService: only a person can change what is wrong.
            InboxClosed: the inbox was closed.
        """
        status = self.status
        try:
            while True:
                status.state = State.DRAINING
                await self._inbox.drained()
                try:
                    resume = await self._plan.resume()
                except SessionFault as refusal:
                    await self._answer_to(refusal)
                    continue
                await self._keep_apart()
                fault = await self._session(resume)
                await self._inbox.put(
                    SessionEnded(status.session, fault.reason.code, self._clock.monotonic_ms())
                )
                await self._answer_to(fault)
        finally:
            status.state = State.STOPPED
            status.channels = frozenset()
            status.next_attempt_ms = None

    async def _session(self, resume: Mapping[str, str]) -> SessionFault:
        """One session from its opening to its end, which is the result."""
        status = self.status
        status.session += 1
        status.state = State.OPENING
        self._started_ms = self._clock.monotonic_ms()
        self._events.session_opening(status.session)
        session = self._source.session(status.session, self._poll_timeout)
        try:
            opened = await session.open(resume)
            status.state = State.POLLING
            status.channels = frozenset(opened.resumed)
            status.opened_ms = opened.received_ms
            self._refusals = 0
            self._events.session_opened(opened)
            await self._inbox.put(opened)
            return await self._hand_over(session)
        except SessionFault as fault:
            return fault
        except AuthenticationFailed as failure:
            return _no_token(failure)
        finally:
            status.state = State.CLOSING
            status.channels = frozenset()
            await session.aclose()

    async def _hand_over(self, session: Session) -> SessionFault:
        async for answer in session.answers():
            self.status.last_answer_ms = answer.received_ms
            self._pacing.answered(answer.received_ms, bool(answer.messages))
            self._events.polled(answer)
            try:
                async with asyncio.timeout(self._backoff.full_ms / 1000):
                    await self._inbox.put(answer)
            except TimeoutError:
                waited = f"an answer waited {self._backoff.full_ms / 1000:g} s for room"
                held = f"{self._inbox.messages} messages, {self._inbox.bytes} bytes are in front of it"
                return SessionFault(EndReason(_FULL, f"{waited}: {held}"))
        return SessionFault(EndReason("answers_ended", "the session gave no more answers and no reason"))

    async def _answer_to(self, fault: SessionFault) -> None:
        """What the end of a session asks for: do it, tell it, wait as long as it wants."""
        reason, status = fault.reason, self.status
        status.last_reason = reason
        self._count(reason)
        body = fault.body
        if reason.remedy is Remedy.STOP:
            self._events.session_ended(status.session, reason, None, body)
            what = f"Salesforce refuses: {reason.detail}."
            raise StopService(reason.code, what, reason.action, permission=reason.code == _PERMISSION)
        if body is not None:
            await self._plan.unreadable(body, reason.detail)
        if reason.channel is not None and reason.position is not None and reason.remedy is Remedy.RECONCILE:
            try:
                await self._plan.refused(reason.channel, reason.position, reason.detail, reason.server_ms)
            except StopService:
                self._events.session_ended(status.session, reason, None, body)
                raise
        failure = fault.__cause__ if isinstance(fault.__cause__, AuthenticationFailed) else None
        wait_ms = self._wait_ms(reason, failure)
        status.opened_ms = None
        status.next_attempt_ms = self._clock.monotonic_ms() + wait_ms
        status.state = State.WAITING
        if failure is not None:
            self._events.authentication_failed(failure, wait_ms)
        self._events.session_ended(status.session, reason, wait_ms, body)
        await asyncio.sleep(wait_ms / 1000)
        status.next_attempt_ms = None

    def _count(self, reason: EndReason) -> None:
        status = self.status
        now = self._clock.monotonic_ms()
        if status.opened_ms is not None and now - status.opened_ms >= self._backoff.healthy_ms:
            status.failures = 0
        if reason.code != _FULL:
            # A full inbox is our own slowness; its back-off is the wait until it is drained.
            status.failures += 1
        if reason.remedy is Remedy.REAUTHENTICATE:
            self._refusals += 1

    def _wait_ms(self, reason: EndReason, failure: AuthenticationFailed | None) -> int:
        if reason.code == _FULL:
            return 0
        if reason.remedy is Remedy.WAIT_QUOTA:
            return self._backoff.quota_wait_ms(self._random)
        if failure is not None and failure.permanent:
            return self._backoff.locked_ms(self._refusals, self._random)
        if reason.remedy is Remedy.REAUTHENTICATE and self._refusals > 1:
            # The first refusal is a token that has had its time; a second in a row is not cured by asking faster.
            return self._backoff.locked_ms(self._refusals - 1, self._random)
        return self._backoff.retry_ms(self.status.failures, self._random)

    async def _keep_apart(self) -> None:
        if self._started_ms is None:
            return
        early_ms = self._started_ms + self._backoff.apart_ms - self._clock.monotonic_ms()
        if early_ms > 0:
            await asyncio.sleep(early_ms / 1000)

    def _poll_timeout(self) -> int | None:
        wishes = (self._pacing.timeout(self._clock.monotonic_ms()), self._plan.poll_within_ms())
        return min((wish for wish in wishes if wish is not None), default=None)


def _no_token(failure: AuthenticationFailed) -> SessionFault:
    """A session that never began: unreachable is like any failed connection, a refusal is a refused token."""
    remedy = Remedy.REAUTHENTICATE if failure.permanent else Remedy.RETRY
    fault = SessionFault(EndReason(_NO_TOKEN, str(failure), remedy))
    fault.__cause__ = failure
    return fault
