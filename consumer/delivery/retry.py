"""Outcomes of attempts, and the decisions that follow from them.

First an exception becomes an *outcome* (what happened), then the policy turns attempt and outcome into a *decision* (what to do). Neither
knows a clock or a random generator: delays are results in whole milliseconds, and jitter is an argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from consumer.backoff import Backoff
from consumer.plugin import Disable, Failed, Reject, Retry
from consumer.safe_text import text_of

__all__ = [
    "Acknowledge",
    "BatchFailed",
    "Block",
    "DeadLetter",
    "Decision",
    "Disabled",
    "Failure",
    "OnFailure",
    "Outcome",
    "Rejection",
    "RetryLater",
    "RetryPolicy",
    "Skip",
    "Stop",
    "Success",
    "one_line",
    "outcomes",
]

OnFailure = Literal["dead_letter", "block", "skip"]

MAX_LINE_LENGTH = 500
MAX_RETRY_AFTER_MS = 366 * 86_400_000
"""Longest wait that a handler may ask for: a year."""
ATTEMPT_BACKOFF = Backoff(500, 300_000, shortest=0.5)
"""Wait between two attempts with an event, unless its handler asks for another."""


# ---------------------------------------------------------------- outcomes


@dataclass(frozen=True, slots=True)
class Success:
    """Success of the attempt: the handler returned."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Failure of the attempt with this event.

    Attributes:
        error: error, one line.
        after_ms: wait that the handler asked for, in milliseconds; None when it asked for none.
        cause: exception, for the traceback in the log; None where the handler gave a sentence.
    """

    error: str
    after_ms: int | None = None
    cause: BaseException | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class BatchFailed:
    """Failure of the batch as a whole, which says nothing about this event.

    The next attempt with the event is made alone.

    Attributes:
        error: error, one line.
        after_ms: wait that the handler asked for, in milliseconds; None when it asked for none.
        cause: exception, for the traceback in the log; None where the handler gave a sentence.
    """

    error: str
    after_ms: int | None = None
    cause: BaseException | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Rejection:
    """Rejection of the event for good.

    Attributes:
        error: error, one line.
        cause: exception, for the traceback in the log.
    """

    error: str
    cause: BaseException | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Disabled:
    """Request of the handler to be disabled, because no event can succeed.

    Attributes:
        error: error, one line.
        cause: exception.
    """

    error: str
    cause: BaseException | None = field(default=None, compare=False)


Outcome = Success | Failure | BatchFailed | Rejection | Disabled


def outcomes(event_ids: Sequence[str], error: BaseException | None) -> list[Outcome]:
    """Outcomes of one call, one per event and in the same order.

    Args:
        event_ids: ids of the events of the call, one or a batch.
        error: exception that the call raised; None when it returned.
    """
    if error is None:
        return [Success()] * len(event_ids)
    try:
        return _outcomes_of(event_ids, error)
    except BaseException as broken:  # noqa: BLE001 - attributes of a foreign exception can be anything, or missing
        return _outcomes_of(event_ids, RuntimeError(f"{one_line(error)} (unusable: {one_line(broken)})"))


def _outcomes_of(event_ids: Sequence[str], error: BaseException) -> list[Outcome]:
    if isinstance(error, Failed):
        unknown = error.why.keys() - set(event_ids)
        if not unknown:
            return [
                _outcome_of(error.why[event_id]) if event_id in error.why else Success()
                for event_id in event_ids
            ]
        # The whole batch fails: to believe that the rest succeeded would lose the event whose id was meant.
        error = ValueError(f"Failed names an event that is not in the batch: {min(unknown)}")
    if len(event_ids) == 1 or isinstance(error, Disable):
        return [_outcome_of(error)] * len(event_ids)
    return [BatchFailed(one_line(error), _requested_ms(error), error)] * len(event_ids)


def _outcome_of(why: str | BaseException) -> Outcome:
    if isinstance(why, Reject):
        return Rejection(one_line(why), why)
    if isinstance(why, Disable):
        return Disabled(one_line(why), why)
    return Failure(one_line(why), _requested_ms(why), why if isinstance(why, BaseException) else None)


def _requested_ms(why: str | BaseException) -> int | None:
    if not isinstance(why, Retry) or why.after_ms is None:
        return None
    return min(max(0, int(why.after_ms)), MAX_RETRY_AFTER_MS)


def one_line(why: str | BaseException) -> str:
    """Return the first line of a sentence or an exception.

    The type of an exception is put before it, unless it is one of the plugin API. The line can be stored and logged whatever the handler
    has raised: what UTF-8 cannot encode is escaped, and an exception whose text cannot be had is named.
    """
    text = text_of(why).strip().partition("\n")[0][:MAX_LINE_LENGTH]
    if isinstance(why, str | Retry | Reject | Disable):
        return text or "no reason given"
    return f"{type(why).__name__}: {text}" if text else type(why).__name__


# ---------------------------------------------------------------- decisions


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Acknowledge the event."""


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Make another attempt, ``after_ms`` milliseconds from now."""

    after_ms: int


@dataclass(frozen=True, slots=True)
class Block:
    """Make another attempt although all are used up.

    The run must not continue without the event.

    Attributes:
        after_ms: milliseconds until that attempt.
    """

    after_ms: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Make the event a dead letter, with ``reason``, and continue with its run."""

    reason: str


@dataclass(frozen=True, slots=True)
class Skip:
    """Continue without the event, whose attempts are used up, as the settings say."""

    reason: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Disable the handler; the event stays unacknowledged."""

    reason: str


Decision = Acknowledge | RetryLater | Block | DeadLetter | Skip | Stop


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Retry policy of one handler: attempts, waits between them, and the end.

    Attributes:
        max_attempts: number of attempts after which ``on_failure`` decides; a :class:`~consumer.plugin.Reject` decides at once.
        on_failure: make it a dead letter, keep its run blocked, or skip it.
    """

    max_attempts: int
    on_failure: OnFailure

    def decide(self, attempt: int, outcome: Outcome, jitter: float) -> Decision:
        """Decide what follows from an attempt.

        Args:
            attempt: number of the attempt, from 1.
            outcome: outcome of the attempt.
            jitter: jitter in [0, 1).
        """
        match outcome:
            case Success():
                return Acknowledge()
            case Rejection(error):
                return DeadLetter(error)
            case Disabled(error):
                return Stop(error)
            case BatchFailed(after_ms=requested_ms):
                return RetryLater(self._delay_ms(attempt, requested_ms, jitter))
            case Failure(error, requested_ms):
                if attempt < self.max_attempts:
                    return RetryLater(self._delay_ms(attempt, requested_ms, jitter))
                if self.on_failure == "block":
                    return Block(self._delay_ms(attempt, requested_ms, jitter))
                if self.on_failure == "skip":
                    return Skip(error)
                return DeadLetter(error)

    def _delay_ms(self, attempt: int, requested_ms: int | None, jitter: float) -> int:
        if requested_ms is not None:
            return requested_ms
        return ATTEMPT_BACKOFF.delay_ms(attempt, jitter)
