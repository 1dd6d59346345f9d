"""Progress of channels after an opening, told by the test."""

import pytest

from consumer.ingest.catch_up import QUIET_MS, CatchUp

A, B = "/data/A", "/data/B"
OPENED_MS = 1_700_000_000_500


def make(channels=(A, B), *, max_catch_up_ms=120_000, server_ms=OPENED_MS):
    catch_up = CatchUp(channels, max_catch_up_ms=max_catch_up_ms)
    catch_up.opened(server_ms, session_ms=0, answered_ms=0)
    return catch_up


def deliver(catch_up, channel, key, *, commit_ms=0, at=0):
    catch_up.delivered(channel, key, commit_ms, session_ms=at, answered_ms=at)


def test_nothing_waits_before_the_first_opening():
    catch_up = CatchUp((A,), max_catch_up_ms=1)
    assert catch_up.waits_from((0, 1, 1)) is None
    assert catch_up.advance(session_ms=10, answered_ms=10) is False
    assert catch_up.ends_at_ms() is None


def test_an_answer_without_messages_catches_up_every_channel():
    catch_up = make()
    catch_up.answered_empty(session_ms=40, answered_ms=30)
    assert catch_up.is_done
    assert catch_up.waits_from((0, 1, 1)) == (30, 40)
    assert catch_up.ends_at_ms() is None


def test_a_change_committed_after_the_opening_catches_up_its_channel_alone():
    catch_up = make()
    deliver(catch_up, A, (0, 9, 1), commit_ms=OPENED_MS + 500, at=70)
    assert not catch_up.is_done
    deliver(catch_up, B, (0, 9, 2), commit_ms=OPENED_MS + 500, at=90)
    assert catch_up.is_done
    assert (catch_up.from_answered_ms, catch_up.from_session_ms) == (90, 90)


@pytest.mark.parametrize("server_ms", [OPENED_MS, None])
def test_a_change_of_the_opening_second_proves_nothing(server_ms):
    catch_up = make((A,), server_ms=server_ms)
    deliver(catch_up, A, (0, 9, 1), commit_ms=OPENED_MS - 500)
    assert not catch_up.is_done


def test_a_greater_key_of_the_same_channel_lets_a_smaller_one_wait_at_once():
    catch_up = make((A,))
    deliver(catch_up, A, (0, 5, 1))
    assert catch_up.waits_from((0, 5, 1)) is None, "an equal key may have brothers behind it"
    deliver(catch_up, A, (0, 6, 1))
    answered_ms, session_ms = catch_up.waits_from((0, 5, 1))
    assert answered_ms < 0
    assert session_ms < 0
    assert catch_up.waits_from((0, 6, 1)) is None


def test_every_channel_has_to_have_delivered_more():
    catch_up = make()
    deliver(catch_up, A, (0, 5, 1))
    deliver(catch_up, A, (0, 6, 1))
    assert catch_up.waits_from((0, 5, 1)) is None
    deliver(catch_up, B, (0, 5, 2))
    assert catch_up.waits_from((0, 5, 1)) is not None


def test_a_smaller_key_takes_nothing_back():
    catch_up = make((A,))
    deliver(catch_up, A, (0, 6, 1))
    deliver(catch_up, A, (0, 4, 1))
    assert catch_up.waits_from((0, 5, 1)) is not None


def test_a_quiet_channel_has_caught_up_after_its_time():
    catch_up = make()
    deliver(catch_up, A, (0, 5, 1), at=10)
    deliver(catch_up, A, (0, 6, 1), at=10)
    catch_up.advance(session_ms=QUIET_MS - 1, answered_ms=QUIET_MS - 1)
    assert catch_up.waits_from((0, 5, 1)) is None
    catch_up.advance(session_ms=QUIET_MS, answered_ms=QUIET_MS)
    assert catch_up.waits_from((0, 5, 1)) == (QUIET_MS, QUIET_MS)
    assert not catch_up.is_done, "the other one delivered something 4,990 ms ago"
    catch_up.advance(session_ms=QUIET_MS + 10, answered_ms=QUIET_MS + 10)
    assert catch_up.is_done


def test_time_without_answers_makes_no_channel_quiet():
    catch_up = make()
    catch_up.advance(session_ms=90_000, answered_ms=QUIET_MS - 1)
    assert not catch_up.is_done


def test_the_wait_ends_after_its_bound_and_says_so_once():
    catch_up = make(max_catch_up_ms=1_000)
    assert catch_up.ends_at_ms() == 1_000
    assert catch_up.advance(session_ms=999, answered_ms=0) is False
    assert catch_up.advance(session_ms=1_000, answered_ms=0) is True
    assert catch_up.is_done
    assert catch_up.advance(session_ms=1_001, answered_ms=0) is False


def test_the_bound_is_summed_over_sessions_until_they_have_caught_up():
    catch_up = make(max_catch_up_ms=1_000)
    catch_up.opened(OPENED_MS, session_ms=600, answered_ms=600)
    assert catch_up.ends_at_ms() == 1_000
    assert catch_up.advance(session_ms=1_000, answered_ms=600) is True
    catch_up.opened(OPENED_MS, session_ms=1_100, answered_ms=700)
    assert catch_up.ends_at_ms() == 2_100, "a new wait"


def test_an_opening_begins_anew():
    catch_up = make((A,))
    catch_up.answered_empty(session_ms=5, answered_ms=5)
    catch_up.opened(OPENED_MS, session_ms=9, answered_ms=9)
    assert not catch_up.is_done
    assert catch_up.waits_from((0, 1, 1)) is None


def test_a_channel_that_is_not_configured_is_no_concern():
    catch_up = make((A,))
    deliver(catch_up, B, (0, 9, 1), commit_ms=OPENED_MS + 5_000)
    assert not catch_up.is_done
