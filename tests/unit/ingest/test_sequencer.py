"""The order rules, each alone, in virtual time (whole milliseconds, told by the test)."""

import pytest

from consumer.ingest.sequencer import Sequencer

A, B = "/data/A", "/data/B"


def make(channels=(A,), *, strict=True, window=1_000):
    return Sequencer(channels, lateness_ms=1_000, window=window, max_hold_ms=5_000, strict=strict)


def test_a_change_goes_after_lateness_of_answered_time_and_not_a_millisecond_earlier():
    sequencer = make()
    sequencer.push((0, 1, 1), A, "x", now_ms=0, answered_ms=0)
    assert sequencer.pop(now_ms=999, answered_ms=999) == []
    assert sequencer.pop(now_ms=1_000, answered_ms=1_000) == ["x"]


def test_time_without_answered_polls_does_not_release():
    sequencer = make()
    sequencer.push((0, 1, 1), A, "x", now_ms=0, answered_ms=0)
    assert sequencer.pop(now_ms=4_999, answered_ms=0) == []


def test_nothing_is_held_longer_than_max_hold():
    sequencer = make()
    sequencer.push((0, 1, 1), A, "x", now_ms=0, answered_ms=0)
    assert sequencer.due_ms() == 5_000
    assert sequencer.pop(now_ms=5_000, answered_ms=0) == ["x"]
    assert sequencer.due_ms() is None


def test_reordered_changes_leave_in_commit_order():
    sequencer = make()
    for number, key in enumerate([(0, 3, 1), (0, 1, 2), (0, 2, 1), (0, 1, 1)]):
        sequencer.push(key, A, key, now_ms=number, answered_ms=number)
    assert sequencer.pop(now_ms=2_000, answered_ms=2_000) == [(0, 1, 1), (0, 1, 2), (0, 2, 1), (0, 3, 1)]


def test_only_the_lowest_held_is_asked_so_a_young_older_sibling_keeps_the_others_back():
    sequencer = make()
    sequencer.push((0, 5, 1), A, "younger", now_ms=0, answered_ms=0)
    sequencer.push((0, 4, 1), A, "older", now_ms=900, answered_ms=900)
    assert sequencer.pop(now_ms=1_500, answered_ms=1_500) == []
    assert sequencer.pop(now_ms=1_900, answered_ms=1_900) == ["older", "younger"]


def test_a_backlog_flows_at_full_speed_on_one_channel():
    sequencer = make(window=100)
    for number in range(250):
        sequencer.push((0, number, 1), A, number, now_ms=0, answered_ms=0)
    assert sequencer.pop(now_ms=0, answered_ms=0) == list(range(150))


def test_a_backlog_on_one_channel_waits_for_another_that_has_delivered_nothing():
    sequencer = make((A, B), window=100)
    for number in range(250):
        sequencer.push((0, number, 1), A, number, now_ms=0, answered_ms=0)
    assert sequencer.pop(now_ms=0, answered_ms=0) == []
    sequencer.push((0, 120, 2), B, "b", now_ms=0, answered_ms=0)
    assert sequencer.pop(now_ms=0, answered_ms=0) == list(range(121))


def test_a_quiet_second_channel_costs_no_more_than_lateness():
    sequencer = make((A, B))
    sequencer.push((0, 1, 1), A, "x", now_ms=0, answered_ms=0)
    assert sequencer.pop(now_ms=1_000, answered_ms=1_000) == ["x"]


@pytest.mark.parametrize(
    "order", [[("Paused", 7, A), ("Running", 8, B)], [("Running", 8, B), ("Paused", 7, A)]]
)
def test_both_arrival_orders_across_two_channels_leave_in_commit_order(order):
    sequencer = make((A, B))
    for number, (state, commit, channel) in enumerate(order):
        sequencer.push((0, commit, 1), channel, state, now_ms=number * 400, answered_ms=number * 400)
    assert sequencer.pop(now_ms=1_400, answered_ms=1_400) == ["Paused", "Running"]


def test_strict_off_releases_a_complete_transaction_at_once():
    sequencer = make(strict=False)
    sequencer.push((0, 9, 1), A, 1, now_ms=0, answered_ms=0)
    sequencer.push((0, 9, 2), A, 2, now_ms=0, answered_ms=0)
    assert sequencer.pop(now_ms=0, answered_ms=0) == [1, 2]


def test_strict_off_waits_out_a_hole_in_the_sequence_numbers():
    sequencer = make(strict=False)
    sequencer.push((0, 9, 1), A, 1, now_ms=0, answered_ms=0)
    sequencer.push((0, 9, 3), A, 3, now_ms=0, answered_ms=0)
    assert sequencer.pop(now_ms=0, answered_ms=0) == [1]
    assert sequencer.pop(now_ms=1_000, answered_ms=1_000) == [3]


def test_strict_off_takes_a_greater_change_as_the_end_of_a_hole():
    sequencer = make(strict=False)
    sequencer.push((0, 7, 1), A, "first", now_ms=0, answered_ms=0)
    sequencer.push((0, 7, 3), A, "after a hole", now_ms=0, answered_ms=0)
    assert sequencer.pop(now_ms=1, answered_ms=1) == ["first"]
    sequencer.push((0, 8, 2), A, "of the next transaction", now_ms=2, answered_ms=2)
    assert sequencer.pop(now_ms=2, answered_ms=2) == ["after a hole"]


def test_strict_off_keeps_the_parts_of_a_merged_event_together():
    sequencer = make(strict=False)
    for name in "abc":
        sequencer.push((0, 9, 1), A, name, now_ms=0, answered_ms=0)
    assert sequencer.pop(now_ms=0, answered_ms=0) == ["a", "b", "c"]


def test_strict_off_on_two_channels_waits_until_the_other_has_delivered_more():
    sequencer = make((A, B), strict=False)
    sequencer.push((0, 9, 1), A, "a", now_ms=0, answered_ms=0)
    assert sequencer.pop(now_ms=0, answered_ms=0) == []
    sequencer.push((0, 10, 1), B, "b", now_ms=1, answered_ms=1)
    assert sequencer.pop(now_ms=1, answered_ms=1) == ["a"]


def test_equal_keys_keep_arrival_order():
    sequencer = make()
    for name in "cab":
        sequencer.push((0, 1, 1), A, name, now_ms=0, answered_ms=0)
    assert sequencer.pop(now_ms=1_000, answered_ms=1_000) == ["c", "a", "b"]


def test_a_change_that_arrives_late_in_the_day_is_held_as_long_as_any_other():
    sequencer = make()
    sequencer.push((0, 1, 1), A, "x", now_ms=4_000, answered_ms=0)
    assert sequencer.due_ms() == 9_000
    assert sequencer.pop(now_ms=8_999, answered_ms=0) == []
    assert sequencer.pop(now_ms=9_000, answered_ms=0) == ["x"]


def test_what_a_channel_has_delivered_at_most_is_not_forgotten_for_something_smaller():
    sequencer = make((A, B), strict=False)
    sequencer.push((0, 9, 1), B, "b", now_ms=0, answered_ms=0)
    sequencer.push((0, 2, 1), B, "smaller", now_ms=0, answered_ms=0)
    sequencer.push((0, 3, 1), A, "a", now_ms=0, answered_ms=0)
    assert sequencer.pop(now_ms=0, answered_ms=0) == ["smaller", "a"]


def test_a_channel_that_has_delivered_the_same_key_has_not_delivered_more():
    sequencer = make((A, B), strict=False)
    sequencer.push((0, 9, 1), A, "a", now_ms=0, answered_ms=0)
    sequencer.push((0, 9, 1), B, "b", now_ms=0, answered_ms=0)
    assert sequencer.pop(now_ms=0, answered_ms=0) == []
    sequencer.push((0, 9, 2), B, "more", now_ms=0, answered_ms=0)
    assert sequencer.pop(now_ms=0, answered_ms=0) == ["a"], "A has delivered nothing greater"
