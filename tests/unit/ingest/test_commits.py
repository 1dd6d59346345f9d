"""Commits of a tenure: what they hold of a batch, their numbers, lost replies, renewals, and the one in flight."""

import asyncio
from collections import Counter

import pytest

from consumer.clock import SystemClock
from consumer.domain.lifecycle import OrgInfo
from consumer.domain.record_state import RecordState
from consumer.domain.target_runs import TargetRuns, key_of
from consumer.errors import CommitRefused, StoreUnavailable
from consumer.ingest.batch import Batch, Part
from consumer.ingest.commits import CommitPipeline
from consumer.ingest.positions import PositionEntry
from consumer.ingest.timer_watermark import TimerWatermark
from consumer.ports.commit import JournalRecord
from consumer.ports.lease import Tenure
from consumer.ports.observers.ingest_events import CommitApplied, CommitFailed
from tests.support.builders.changes import (
    ORG,
    RUN,
    RUN_1,
    change,
)
from tests.support.rigs.observing import Recorder

pytestmark = pytest.mark.looptime

TARGET = "00QWP0000001AbC2AU"
JOURNALED = JournalRecord("1", "run.updated", RUN_1, b"{}")
TENURE = Tenure("token", "me")


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
    return CommitPipeline(store, store, TENURE, due, SystemClock(), told)


def batch(**parts) -> Batch:
    return Batch(OrgInfo(ORG, "https://acme.my.salesforce.com"), **parts)


def part() -> Part:
    return Part(change("DELETE", RUN, RUN_1, commit=1), (0, 1, 1), PositionEntry("7", 1))


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
        parts=[part()] * 9,
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
    await writes.apply(commit, one, began_ms=began_ms)
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
        await writes.apply(writes.draft(one), one, began_ms=0)
    assert told.of(CommitApplied) == []
    assert due.watermark_ms([]) is None


async def test_what_the_next_commit_needs_and_cannot_be_read_is_told_with_its_number(due, told):
    writes = writing(Store(), due, told)
    writes.report_failure("timed out")
    await writes.apply(writes.draft(batch()), batch(), began_ms=0)
    writes.report_failure("timed out")
    assert told.facts(CommitFailed) == [(1, "timed out", 0), (2, "timed out", 0)]


# ------------------------------------------------------------ a commit under way


async def test_a_commit_goes_on_beside_its_caller_until_somebody_waits(due, told):
    store, done = Store(), []
    writes = writing(store, due, told)
    one = batch(parts=[part()] * 9, duplicates=2)
    commit = writes.draft(one)
    await asyncio.sleep(0.1)
    await writes.submit(
        commit,
        one,
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
        await writes.submit(writes.draft(batch()), batch(), began_ms=0, on_applied=lambda: None)
        with pytest.raises(AssertionError, match=r"^commits are applied one after the other"):
            await writes.submit(writes.draft(batch()), batch(), began_ms=0, on_applied=lambda: None)


async def test_whoever_leaves_waits_for_it_and_hears_of_a_refusal(due, told):
    store, done = Store(), []
    writes = writing(store, due, told)
    async with writes.draining():
        await writes.submit(writes.draft(batch()), batch(), began_ms=0, on_applied=lambda: done.append(1))
    assert (len(store.commits), done) == (1, [1])
    store.refusal = CommitRefused(2, "another")
    with pytest.raises(CommitRefused):
        async with writes.draining():
            await writes.submit(writes.draft(batch()), batch(), began_ms=0, on_applied=lambda: done.append(2))
    assert done == [1]


async def test_an_error_abandons_it(due, told):
    store = Store()
    writes = writing(store, due, told)
    with pytest.raises(ValueError, match="the error"):  # noqa: PT012 - raised inside, as it would be
        async with writes.draining():
            await writes.submit(writes.draft(batch()), batch(), began_ms=0, on_applied=lambda: None)
            raise ValueError("the error")
    assert {task.get_name() for task in asyncio.all_tasks()} == {asyncio.current_task().get_name()}
    assert store.commits == told.of(CommitApplied) == []
    await writes.drain()


async def test_an_error_hides_no_other_and_is_hidden_by_none(due, told):
    store = Store(CommitRefused(1, "another"))
    writes = writing(store, due, told)
    with pytest.raises(ValueError, match="the error"):  # noqa: PT012 - raised inside, as it would be
        async with writes.draining():
            await writes.submit(writes.draft(batch()), batch(), began_ms=0, on_applied=lambda: None)
            await asyncio.sleep(1)
            raise ValueError("the error")


# ------------------------------------------------------------ numbers, lost replies, renewals


class Answers:
    """Plays ``script``: an exception to raise, or whether the commit was applied now."""

    def __init__(self, *script):
        self.script = list(script)
        self.commits = []
        self.renewals = []

    async def commit(self, commit):
        self.commits.append((commit.number, id(commit)))
        answer = self.script.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def renew(self, tenure, number, lease_ms):
        self.renewals.append((tenure, number, lease_ms))


def unavailable():
    return StoreUnavailable("redis://x", "timed out")


async def send(writes):
    one = batch()
    commit = writes.draft(one)
    await writes.apply(commit, one, began_ms=0)
    return commit


async def test_commits_are_numbered_from_one(due, told):
    store = Answers(True, True)
    sends = writing(store, due, told)
    await send(sends)
    await send(sends)
    assert [number for number, _ in store.commits] == [1, 2]
    assert sends.number == 2


async def test_a_commit_whose_reply_was_lost_is_sent_again_unchanged_until_the_store_has_answered(due, told):
    store = Answers(unavailable(), unavailable(), unavailable(), False, True)
    sends = writing(store, due, told)
    commit = await send(sends)
    assert store.commits == [(1, id(commit))] * 4
    failures = told.of(CommitFailed)
    assert [failure.number for failure in failures] == [1, 1, 1]
    assert failures[-1].since_ms > failures[0].since_ms, "for how long it has been failing"
    await send(sends)
    assert store.commits[-1][0] == 2


async def test_a_refusal_ends_it_and_costs_no_number(due, told):
    store = Answers(CommitRefused(1, "another"))
    sends = writing(store, due, told)
    with pytest.raises(CommitRefused, match="another"):
        await send(sends)
    assert sends.number == 0


async def test_a_renewal_waits_for_the_commit_in_flight_and_carries_its_number(due, told):
    store = Answers(unavailable(), unavailable(), True)
    sends = writing(store, due, told)
    sending = asyncio.create_task(send(sends))
    await asyncio.sleep(0.01)
    renewing = asyncio.create_task(sends.renew(15_000))
    await asyncio.gather(sending, renewing)
    assert store.renewals == [(TENURE, 1, 15_000)]


async def test_a_draft_carries_the_token_and_the_org_and_no_number_yet(due, told):
    draft = writing(Answers(), due, told).draft(batch())
    assert (draft.token, draft.org_id, draft.number) == ("token", ORG, 0)
    assert not any((draft.states, draft.journal, draft.channels, draft.timers, draft.reconcile_tasks))


async def test_the_pause_between_tries_doubles_up_to_two_seconds_and_each_failure_says_why_and_how_long(
    due, told
):
    sends = writing(Answers(*[unavailable()] * 8, True), due, told)
    await asyncio.sleep(60)
    await send(sends)
    assert told.facts(CommitFailed) == [
        (1, "timed out", pytest.approx(since_ms, abs=5))
        for since_ms in (0, 50, 150, 350, 750, 1_550, 3_150, 5_150)
    ]
