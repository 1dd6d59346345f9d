"""The order rules, each alone, in virtual time (whole milliseconds, told by the test)."""

import pytest

from consumer.ingest.sequencer import Sequencer

A, B = "/data/A", "/data/B"


def make(channels=(A,), *, strict=True, window=1_000):
    """A sequencer whose channels have caught up."""
    sequencer = Sequencer(channels, lateness_ms=1_000, window=window, max_hold_ms=5_000, strict=strict)
    sequencer.catch_up.opened(None, session_ms=0, answered_ms=0)
    sequencer.catch_up.answered_empty(session_ms=0, answered_ms=0)
    return sequencer


def test_a_change_goes_after_lateness_of_answered_time_and_not_a_millisecond_earlier():
    sequencer = make()
    sequencer.push((0, 1, 1), A, "x", commit_ms=0, session_ms=0, answered_ms=0)
    assert sequencer.pop(session_ms=999, answered_ms=999) == []
    assert sequencer.pop(session_ms=1_000, answered_ms=1_000) == ["x"]


def test_time_without_answered_polls_does_not_release():
    sequencer = make()
    sequencer.push((0, 1, 1), A, "x", commit_ms=0, session_ms=0, answered_ms=0)
    assert sequencer.pop(session_ms=4_999, answered_ms=0) == []


def test_nothing_is_held_longer_than_max_hold():
    sequencer = make()
    sequencer.push((0, 1, 1), A, "x", commit_ms=0, session_ms=0, answered_ms=0)
    assert sequencer.due_ms() == 5_000
    assert sequencer.pop(session_ms=5_000, answered_ms=0) == ["x"]
    assert sequencer.due_ms() is None


def test_reordered_changes_leave_in_commit_order():
    sequencer = make()
    for number, key in enumerate([(0, 3, 1), (0, 1, 2), (0, 2, 1), (0, 1, 1)]):
        sequencer.push(key, A, key, commit_ms=0, session_ms=number, answered_ms=number)
    assert sequencer.pop(session_ms=2_000, answered_ms=2_000) == [(0, 1, 1), (0, 1, 2), (0, 2, 1), (0, 3, 1)]


def test_only_the_lowest_held_is_asked_so_a_young_older_sibling_keeps_the_others_back():
    sequencer = make()
    sequencer.push((0, 5, 1), A, "younger", commit_ms=0, session_ms=0, answered_ms=0)
    sequencer.push((0, 4, 1), A, "older", commit_ms=0, session_ms=900, answered_ms=900)
    assert sequencer.pop(session_ms=1_500, answered_ms=1_500) == []
    assert sequencer.pop(session_ms=1_900, answered_ms=1_900) == ["older", "younger"]


def test_a_backlog_flows_at_full_speed_on_one_channel():
    sequencer = make(window=100)
    for number in range(250):
        sequencer.push((0, number, 1), A, number, commit_ms=0, session_ms=0, answered_ms=0)
    assert sequencer.pop(session_ms=0, answered_ms=0) == list(range(150))


def test_a_backlog_on_one_channel_waits_for_another_that_has_delivered_nothing():
    sequencer = make((A, B), window=100)
    for number in range(250):
        sequencer.push((0, number, 1), A, number, commit_ms=0, session_ms=0, answered_ms=0)
    assert sequencer.pop(session_ms=0, answered_ms=0) == []
    sequencer.push((0, 120, 2), B, "b", commit_ms=0, session_ms=0, answered_ms=0)
    assert sequencer.pop(session_ms=0, answered_ms=0) == list(range(121))


def test_a_quiet_second_channel_costs_no_more_than_lateness():
    sequencer = make((A, B))
    sequencer.push((0, 1, 1), A, "x", commit_ms=0, session_ms=0, answered_ms=0)
    assert sequencer.pop(session_ms=1_000, answered_ms=1_000) == ["x"]


@pytest.mark.parametrize(
    "order", [[("Paused", 7, A), ("Running", 8, B)], [("Running", 8, B), ("Paused", 7, A)]]
)
def test_both_arrival_orders_across_two_channels_leave_in_commit_order(order):
    sequencer = make((A, B))
    for number, (state, commit, channel) in enumerate(order):
        sequencer.push(
            (0, commit, 1), channel, state, commit_ms=0, session_ms=number * 400, answered_ms=number * 400
        )
    assert sequencer.pop(session_ms=1_400, answered_ms=1_400) == ["Paused", "Running"]


def test_strict_off_releases_a_complete_transaction_at_once():
    sequencer = make(strict=False)
    sequencer.push((0, 9, 1), A, 1, commit_ms=0, session_ms=0, answered_ms=0)
    sequencer.push((0, 9, 2), A, 2, commit_ms=0, session_ms=0, answered_ms=0)
    assert sequencer.pop(session_ms=0, answered_ms=0) == [1, 2]


def test_strict_off_waits_out_a_hole_in_the_sequence_numbers():
    sequencer = make(strict=False)
    sequencer.push((0, 9, 1), A, 1, commit_ms=0, session_ms=0, answered_ms=0)
    sequencer.push((0, 9, 3), A, 3, commit_ms=0, session_ms=0, answered_ms=0)
    assert sequencer.pop(session_ms=0, answered_ms=0) == [1]
    assert sequencer.pop(session_ms=1_000, answered_ms=1_000) == [3]


def test_strict_off_takes_a_greater_change_as_the_end_of_a_hole():
    sequencer = make(strict=False)
    sequencer.push((0, 7, 1), A, "first", commit_ms=0, session_ms=0, answered_ms=0)
    sequencer.push((0, 7, 3), A, "after a hole", commit_ms=0, session_ms=0, answered_ms=0)
    assert sequencer.pop(session_ms=1, answered_ms=1) == ["first"]
    sequencer.push((0, 8, 2), A, "of the next transaction", commit_ms=0, session_ms=2, answered_ms=2)
    assert sequencer.pop(session_ms=2, answered_ms=2) == ["after a hole"]


def test_strict_off_keeps_the_parts_of_a_merged_event_together():
    sequencer = make(strict=False)
    for name in "abc":
        sequencer.push((0, 9, 1), A, name, commit_ms=0, session_ms=0, answered_ms=0)
    assert sequencer.pop(session_ms=0, answered_ms=0) == ["a", "b", "c"]


def test_strict_off_on_two_channels_waits_until_the_other_has_delivered_more():
    sequencer = make((A, B), strict=False)
    sequencer.push((0, 9, 1), A, "a", commit_ms=0, session_ms=0, answered_ms=0)
    assert sequencer.pop(session_ms=0, answered_ms=0) == []
    sequencer.push((0, 10, 1), B, "b", commit_ms=0, session_ms=1, answered_ms=1)
    assert sequencer.pop(session_ms=1, answered_ms=1) == ["a"]


def test_equal_keys_keep_arrival_order():
    sequencer = make()
    for name in "cab":
        sequencer.push((0, 1, 1), A, name, commit_ms=0, session_ms=0, answered_ms=0)
    assert sequencer.pop(session_ms=1_000, answered_ms=1_000) == ["c", "a", "b"]


def test_a_change_that_arrives_late_in_the_day_is_held_as_long_as_any_other():
    sequencer = make()
    sequencer.push((0, 1, 1), A, "x", commit_ms=0, session_ms=4_000, answered_ms=0)
    assert sequencer.due_ms() == 9_000
    assert sequencer.pop(session_ms=8_999, answered_ms=0) == []
    assert sequencer.pop(session_ms=9_000, answered_ms=0) == ["x"]


def test_what_a_channel_has_delivered_at_most_is_not_forgotten_for_something_smaller():
    sequencer = make((A, B), strict=False)
    sequencer.push((0, 9, 1), B, "b", commit_ms=0, session_ms=0, answered_ms=0)
    sequencer.push((0, 2, 1), B, "smaller", commit_ms=0, session_ms=0, answered_ms=0)
    sequencer.push((0, 3, 1), A, "a", commit_ms=0, session_ms=0, answered_ms=0)
    assert sequencer.pop(session_ms=0, answered_ms=0) == ["smaller", "a"]


def test_a_channel_that_has_delivered_the_same_key_has_not_delivered_more():
    sequencer = make((A, B), strict=False)
    sequencer.push((0, 9, 1), A, "a", commit_ms=0, session_ms=0, answered_ms=0)
    sequencer.push((0, 9, 1), B, "b", commit_ms=0, session_ms=0, answered_ms=0)
    assert sequencer.pop(session_ms=0, answered_ms=0) == []
    sequencer.push((0, 9, 2), B, "more", commit_ms=0, session_ms=0, answered_ms=0)
    assert sequencer.pop(session_ms=0, answered_ms=0) == ["a"], "A has delivered nothing greater"


# ---------------------------------------------------------------- after an opening


def opened(channels=(A, B), **options):
    """A sequencer with a session just opened, whose channels have not caught up."""
    sequencer = Sequencer(
        channels, **{"lateness_ms": 1_000, "window": 1_000, "max_hold_ms": 5_000, "strict": True, **options}
    )
    sequencer.catch_up.opened(500, session_ms=0, answered_ms=0)
    return sequencer


def test_waiting_begins_when_every_channel_has_caught_up():
    sequencer = opened()
    sequencer.push((0, 5, 1), A, "x", commit_ms=0, session_ms=0, answered_ms=0)
    assert sequencer.pop(session_ms=4_900, answered_ms=4_900) == []
    sequencer.catch_up.answered_empty(session_ms=4_900, answered_ms=4_900)
    assert sequencer.pop(session_ms=5_899, answered_ms=5_899) == []
    assert sequencer.pop(session_ms=5_900, answered_ms=5_900) == ["x"]
    assert sequencer.forced == 0


def test_max_hold_counts_from_catching_up_too():
    sequencer = opened()
    sequencer.push((0, 5, 1), A, "x", commit_ms=0, session_ms=0, answered_ms=0)
    sequencer.catch_up.answered_empty(session_ms=3_000, answered_ms=900)
    assert sequencer.due_ms() == 8_000
    assert sequencer.pop(session_ms=7_999, answered_ms=900) == []
    assert sequencer.pop(session_ms=8_000, answered_ms=900) == ["x"]


def test_a_backlog_flows_before_the_channels_have_caught_up():
    sequencer = opened(window=10)
    for number in range(20):
        sequencer.push((0, number, 1), A, number, commit_ms=0, session_ms=0, answered_ms=0)
    assert sequencer.pop(session_ms=0, answered_ms=0) == []
    sequencer.push((0, 15, 2), B, "b", commit_ms=0, session_ms=0, answered_ms=0)
    assert sequencer.pop(session_ms=0, answered_ms=0) == list(range(11))


def test_at_the_limit_the_lowest_leave_until_there_is_room():
    sequencer = opened(max_held=3)
    for number in (4, 2, 5, 1):
        sequencer.push((0, number, 1), A, number, commit_ms=0, session_ms=0, answered_ms=0)
    assert sequencer.pop(session_ms=0, answered_ms=0) == [1, 2]
    assert (len(sequencer), sequencer.forced) == (2, 2)


def test_catching_up_is_not_waited_for_longer_than_its_bound():
    sequencer = opened(max_catch_up_ms=10_000)
    sequencer.push((0, 5, 1), A, "x", commit_ms=0, session_ms=0, answered_ms=0)
    assert sequencer.due_ms() == 10_000
    assert sequencer.pop(session_ms=10_000, answered_ms=0) == []
    assert sequencer.due_ms() == 15_000
    assert sequencer.pop(session_ms=15_000, answered_ms=0) == ["x"]


def test_sessions_too_short_to_catch_up_hold_nothing_for_ever():
    sequencer = opened(max_catch_up_ms=10_000)
    sequencer.push((0, 5, 1), A, "x", commit_ms=0, session_ms=0, answered_ms=0)
    for session_ms in range(1_000, 15_000, 1_000):
        sequencer.catch_up.opened(500, session_ms=session_ms, answered_ms=0)
        assert sequencer.pop(session_ms=session_ms, answered_ms=0) == []
    sequencer.catch_up.opened(500, session_ms=15_000, answered_ms=0)
    assert sequencer.pop(session_ms=15_000, answered_ms=0) == ["x"]


def test_a_change_that_waited_too_long_takes_the_smaller_ones_with_it():
    sequencer = opened(max_catch_up_ms=10_000)
    sequencer.push((0, 9, 1), A, "old", commit_ms=0, session_ms=0, answered_ms=0)
    for session_ms in range(1_000, 16_000, 1_000):
        sequencer.catch_up.opened(500, session_ms=session_ms, answered_ms=0)
        sequencer.push((0, 1, session_ms), A, session_ms, commit_ms=0, session_ms=session_ms, answered_ms=0)
        released = sequencer.pop(session_ms=session_ms, answered_ms=0)
        assert released == ([*range(1_000, 16_000, 1_000), "old"] if session_ms == 15_000 else [])
    assert sequencer.forced == 16
