import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.ingest.poll_timeout import PollTimeout


def test_without_messages_the_server_decides():
    pacing = PollTimeout(1_000)
    pacing.answered(5, had_messages=False)
    assert pacing.timeout(5) is None


def test_the_next_poll_is_due_when_the_oldest_arrival_is_late_enough():
    pacing = PollTimeout(1_000)
    pacing.answered(10_000, had_messages=True)
    pacing.answered(10_400, had_messages=True)
    assert pacing.timeout(10_400) == 600
    assert pacing.timeout(10_999) == 1
    assert pacing.timeout(11_000) == 400
    assert pacing.timeout(11_399) == 1
    assert pacing.timeout(11_400) is None


def test_empty_answers_do_not_prolong_it():
    pacing = PollTimeout(1_000)
    pacing.answered(0, had_messages=True)
    pacing.answered(900, had_messages=False)
    assert pacing.timeout(900) == 100
    assert pacing.timeout(1_000) is None


def test_without_lateness_nothing_is_held_back():
    pacing = PollTimeout(0)
    pacing.answered(0, had_messages=True)
    assert pacing.timeout(0) is None


def test_a_negative_lateness_is_refused():
    with pytest.raises(ValueError, match="negative"):
        PollTimeout(-1)


def test_thousands_of_answers_a_second_take_little_memory():
    pacing = PollTimeout(1_000)
    for microsecond in range(0, 5_000_000, 200):
        pacing.answered(microsecond // 1_000, had_messages=True)
        assert len(pacing._spans) <= 34


@given(
    lateness=st.integers(1, 2_000),
    gaps=st.lists(st.integers(0, 700), min_size=1, max_size=80),
)
def test_whatever_arrived_a_poll_is_asked_for_until_all_of_it_is_late_enough(lateness, gaps):
    pacing = PollTimeout(lateness)
    now, arrivals = 0, []
    for gap in gaps:
        now += gap
        arrivals.append(now)
        pacing.answered(now, had_messages=True)
        held = [arrival for arrival in arrivals if arrival + lateness > now]
        wanted = pacing.timeout(now)
        assert wanted is not None
        assert 1 <= wanted <= lateness
        exact = max(1, min(held) + lateness - now)
        assert exact <= wanted <= exact + lateness // 32
    while (wanted := pacing.timeout(now)) is not None:
        now += wanted
    assert now >= arrivals[-1] + lateness
