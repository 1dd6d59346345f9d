"""Retry policy, lanes, pace and place: questions and answers."""

from __future__ import annotations

from datetime import timedelta

import pytest

from consumer.delivery.cursor import Cursor
from consumer.delivery.lanes import Delivery, Lanes
from consumer.delivery.retry import (
    Acknowledge,
    BatchFailed,
    Block,
    DeadLetter,
    Failure,
    Rejection,
    RetryLater,
    RetryPolicy,
    Skip,
    Success,
    outcomes,
)
from consumer.plugin import Failed, Reject, Retry
from consumer.ports.delivery import SavedBlockedRun
from consumer.ports.journal import JournalEntry
from consumer.rate_limit import RateLimiter

POLICY = RetryPolicy(max_attempts=3, on_failure="dead_letter")


def delivery(offset: int, run: str | None = "a", attempts: int = 0) -> Delivery:
    return Delivery(JournalEntry(offset, f"e{offset}", "run.updated", run, b"{}"), Nowhere(), attempts)


class Nowhere:
    replayed = redriven = cancelled = False

    def acknowledged(self, delivery, dead_letter=None): ...

    def blocked_runs(self, row, offsets): ...


def offsets(deliveries):
    return [one.entry.offset for one in deliveries]


@pytest.mark.parametrize(
    ("attempt", "outcome", "chance", "decision"),
    [
        (1, Success(), 0.5, Acknowledge()),
        (1, Failure("x"), 0.0, RetryLater(500)),
        (1, Failure("x"), 0.999999, RetryLater(251)),
        (2, Failure("x"), 0.0, RetryLater(1_000)),
        (3, Failure("x"), 0.0, DeadLetter("x")),
        (1, Failure("x", after_ms=90_000), 0.9, RetryLater(90_000)),
        (3, Failure("x", after_ms=90_000), 0.9, DeadLetter("x")),
        (1, Rejection("x"), 0.0, DeadLetter("x")),
        (3, BatchFailed("x"), 0.0, RetryLater(2_000)),
    ],
)
def test_the_policy_turns_attempt_and_outcome_into_a_decision(attempt, outcome, chance, decision):
    assert POLICY.decide(attempt, outcome, chance) == decision


def test_after_the_last_attempt_on_failure_decides():
    assert RetryPolicy(2, "skip").decide(2, Failure("x"), 0) == Skip("x")
    assert RetryPolicy(2, "block").decide(2, Failure("x"), 0) == Block(1_000)
    assert RetryPolicy(2, "block").decide(10_000, Failure("x"), 0) == Block(300_000)


def test_exceptions_become_outcomes():
    ids = ["a", "b"]
    assert outcomes(ids, None) == [Success(), Success()]
    assert outcomes(["a"], OSError("down\nand out")) == [Failure("OSError: down")]
    assert outcomes(["a"], KeyError()) == [Failure("KeyError")]
    assert outcomes(["a"], Retry(timedelta(seconds=1.5), "busy")) == [Failure("busy", 1_500)]
    assert outcomes(["a"], Retry()) == [Failure("the handler asked for another attempt")]
    assert outcomes(["a"], Reject("no")) == [Rejection("no")]
    assert outcomes(ids, Reject("no")) == [BatchFailed("no")] * 2
    assert outcomes(ids, Retry(2)) == [BatchFailed("the handler asked for another attempt", 2_000)] * 2
    assert outcomes(ids, Failed({"b": Retry(1, "busy")})) == [Success(), Failure("busy", 1_000)]


@pytest.mark.parametrize("after", [-1, float("nan"), float("inf"), timedelta(seconds=-1)])
def test_retry_after_must_be_a_span_of_time(after):
    with pytest.raises(ValueError, match="wait zero seconds or more"):
        Retry(after)


def test_failed_must_name_an_event():
    with pytest.raises(ValueError, match="name the events that failed"):
        Failed({})


def test_lanes_come_and_go():
    lanes = Lanes()
    for offset in range(1, 7):
        lanes.add(delivery(offset, f"run-{offset % 3}"))
    assert len(lanes) == 3
    assert lanes.ready == 3
    while tracked := lanes.take(0):
        lanes.acknowledged(tracked[0])
    assert (len(lanes), lanes.ready, lanes.fresh_events) == (0, 0, 0)


def test_a_flying_lane_gives_nothing_and_a_blocked_one_nothing_before_its_time():
    lanes = Lanes()
    lanes.add(delivery(1))
    lanes.add(delivery(2))
    (first,) = lanes.take(0)
    assert lanes.take(0) == []
    first.attempts = 1
    lanes.retry_later(first, 100)
    assert (lanes.take(99), lanes.blocked_runs, lanes.next_due_ms()) == ([], 1, 100)
    assert lanes.take(100) == [first]
    lanes.acknowledged(first)
    assert offsets(lanes.take(100)) == [2]


def test_a_batch_is_in_journal_order_and_counts_what_is_left():
    lanes = Lanes()
    for offset, run in enumerate("abacabad", start=1):
        lanes.add(delivery(offset, run))
    assert lanes.fresh_events == 8
    tracked = lanes.take(0, 6)
    assert offsets(tracked) == [1, 2, 3, 5, 6, 7]
    assert lanes.fresh_events == 2
    for one in tracked:
        lanes.acknowledged(one)
    assert offsets(lanes.take(0, 6)) == [4, 8]
    assert lanes.fresh_events == 0


def test_what_failed_is_taken_alone_and_takes_turns_with_what_is_new():
    lanes = Lanes()
    for offset in range(1, 4):
        lanes.add(delivery(offset, f"run-{offset}"))
    for one in lanes.take(0, 3):
        one.attempts = 1
        lanes.retry_later(one, 10)
    for offset in range(4, 8):
        lanes.add(delivery(offset, f"run-{offset}"))
    assert [offsets(lanes.take(10, 2)) for _ in range(5)] == [[1], [4, 5], [2], [6, 7], [3]]


def test_returned_events_go_back_before_what_came_meanwhile():
    lanes = Lanes()
    for offset in (1, 2, 3):
        lanes.add(delivery(offset))
    one, two, three = lanes.take(0, 3)
    lanes.add(delivery(4))
    for returned in (three, one):
        returned.attempts = 1
        lanes.retry_later(returned, 5)
    lanes.acknowledged(two)
    order = []
    for _ in range(3):
        (tracked,) = lanes.take(5, 3)
        order.append(tracked.entry.offset)
        lanes.acknowledged(tracked)
    assert order == [1, 3, 4]


def test_pace_keeps_the_rate_on_average_at_any_rate():
    for rate in (0.5, 10, 3_000):
        pace, now, sent = RateLimiter(rate), 1_000, 0
        while now < 11_000:
            if delay := pace.delay_ms(now):
                now += delay
            else:
                pace.consume(now, 1)
                sent += 1
        assert sent == pytest.approx(rate * 10, rel=0.01, abs=1)


def test_a_cursor_counts_only_what_was_taken():
    cursor = Cursor(5)
    with pytest.raises(ValueError, match="does not come after 5"):
        cursor.tracked(5)
    with pytest.raises(ValueError, match="not outstanding"):
        cursor.acknowledged(6)
    assert cursor.tracked(7)
    cursor.skipped(8)
    assert cursor.offset == 6
    cursor.acknowledged(7)
    assert cursor.offset == 8
    with pytest.raises(ValueError, match="not outstanding"):
        cursor.acknowledged(7)


def test_a_cursor_is_encoded_with_its_version_and_compact_ranges():
    cursor = Cursor(0)
    for offset in range(1, 1_001):
        assert cursor.tracked(offset)
    for offset in range(2, 1_000):
        if offset != 500:
            cursor.acknowledged(offset)
    assert cursor.snapshot() == b'{"v":2,"offset":0,"settled":[[2,499],[501,999]]}'
    assert cursor.outstanding == 3


def test_what_was_acknowledged_before_a_restart_is_part_of_what_is_acknowledged_around_it():
    cursor = Cursor.load(b'{"v":2,"offset":0,"settled":[[3,3],[5,6],[9,9]]}')
    assert [offset for offset in range(1, 9) if cursor.tracked(offset)] == [1, 2, 4, 7, 8]
    for offset in (2, 4, 7):
        cursor.acknowledged(offset)
    assert cursor.snapshot() == b'{"v":2,"offset":0,"settled":[[2,7],[9,9]]}'
    retry_later = Cursor.load(cursor.snapshot())
    assert [offset for offset in range(1, 11) if retry_later.tracked(offset)] == [1, 8, 10]


@pytest.mark.parametrize(
    "data",
    [
        *(
            b"[]",
            b"{}",
            b'{"v":3,"offset":1,"settled":[]}',
            b'{"v":1}',
            b"x",
            b'{"v":1,"offset":1,"settled":[3]}',
        ),
        *(
            b'{"v":2,"offset":%s,"settled":[]}' % offset
            for offset in (b"1e300", b"-1", b'"1"', b"1.5", b"true", b"null")
        ),
        *(
            b'{"v":2,"offset":1,"settled":%s}' % spans
            for spans in (b"[[4,3]]", b"[[3,5],[5,6]]", b"[[7,8],[3,4]]", b'[["3","4"]]')
        ),
    ],
)
def test_what_is_not_a_cursor_of_this_format_is_refused(data):
    with pytest.raises(ValueError):  # noqa: PT011 - several messages, one promise
        Cursor.load(data)


def test_the_window_leaves_no_room_when_it_is_full():
    cursor = Cursor(0, window=3)
    for offset in (1, 2, 3):
        cursor.tracked(offset)
    cursor.acknowledged(2)
    cursor.acknowledged(3)
    assert cursor.capacity == 0
    cursor.acknowledged(1)
    assert cursor.capacity == 3


def test_a_call_takes_either_replayed_events_or_others():
    class Replayed(Nowhere):
        replayed = True

    lanes = Lanes()
    for offset, run in ((1, "a"), (2, "b"), (3, "c")):
        lanes.add(delivery(offset, run))
    for offset, run in ((4, "a"), (5, "d")):
        lanes.add(Delivery(JournalEntry(offset, f"e{offset}", "run.updated", run, b"{}"), Replayed()))
    tracked = []
    while batch := lanes.take(0, 10):
        tracked.append(offsets(batch))
        for one in batch:
            lanes.acknowledged(one)
    assert tracked == [[1, 2, 3], [4, 5]]


def test_a_blocked_run_lets_the_offset_go_on_and_its_row_stands_for_everything_unacknowledged():
    cursor = Cursor(0)
    for offset, run in ((1, "good"), (2, "bad"), (3, "slow"), (4, "bad")):
        assert cursor.tracked(offset, run)
    assert cursor.block(SavedBlockedRun("bad", 2, attempts=1), [2, 4])
    cursor.acknowledged(1)
    assert (cursor.offset, cursor.lowest_needed_offset, cursor.ranges()) == (2, 2, [])
    assert cursor.tracked(5, "bad"), "joins its parked run"
    assert cursor.tracked(6, "good")
    cursor.acknowledged(6)
    assert cursor.ranges() == [(6, 6)], "neither 4 nor 5 is settled"
    cursor.acknowledged(3)
    assert (cursor.offset, cursor.lowest_needed_offset) == (6, 2)
    cursor.acknowledged(2)
    assert (cursor.row("bad"), cursor.lowest_needed_offset) == (SavedBlockedRun("bad", 4), 4)
    retry_later = Cursor.load(cursor.snapshot(), blocked_runs=cursor.rows())
    retry_later.restore_run("bad", [4, 5])
    for offset in (4, 5):
        retry_later.acknowledged(offset)
    assert (retry_later.offset, retry_later.lowest_needed_offset, retry_later.rows()) == (6, 7, [])
    assert retry_later.changed_rows() == {"bad": None}


def test_a_blocked_run_whose_event_is_not_wanted_any_more_is_let_go():
    cursor = Cursor(0, blocked_runs=[SavedBlockedRun("gone", 1), SavedBlockedRun("later", 3, attempts=2)])
    cursor.restore_run("gone", [])
    cursor.skipped(1)
    assert cursor.has_unseen_runs
    cursor.drop_missing_runs()
    assert cursor.row("later") is not None
    cursor.skipped(3)
    cursor.drop_missing_runs()
    assert (cursor.rows(), cursor.lowest_needed_offset) == ([], 4)
