"""What is remembered of channels: births, where sessions resume, how far polls went, and what a commit has to write of it."""

import pytest

from consumer.ingest.channels import Channels
from consumer.ports.commit import ChannelState
from consumer.ports.source import SessionOpened

A, B = "/data/A", "/data/B"
MINUTES = 60_000


def opened(server_ms=1_000, **resumed) -> SessionOpened:
    return SessionOpened(1, {f"/data/{name}": option for name, option in resumed.items()}, server_ms, 0)


def make(*known: tuple[str, ChannelState], names=(A,), start="latest") -> Channels:
    return Channels(names, start, dict(known))


def test_a_new_channel_begins_at_the_tip_or_with_everything_retained():
    assert make().resume() == {A: "-1"}
    assert make(start="earliest").resume() == {A: "-2"}


def test_a_channel_with_a_birth_and_no_position_resumes_with_everything_retained():
    assert make((A, ChannelState(5))).resume() == {A: "-2"}


def test_a_channel_resumes_after_its_stored_position_and_then_after_what_was_handed_over():
    channels = make((A, ChannelState(5, position="7")), names=(A, B))
    assert channels.resume() == {A: "7", B: "-1"}
    positions = channels.positions(A)
    positions.arrive("8", 1)
    positions.arrive("9", 1)
    assert channels.resume()[A] == "8"


def test_what_is_stored_of_a_channel_that_is_no_longer_configured_is_left_alone():
    channels = make(("/data/old", ChannelState(5, position="7")))
    assert channels.resume() == {A: "-1"}
    assert channels.states == {}
    assert channels.positions("/data/old") is None
    assert channels.states_to_commit(0, 1, include_unchanged=True) == {}


def test_the_first_acknowledged_subscription_from_the_tip_is_the_birth():
    channels = make()
    assert channels.opened(opened(A="-1"), 5_000)
    assert channels.states == {A: ChannelState(5_000, polled_through_ms=5_000)}
    assert channels.resume() == {A: "-2"}, "everything since then"


def test_who_begins_with_everything_retained_is_as_old_as_that():
    channels = make(start="earliest")
    assert channels.opened(opened(A="-2"), 5_000)
    assert channels.states == {A: ChannelState(0, polled_through_ms=5_000)}


def test_a_channel_that_is_known_is_not_born_again():
    known = ChannelState(5, position="7", polled_through_ms=9)
    channels = make((A, known))
    assert not channels.opened(opened(A="7"), 5_000)
    assert channels.states == {A: known}


def test_every_channel_of_a_session_is_looked_at():
    channels = make((A, ChannelState(5, position="7")), names=(A, B))
    assert channels.opened(opened(A="7", B="-1"), 5_000)
    assert channels.states[B].birth_ms == 5_000
    assert channels.states[A].birth_ms == 5


def test_a_session_tells_the_positions_of_its_channels_that_what_was_incomplete_comes_again():
    channels = make((A, ChannelState(5, position="7")))
    channels.positions(A).arrive("8", 1).mark_committed()
    channels.opened(opened(A="7"), 5_000)
    channels.positions(A).arrive("9", 1)
    assert channels.positions(A).checkpoint == "7"


@pytest.mark.parametrize(("from_tip", "option"), [(True, "-1"), (False, "-2")])
def test_a_channel_whose_position_was_refused_starts_anew_until_it_was_acknowledged(from_tip, option):
    channels = make((A, ChannelState(5, position="7", polled_through_ms=9)))
    assert channels.restart(A, from_tip=from_tip) == option
    assert channels.resume() == {A: option}
    assert channels.resume() == {A: option}, "as often as it takes"
    assert channels.states == {A: ChannelState(5, position=None, polled_through_ms=9)}


def test_a_channel_that_starts_anew_at_the_tip_is_born_again():
    channels = make((A, ChannelState(5, position="7")))
    channels.restart(A, from_tip=True)
    assert channels.opened(opened(A="-1"), 5_000)
    assert channels.states[A].birth_ms == 5_000
    assert channels.resume() == {A: "-2"}


def test_a_channel_that_starts_anew_from_the_oldest_keeps_its_birth():
    channels = make((A, ChannelState(5, position="7")))
    channels.restart(A, from_tip=False)
    assert not channels.opened(opened(A="-2"), 5_000)
    assert channels.states[A].birth_ms == 5


def test_a_channel_that_was_never_born_may_start_anew_as_well():
    channels = make()
    assert channels.restart(A, from_tip=False) == "-2"
    assert channels.states == {}
    assert channels.resume() == {A: "-2"}


# ------------------------------------------------------------ polled through


def polled(channels, server_ms):
    return channels.answer_ended(server_ms), channels.polled_through(A)


def test_polled_through_moves_with_the_first_answer_and_then_every_ten_minutes():
    channels = make((A, ChannelState(5)), (B, ChannelState(6)), names=(A, B))
    assert channels.polled_through("/data/other") is None
    assert polled(channels, 1_000) == (True, 1_000)
    assert channels.polled_through(B) == 1_000
    assert polled(channels, 1_000 + 10 * MINUTES - 1) == (False, 1_000)
    assert polled(channels, 1_000 + 10 * MINUTES) == (True, 1_000 + 10 * MINUTES)


def test_an_answer_without_a_date_moves_nothing():
    assert polled(make((A, ChannelState(5, polled_through_ms=7))), None) == (False, 7)


def test_polled_through_does_not_pass_what_is_not_committed_on_any_channel():
    channels = make((A, ChannelState(5)), (B, ChannelState(6)), names=(A, B))
    entry = channels.positions(B).arrive("7", 1)
    assert polled(channels, 1_000) == (False, None)
    entry.mark_committed()
    assert polled(channels, 2_000) == (True, 2_000)


def test_an_answer_ends_on_every_channel():
    channels = make((A, ChannelState(5)), (B, ChannelState(6)), names=(A, B))
    channels.positions(B).arrive("7", 1).mark_committed()
    channels.answer_ended(1_000)
    channels.answer_ended(1_001)
    assert channels.positions(B).checkpoint == "7"


# ------------------------------------------------------------ what a commit writes


def test_a_commit_writes_a_channel_whose_checkpoint_has_moved_once():
    channels = make((A, ChannelState(5, position="7", commit_number=3)))
    assert channels.states_to_commit(90, 4, include_unchanged=False) == {}
    channels.positions(A).arrive("8", 1).mark_committed()
    channels.positions(A).arrive("9", 1)
    moved = ChannelState(5, position="8", position_ms=90, commit_number=4)
    assert channels.states_to_commit(90, 4, include_unchanged=False) == {A: moved}
    assert channels.states == {A: moved}
    assert channels.states_to_commit(91, 5, include_unchanged=False) == {}


def test_the_first_commit_number_is_written_before_any_checkpoint():
    channels = make((A, ChannelState(5)))
    assert channels.states_to_commit(90, None, include_unchanged=False) == {}
    assert channels.states_to_commit(90, 4, include_unchanged=False) == {A: ChannelState(5, commit_number=4)}
    assert channels.states_to_commit(91, 5, include_unchanged=False) == {}


def test_everything_is_written_when_it_is_asked_for():
    known = ChannelState(5, position="7", position_ms=8, commit_number=3)
    channels = make((A, known))
    assert channels.states_to_commit(90, 4, include_unchanged=True) == {A: known}
