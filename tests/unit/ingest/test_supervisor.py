"""The supervisor's decisions, with a scripted source under virtual time."""

import asyncio
import itertools
from collections import deque
from dataclasses import dataclass, field
from random import Random

import pytest

from consumer.clock import SystemClock
from consumer.errors import AuthenticationFailed, EndReason, Remedy, SessionFault, StopService
from consumer.ingest.buffer import IntakeBuffer
from consumer.ingest.supervisor import Supervisor, SupervisorOptions
from consumer.ports.observers.session_events import (
    PollAnswered,
    SessionClosed,
    SessionOpening,
    TokenRequestFailed,
)
from consumer.ports.source import Answer, SessionEnded, SessionOpened
from tests.support.rigs.observing import Recorder

pytestmark = pytest.mark.looptime

CHANNEL = "/data/ActionCadenceTrackerChangeEvent"


def fault(code="unknown_client", remedy=Remedy.RETRY, **more):
    return SessionFault(EndReason(code, "as scripted", remedy, **more))


def message(number):
    return {"channel": CHANNEL, "data": {"event": {"replayId": number}}}


@dataclass
class Plays:
    """What one session does: fail to open, or give answers after delays and then end or stay."""

    opening: Exception | None = None
    answers: list[tuple[float, int]] = field(default_factory=list)
    lasts: float = 0
    end: Exception | None = None


class FakeSource:
    def __init__(self, *plays):
        self.plays = deque(plays)
        self.opened_at = []
        self.resumes = []
        self.live = 0
        self.closed = 0
        self.poll_timeouts = []

    def session(self, number, poll_timeout):
        return FakeSession(
            self, number, poll_timeout, self.plays.popleft() if self.plays else Plays(lasts=1e9)
        )


class FakeSession:
    def __init__(self, source, number, poll_timeout, plays):
        self.source, self.number, self.poll_timeout, self.plays = source, number, poll_timeout, plays

    async def open(self, resume):
        self.source.live += 1
        assert self.source.live == 1, "two sessions at a time"
        self.source.opened_at.append(asyncio.get_running_loop().time())
        self.source.resumes.append(dict(resume))
        if self.plays.opening:
            raise self.plays.opening
        return SessionOpened(self.number, resume, None, SystemClock().monotonic_ms())

    async def answers(self):
        for delay, count in self.plays.answers:
            self.source.poll_timeouts.append(self.poll_timeout())
            await asyncio.sleep(delay)
            messages = [message(number) for number in range(count)]
            yield Answer(self.number, messages, b"x" * 10, None, SystemClock().monotonic_ms())
        self.source.poll_timeouts.append(self.poll_timeout())
        await asyncio.sleep(self.plays.lasts)
        raise self.plays.end or fault()

    async def aclose(self):
        self.source.live -= 1
        self.source.closed += 1


class FakePlan:
    def __init__(self, buffer, refusal=None):
        self.buffer = buffer
        self.refusal = refusal
        self.asked = 0
        self.refusals = []
        self.bodies = []

    async def resume(self):
        assert len(self.buffer) == 0
        self.asked += 1
        return {CHANNEL: str(self.asked)}

    def poll_within_ms(self):
        return None

    async def unreadable(self, body, detail):
        self.bodies.append(body)

    async def refused(self, channel, position, detail, server_ms):
        self.refusals.append((channel, position, detail))
        if self.refusal:
            raise self.refusal


class Observed(Recorder):
    """What the supervisor reported, in short."""

    @property
    def ends(self):
        return [(event.number, event.reason.code, event.retry_after_ms) for event in self.of(SessionClosed)]

    @property
    def bodies(self):
        return [event.body for event in self.of(SessionClosed)]

    @property
    def failures(self):
        return [(event.failure.code, event.retry_after_ms) for event in self.of(TokenRequestFailed)]

    @property
    def answers(self):
        return [len(event.answer.messages) for event in self.of(PollAnswered)]


class Always(Random):
    """The random number generator whose jitter always gives the longest wait."""

    def random(self):
        return 0.0


class Running:
    """A supervisor with a taker that processes at once, for a while."""

    def __init__(
        self, *plays, refusal=None, random=None, buffer=None, taking=True, lateness_ms=1_000, options=None
    ):
        self.source = FakeSource(*plays)
        self.buffer = buffer or IntakeBuffer(1_000, 10**6)
        self.plan = FakePlan(self.buffer, refusal)
        self.observed = Observed()
        self.taken = []
        self.taking = taking
        self.supervisor = Supervisor(
            self.source,
            self.plan,
            self.buffer,
            self.observed,
            SystemClock(),
            lateness_ms=lateness_ms,
            random=random or Always(),
            options=options,
        )

    async def take(self):
        while (item := await self.buffer.get()) is not None:
            self.taken.append(item)
            self.buffer.mark_processed()

    async def lasting(self, seconds):
        run = asyncio.create_task(self.supervisor.run())
        take = asyncio.create_task(self.take()) if self.taking else None
        await asyncio.wait({run}, timeout=seconds)
        for task in (run, take):
            if task is not None:
                task.cancel()
        await asyncio.wait({task for task in (run, take) if task is not None})
        assert self.source.live == 0
        return run

    @property
    def waits(self):
        return [wait for _, _, wait in self.observed.ends]


# ---------------------------------------------------------------- back-off


async def test_failures_in_a_row_wait_up_to_twice_as_long_each_up_to_a_minute():
    running = Running(*[Plays(opening=fault("connect_failed")) for _ in range(10)])
    await running.lasting(1_000)
    assert running.waits == [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]


async def test_the_wait_is_jittered_over_its_whole_range():
    waits = [SupervisorOptions().failed.delay_ms(4, Random(seed).random()) for seed in range(300)]
    assert min(waits) < 200
    assert max(waits) > 3_800
    assert max(waits) <= 4_000


async def test_a_session_that_was_healthy_for_a_minute_makes_the_next_failure_the_first():
    plays = [Plays(opening=fault()) for _ in range(5)]
    running = Running(*plays, Plays(lasts=60), Plays(opening=fault()))
    await running.lasting(200)
    assert running.waits == [500, 1_000, 2_000, 4_000, 8_000, 500, 1_000]


async def test_a_session_that_fails_soon_counts_as_a_failure_although_it_opened():
    running = Running(*[Plays(lasts=59) for _ in range(3)])
    await running.lasting(300)
    assert running.waits == [500, 1_000, 2_000]


async def test_sessions_start_at_least_a_second_apart():
    class Never(Random):
        def random(self):
            return 1.0 - 2**-53

    running = Running(*[Plays(opening=fault()) for _ in range(5)], random=Never())
    await running.lasting(100)
    starts = running.source.opened_at
    assert starts[0] == 0
    assert all(later - earlier >= 0.999 for earlier, later in itertools.pairwise(starts))


# ---------------------------------------------------------------- authentication


async def test_a_refused_token_is_replaced_at_once_the_first_time():
    running = Running(Plays(lasts=7_200, end=fault("authentication_invalid", Remedy.REAUTHENTICATE)))
    await running.lasting(8_000)
    assert running.waits == [500]


async def test_a_token_refused_again_and_again_is_given_half_a_minute_growing_to_ten():
    plays = [Plays(opening=fault("authentication_invalid", Remedy.REAUTHENTICATE)) for _ in range(8)]
    running = Running(*plays)
    await running.lasting(5_000)
    assert running.waits == [500, 37_500, 75_000, 150_000, 300_000, 600_000, 600_000, 600_000]


async def test_a_login_that_cannot_succeed_waits_half_a_minute_to_ten_and_is_reported_each_time():
    failure = AuthenticationFailed("invalid_grant", "user hasn't approved this consumer", permanent=True)
    running = Running(*[Plays(opening=failure) for _ in range(7)])
    await running.lasting(5_000)
    assert running.waits == [37_500, 75_000, 150_000, 300_000, 600_000, 600_000, 600_000]
    assert running.observed.failures == [("invalid_grant", wait) for wait in running.waits]
    assert {code for _, code, _ in running.observed.ends} == {"authentication_failed"}
    assert all(SupervisorOptions().locked.delay_ms(1, Random(seed).random()) >= 30_000 for seed in range(100))


async def test_an_unreachable_login_is_like_any_failed_connection():
    failure = AuthenticationFailed("unreachable", "no route", permanent=False)
    running = Running(*[Plays(opening=failure) for _ in range(3)])
    await running.lasting(60)
    assert running.waits == [500, 1_000, 2_000]
    assert len(running.observed.failures) == 3


async def test_a_session_that_opened_forgives_refusals():
    refused = fault("authentication_invalid", Remedy.REAUTHENTICATE)
    running = Running(Plays(opening=refused), Plays(lasts=100, end=refused))
    await running.lasting(300)
    assert running.waits == [500, 500]


# ---------------------------------------------------------------- quota, positions, stop


async def test_a_used_up_allocation_stays_down_for_a_quarter_of_an_hour():
    running = Running(Plays(opening=fault("daily_limit", Remedy.WAIT_QUOTA)))
    await running.lasting(2_000)
    assert running.waits == [990_000]
    assert running.source.opened_at == [0, pytest.approx(990)]
    assert all(
        900_000 <= SupervisorOptions().quota.delay_ms(1, Random(seed).random()) <= 990_000
        for seed in range(50)
    )


async def test_a_refused_position_is_the_plans_decision_and_asked_again():
    running = Running(
        Plays(opening=fault("replay_invalid", Remedy.RECONCILE, channel=CHANNEL, position="41")),
    )
    await running.lasting(30)
    assert running.plan.refusals == [(CHANNEL, "41", "as scripted")]
    assert running.source.resumes == [{CHANNEL: "1"}, {CHANNEL: "2"}]


async def test_a_plan_that_halts_ends_the_service():
    running = Running(
        Plays(opening=fault("replay_invalid", Remedy.RECONCILE, channel=CHANNEL, position="41")),
        refusal=StopService("replay_expired", "The position has expired.", "Set replay.on_expired."),
    )
    run = await running.lasting(30)
    assert isinstance(run.exception(), StopService)
    assert running.observed.ends == [(1, "replay_invalid", None)]


@pytest.mark.parametrize(("code", "permission"), [("permission_denied", True), ("channel_missing", False)])
async def test_what_only_a_person_can_change_ends_the_service_with_what_to_change(code, permission):
    running = Running(Plays(opening=fault(code, Remedy.STOP, action="Give the user the right.")))
    run = await running.lasting(30)
    stopped = run.exception()
    assert isinstance(stopped, StopService)
    assert (stopped.code, stopped.action, stopped.permission) == (
        code,
        "Give the user the right.",
        permission,
    )
    assert [type(item) for item in running.taken] in ([SessionEnded], [])
    assert running.source.closed == 1


# ---------------------------------------------------------------- buffer


async def test_everything_goes_into_the_buffer_in_order():
    running = Running(Plays(answers=[(0.1, 2), (0.1, 0)], lasts=1))
    await running.lasting(1.4)
    assert [type(item).__name__ for item in running.taken] == [
        "SessionOpened",
        "Answer",
        "Answer",
        "SessionEnded",
    ]
    assert running.observed.answers == [2, 0]


async def test_the_plan_is_asked_only_when_everything_is_processed():
    running = Running(Plays(answers=[(0, 5)]), taking=False)
    run = asyncio.create_task(running.supervisor.run())
    await asyncio.sleep(100)
    assert running.plan.asked == 1
    assert running.observed.facts(SessionOpening) == [(1,)]
    for _ in range(3):
        assert await running.buffer.get(0) is not None
    await asyncio.sleep(100)
    assert running.plan.asked == 1
    running.buffer.mark_processed()
    await asyncio.sleep(1)
    assert running.plan.asked == 2
    run.cancel()
    await asyncio.wait({run})


async def test_a_full_buffer_ends_the_session_after_ten_seconds_and_resumes_once_drained():
    buffer = IntakeBuffer(10, 10**6)
    running = Running(Plays(answers=[(0, 10), (0, 1)], lasts=1e6), buffer=buffer, taking=False)
    run = asyncio.create_task(running.supervisor.run())
    await asyncio.sleep(9.9)
    assert running.observed.ends == []
    await asyncio.sleep(0.2)
    assert running.observed.ends == [(1, "backpressure", 0)]
    assert running.source.live == 0
    await asyncio.sleep(500)
    assert running.plan.asked == 1
    take = asyncio.create_task(running.take())
    await asyncio.sleep(1)
    assert running.plan.asked == 2
    assert [len(item.messages) for item in running.taken if isinstance(item, Answer)] == [10]
    for task in (run, take):
        task.cancel()
    await asyncio.wait({run, take})


async def test_polls_are_short_while_changes_are_held_back():
    running = Running(Plays(answers=[(1, 3), (0.4, 0), (0.6, 0)], lasts=5))
    await running.lasting(4)
    assert running.source.poll_timeouts == [None, 1_000, 600, None]


# ---------------------------------------------------------------- stop, evidence


@pytest.mark.parametrize("when", [0.5, 2.0, 12.0])
async def test_cancellation_closes_the_session_whatever_it_is_doing(when):
    buffer = IntakeBuffer(1, 1)
    running = Running(Plays(answers=[(1, 1), (0.5, 1)], lasts=100), buffer=buffer, taking=False)
    run = await running.lasting(when)
    assert run.cancelled()
    assert running.source.closed == len(running.source.opened_at)


async def test_the_bytes_of_an_unreadable_answer_are_handed_on():
    class Unreadable(SessionFault):
        body = b"<html>"

    running = Running(Plays(end=Unreadable(EndReason("bad_body", "not JSON"))))
    await running.lasting(0.9)
    assert running.observed.bodies == [b"<html>"]
    assert running.plan.bodies == [b"<html>"]


async def test_what_a_plan_raises_is_not_swallowed():
    running = Running()

    async def broken():
        raise RuntimeError("the store is gone")

    running.plan.resume = broken
    run = await running.lasting(10)
    assert isinstance(run.exception(), RuntimeError)
