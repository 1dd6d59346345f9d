"""Observer events of delivery; ``handler`` is a name in the settings."""

from __future__ import annotations

from dataclasses import dataclass

from consumer.ports.journal import JournalEntry
from consumer.ports.observers.handler_events import HandlerEvent

__all__ = [
    "AttemptFailed",
    "CallInterrupted",
    "DeadLettered",
    "DeliveryEvent",
    "DeliveryRecovered",
    "EventFiltered",
    "EventSkipped",
    "HandlerCallFinished",
    "RunBlocked",
]


@dataclass(frozen=True, slots=True)
class HandlerCallFinished:
    """A handler call returned or raised.

    Attributes:
        handler: its name in the settings.
        duration_ms: milliseconds that the call took.
        delivered: number of events that the handler acknowledged; without batches 0 or 1.
    """

    handler: str
    duration_ms: int
    delivered: int


@dataclass(frozen=True, slots=True)
class DeliveryRecovered:
    """A handler acknowledged an event that had failed before.

    Attributes:
        handler: its name in the settings.
        event_type: lifecycle event type.
        attempt: number of the attempt that succeeded.
    """

    handler: str
    event_type: str
    attempt: int


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """An attempt failed and will be retried.

    Attributes:
        handler: its name in the settings.
        entry: the event.
        attempt: number of the attempt that failed.
        error: one line.
        exception: the exception raised; None where the handler returned a sentence.
        retry_after_ms: milliseconds until the next attempt.
    """

    handler: str
    entry: JournalEntry
    attempt: int
    error: str
    exception: BaseException | None
    retry_after_ms: int


@dataclass(frozen=True, slots=True)
class RunBlocked:
    """The last attempt failed, and the run is held back until the event succeeds.

    Attributes:
        handler: its name in the settings.
        entry: the event.
        attempt: number of the attempt that failed.
        error: one line.
        exception: the exception raised; None where the handler returned a sentence.
        retry_after_ms: milliseconds until the next attempt.
    """

    handler: str
    entry: JournalEntry
    attempt: int
    error: str
    exception: BaseException | None
    retry_after_ms: int


@dataclass(frozen=True, slots=True)
class DeadLettered:
    """A handler gave an event up; it is stored as a dead letter.

    It is written in the same transaction as the cursor that passes it.

    Attributes:
        handler: its name in the settings.
        entry: the event.
        attempts: number of attempts made.
        error: one line.
        exception: the exception raised; None where the handler returned a sentence.
    """

    handler: str
    entry: JournalEntry
    attempts: int
    error: str
    exception: BaseException | None


@dataclass(frozen=True, slots=True)
class EventSkipped:
    """All attempts failed, and ``on_failure = "skip"`` continues without the event.

    Attributes:
        handler: its name in the settings.
        entry: the event.
        attempts: number of attempts made.
        error: one line.
        exception: the exception raised; None where the handler returned a sentence.
    """

    handler: str
    entry: JournalEntry
    attempts: int
    error: str
    exception: BaseException | None


@dataclass(frozen=True, slots=True)
class EventFiltered:
    """An event of a selected type was left out.

    Attributes:
        handler: its name in the settings.
        event_type: lifecycle event type.
        reason: ``origin``, ``own_change``, ``max_age`` or ``predicate``.
    """

    handler: str
    event_type: str
    reason: str


@dataclass(frozen=True, slots=True)
class CallInterrupted:
    """The stop cancelled a call; ``entry`` is delivered again after the next start."""

    handler: str
    entry: JournalEntry


DeliveryEvent = (
    HandlerCallFinished
    | DeliveryRecovered
    | AttemptFailed
    | RunBlocked
    | DeadLettered
    | EventSkipped
    | EventFiltered
    | CallInterrupted
    | HandlerEvent
)
"""Any event of delivery, its handlers' lives included."""
