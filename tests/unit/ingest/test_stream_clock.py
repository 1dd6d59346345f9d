"""Time with answered polls stands still without a session; Salesforce's time is carried on from the last answer."""

from consumer.ingest.stream_clock import StreamClock


def test_before_the_first_session_there_is_no_time():
    clock = StreamClock()
    assert (clock.answered_ms, clock.answered_at_ms, clock.server_now_ms(5)) == (0, None, None)


def test_time_counts_from_the_opening_to_the_last_answer_and_not_without_a_session():
    clock = StreamClock()
    clock.answered(50, None)
    assert clock.answered_ms == 0, "nothing was answered before"
    clock.ended(60)
    clock.opened(100, 1_000)
    assert clock.answered_ms == 0
    clock.answered(130, 1_030)
    clock.answered(170, None)
    assert (clock.answered_ms, clock.answered_at_ms) == (70, 170)
    clock.ended(170)
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
    clock.ended(170)
    assert clock.server_now_ms(9_999) == 1_050


def test_neither_clock_runs_before_a_session_or_after_it():
    time = StreamClock()
    assert (time.session_ms(10_000), time.answered_ms) == (0, 0)
    time.opened(10_000, None, 125_000)
    time.answered(10_400, None)
    time.ended(10_700)
    assert (time.session_ms(99_000), time.answered_ms) == (700, 400)
    assert time.answered_at_ms is None


def test_session_time_runs_between_answers_and_answered_time_only_up_to_the_last():
    time = StreamClock()
    time.opened(0, None, 125_000)
    time.answered(300, None)
    assert (time.session_ms(900), time.answered_ms) == (900, 300)
    time.answered(900, None)
    assert (time.session_ms(900), time.answered_ms) == (900, 900)


def test_an_overdue_poll_stops_session_time():
    time = StreamClock()
    time.opened(0, None, 1_000)
    assert time.session_ms(999) == 999
    assert time.session_ms(5_000) == 1_000
    time.answered(6_000, None)
    assert (time.session_ms(6_000), time.answered_ms) == (1_000, 6_000)


def test_sessions_add_up_and_what_lies_between_does_not():
    time = StreamClock()
    for begin in (0, 100_000, 200_000):
        time.opened(begin, None, 125_000)
        time.answered(begin + 500, None)
        time.ended(begin + 600)
    assert (time.session_ms(300_000), time.answered_ms) == (1_800, 1_500)


def test_an_opening_ends_the_session_before_it():
    time = StreamClock()
    time.opened(0, None, 125_000)
    time.opened(400, None, 125_000)
    assert time.session_ms(500) == 500


def test_the_wait_for_a_session_time_is_told_while_the_clock_will_reach_it():
    time = StreamClock()
    assert time.until_ms(100, 0) is None
    time.opened(0, None, 1_000)
    assert time.until_ms(700, 200) == 500
    assert time.until_ms(1_000, 200) == 800
    assert time.until_ms(1_001, 200) is None, "only an answer brings it"
    time.answered(900, None)
    assert time.until_ms(1_001, 900) == 101


def test_a_clock_that_is_read_out_of_turn_never_goes_back():
    time = StreamClock()
    time.opened(1_000, None, 125_000)
    time.answered(900, None)
    assert (time.session_ms(800), time.answered_ms) == (0, 0)
