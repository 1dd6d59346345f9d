"""The settings section of a handler."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from pydantic import ValidationError

from consumer.delivery.handler_settings import HandlerSpec
from consumer.domain.lifecycle_events import Origin


def test_defaults_are_those_of_the_documentation():
    spec = HandlerSpec(use="log")
    assert spec.origins == {Origin.STREAM, Origin.GAP, Origin.REPAIR, Origin.TIMER}
    assert (spec.start, spec.timeout, spec.max_attempts, spec.on_failure) == (
        "latest",
        30_000,
        10,
        "dead_letter",
    )
    assert (spec.on, spec.max_age, spec.rate, spec.concurrency, spec.enabled) == (
        None,
        None,
        None,
        None,
        True,
    )


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Latest", "latest"),
        ("earliest", "earliest"),
        ("2026-01-31T09:30:00Z", datetime(2026, 1, 31, 9, 30, tzinfo=UTC)),
        ("2026-01-31T09:30:00", datetime(2026, 1, 31, 9, 30, tzinfo=UTC)),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        (date(2026, 1, 31), datetime(2026, 1, 31, tzinfo=UTC)),
    ],
)
def test_start_is_a_word_or_a_time_in_utc_unless_it_says_otherwise(written, meant):
    assert HandlerSpec(use="log", start=written).start == meant


@pytest.mark.parametrize(
    "wrong",
    [
        {"start": "tomorrow"},
        {"start": 5},
        {"origins": ["steam"]},
        {"max_age": "soon"},
        {"max_age": 0},
        {"concurrency": 0},
        {"timeout": 0},
        {"rate": 0},
        {"rate": float("inf")},
        {"max_attempts": 0},
        {"on_failure": "shrug"},
        {"retries": 3},
        {"use": ""},
    ],
)
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValidationError) as raised:
        HandlerSpec(**{"use": "log", **wrong})
    assert raised.value.errors()[0]["loc"][0] == next(iter(wrong))


def test_lists_may_be_written_as_one_text_as_environment_variables_need():
    spec = HandlerSpec(use="log", on="run.*, step.failed", origins="stream,gap")
    assert spec.on == ("run.*", "step.failed")
    assert spec.origins == {Origin.STREAM, Origin.GAP}


def test_a_handlers_own_settings_do_not_show_in_its_repr():
    assert "s3cret" not in repr(HandlerSpec(use="log", settings={"token": "s3cret"}))
