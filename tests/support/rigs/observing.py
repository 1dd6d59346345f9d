"""Observers for tests: one that records every event and can be asked by type, and one that ignores all."""

from collections import defaultdict
from dataclasses import fields
from typing import Any, TypeVar, get_args

from consumer.ports.journal import JournalEntry
from consumer.ports.observers.delivery_events import DeliveryEvent
from consumer.ports.observers.ingest_events import IngestEvent
from consumer.ports.observers.retention_events import RetentionEvent
from consumer.ports.observers.service_events import ServiceEvent
from consumer.ports.observers.session_events import SessionEvent

E = TypeVar("E")

EVENT_TYPES = frozenset(get_args(DeliveryEvent | IngestEvent | RetentionEvent | ServiceEvent | SessionEvent))


class Recorder:
    """Keeps every event; one that is in no union of ``consumer.ports.observers`` is an error."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        """Every event, in order."""
        self._events: dict[type[Any], list[Any]] = defaultdict(list)

    def observe(self, event: object) -> None:
        assert type(event) in EVENT_TYPES, f"{event} is not an observer event"
        self.seen.append(event)
        self._events[type(event)].append(event)

    def of(self, event_type: type[E]) -> list[E]:
        """Events of this type, in their order."""
        return list(self._events[event_type])

    def facts(self, event_type: type[Any]) -> list[tuple[Any, ...]]:
        """Their fields as tuples, with the ids of journal entries in place of the entries."""
        names = [field.name for field in fields(event_type)]
        return [tuple(_short(getattr(event, name)) for name in names) for event in self._events[event_type]]

    def count(self, event_type: type[Any], handler: str | None = None) -> int:
        """Number of events of this type, of one handler or of all."""
        return sum(handler in (None, getattr(event, "handler", None)) for event in self._events[event_type])

    def clear(self, event_type: type[Any]) -> None:
        """Forget the events of this type."""
        self._events[event_type].clear()


class Ignore:
    """Observer that keeps nothing."""

    def observe(self, event: object) -> None: ...


def _short(fact: Any) -> Any:
    return fact.id if isinstance(fact, JournalEntry) else fact
