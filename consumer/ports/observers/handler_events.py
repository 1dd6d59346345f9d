"""Observer events of a handler; ``handler`` is its name in the settings."""

from __future__ import annotations

from dataclasses import dataclass

from consumer.ports.journal import JournalEntry

__all__ = [
    "CancellationIgnored",
    "CursorSaved",
    "CursorUnsaved",
    "HandlerCloseFailed",
    "HandlerDisabled",
    "HandlerEvent",
    "HandlerHalted",
    "HandlerOpenFailed",
    "HandlerOpened",
    "HandlerPaused",
    "HandlerResumed",
    "HandlerStoreUnreachable",
    "OffsetOutOfRange",
    "ReplayEnded",
    "ReplayStarted",
]


@dataclass(frozen=True, slots=True)
class HandlerOpened:
    """A handler is open and continues after ``offset``."""

    handler: str
    offset: int


@dataclass(frozen=True, slots=True)
class HandlerOpenFailed:
    """A handler's ``open`` raised or took too long.

    It is called again after ``retry_after_ms`` milliseconds.
    """

    handler: str
    exception: BaseException
    retry_after_ms: int


@dataclass(frozen=True, slots=True)
class HandlerCloseFailed:
    """A handler's ``close`` raised or took too long; the handler counts as closed."""

    handler: str
    exception: BaseException


@dataclass(frozen=True, slots=True)
class CancellationIgnored:
    """A call of a handler continues although it was cancelled."""

    handler: str


@dataclass(frozen=True, slots=True)
class HandlerPaused:
    """An operator paused a handler; no attempts until :class:`HandlerResumed`."""

    handler: str


@dataclass(frozen=True, slots=True)
class HandlerHalted:
    """A handler has reached its dead-letter limit.

    It makes no attempts until :class:`HandlerResumed`.

    Attributes:
        handler: its name in the settings.
        dead_letters: number of its dead letters.
        limit: highest number that the settings allow.
    """

    handler: str
    dead_letters: int
    limit: int


@dataclass(frozen=True, slots=True)
class HandlerResumed:
    """A pause or a halt is over."""

    handler: str


@dataclass(frozen=True, slots=True)
class HandlerDisabled:
    """A handler asked to be stopped.

    It gets no more events until it is paused and resumed, or started again.

    Attributes:
        handler: its name in the settings.
        entry: the event during which it asked.
        error: the handler's own words, one line.
    """

    handler: str
    entry: JournalEntry
    error: str


# ---------------------------------------------------------------- replays, cursors


@dataclass(frozen=True, slots=True)
class ReplayStarted:
    """Events are delivered again, or the rest of them after a restart.

    Attributes:
        handler: its name in the settings.
        command_id: the operator's command.
        after: offset before the first of them.
        through: offset of the last.
    """

    handler: str
    command_id: str
    after: int
    through: int


@dataclass(frozen=True, slots=True)
class ReplayEnded:
    """A replay is complete, or was cancelled.

    Attributes:
        handler: its name in the settings.
        command_id: the operator's command.
        offset: everything up to here was delivered again.
        cancelled: whether an operator cancelled it.
    """

    handler: str
    command_id: str
    offset: int
    cancelled: bool


@dataclass(frozen=True, slots=True)
class OffsetOutOfRange:
    """Retention removed entries before the handler read them.

    They lie between ``after`` and ``first``.
    """

    handler: str
    after: int
    first: int


@dataclass(frozen=True, slots=True)
class CursorSaved:
    """A handler's cursor was saved.

    Attributes:
        handler: its name in the settings.
        offset: everything up to here is acknowledged, apart from blocked runs.
        lag: number of journal entries after it.
        blocked_runs: number of runs that wait for another attempt.
        dead_letters: number of its dead letters.
    """

    handler: str
    offset: int
    lag: int
    blocked_runs: int
    dead_letters: int


@dataclass(frozen=True, slots=True)
class CursorUnsaved:
    """The grace period ended before the cursor was saved.

    Events after ``offset`` are delivered again after the next start.
    """

    handler: str
    offset: int


@dataclass(frozen=True, slots=True)
class HandlerStoreUnreachable:
    """Reading or saving for a handler failed.

    It is repeated after ``retry_after_ms`` milliseconds.
    """

    handler: str
    exception: BaseException
    retry_after_ms: int


HandlerEvent = (
    HandlerOpened
    | HandlerOpenFailed
    | HandlerCloseFailed
    | CancellationIgnored
    | HandlerPaused
    | HandlerHalted
    | HandlerResumed
    | HandlerDisabled
    | ReplayStarted
    | ReplayEnded
    | OffsetOutOfRange
    | CursorSaved
    | CursorUnsaved
    | HandlerStoreUnreachable
)
"""Any event of a handler's life."""
