"""What a failed attempt leads to, in full: the words that are kept, the exception behind them, and how long is waited."""

from __future__ import annotations

from datetime import timedelta

import pytest

from consumer.delivery.retry import (
    MAX_LINE_LENGTH,
    Acknowledge,
    BatchFailed,
    Block,
    DeadLetter,
    Disabled,
    Failure,
    Rejection,
    RetryLater,
    RetryPolicy,
    Skip,
    Stop,
    Success,
    one_line,
    outcomes,
)
from consumer.plugin import Disable, Failed, Reject, Retry

POLICY = RetryPolicy(max_attempts=3, on_failure="dead_letter")


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (OSError("down"), Failure("OSError: down")),
        (Retry(2, "busy"), Failure("busy", 2_000)),
        (Reject("no"), Rejection("no")),
        (Disable("gone"), Disabled("gone")),
    ],
)
def test_what_was_raised_is_kept_for_the_log(error, outcome):
    (alone,) = outcomes(["a"], error)
    assert alone == outcome
    assert alone.cause is error


def test_a_batch_that_failed_whole_keeps_what_was_raised_for_each():
    error = Retry(2, "busy")
    both = outcomes(["a", "b"], error)
    assert both == [BatchFailed("busy", 2_000)] * 2
    assert all(one.cause is error for one in both)


def test_a_handler_that_is_through_is_through_with_a_batch_as_well():
    assert outcomes(["a", "b"], Disable("gone")) == [Disabled("gone")] * 2


def test_a_failure_that_is_named_has_its_own_reason_and_cause():
    busy = Retry(1, "busy")
    one, other, fine = outcomes(["a", "b", "c"], Failed({"a": "a sentence", "b": busy}))
    assert (one, other, fine) == (Failure("a sentence"), Failure("busy", 1_000), Success())
    assert (one.cause, other.cause) == (None, busy)


def test_failed_with_an_event_of_another_batch_succeeds_for_nobody():
    one, other = outcomes(["a", "b"], Failed({"a": "x", "z": "y", "q": "y"}))
    assert one == other == BatchFailed("ValueError: Failed names an event that is not in the batch: q")
    assert isinstance(one.cause, ValueError)


def test_a_line_is_short_and_says_something():
    assert one_line("  first\nsecond") == "first"
    assert one_line("") == one_line(Reject(" ")) == "no reason given"
    assert one_line("x" * 600) == "x" * MAX_LINE_LENGTH
    assert one_line(ValueError()) == "ValueError"


def test_the_wait_between_attempts_doubles_from_half_a_second_to_five_minutes_and_jitter_takes_up_to_half():
    policy = RetryPolicy(2**60, "block")
    waits = [policy.decide(attempt, Failure("x"), 0.0).after_ms for attempt in (1, 2, 3, 10, 11, 10**9)]
    assert waits == [500, 1_000, 2_000, 256_000, 300_000, 300_000]
    assert policy.decide(3, Failure("x"), 0.5) == RetryLater(1_500)


def test_what_the_handler_asked_for_is_waited_whatever_is_decided():
    for policy in (RetryPolicy(3, "dead_letter"), RetryPolicy(1, "block")):
        assert policy.decide(2, BatchFailed("x", 7), 0.9) == RetryLater(7)
    assert RetryPolicy(3, "dead_letter").decide(1, Failure("x", 7), 0.9) == RetryLater(7)
    assert RetryPolicy(1, "block").decide(1, Failure("x", 7), 0.9) == Block(7)


def test_a_handler_that_is_through_is_stopped_with_its_reason():
    assert RetryPolicy(3, "block").decide(1, Disabled("gone"), 0.0) == Stop("gone")


class Silent(Exception):
    """Exception that raises when its text is asked for."""

    def __str__(self):
        raise SystemExit(2)

    __repr__ = __str__


class Halfway(Retry):
    """Retry whose attributes were never set."""

    def __init__(self):
        Exception.__init__(self, "halfway")


def retry_with(after_ms):
    error = Retry(1, "busy")
    error.after_ms = after_ms
    return error


def failed_with(why):
    error = Failed({"a": "x"})
    error.why = why
    return error


@pytest.mark.parametrize("events", [["a"], ["a", "b"]])
@pytest.mark.parametrize(
    "error",
    [
        ValueError("bad \ud83d text"),
        Silent(),
        ExceptionGroup("bad \ud83d group", [Silent(), ValueError("x" * 10_000_000)]),
        SystemExit(2),
        KeyboardInterrupt(),
        GeneratorExit(),
        Halfway(),
        retry_with("soon"),
        retry_with(float("nan")),
        retry_with(-5),
        retry_with(10**30),
        Retry(1e300),
        failed_with(None),
        failed_with({1: "x", "z": "y"}),
        failed_with({"a": 5}),
        failed_with({"a": None}),
        failed_with({"a": Silent()}),
        failed_with({"a": "bad \ud83d"}),
    ],
)
def test_whatever_a_handler_raises_is_an_outcome_that_can_be_stored_and_waited_for(error, events):
    policy = RetryPolicy(5, "dead_letter")
    for outcome in outcomes(events, error):
        if not isinstance(outcome, Success):
            assert outcome.error
            assert len(outcome.error.encode()) < 3_000
            decision = policy.decide(1, outcome, 0.0)
            assert isinstance(decision, RetryLater)
            assert 0 <= decision.after_ms <= 366 * 86_400_000


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
