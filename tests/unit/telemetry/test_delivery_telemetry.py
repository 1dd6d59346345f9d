"""What handlers do is counted; what they fail at is logged, as loudly as it deserves."""

from types import SimpleNamespace

import orjson
import pytest
import structlog
from prometheus_client import generate_latest
from structlog.testing import capture_logs

from consumer.ports.journal import JournalEntry
from consumer.ports.observers.delivery_events import (
    AttemptFailed,
    CallInterrupted,
    DeadLettered,
    DeliveryRecovered,
    EventFiltered,
    EventSkipped,
    HandlerCallFinished,
    RunBlocked,
)
from consumer.ports.observers.handler_events import (
    CancellationIgnored,
    CursorSaved,
    CursorUnsaved,
    HandlerCloseFailed,
    HandlerDisabled,
    HandlerOpened,
    HandlerOpenFailed,
    HandlerPaused,
    HandlerResumed,
    HandlerStoreUnreachable,
    OffsetOutOfRange,
)
from consumer.telemetry.delivery_telemetry import DeliveryTelemetry
from consumer.telemetry.health import Health
from consumer.telemetry.metrics import Metrics

ENTRY = JournalEntry(41, "event-1", "run.enrolled", "0qB1", b"{}")
FACTS = {"handler": "h", "type": "run.enrolled", "run": "0qB1", "event_id": "event-1", "offset": 41}


@pytest.fixture
def world():
    structlog.reset_defaults()
    metrics = Metrics()
    return SimpleNamespace(
        metrics=metrics,
        events=DeliveryTelemetry(metrics),
        text=lambda: generate_latest(metrics.registry).decode(),
    )


def test_a_call_is_timed_once_and_its_events_counted_and_nothing_logged(world):
    with capture_logs() as lines:
        world.events.observe(HandlerCallFinished("h", 250, 40))
        world.events.observe(HandlerCallFinished("h", 50, 0))
    assert lines == []
    assert 'cadence_handler_delivered_total{handler="h"} 40.0' in world.text()
    assert 'cadence_handler_duration_seconds_sum{handler="h"} 0.3' in world.text()
    assert 'cadence_handler_duration_seconds_count{handler="h"} 2.0' in world.text()


def test_an_event_that_had_failed_before_is_logged(world):
    with capture_logs() as lines:
        world.events.observe(DeliveryRecovered("h", "run.enrolled", 3))
    assert [(line["event"], line["attempt"]) for line in lines] == [("delivered_after_failure", 3)]


def test_an_attempt_that_another_follows_is_a_warning_without_traceback(world):
    with capture_logs() as lines:
        world.events.observe(AttemptFailed("h", ENTRY, 2, "ValueError: x", ValueError("x"), 500))
    assert lines == [
        {
            "event": "handler_failed",
            "log_level": "warning",
            **FACTS,
            "attempt": 2,
            "error": "ValueError: x",
            "retry_after_ms": 500,
        }
    ]
    assert 'cadence_handler_failed_total{handler="h"} 1.0' in world.text()


@pytest.mark.parametrize(
    ("kind", "event", "counter"),
    [
        (DeadLettered, "dead_lettered", "cadence_handler_dead_lettered_total"),
        (EventSkipped, "event_skipped", "cadence_handler_skipped_total"),
    ],
)
def test_giving_an_event_up_is_an_error_with_its_traceback_and_both_counters(world, kind, event, counter):
    error = ValueError("x")
    with capture_logs() as lines:
        world.events.observe(kind("h", ENTRY, 10, "ValueError: x", error))
    assert lines == [
        {
            "event": event,
            "log_level": "error",
            **FACTS,
            "attempts": 10,
            "error": "ValueError: x",
            "exc_info": error,
        }
    ]
    assert f'{counter}{{handler="h"}} 1.0' in world.text()
    assert 'cadence_handler_failed_total{handler="h"} 1.0' in world.text()


def test_a_reason_in_words_has_no_traceback(world):
    with capture_logs() as lines:
        world.events.observe(RunBlocked("h", ENTRY, 10, "not yet", None, 60_000))
    assert lines[0]["log_level"] == "error"
    assert "exc_info" not in lines[0]


def test_cursor_and_lag_are_gauges(world):
    world.events.observe(HandlerOpened("h", 5))
    assert 'cadence_handler_offset{handler="h"} 5.0' in world.text()
    world.events.observe(CursorSaved("h", 40, 2, 3, 4))
    assert 'cadence_handler_offset{handler="h"} 40.0' in world.text()
    assert 'cadence_handler_lag_events{handler="h"} 2.0' in world.text()
    assert 'cadence_handler_blocked_runs{handler="h"} 3.0' in world.text()
    assert 'cadence_handler_dead_letters{handler="h"} 4.0' in world.text()


def test_a_handler_that_runs_shows_as_not_stopped_and_nothing_is_left_of_it_when_the_tenure_ends(world):
    world.events.observe(HandlerPaused("h"))
    world.events.observe(HandlerOpened("h", 5))
    assert 'cadence_handler_stopped{handler="h"} 1.0' in world.text(), "the pause was found before it opened"
    world.events.observe(HandlerResumed("h"))
    assert 'cadence_handler_stopped{handler="h"} 0.0' in world.text()
    world.events.observe(CursorSaved("h", 40, 2, 3, 4))
    world.metrics.end_tenure()
    assert "handler_stopped{" not in world.text()
    assert "handler_dead_letters{" not in world.text()
    world.events.observe(HandlerOpened("h", 5))
    assert 'cadence_handler_stopped{handler="h"} 0.0' in world.text()


def test_an_unavailable_store_is_logged_once_until_a_cursor_is_saved_again(world):
    with capture_logs() as lines:
        world.events.observe(HandlerStoreUnreachable("h", RuntimeError("disk full"), 100))
        world.events.observe(HandlerStoreUnreachable("h", RuntimeError("disk full"), 200))
        world.events.observe(CursorSaved("h", 1, 0, 0, 0))
        world.events.observe(CursorSaved("h", 2, 0, 0, 0))
    assert [line["event"] for line in lines] == ["handler_store_unavailable", "handler_store_available"]


def test_what_retention_removed_is_counted_in_the_line(world):
    with capture_logs() as lines:
        world.events.observe(OffsetOutOfRange("h", 10, 15))
    assert (lines[0]["log_level"], lines[0]["lost"]) == ("error", 4)


def test_trouble_with_opening_closing_and_stopping_is_told(world):
    with capture_logs() as lines:
        world.events.observe(HandlerOpenFailed("h", OSError("refused"), 1_000))
        world.events.observe(HandlerCloseFailed("h", TimeoutError()))
        world.events.observe(CallInterrupted("h", ENTRY))
        world.events.observe(CursorUnsaved("h", 7))
        world.events.observe(EventFiltered("h", "run.enrolled", "max_age"))
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("handler_open_failed", "error"),
        ("handler_close_failed", "warning"),
        ("handler_interrupted", "info"),
        ("cursor_unsaved", "warning"),
        ("event_filtered", "debug"),
    ]
    assert 'cadence_handler_filtered_total{handler="h"} 1.0' in world.text()


def test_a_handler_that_asks_to_be_stopped_is_an_error_without_traceback(world):
    with capture_logs() as lines:
        world.events.observe(HandlerDisabled("h", ENTRY, "gone"))
    assert lines == [{"event": "handler_disabled", "log_level": "error", **FACTS, "error": "gone"}]


def test_a_failure_is_found_in_the_stream_and_in_salesforce_by_what_its_line_says(world):
    data = orjson.dumps({
        "position": {"channel": "/data/ChangeEvents", "replay_id": "4711"},
        "transaction": {"key": "000a-b", "commit_number": 7, "sequence_number": 1},
    })  # fmt: skip
    entry = JournalEntry(41, "event-1", "run.enrolled", "0qB1", data)
    with capture_logs() as lines:
        world.events.observe(AttemptFailed("h", entry, 1, "ValueError: x", None, 500))
        world.events.observe(
            AttemptFailed("h", JournalEntry(41, "e", "run.enrolled", "0qB1", b"not JSON"), 1, "x", None, 500)
        )
    found = {
        name: lines[0][name] for name in ("channel", "position", "transaction", "run", "handler", "event_id")
    }
    assert found == {
        "channel": "/data/ChangeEvents", "position": "4711", "transaction": "000a-b", "run": "0qB1", "handler": "h",
        "event_id": "event-1",
    }  # fmt: skip
    assert "position" not in lines[1]


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (
            HandlerOpenFailed("h", OSError("no \ud83d route"), 1_000),
            r"Handler h cannot open, .*OSError: no \ud83d route",
        ),
        (CancellationIgnored("h"), "Handler h does not end a call"),
    ],
)
def test_a_handler_that_does_not_run_is_in_readiness_and_metrics(world, event, words):
    health = Health(["/data/X"], 0)
    events = DeliveryTelemetry(world.metrics, health)
    health.lease_held(0, "me")
    events.observe(event)
    assert any(words.split(".*")[0] in reason for reason in health.report(0).reasons)
    assert any(words.split(".*")[-1] in reason for reason in health.report(0).reasons)
    assert 'cadence_handler_stopped{handler="h"} 1.0' in world.text()
    events.observe(HandlerResumed("h"))
    assert not any("Handler h" in reason for reason in health.report(0).reasons)
    assert 'cadence_handler_stopped{handler="h"} 0.0' in world.text()
