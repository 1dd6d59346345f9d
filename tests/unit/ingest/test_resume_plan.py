"""What the supervisor is answered, and what a refused position or an unreadable answer leaves for the next commit."""

import json

import pytest

from consumer.clock import SystemClock
from consumer.domain.bus_retention import BUS_RETENTION_MS
from consumer.domain.lifecycle import OrgInfo
from consumer.errors import CadenceError, EndReason, Remedy, SessionFault, StopService
from consumer.ingest.batch import Batch
from consumer.ingest.channels import Channels
from consumer.ingest.epochs import Epochs
from consumer.ingest.options import IngestOptions
from consumer.ingest.pending_commit import PendingCommit
from consumer.ingest.resume_plan import ResumePlan
from consumer.ingest.stream_clock import StreamClock
from consumer.ingest.timer_watermark import TimerWatermark
from consumer.ingest.unreadable_answers import UnreadableAnswers
from consumer.ports.commit import ChannelState, Commit
from tests.support.builders.changes import COMMIT_MS, ORG, RUN_CHANNEL, STEP_CHANNEL
from tests.support.rigs.ingest import Witness

CHANNELS = (RUN_CHANNEL, STEP_CHANNEL)
POLLED_MS = COMMIT_MS - BUS_RETENTION_MS
KNOWN = {name: ChannelState(5, "7", polled_through_ms=POLLED_MS, commit_number=1) for name in CHANNELS}
THE_ORG = OrgInfo(ORG, "https://acme.my.salesforce.com")


class Guard:
    def __init__(self, error=None):
        self.error, self.asked = error, []

    async def admit(self, resume, now_ms):
        self.asked.append((dict(resume), now_ms))
        if self.error is not None:
            raise self.error


class Rig:
    def __init__(self, guard=None, **options):
        self.channels, self.pending, self.witness = (
            Channels(CHANNELS, "latest", KNOWN),
            PendingCommit(),
            Witness(),
        )
        self.held = 0
        self.stream_clock, self.timers = StreamClock(), TimerWatermark(1_000)
        self.plan = ResumePlan(
            self.channels,
            self.pending,
            self.stream_clock,
            UnreadableAnswers(),
            self.timers,
            lambda: self.held,
            guard,
            lambda: THE_ORG,
            IngestOptions(CHANNELS, **options),
            SystemClock(),
            self.witness,
        )

    def seal(self):
        return self.pending.seal(
            Commit("token", 0, ORG),
            Batch(THE_ORG),
            self.channels,
            Epochs(()),
            reconciles=True,
            now_ms=0,
            wall_ms=0,
        )


async def test_a_refused_position_is_forgotten_in_the_commit_with_its_gap_and_its_task():
    rig = Rig(on_expired="repair")
    await rig.plan.refused(RUN_CHANNEL, "7", "invalid", COMMIT_MS + 1)
    assert await rig.plan.resume() == {RUN_CHANNEL: "-2", STEP_CHANNEL: "7"}
    assert rig.pending.since_ms is not None
    commit = rig.seal()
    assert commit.channels[RUN_CHANNEL].position is None
    (gap,) = commit.journal
    assert json.loads(gap.data)["after"] == {
        "kind": "EXPIRED_POSITION",
        "since": "2025-12-29T10:00:00.000Z",
        "resumed": "-2",
    }
    assert [task_id.partition("/")[0] for task_id in commit.reconcile_tasks] == ["expired"]


async def test_a_position_refused_within_the_retention_of_the_last_poll_missed_nothing():
    rig = Rig(on_expired="halt")
    await rig.plan.refused(RUN_CHANNEL, "7", "invalid", COMMIT_MS)
    commit = rig.seal()
    assert commit.channels[RUN_CHANNEL].position is None
    assert (commit.journal, commit.reconcile_tasks) == ([], {})
    assert rig.witness.refusals == [(RUN_CHANNEL, "7", "earliest", False)]


async def test_a_refused_position_stops_the_service_where_that_is_wanted_and_changes_nothing():
    rig = Rig(on_expired="halt")
    with pytest.raises(StopService, match=r"refused the stored position 7 of /data/.* \(invalid\)"):
        await rig.plan.refused(RUN_CHANNEL, "7", "invalid", COMMIT_MS + 1)
    assert not rig.pending
    assert await rig.plan.resume() == {RUN_CHANNEL: "7", STEP_CHANNEL: "7"}


async def test_the_age_of_the_last_poll_is_counted_on_the_clock_of_salesforce():
    rig = Rig(on_expired="latest")
    rig.stream_clock.opened(0, COMMIT_MS + 1)
    await rig.plan.refused(RUN_CHANNEL, "7", "invalid")
    assert await rig.plan.resume() == {RUN_CHANNEL: "-1", STEP_CHANNEL: "7"}


async def test_the_third_unreadable_answer_in_a_row_at_the_same_positions_is_kept_whatever_its_bytes():
    rig = Rig()
    for body in (b"[{1", b"[{2"):
        await rig.plan.unreadable(body, "truncated")
        assert not rig.pending
    await rig.plan.unreadable(b"[{", "truncated")
    assert [dead_letter.raw for dead_letter in rig.seal().dead_letters] == [b"[{"]
    assert rig.witness.stuck == ["three answers at the same positions could not be read: truncated"]


async def test_a_session_is_opened_as_the_guard_admits_it_and_without_an_answer_of_it_too():
    refusal = SessionFault(EndReason("allocation_guard", "no", Remedy.WAIT_QUOTA))
    with pytest.raises(SessionFault):
        await Rig(Guard(refusal)).plan.resume()
    silent = Rig(Guard(CadenceError("REST does not answer")))
    assert await silent.plan.resume() == {RUN_CHANNEL: "7", STEP_CHANNEL: "7"}
    assert silent.witness.unknown == ["REST does not answer"]
    guard = Guard()
    rig = Rig(guard)
    rig.stream_clock.server_ms = COMMIT_MS
    assert await rig.plan.resume() == {RUN_CHANNEL: "7", STEP_CHANNEL: "7"}
    assert guard.asked == [({RUN_CHANNEL: "7", STEP_CHANNEL: "7"}, COMMIT_MS)]


async def test_a_poll_is_to_be_answered_before_the_next_timer():
    rig = Rig()
    assert rig.plan.poll_within_ms() is None
    rig.timers.answered(100_000, None, empty=True, now_ms=SystemClock().monotonic_ms())
    rig.timers.set_next(160_000)
    assert 61_000 <= rig.plan.poll_within_ms() <= 62_000


async def test_a_held_change_asks_for_an_answer_within_the_lateness_and_a_timer_for_an_earlier_one():
    rig = Rig(lateness_ms=1_500)
    assert rig.plan.poll_within_ms() is None
    rig.held = 1
    assert rig.plan.poll_within_ms() == 1_500
    rig.timers.set_next(COMMIT_MS)
    rig.timers.answered(COMMIT_MS + 3_600_000, None, empty=True, now_ms=SystemClock().monotonic_ms())
    assert rig.plan.poll_within_ms() == 1_000, "the timer is overdue"
    rig.held = 0
    assert rig.plan.poll_within_ms() == 1_000
