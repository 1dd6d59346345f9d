"""Spans of time as people write them."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.durations import format_ms, humanize_ms, parse_ms


@pytest.mark.parametrize(
    ("written", "ms"),
    [
        ("500ms", 500),
        ("1s", 1_000),
        ("1.5s", 1_500),
        ("15m", 900_000),
        ("72h", 259_200_000),
        ("7d", 604_800_000),
        ("1h30m", 5_400_000),
        ("1 h 30 m", 5_400_000),
        (" 20MS ", 20),
        ("PT15M", 900_000),
        ("P1DT2H", 93_600_000),
        ("30", 30_000),
        ("0.02", 20),
        (30, 30_000),
        (0.1, 100),
        (0, 0),
        (timedelta(seconds=2), 2_000),
    ],
)
def test_a_span_is_whole_milliseconds_and_a_bare_number_means_seconds(written, ms):
    assert parse_ms(written) == ms


@pytest.mark.parametrize(
    "written",
    [
        "soon",
        "",
        "5 fortnights",
        "P",
        "PT",
        "-1s",
        "-5",
        -1,
        True,
        None,
        float("inf"),
        float("nan"),
        1e300,
    ],
)
def test_anything_else_is_refused_rather_than_guessed(written):
    with pytest.raises(ValueError, match="must"):
        parse_ms(written)


def test_a_number_without_end_is_refused_in_one_short_line():
    for written in ("9" * 5_000, 16**5_000):
        with pytest.raises(ValueError, match="must be") as caught:
            parse_ms(written)
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("ms", "words"),
    [
        (0, "0 ms"),
        (340, "340 ms"),
        (1_000, "1 s"),
        (4_200, "4.2 s"),
        (60_000, "1 min"),
        (200_000, "3 min 20 s"),
        (18_600_000, "5 h 10 min"),
        (97_200_000, "1 d 3 h"),
    ],
)
def test_people_read_at_most_two_units(ms, words):
    assert humanize_ms(ms) == words


@given(st.integers(min_value=0, max_value=10**12))
def test_a_span_is_read_back_as_it_was_written(ms):
    assert parse_ms(format_ms(ms)) == ms
