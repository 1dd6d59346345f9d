"""What waits for a commit, what a commit holds of a batch, and what is told of it."""

import asyncio
from collections import Counter

import pytest

from consumer.clock import SystemClock
from consumer.domain.lifecycle import OrgInfo
from consumer.domain.reconcile_task import ReconcileTask
from consumer.domain.record_state import RecordState
from consumer.domain.target_runs import TargetRuns, key_of
from consumer.errors import CommitRefused
from consumer.ingest.commit_sender import CommitSender
from consumer.ingest.commits import CommitPipeline
from consumer.ingest.interpret import Batch, Part
from consumer.ingest.pending_commit import PendingCommit
from consumer.ingest.positions import PositionEntry
from consumer.ingest.timer_watermark import TimerWatermark
from consumer.ports.commit import IngestDeadLetter, JournalRecord
from consumer.ports.lease import Tenure
from consumer.ports.observers.ingest_events import CommitApplied, CommitFailed
from tests.support.builders.changes import (
    ORG,
    RUN,
    RUN_1,
    change,
)
from tests.support.rigs.observing import Ignore, Recorder

pytestmark = pytest.mark.looptime

TARGET = "00QWP0000001AbC2AU"
JOURNALED = JournalRecord("1", "run.updated", RUN_1, b"{}")
LETTER = IngestDeadLetter("/data/x/7/ab", "/data/x", "7", "no_header", "why", b"raw", 5)


class Store:
    def __init__(self, refusal=None):
        self.refusal = refusal
        self.commits = []

    async def commit(self, commit):
        await asyncio.sleep(0.2)
        if self.refusal is not None:
            raise self.refusal
        self.commits.append(commit)
        return True


@pytest.fixture
def told():
    return Recorder()


@pytest.fixture
def due():
    timers = TimerWatermark(1_000)
    timers.answered(100_000, None, empty=True, now_ms=0)
    return timers


def writing(store, due, told):
    clock = SystemClock()
    commit_sender = CommitSender(store, store, Tenure("token", "me"), clock, Ignore())
    return CommitPipeline(commit_sender, due, clock, told)


def batch(**parts) -> Batch:
    return Batch(OrgInfo(ORG, "https://acme.my.salesforce.com"), **parts)


def test_a_commit_holds_what_the_batch_amounts_to_in_its_stored_form(due, told):
    state, runs = RecordState(RUN, RUN_1), TargetRuns(TARGET, ((RUN_1, None),))
    commit = writing(Store(), due, told).draft(
        batch(
            states={RUN_1: state, "gone": None},
            targets={TARGET: runs, "left": None},
            timers={"a/step.overdue": 7, "b/step.overdue": None},
            journal=[JOURNALED],
        )
    )
    assert (commit.token, commit.org_id) == ("token", ORG)
    assert commit.states == {
        RUN_1: state.encode(),
        "gone": None,
        key_of(TARGET): runs.encode(),
        key_of("left"): None,
    }
    assert commit.timers == {"a/step.overdue": 7, "b/step.overdue": None}
    assert commit.journal == [JOURNALED]


async def test_what_was_committed_is_told_and_its_timers_are_known(due, told):
    store = Store()
    writes = writing(store, due, told)
    await asyncio.sleep(3)
    one = batch(
        timers={"a/step.overdue": 7, "b/step.overdue": None},
        duplicates=2,
        late=3,
        ignored=4,
        events=Counter({"run.updated": 5}),
        newest_commit_ms=6,
    )
    commit = writes.draft(one)
    began_ms = SystemClock().monotonic_ms()
    await asyncio.sleep(0.3)
    await writes.apply(commit, one, changes=9, began_ms=began_ms)
    assert store.commits == [commit]
    assert due.watermark_ms([]) is not None, "the timer that was set is due"
    (summary,) = told.of(CommitApplied)
    assert (summary.number, summary.changes, summary.duplicates, summary.late) == (1, 9, 2, 3)
    assert (summary.ignored, summary.events, summary.newest_commit_ms) == (4, {"run.updated": 5}, 6)
    assert summary.duration_ms == pytest.approx(500, abs=2)


async def test_a_commit_that_is_refused_sets_no_timer_and_is_told_of_by_nobody(due, told):
    writes = writing(Store(CommitRefused(1, "another")), due, told)
    one = batch(timers={"a/step.overdue": 7})
    with pytest.raises(CommitRefused):
        await writes.apply(writes.draft(one), one, changes=1, began_ms=0)
    assert told.of(CommitApplied) == []
    assert due.watermark_ms([]) is None


async def test_what_the_next_commit_needs_and_cannot_be_read_is_told_with_its_number(due, told):
    writes = writing(Store(), due, told)
    writes.report_failure("timed out")
    await writes.apply(writes.draft(batch()), batch(), changes=0, began_ms=0)
    writes.report_failure("timed out")
    assert told.facts(CommitFailed) == [(1, "timed out", 0), (2, "timed out", 0)]


# ------------------------------------------------------------ a commit under way


async def test_a_commit_goes_on_beside_its_caller_until_somebody_waits(due, told):
    store, done = Store(), []
    writes = writing(store, due, told)
    one = batch(duplicates=2)
    commit = writes.draft(one)
    await asyncio.sleep(0.1)
    await writes.submit(
        commit,
        one,
        changes=9,
        began_ms=SystemClock().monotonic_ms() - 50,
        on_applied=lambda: done.append(len(store.commits)),
    )
    assert commit.number == 1, "it has been sent"
    assert store.commits == []
    await writes.drain()
    assert store.commits == [commit]
    assert done == [1], "after it was applied"
    (summary,) = told.of(CommitApplied)
    assert (summary.changes, summary.duplicates) == (9, 2)
    assert summary.duration_ms == pytest.approx(250, abs=2)
    await writes.drain()
    assert done == [1], "nothing is under way any more"


async def test_one_is_under_way_at_a_time(due, told):
    writes = writing(Store(), due, told)
    async with writes.draining():
        await writes.submit(writes.draft(batch()), batch(), changes=0, began_ms=0, on_applied=lambda: None)
        with pytest.raises(AssertionError, match=r"^commits land one after the other"):
            await writes.submit(
                writes.draft(batch()), batch(), changes=0, began_ms=0, on_applied=lambda: None
            )


async def test_whoever_leaves_waits_for_it_and_hears_of_a_refusal(due, told):
    store, done = Store(), []
    writes = writing(store, due, told)
    async with writes.draining():
        await writes.submit(
            writes.draft(batch()), batch(), changes=0, began_ms=0, on_applied=lambda: done.append(1)
        )
    assert (len(store.commits), done) == (1, [1])
    store.refusal = CommitRefused(2, "another")
    with pytest.raises(CommitRefused):
        async with writes.draining():
            await writes.submit(
                writes.draft(batch()), batch(), changes=0, began_ms=0, on_applied=lambda: done.append(2)
            )
    assert done == [1]


async def test_an_error_abandons_it(due, told):
    store = Store()
    writes = writing(store, due, told)
    with pytest.raises(ValueError, match="the error"):  # noqa: PT012 - raised inside, as it would be
        async with writes.draining():
            await writes.submit(
                writes.draft(batch()), batch(), changes=0, began_ms=0, on_applied=lambda: None
            )
            raise ValueError("the error")
    assert {task.get_name() for task in asyncio.all_tasks()} == {asyncio.current_task().get_name()}
    assert store.commits == told.of(CommitApplied) == []
    await writes.drain()


async def test_an_error_hides_no_other_and_is_hidden_by_none(due, told):
    store = Store(CommitRefused(1, "another"))
    writes = writing(store, due, told)
    with pytest.raises(ValueError, match="the error"):  # noqa: PT012 - raised inside, as it would be
        async with writes.draining():
            await writes.submit(
                writes.draft(batch()), batch(), changes=0, began_ms=0, on_applied=lambda: None
            )
            await asyncio.sleep(1)
            raise ValueError("the error")


# ------------------------------------------------------------ what waits


def part(entry: PositionEntry) -> Part:
    return Part(change("DELETE", RUN, RUN_1, commit=1), (0, 1, 1), entry)


@pytest.mark.parametrize(
    "ready",
    [
        PendingCommit(parts=[part(PositionEntry("7", 1))]),
        PendingCommit(dead_letters=[(LETTER, None)]),
        PendingCommit(journal=[JOURNALED]),
        PendingCommit(channels=True),
        PendingCommit(epochs=True),
        PendingCommit(reconcile_tasks={"sweep": ReconcileTask("sweep", "sweep", RUN)}),
    ],
)
def test_anything_that_waits_makes_a_commit(ready):
    assert ready


def test_where_nothing_waits_there_is_no_commit():
    assert not PendingCommit()
    waiting = PendingCommit()
    waiting.touch(5)
    assert not waiting


def test_the_wait_is_counted_from_the_oldest():
    ready = PendingCommit()
    ready.touch(5)
    ready.touch(9)
    assert ready.since_ms == 5


def test_every_part_and_every_letter_of_a_commit_is_settled_once():
    merged, bad = PositionEntry("7", 3), PositionEntry("8", 1)
    PendingCommit(
        parts=[part(merged), part(merged)], dead_letters=[(LETTER, bad), (LETTER, None)]
    ).mark_committed()
    assert (merged.uncommitted_parts, bad.uncommitted_parts) == (1, 0)


def test_what_a_commit_does_not_take_waits_from_now_on():
    entries = [PositionEntry(str(number), 1) for number in range(3)]
    ready = PendingCommit(
        parts=[part(one) for one in entries], dead_letters=[(LETTER, None)], since_ms=5, channels=True
    )
    left = ready.split(2, 9)
    assert [one.entry for one in ready.parts] == entries[:2]
    assert [one.entry for one in left.parts] == entries[2:]
    assert (ready.since_ms, left.since_ms) == (5, 9)
    assert (bool(ready.dead_letters), ready.channels) == (True, True)
    assert (left.dead_letters, left.channels) == ([], False)


def test_a_commit_that_takes_everything_leaves_nothing_that_waits():
    ready = PendingCommit(parts=[part(PositionEntry("7", 1))])
    left = ready.split(1, 9)
    assert (len(ready.parts), left.parts, left.since_ms) == (1, [], None)
