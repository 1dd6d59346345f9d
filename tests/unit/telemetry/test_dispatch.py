"""Every observer event has its method, and an event of another area has none."""

from typing import get_args

import pytest
import structlog

from consumer.ports.observers.delivery_events import DeliveryEvent
from consumer.ports.observers.ingest_events import ChangesHeld, IngestEvent
from consumer.ports.observers.retention_events import JournalWithinLimits, RetentionEvent
from consumer.ports.observers.service_events import ServiceEvent
from consumer.ports.observers.session_events import SessionEvent
from consumer.telemetry.delivery_telemetry import DeliveryTelemetry
from consumer.telemetry.health import Health
from consumer.telemetry.ingest_telemetry import IngestTelemetry
from consumer.telemetry.metrics import Metrics
from consumer.telemetry.retention_telemetry import RetentionTelemetry
from consumer.telemetry.service_telemetry import ServiceTelemetry
from consumer.telemetry.session_telemetry import SessionTelemetry

A = "/data/ChangeEvents"


class Clock:
    def monotonic_ms(self):
        return 0

    def wall_ms(self):
        return 0


@pytest.fixture
def observers():
    structlog.reset_defaults()
    metrics, health, clock = Metrics(), Health([A], 0), Clock()
    return {
        DeliveryEvent: DeliveryTelemetry(metrics, health),
        IngestEvent: IngestTelemetry(metrics, health, clock, (A,)),
        RetentionEvent: RetentionTelemetry(metrics, health),
        ServiceEvent: ServiceTelemetry(metrics, health, clock),
        SessionEvent: SessionTelemetry(metrics, health, clock, (A,)),
    }


def test_every_event_of_an_area_has_a_method_and_no_other_event_has(observers):
    for area, observer in observers.items():
        assert set(get_args(area)) == set(observer._methods), area


def test_an_event_of_another_area_is_an_error(observers):
    for area, observer in observers.items():
        with pytest.raises(KeyError):
            observer.observe(ChangesHeld(0) if area is not IngestEvent else JournalWithinLimits())


def test_events_are_immutable_and_have_slots():
    areas = (DeliveryEvent, IngestEvent, RetentionEvent, ServiceEvent, SessionEvent)
    for event_type in {kind for area in areas for kind in get_args(area)}:
        assert event_type.__dataclass_params__.frozen, event_type
        assert "__slots__" in vars(event_type), event_type
