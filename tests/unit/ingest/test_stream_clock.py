"""Time with answered polls stands still without a session; Salesforce's time is carried on from the last answer."""

from consumer.ingest.stream_clock import StreamClock


def test_before_the_first_session_there_is_no_time():
    clock = StreamClock()
    assert (clock.answered_ms, clock.answered_at_ms, clock.server_now_ms(5)) == (0, None, None)


def test_time_counts_from_the_opening_to_the_last_answer_and_not_without_a_session():
    clock = StreamClock()
    clock.answered(50, None)
    assert clock.answered_ms == 0, "nothing was answered before"
    clock.ended()
    clock.opened(100, 1_000)
    assert clock.answered_ms == 0
    clock.answered(130, 1_030)
    clock.answered(170, None)
    assert (clock.answered_ms, clock.answered_at_ms) == (70, 170)
    clock.ended()
    assert clock.answered_at_ms is None
    clock.opened(900, 2_000)
    clock.answered(905, None)
    assert clock.answered_ms == 75


def test_an_answer_that_seems_older_than_the_one_before_takes_no_time_back():
    clock = StreamClock()
    clock.opened(100, 1_000)
    clock.answered(90, None)
    assert clock.answered_ms == 0


def test_salesforce_time_goes_on_from_the_last_answer_while_there_is_a_session():
    clock = StreamClock()
    clock.opened(100, 1_000)
    assert clock.server_now_ms(130) == 1_030
    clock.answered(140, 1_050)
    assert clock.server_now_ms(150) == 1_060
    clock.answered(160, None)
    assert (clock.server_ms, clock.server_now_ms(170)) == (1_050, 1_060), (
        "an answer without a time brings none"
    )
    clock.ended()
    assert clock.server_now_ms(9_999) == 1_050
