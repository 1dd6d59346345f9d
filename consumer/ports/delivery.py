"""Delivery port: cursors, blocked runs, dead letters and handler commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, Protocol

from consumer.ports.lease import Tenure

__all__ = [
    "CursorStore",
    "HandlerCommand",
    "HandlerDeadLetter",
    "PendingCommands",
    "SavedBlockedRun",
    "SavedCursor",
]


@dataclass(frozen=True, slots=True)
class SavedCursor:
    """Stored cursor of a handler.

    Attributes:
        revision: grows by one with every change; compared by compare-and-set.
        data: encoded by delivery.
        through: highest acknowledged offset; a journal that ends before it has gone back in time, and the cursor is refused.
    """

    revision: int
    data: bytes
    through: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class HandlerDeadLetter:
    """Event on which a handler gave up.

    Attributes:
        handler: the handler's name in the settings.
        event_id: id of the event.
        offset: offset of the event in the journal.
        tracker_id: run of the event.
        type: type of the event.
        attempts: number of attempts made.
        error: the last failure, one line.
        at_ms: wall milliseconds at which the handler gave up.
        data: the event's JSON.
    """

    handler: str
    event_id: str
    offset: int
    tracker_id: str | None
    type: str
    attempts: int
    error: str
    at_ms: int
    data: bytes


@dataclass(frozen=True, slots=True)
class SavedBlockedRun:
    """Run with unacknowledged events, which the offset of one handler has passed.

    Attributes:
        tracker_id: the run; None for events that belong to no run.
        first: offset of the run's first unacknowledged entry; the journal keeps everything from here on.
        attempts: number of attempts made with that entry.
        due_ms: wall milliseconds before which the next attempt must not be made.
        error: failure of the last attempt, one line.
        done: offsets of the run's entries above ``first`` that are acknowledged, ascending.
    """

    tracker_id: str | None
    first: int
    attempts: int = 0
    due_ms: int = 0
    error: str = ""
    done: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class HandlerCommand:
    """Command of an operator to a handler, stored until completed or withdrawn.

    The holder of the lease executes it.

    Attributes:
        id: unique, without a slash.
        handler: the handler's name in the settings.
        kind: ``pause`` (deliver nothing until withdrawn) or ``replay`` (deliver a range of the journal again).
        at_ms: wall milliseconds at which the command was given.
        after: for a replay, the offset after which it begins.
        through: for a replay, its last offset.
    """

    id: str
    handler: str
    kind: Literal["pause", "replay"]
    at_ms: int
    after: int = 0
    through: int = 0

    @property
    def cursor(self) -> str:
        """Name of the cursor with a replay's progress; no handler's name has a slash."""
        return f"{self.handler}/{self.id}"


@dataclass(frozen=True, slots=True)
class PendingCommands:
    """Pending commands of one handler.

    Attributes:
        commands: the commands, oldest first.
        dead_letters: number of the handler's dead letters.
        redrives: number of those marked for redrive.
    """

    commands: tuple[HandlerCommand, ...] = ()
    dead_letters: int = 0
    redrives: int = 0


class CursorStore(Protocol):
    """Store operations of delivery."""

    async def cursor(self, handler: str) -> SavedCursor | None:
        """Load a handler's cursor; None for a new handler."""
        ...

    async def save_cursor(
        self,
        tenure: Tenure,
        handler: str,
        cursor: SavedCursor,
        dead_letters: Sequence[HandlerDeadLetter] = (),
        blocked_runs: Mapping[str | None, SavedBlockedRun | None] = MappingProxyType({}),
    ) -> None:
        """Write ``cursor`` with its dead letters and blocked runs, all or nothing.

        The stored revision must be one less than the cursor's; for the first, none may be stored. ``blocked_runs`` contains the rows that
        change; None removes a row. Writing the same revision with the same data again is a repetition, not a conflict.

        Raises:
            CommitRefused: the tenure is over, or the stored revision is another one; nothing was written.
            StoreUnavailable: the cursor may or may not have been written; send the same again.
        """
        ...

    async def cursors(self) -> dict[str, SavedCursor]:
        """Load every cursor by its handler's name."""
        ...

    async def blocked_runs(self, handler: str) -> list[SavedBlockedRun]:
        """Load a handler's blocked runs, the lowest first entry first."""
        ...

    async def handler_dead_letters(self, handler: str | None, limit: int) -> list[HandlerDeadLetter]:
        """Load the newest dead letters, oldest first; of all handlers with None."""
        ...

    async def redrive_dead_letters(self, handler: str, event_ids: Sequence[str]) -> None:
        """Mark dead letters for redrive; ids without a dead letter are ignored."""
        ...

    async def redrives(self, handler: str, limit: int) -> list[HandlerDeadLetter]:
        """Load the dead letters marked for redrive, in journal order."""
        ...

    async def resolve_dead_letters(
        self, handler: str, removed: Sequence[str], failed_again: Sequence[HandlerDeadLetter] = ()
    ) -> None:
        """Remove the dead letters ``removed``, and update those of ``failed_again``.

        Neither are marked for redrive afterwards.
        """
        ...

    async def pending_commands(self, handlers: Sequence[str]) -> dict[str, PendingCommands]:
        """Load the pending commands of these handlers."""
        ...

    async def put_command(self, command: HandlerCommand) -> None:
        """Store a command, replacing one with the same id."""
        ...

    async def remove_command(self, command: HandlerCommand, *, progress: bool = True) -> None:
        """Remove a completed or withdrawn command, with ``progress`` its cursor too.

        An operator's withdrawal of a replay leaves its progress to the holder of the lease, who may be about to write it.
        """
        ...

    async def was_done(self, handler: str, key: str, since_ms: int) -> bool:
        """Report whether a handler marked ``key`` at or after ``since_ms`` (wall clock)."""
        ...

    async def mark_done(self, handler: str, key: str, at_ms: int, since_ms: int) -> None:
        """Mark ``key`` for a handler, as of ``at_ms``.

        Marks from before ``since_ms`` are dropped, as are all but the newest million.
        """
        ...

    async def forget_handler(self, handler: str) -> None:
        """Remove a handler's cursor, blocked runs, commands, marks and dead letters.

        If the handler is running, its next save is refused.
        """
        ...
