"""The `Date` of an answer, which is Salesforce's time: a moment, or none; never an error."""

import time

import pytest

from consumer.salesforce.bayeux import http_date_ms

NOON_MS = 1_769_860_800_000


@pytest.fixture
def elsewhere(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    "header",
    ["Sat, 31 Jan 2026 12:00:00 GMT", "Sat, 31 Jan 2026 12:00:00 -0000", "31 Jan 2026 13:00:00 +0100"],
)
def test_a_date_is_the_same_moment_wherever_this_runs(header, elsewhere):
    assert http_date_ms(header) == NOON_MS


@pytest.mark.parametrize(
    "header", [None, "", "soon", "31 Jan 26 9:30+9999999999999", "99 Foo 2026", "31 Jan 99999999999 1:1"]
)
def test_what_is_no_date_tells_no_time(header):
    assert http_date_ms(header) is None
