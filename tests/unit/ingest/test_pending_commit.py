"""What waits for the next commit, and the order in which that is sealed."""

import pytest

from consumer.domain.lifecycle import OrgInfo
from consumer.domain.reconcile_task import ReconcileTask
from consumer.ingest.batch import Batch, Part
from consumer.ingest.channels import Channels
from consumer.ingest.epochs import Epochs
from consumer.ingest.pending_commit import PendingCommit
from consumer.ingest.positions import PositionEntry
from consumer.ports.commit import ChannelState, Commit, Epoch, IngestDeadLetter, JournalRecord
from tests.support.builders.changes import (
    ORG,
    RUN,
    RUN_1,
    RUN_CHANNEL,
    STEP_CHANNEL,
    change,
)

FIRST = JournalRecord("1", "system.gap", None, b"{}")
SECOND = JournalRecord("2", "run.updated", RUN_1, b"{}")
DEAD_LETTER = IngestDeadLetter("/data/x/7/ab", "/data/x", "7", "no_header", "why", b"raw", 5)
SWEEP = ReconcileTask("sweep", "sweep", RUN)
GAP = ReconcileTask("gap", "gap", RUN)
KNOWN = {
    RUN_CHANNEL: ChannelState(0, "6", commit_number=1),
    STEP_CHANNEL: ChannelState(0, "7", commit_number=1),
}


def batch(**parts) -> Batch:
    return Batch(OrgInfo(ORG, "https://acme.my.salesforce.com"), **parts)


def part(entry: PositionEntry) -> Part:
    return Part(change("DELETE", RUN, RUN_1, commit=1), (0, 1, 1), entry)


@pytest.mark.parametrize(
    "ready",
    [
        PendingCommit(parts=[part(PositionEntry("7", 1))]),
        PendingCommit(dead_letters=[(DEAD_LETTER, None)]),
        PendingCommit(journal=[FIRST]),
        PendingCommit(channels=True),
        PendingCommit(epochs=True),
        PendingCommit(reconcile_tasks={"sweep": SWEEP}),
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


def test_what_a_commit_does_not_take_waits_from_now_on():
    entries = [PositionEntry(str(number), 1) for number in range(3)]
    ready = PendingCommit(parts=[part(one) for one in entries], since_ms=5)
    assert [one.entry for one in ready.take_parts(2, 9)] == entries[:2]
    assert [one.entry for one in ready.parts] == entries[2:]
    assert ready.since_ms == 9


def test_a_commit_that_takes_everything_leaves_nothing_that_waits():
    ready = PendingCommit(parts=[part(PositionEntry("7", 1))], since_ms=5)
    assert len(ready.take_parts(1, 9)) == 1
    assert (ready.parts, ready.since_ms) == ([], None)


# ------------------------------------------------------------ the seal


class Tenure:
    """Channels and epochs that a commit is sealed with."""

    def __init__(self):
        self.channels = Channels((RUN_CHANNEL, STEP_CHANNEL), "latest", KNOWN)
        self.epochs = Epochs([Epoch(0, 0, "NA1")])

    def arrive(self, position, parts=1, *, channel=RUN_CHANNEL):
        return self.channels.positions(channel).arrive(position, parts)

    def seal(self, ready, decision=None, **options):
        options = {"reconciles": True, "now_ms": 100_000, "wall_ms": 5} | options
        return ready.seal(
            Commit("token", 0, ORG),
            batch() if decision is None else decision,
            self.channels,
            self.epochs,
            **options,
        )


@pytest.fixture
def tenure():
    return Tenure()


def positions(commit):
    return {name: state.position for name, state in commit.channels.items()}


def test_the_checkpoint_of_a_commit_covers_what_this_commit_holds_and_nothing_that_waits(tenure):
    first, second, third = (tenure.arrive(position) for position in ("7", "8", "9"))
    ready = PendingCommit(parts=[part(third)], dead_letters=[(DEAD_LETTER, second)])
    assert positions(tenure.seal(ready, batch(parts=[part(first)]))) == {RUN_CHANNEL: "8"}
    tenure.channels.answer_ended(None)
    tenure.channels.answer_ended(None)
    assert positions(tenure.seal(ready, batch(parts=ready.take_parts(1, 0)))) == {RUN_CHANNEL: "9"}


def test_every_part_and_every_dead_letter_of_a_commit_is_marked_once(tenure):
    merged, bad = tenure.arrive("7", 3), tenure.arrive("8", 2)
    ready = PendingCommit(dead_letters=[(DEAD_LETTER, bad), (DEAD_LETTER, None)])
    tenure.seal(ready, batch(parts=[part(merged), part(merged)]))
    assert (merged.uncommitted_parts, bad.uncommitted_parts) == (1, 1)
    tenure.seal(ready)
    assert (merged.uncommitted_parts, bad.uncommitted_parts) == (1, 1)


def test_everything_that_waits_leaves_in_one_commit_the_oldest_events_first(tenure):
    ready = PendingCommit(
        dead_letters=[(DEAD_LETTER, None)],
        journal=[FIRST],
        since_ms=5,
        epochs=True,
        reconcile_tasks={"sweep": SWEEP},
    )
    decision = batch(journal=[SECOND], reconcile_tasks={"gap": GAP})
    commit = tenure.seal(ready, decision)
    assert commit.journal == [FIRST, SECOND]
    assert commit.dead_letters == [DEAD_LETTER]
    assert commit.epochs == [Epoch(0, 0, "NA1")]
    assert commit.reconcile_tasks == {"sweep": SWEEP.encode(), "gap": GAP.encode()}
    assert decision.reconcile_tasks == {"sweep": SWEEP, "gap": GAP}, "what the worker is given"
    assert not ready
    assert ready.since_ms is None
    again = tenure.seal(ready)
    assert not any((again.journal, again.dead_letters, again.epochs, again.reconcile_tasks, again.channels))


def test_where_nothing_can_be_fetched_no_task_begins(tenure):
    ready, decision = PendingCommit(reconcile_tasks={"sweep": SWEEP}), batch(reconcile_tasks={"gap": GAP})
    assert tenure.seal(ready, decision, reconciles=False).reconcile_tasks == {}
    assert decision.reconcile_tasks == {}
    assert not ready


def test_changes_that_were_not_taken_go_on_waiting(tenure):
    ready = PendingCommit(parts=[part(PositionEntry("7", 1))] * 2, since_ms=5, channels=True)
    ready.take_parts(1, 9)
    tenure.seal(ready)
    assert (len(ready.parts), ready.since_ms, ready.channels) == (1, 9, False)


def test_channels_that_have_not_moved_are_written_where_that_is_wanted(tenure):
    assert positions(tenure.seal(PendingCommit(journal=[FIRST]))) == {}
    assert positions(tenure.seal(PendingCommit(channels=True))) == {RUN_CHANNEL: "6", STEP_CHANNEL: "7"}


def test_positions_go_into_the_history_once_a_minute(tenure):
    ready, written = PendingCommit(), []
    for now_ms in (0, 59_999, 60_000, 60_001, 119_999, 120_000):
        ready.channels = True
        commit = tenure.seal(ready, now_ms=now_ms, wall_ms=now_ms + 7)
        written.append(commit.history_at_ms)
    assert written == [7, None, 60_007, None, None, 120_007]
    assert tenure.seal(ready, now_ms=999_999).history_at_ms is None, "where no position is written"


def test_the_greatest_commit_number_is_kept_with_the_position(tenure):
    tenure.epochs.observe(77, 0, "NA1")
    first = tenure.arrive("7")
    tenure.arrive("8")
    commit = tenure.seal(PendingCommit(), batch(parts=[part(first)]), wall_ms=9)
    state = commit.channels[RUN_CHANNEL]
    assert (state.position, state.position_ms, state.commit_number) == ("7", 9, 77)
