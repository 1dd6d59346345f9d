"""State of a handler, with one table of the causes that stop it and their ends.

Several causes can stop a handler at once: an operator pauses a handler that its dead-letter limit has halted. Each cause has its own end,
and the handler runs again when the last cause has ended. Its state is that of the cause with the highest precedence.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from consumer.ports.journal import JournalEntry
from consumer.ports.observers.delivery_events import DeliveryEvent
from consumer.ports.observers.handler_events import (
    CancellationIgnored,
    HandlerDisabled,
    HandlerHalted,
    HandlerOpened,
    HandlerOpenFailed,
    HandlerPaused,
    HandlerResumed,
)
from consumer.ports.observers.observer import Observer

__all__ = ["STOP_CAUSES", "HandlerState", "HandlerStateMachine", "StopCause", "Trigger"]


class HandlerState(Enum):
    """State of a handler.

    A handler that is not running makes no attempts, and its events wait in the journal.
    """

    RUNNING = "running"
    PAUSED = "paused"
    HALTED = "halted"
    DISABLED = "disabled"
    STUCK = "stuck"
    OPENING_FAILED = "opening failed"


class Trigger(Enum):
    """Event that begins or ends a cause."""

    PAUSE = "an operator pauses the handler"
    RESUME = "an operator resumes the handler"
    LIMIT_REACHED = "the handler has `dead_letter_limit` dead letters"
    BELOW_LIMIT = "dead letters were redriven or discarded, and fewer than the limit are left"
    DISABLE = "the handler raises Disable"
    CANCELLATION_IGNORED = "a call of the handler continues although it was cancelled"
    CALLS_ENDED = "all such calls have ended"
    OPEN_FAILED = "the handler's `open` raises or takes too long"
    OPENED = "the handler is open"


@dataclass(frozen=True, slots=True)
class StopCause:
    """Reason for which a handler is stopped.

    Attributes:
        state: state of the handler while no cause of higher precedence holds.
        begins_with: trigger that begins the cause.
        ends_with: trigger that ends it.
    """

    state: HandlerState
    begins_with: Trigger
    ends_with: Trigger


STOP_CAUSES = (
    # Highest precedence first: all but paused make the service unready, a pause is what an operator wanted.
    # After a restart: a halted or paused handler does not run, for the store has its dead letters and the pause command; any other runs
    # again, for nothing is stored.
    StopCause(HandlerState.OPENING_FAILED, begins_with=Trigger.OPEN_FAILED, ends_with=Trigger.OPENED),
    StopCause(HandlerState.STUCK, begins_with=Trigger.CANCELLATION_IGNORED, ends_with=Trigger.CALLS_ENDED),
    StopCause(HandlerState.DISABLED, begins_with=Trigger.DISABLE, ends_with=Trigger.RESUME),
    StopCause(HandlerState.HALTED, begins_with=Trigger.LIMIT_REACHED, ends_with=Trigger.BELOW_LIMIT),
    StopCause(HandlerState.PAUSED, begins_with=Trigger.PAUSE, ends_with=Trigger.RESUME),
)


class HandlerStateMachine:
    """Current state of one handler; notifies the observer of every change.

    Args:
        handler: name in the settings.
        dead_letter_limit: number of dead letters at which the handler is halted.
        observer: notified of pause, halt, disable and their ends.

    Attributes:
        state: current state.
    """

    def __init__(self, handler: str, dead_letter_limit: int, observer: Observer[DeliveryEvent]) -> None:
        self.state = HandlerState.RUNNING
        self._handler = handler
        self._dead_letter_limit = dead_letter_limit
        self._dead_letters = 0
        self._stuck_calls = 0
        self._observer = observer
        self._causes: set[HandlerState] = set()

    @property
    def is_at_dead_letter_limit(self) -> bool:
        """True when the next dead letter would be one too many."""
        return self._dead_letters >= self._dead_letter_limit

    def update(self, *, paused: bool, dead_letters: int) -> None:
        """Apply what the store says: pauses, halts, and ends of both.

        Args:
            paused: whether there is a pause command.
            dead_letters: number of dead letters, those to be redriven not counted.
        """
        self._dead_letters = dead_letters
        if paused != (HandlerState.PAUSED in self._causes):
            self._apply(Trigger.PAUSE if paused else Trigger.RESUME)
            self._notify()
        if self.is_at_dead_letter_limit:
            self.halt()
        elif HandlerState.HALTED in self._causes:
            self._apply(Trigger.BELOW_LIMIT)
            self._notify()

    def add_dead_letter(self) -> None:
        """Count a dead letter that the store does not have yet."""
        self._dead_letters += 1

    def halt(self) -> None:
        """Halt the handler at its dead-letter limit."""
        if HandlerState.HALTED not in self._causes:
            self._apply(Trigger.LIMIT_REACHED)
            self._notify()

    def disable(self, entry: JournalEntry, reason: str) -> None:
        """Disable the handler, as it asked to be with ``entry``."""
        if HandlerState.DISABLED not in self._causes:
            self._apply(Trigger.DISABLE)
            self._observer.observe(HandlerDisabled(self._handler, entry, reason))

    def opening_failed(self, error: BaseException, retry_after_ms: int) -> None:
        """Stop the handler until it is open.

        Its ``open`` is called again after ``retry_after_ms`` milliseconds.
        """
        self._apply(Trigger.OPEN_FAILED)
        self._observer.observe(HandlerOpenFailed(self._handler, error, retry_after_ms))

    def opened(self, offset: int) -> None:
        """Start the handler, which is open and continues after ``offset``."""
        had_failed = HandlerState.OPENING_FAILED in self._causes
        self._apply(Trigger.OPENED)
        self._observer.observe(HandlerOpened(self._handler, offset))
        if had_failed:
            self._notify()

    def cancellation_ignored(self) -> None:
        """Stop the handler until the call that ignores its cancellation has ended."""
        self._stuck_calls += 1
        self._apply(Trigger.CANCELLATION_IGNORED)
        self._observer.observe(CancellationIgnored(self._handler))

    def stuck_call_ended(self) -> None:
        """Start the handler again when no other call ignores its cancellation."""
        self._stuck_calls -= 1
        if not self._stuck_calls:
            self._apply(Trigger.CALLS_ENDED)
            self._notify()

    def _apply(self, trigger: Trigger) -> None:
        for cause in STOP_CAUSES:
            if trigger is cause.begins_with:
                self._causes.add(cause.state)
            elif trigger is cause.ends_with:
                self._causes.discard(cause.state)
        self.state = next(
            (cause.state for cause in STOP_CAUSES if cause.state in self._causes), HandlerState.RUNNING
        )

    def _notify(self) -> None:
        if self.state in (HandlerState.RUNNING, HandlerState.PAUSED):
            # Before a pause as well: a handler that is paused and halted no longer leaves the service ready.
            self._observer.observe(HandlerResumed(self._handler))
        if HandlerState.PAUSED in self._causes:
            self._observer.observe(HandlerPaused(self._handler))
        if HandlerState.HALTED in self._causes:
            self._observer.observe(HandlerHalted(self._handler, self._dead_letters, self._dead_letter_limit))
