from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.backoff import Backoff

BACKOFF = Backoff(500, 300_000)
JITTERS = st.floats(0, 1, exclude_max=True)
BACKOFFS = st.builds(
    Backoff,
    st.integers(0, 10**6),
    st.integers(0, 10**7),
    st.integers(1, 10),
    st.floats(0, 1),
    st.floats(1, 3),
)


def test_the_wait_doubles_up_to_the_cap_however_many_failures_there_were():
    waits = [BACKOFF.delay_ms(failures) for failures in (1, 2, 3, 10, 11, 10**9)]
    assert waits == [500, 1_000, 2_000, 256_000, 300_000, 300_000]


def test_a_wait_grows_by_its_factor_and_stays_the_same_with_a_factor_of_one():
    assert [Backoff(500, 10_000, factor=4).delay_ms(failures) for failures in (1, 2, 3)] == [
        500,
        2_000,
        8_000,
    ]
    assert [Backoff(500, 10_000, factor=1).delay_ms(failures) for failures in (1, 2, 99)] == [500] * 3


def test_growth_ends_where_the_cap_is_never_reached():
    endless = Backoff(1, 2**60)
    assert endless.delay_ms(40) == 2**39
    assert endless.delay_ms(10**9) == endless.delay_ms(41) == 2**40


def test_without_a_range_jitter_changes_nothing():
    assert BACKOFF.delay_ms(3, 0.999) == BACKOFF.delay_ms(3, 0.0) == 2_000


@pytest.mark.parametrize(
    ("shortest", "longest", "waits"),
    [
        (0.5, 1.0, [4_000, 3_000, 2_004]),
        (0.0, 1.0, [4_000, 2_000, 8]),
        (1.0, 1.25, [5_000, 4_500, 4_002]),
    ],
)
def test_jitter_goes_from_the_longest_wait_to_the_shortest(shortest, longest, waits):
    backoff = Backoff(1_000, 10_000, shortest=shortest, longest=longest)
    assert [backoff.delay_ms(3, jitter) for jitter in (0.0, 0.5, 0.998)] == waits


def test_a_wait_that_jitter_would_lengthen_beyond_the_cap_is_the_cap():
    assert Backoff(1_000, 4_000, longest=1.25).delay_ms(3, 0.0) == 4_000


@given(BACKOFFS, st.integers(1, 10**9), JITTERS)
def test_no_wait_is_above_the_cap_below_zero_or_outside_its_range(backoff, failures, jitter):
    full_ms = replace(backoff, shortest=1.0, longest=1.0).delay_ms(failures)
    delay_ms = backoff.delay_ms(failures, jitter)
    assert isinstance(delay_ms, int)
    assert 0 <= delay_ms <= backoff.cap_ms
    lowest = min(backoff.cap_ms, full_ms * backoff.shortest)
    assert lowest - 1 <= delay_ms <= full_ms * backoff.longest + 1


@given(BACKOFFS, st.integers(1, 100), JITTERS)
def test_with_the_same_jitter_a_further_failure_never_shortens_the_wait_by_more_than_rounding(
    backoff, failures, jitter
):
    assert backoff.delay_ms(failures + 1, jitter) >= backoff.delay_ms(failures, jitter) - 1


def test_a_wait_without_jitter_is_the_longest():
    backoff = Backoff(1_000, 10_000, shortest=0.5)
    assert backoff.delay_ms(1) == backoff.delay_ms(1, 0.0) == 1_000
