"""What a failed attempt leads to, in full: the words that are kept, the exception behind them, and how long is waited."""

from __future__ import annotations

import pytest

from consumer.delivery.retry import (
    MAX_LINE_LENGTH,
    BatchFailed,
    Block,
    Disabled,
    Failure,
    Rejection,
    RetryLater,
    RetryPolicy,
    Stop,
    Success,
    one_line,
    outcomes,
    retry_delay_ms,
)
from consumer.plugin import Disable, Failed, Reject, Retry


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


def test_the_wait_doubles_up_to_the_cap_however_many_attempts_there_were():
    waits = [
        retry_delay_ms(attempt, 0.0, base_ms=500, cap_ms=300_000) for attempt in (1, 2, 3, 10, 11, 10**9)
    ]
    assert waits == [500, 1_000, 2_000, 256_000, 300_000, 300_000]
    # A cap that is never reached: the doubling ends by itself, or a number would grow for ever.
    assert retry_delay_ms(10**9, 0.0, base_ms=1, cap_ms=2**60) == 2**40
    assert retry_delay_ms(3, 0.5, base_ms=1_000, cap_ms=10_000) == 3_000


def test_what_the_handler_asked_for_is_waited_whatever_is_decided():
    for policy in (RetryPolicy(3, "dead_letter"), RetryPolicy(1, "block")):
        assert policy.decide(2, BatchFailed("x", 7), 0.9) == RetryLater(7)
    assert RetryPolicy(3, "dead_letter").decide(1, Failure("x", 7), 0.9) == RetryLater(7)
    assert RetryPolicy(1, "block").decide(1, Failure("x", 7), 0.9) == Block(7)


def test_a_handler_that_is_through_is_stopped_with_its_reason():
    assert RetryPolicy(3, "block").decide(1, Disabled("gone"), 0.0) == Stop("gone")
