"""When a position may become the checkpoint, and where a session resumes."""

from consumer.ingest.positions import ChannelPositions


def test_a_position_is_finished_only_when_another_has_followed():
    positions = ChannelPositions(None)
    entry = positions.arrive("7", 1)
    entry.mark_committed()
    assert positions.checkpoint is None, "a second message with the same replay id may still come"
    positions.arrive("8", 1)
    assert positions.checkpoint == "7"


def test_an_answer_without_it_finishes_a_position():
    positions = ChannelPositions(None)
    positions.arrive("7", 1).mark_committed()
    positions.answer_ended()
    assert positions.checkpoint is None
    positions.answer_ended()
    assert positions.checkpoint == "7"


def test_messages_that_share_a_replay_id_are_one_position_even_over_answers():
    positions = ChannelPositions(None)
    first = positions.arrive("7", 1)
    positions.answer_ended()
    second = positions.arrive("7", 2)
    assert first is second
    first.mark_committed()
    positions.arrive("8", 1)
    assert positions.checkpoint is None, "two parts of 7 are not committed"
    first.mark_committed(2)
    assert positions.checkpoint == "7"


def test_the_checkpoint_never_passes_something_unfinished():
    positions = ChannelPositions("1")
    entries = {name: positions.arrive(name, 1) for name in ("5", "6", "7", "8")}
    entries["6"].mark_committed()
    entries["7"].mark_committed()
    assert positions.checkpoint == "1"
    entries["5"].mark_committed()
    assert positions.checkpoint == "7"


def test_arrival_orders_positions_and_their_size_does_not():
    positions = ChannelPositions(None)
    positions.arrive("900", 1).mark_committed()
    positions.arrive("opaque", 1).mark_committed()
    positions.arrive("12", 1).mark_committed()
    assert positions.checkpoint == "opaque"


def test_a_session_resumes_after_the_last_complete_position_even_if_uncommitted():
    positions = ChannelPositions("1")
    positions.arrive("5", 1)
    positions.arrive("6", 1)
    assert positions.resume == "5"
    assert positions.checkpoint == "1"


def test_what_was_incomplete_at_a_session_end_is_counted_anew_when_it_comes_again():
    positions = ChannelPositions(None)
    positions.arrive("5", 1).mark_committed()
    positions.arrive("6", 1).mark_committed()
    positions.session_opened()
    again = positions.arrive("6", 2)
    positions.arrive("7", 1)
    assert positions.checkpoint == "5", "the second message of 6 has not been committed"
    again.mark_committed(2)
    assert positions.checkpoint == "6"


def test_a_message_without_position_holds_back_the_checkpoint_but_never_becomes_one():
    positions = ChannelPositions(None)
    positions.arrive("5", 1).mark_committed()
    nameless = positions.arrive(None, 1)
    positions.arrive("6", 1).mark_committed()
    positions.arrive("7", 1).mark_committed()
    assert positions.checkpoint is None
    nameless.mark_committed()
    assert positions.checkpoint == "6"


def test_a_restarted_channel_forgets_where_it_was():
    positions = ChannelPositions("5")
    entry = positions.arrive("6", 1)
    positions.restart()
    assert positions.resume is None
    entry.mark_committed()
    assert positions.checkpoint is None
    positions.arrive("3", 1).mark_committed()
    positions.arrive("4", 1)
    assert positions.checkpoint == "3"


def test_a_repeated_position_is_a_position_of_its_own():
    positions = ChannelPositions(None)
    for name in ("5", "6", "5", "7"):
        positions.arrive(name, 1).mark_committed()
    assert positions.checkpoint == "5", "arrival order: the repeated 5 is the last finished one"


def test_a_tenure_resumes_where_the_store_says():
    positions = ChannelPositions("5")
    assert (positions.resume, positions.checkpoint) == ("5", "5")


def test_a_position_that_comes_again_in_the_next_answer_is_not_finished_by_that_answer():
    positions = ChannelPositions(None)
    positions.arrive("7", 1).mark_committed()
    positions.answer_ended()
    positions.arrive("7", 1).mark_committed()
    positions.answer_ended()
    assert positions.checkpoint is None, "the next answer may hold a third message of it"
    positions.answer_ended()
    assert positions.checkpoint == "7"


def test_a_channel_is_idle_when_nothing_that_arrived_is_unfinished():
    positions = ChannelPositions(None)
    assert positions.is_idle
    first, second = positions.arrive("7", 1), positions.arrive("8", 2)
    assert not positions.is_idle
    second.mark_committed(2)
    assert not positions.is_idle
    first.mark_committed()
    assert positions.is_idle, "whether 8 is complete does not matter"


def test_a_position_that_was_complete_before_the_session_ended_becomes_the_checkpoint_all_the_same():
    positions = ChannelPositions(None)
    positions.session_opened()
    entry = positions.arrive("5", 1)
    positions.answer_ended()
    positions.answer_ended()
    positions.session_opened()
    entry.mark_committed()
    assert positions.checkpoint == "5"


def test_what_was_incomplete_at_a_session_end_is_no_checkpoint_even_when_it_does_not_come_again():
    positions = ChannelPositions("4")
    positions.arrive("5", 1)
    positions.arrive("6", 1)
    positions.session_opened()
    positions.arrive("7", 1)
    assert positions.resume == "5", "6 may have had another message"
