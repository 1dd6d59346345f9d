"""A storm writes the first lines and then one that counts; nothing else is silenced by it."""

import asyncio

import pytest
import structlog
from structlog.testing import capture_logs

from consumer.ports.commit import IngestDeadLetter
from consumer.ports.journal import JournalEntry
from consumer.ports.observers.delivery_events import AttemptFailed, DeadLettered
from consumer.ports.observers.ingest_events import BadEventReceived
from consumer.telemetry.delivery_telemetry import DeliveryTelemetry
from consumer.telemetry.health import Health
from consumer.telemetry.ingest_telemetry import IngestTelemetry
from consumer.telemetry.log_throttle import LogThrottle
from consumer.telemetry.metrics import Metrics

A = "/data/ChangeEvents"


class Clock:
    now = 0.0

    def __call__(self):
        return self.now

    def monotonic_ms(self):
        return 0

    def wall_ms(self):
        return 0


@pytest.fixture(autouse=True)
def fresh_logging():
    structlog.reset_defaults()


@pytest.fixture
def clock():
    return Clock()


def test_the_first_lines_of_a_kind_are_written_and_the_rest_is_one_number(clock):
    with capture_logs() as lines:
        throttle = LogThrottle(max_lines=3, window_s=60, now=clock)
        assert [throttle.allow("failed", handler="a") for _ in range(1_000)] == [True] * 3 + [False] * 997
        assert throttle.allow("failed", handler="b"), "another handler's trouble is news"
        assert throttle.allow("blocked", handler="a"), "another event is news"
        assert lines == []
        clock.now = 60
        assert throttle.allow("failed", handler="a")
    assert lines == [
        {"event": "log_lines_suppressed", "log_level": "warning", "of": "failed", "handler": "a", "times": 997, "within_s": 60}
    ]  # fmt: skip


def test_few_lines_are_never_summed_up(clock):
    with capture_logs() as lines:
        throttle = LogThrottle(max_lines=3, now=clock)
        for minute in range(10):
            clock.now = minute * 60
            assert all(throttle.allow("failed") for _ in range(3))
        throttle.flush()
    assert lines == []


@pytest.mark.looptime
async def test_the_number_comes_when_the_minute_is_over_even_if_nothing_else_happens():
    with capture_logs() as lines:
        throttle = LogThrottle(max_lines=1, window_s=60, now=asyncio.get_running_loop().time)
        for _ in range(5):
            throttle.allow("failed", handler="a")
        await asyncio.sleep(30)
        for _ in range(3):
            throttle.allow("failed", handler="b")
        await asyncio.sleep(29)
        assert lines == []
        await asyncio.sleep(2)
        assert [(line["handler"], line["times"]) for line in lines] == [("a", 4)]
        await asyncio.sleep(30)
        assert [(line["handler"], line["times"]) for line in lines] == [("a", 4), ("b", 2)]


def test_what_is_left_out_is_told_before_the_end(clock):
    with capture_logs() as lines:
        throttle = LogThrottle(max_lines=1, now=clock)
        for _ in range(4):
            throttle.allow("failed")
        throttle.flush()
        throttle.flush()
    assert [line["times"] for line in lines] == [3]


def test_ever_new_keys_do_not_grow_the_memory_nor_defeat_the_limit(clock):
    throttle = LogThrottle(max_lines=10, now=clock)
    written = sum(throttle.allow("failed", error=f"E{number}") for number in range(100_000))
    assert written == 1_000 + 10
    assert len(throttle._windows) <= 1_001


# ---------------------------------------------------------------- where it is used


def test_ten_thousand_failing_events_are_a_few_lines_and_ten_thousand_counted(clock):
    metrics = Metrics()
    with capture_logs() as lines:
        throttle = LogThrottle(now=clock)
        events = DeliveryTelemetry(metrics, throttle=throttle)
        for number in range(10_000):
            entry = JournalEntry(number, f"event-{number}", "run.enrolled", f"0qB{number}", b"{}")
            error = f"ClientError: {number} was refused"
            events.observe(AttemptFailed("crm", entry, 1, error, None, 500))
            events.observe(DeadLettered("crm", entry, 10, error, None))
        events.observe(AttemptFailed("crm", entry, 1, "TimeoutError: 30 s", None, 500))
        throttle.flush()
    assert [line["event"] for line in lines].count("handler_failed") == 11, "the other kind of error is told"
    assert [line["event"] for line in lines].count("dead_lettered") == 10
    left = {line["of"]: line["times"] for line in lines if line["event"] == "log_lines_suppressed"}
    assert left == {"handler_failed": 9_990, "dead_lettered": 9_990}
    assert metrics.registry.get_sample_value("cadence_handler_failed_total", {"handler": "crm"}) == 20_001


def test_a_flood_of_messages_that_cannot_be_understood_is_a_few_lines(clock):
    metrics = Metrics()
    with capture_logs() as lines:
        throttle = LogThrottle(now=clock)
        ingest = IngestTelemetry(metrics, Health([A], 0), clock, (A,), throttle)
        for number in range(500):
            ingest.observe(
                BadEventReceived(IngestDeadLetter(f"id-{number}", A, str(number), "no_header", "x", b"{}", 1))
            )
        throttle.flush()
    assert len(lines) == 11
    assert lines[-1] == {
        "event": "log_lines_suppressed", "log_level": "warning", "of": "bad_event", "channel": A, "reason": "no_header",
        "times": 490, "within_s": 60,
    }  # fmt: skip
    assert (
        metrics.registry.get_sample_value("cadence_bad_events_total", {"channel": A, "reason": "no_header"})
        == 500
    )
