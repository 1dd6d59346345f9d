"""What a failed attempt leads to: a pure question with a value for an answer.

First an exception becomes an *outcome* (what happened), then the policy turns attempt and outcome into a *decision* (what to do). Neither
knows a clock or a random generator: delays are answers in whole milliseconds, and jitter is an argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from consumer.backoff import Backoff
from consumer.plugin import Disable, Failed, Reject, Retry

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
ATTEMPT_BACKOFF = Backoff(500, 300_000, shortest=0.5)
"""Between two attempts of an event, unless its handler asks for another wait."""


# ---------------------------------------------------------------- outcomes


@dataclass(frozen=True, slots=True)
class Success:
    """The handler is done with the event."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The attempt failed.

    Attributes:
        error: one line.
        after_ms: how long the handler asked to wait at least; None when it did not say.
        cause: what was raised, for a log's traceback; None where the handler gave a sentence.
    """

    error: str
    after_ms: int | None = None
    cause: BaseException | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class BatchFailed:
    """The batch failed as a whole, which says nothing of this event: it deserves an attempt alone.

    Attributes:
        error: one line.
        after_ms: how long the handler asked to wait at least; None when it did not say.
        cause: what was raised, for a log's traceback; None where the handler gave a sentence.
    """

    error: str
    after_ms: int | None = None
    cause: BaseException | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Rejection:
    """The handler will never take this event.

    Attributes:
        error: one line.
        cause: what was raised, for a log's traceback.
    """

    error: str
    cause: BaseException | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Disabled:
    """The handler says that no event can succeed.

    Attributes:
        error: one line.
        cause: what was raised.
    """

    error: str
    cause: BaseException | None = field(default=None, compare=False)


Outcome = Success | Failure | BatchFailed | Rejection | Disabled


def outcomes(event_ids: Sequence[str], error: BaseException | None) -> list[Outcome]:
    """What a call with these events came to, one outcome per event in their order.

    Args:
        event_ids: of the events of the call, one or a batch.
        error: what the call raised; None when it returned.
    """
    if error is None:
        return [Success()] * len(event_ids)
    if isinstance(error, Failed):
        unknown = error.why.keys() - set(event_ids)
        if not unknown:
            return [
                _outcome_of(error.why[event_id]) if event_id in error.why else Success()
                for event_id in event_ids
            ]
        # Believing "the rest succeeded" would lose the event that was meant.
        error = ValueError(f"Failed names an event that is not in the batch: {min(unknown)}")
    if len(event_ids) == 1 or isinstance(error, Disable):
        return [_outcome_of(error)] * len(event_ids)
    requested_ms = error.after_ms if isinstance(error, Retry) else None
    return [BatchFailed(one_line(error), requested_ms, error)] * len(event_ids)


def _outcome_of(why: str | BaseException) -> Outcome:
    if isinstance(why, Reject):
        return Rejection(one_line(why), why)
    if isinstance(why, Disable):
        return Disabled(one_line(why), why)
    requested_ms = why.after_ms if isinstance(why, Retry) else None
    return Failure(one_line(why), requested_ms, None if isinstance(why, str) else why)


def one_line(why: str | BaseException) -> str:
    """The first line of a sentence or an exception, with the exception's type where it is not a word of the plugin API."""
    text = str(why).strip().partition("\n")[0][:MAX_LINE_LENGTH]
    if isinstance(why, str | Retry | Reject | Disable):
        return text or "no reason given"
    return f"{type(why).__name__}: {text}" if text else type(why).__name__


# ---------------------------------------------------------------- decisions


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """The event is settled."""


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Another attempt, ``after_ms`` milliseconds from now."""

    after_ms: int


@dataclass(frozen=True, slots=True)
class Block:
    """Attempts are used up and the handler must not go on without this event: another attempt, ``after_ms`` milliseconds from now."""

    after_ms: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Keep the event aside, with ``reason``, and go on."""

    reason: str


@dataclass(frozen=True, slots=True)
class Skip:
    """Attempts are used up and the user chose to go on without the event."""

    reason: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Give the handler no more events; this one stays unsettled."""

    reason: str


Decision = Acknowledge | RetryLater | Block | DeadLetter | Skip | Stop


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, how long, and then what.

    Attributes:
        max_attempts: attempts after which ``on_failure`` decides; what a :class:`~consumer.plugin.Reject` says goes before it.
        on_failure: keep aside and go on, stay at it, or go on without.
    """

    max_attempts: int
    on_failure: OnFailure

    def decide(self, attempt: int, outcome: Outcome, jitter: float) -> Decision:
        """What to do.

        Args:
            attempt: which attempt this was, from 1.
            outcome: what it came to.
            jitter: in [0, 1).
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
