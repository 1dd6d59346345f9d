"""Delivery: cursors, blocked runs, dead letters and handler commands of a store."""

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
    """A handler's place as stored.

    Attributes:
        revision: grows by one with every change; what compare-and-set compares.
        data: encoded by the delivery half.
        through: the highest offset that it calls settled; a journal that ends before has gone back in time, and the place is refused.
    """

    revision: int
    data: bytes
    through: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class HandlerDeadLetter:
    """An event that a handler gave up on.

    Attributes:
        handler: its name in the settings.
        event_id: of the event.
        offset: of the event in the journal.
        tracker_id: of the event.
        type: of the event.
        attempts: how many were made.
        error: the last failure, one line.
        at_ms: wall milliseconds.
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
    """A run whose events one handler is not done with, while the handler's offset goes on.

    Attributes:
        tracker_id: the run; None stands for what belongs to no run.
        first: its first unsettled entry; the journal keeps everything from here on.
        attempts: made so far with that entry.
        due_ms: wall milliseconds before which no other attempt is to be made.
        error: what the last attempt came to, one line.
        done: entries of the run above ``first`` that are settled all the same, ascending.
    """

    tracker_id: str | None
    first: int
    attempts: int = 0
    due_ms: int = 0
    error: str = ""
    done: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class HandlerCommand:
    """What somebody asked of a handler, kept until it is carried out or taken back; whoever holds the lease carries it out.

    Attributes:
        id: unique, without a slash.
        handler: its name in the settings.
        kind: ``pause`` (take nothing until it is taken back) or ``replay`` (deliver a stretch of the journal again).
        at_ms: wall milliseconds when it was given.
        after: of a replay: the offset after which it begins.
        through: of a replay: its last offset.
    """

    id: str
    handler: str
    kind: Literal["pause", "replay"]
    at_ms: int
    after: int = 0
    through: int = 0

    @property
    def cursor(self) -> str:
        """Under which name the progress of a replay is kept: no handler's name has a slash."""
        return f"{self.handler}/{self.id}"


@dataclass(frozen=True, slots=True)
class PendingCommands:
    """What is asked of one handler.

    Attributes:
        commands: the oldest first.
        dead_letters: how many it has.
        redrives: how many of them are to be delivered again.
    """

    commands: tuple[HandlerCommand, ...] = ()
    dead_letters: int = 0
    redrives: int = 0


class CursorStore(Protocol):
    """Where handlers are."""

    async def cursor(self, handler: str) -> SavedCursor | None:
        """Its place; None for a new handler."""
        ...

    async def save_cursor(
        self,
        tenure: Tenure,
        handler: str,
        cursor: SavedCursor,
        dead_letters: Sequence[HandlerDeadLetter] = (),
        blocked_runs: Mapping[str | None, SavedBlockedRun | None] = MappingProxyType({}),
    ) -> None:
        """Write ``cursor`` with its dead letters and rows, all or nothing, if the stored revision is one less (none, for the first).

        ``blocked_runs`` names the rows that change, None removes one.

        Writing the same revision with the same data again is a repetition, not a conflict.

        Raises:
            CommitRefused: the tenure is over, or the stored revision is another one; nothing was written.
            StoreUnavailable: whether it was written is unknown; send the same again.
        """
        ...

    async def cursors(self) -> dict[str, SavedCursor]:
        """Every handler that ever had a place."""
        ...

    async def blocked_runs(self, handler: str) -> list[SavedBlockedRun]:
        """The runs that are parked for it, the one with the lowest entry first."""
        ...

    async def handler_dead_letters(self, handler: str | None, limit: int) -> list[HandlerDeadLetter]:
        """The newest, oldest first; of all handlers with None."""
        ...

    async def redrive_dead_letters(self, handler: str, event_ids: Sequence[str]) -> None:
        """Ask for these to be delivered again; ids without a letter are passed over."""
        ...

    async def redrives(self, handler: str, limit: int) -> list[HandlerDeadLetter]:
        """Those that are to be delivered again, in journal order."""
        ...

    async def resolve_dead_letters(
        self, handler: str, removed: Sequence[str], failed_again: Sequence[HandlerDeadLetter] = ()
    ) -> None:
        """Remove the letters with the ids ``removed``; keep those of ``failed_again``, as they are now, and deliver them again no more."""
        ...

    async def pending_commands(self, handlers: Sequence[str]) -> dict[str, PendingCommands]:
        """What is asked of these handlers."""
        ...

    async def put_command(self, command: HandlerCommand) -> None:
        """Ask something of a handler; an order of the same id is replaced."""
        ...

    async def remove_command(self, command: HandlerCommand, *, progress: bool = True) -> None:
        """It is carried out, or taken back; with ``progress`` what is known of that goes too.

        Whoever takes a replay back leaves its progress to the holder of the lease, who may be about to write it.
        """
        ...

    async def was_done(self, handler: str, key: str, since_ms: int) -> bool:
        """Whether a handler has marked ``key`` at or after these wall milliseconds."""
        ...

    async def mark_done(self, handler: str, key: str, at_ms: int, since_ms: int) -> None:
        """Mark ``key`` for a handler, as of ``at_ms``; what was marked before ``since_ms`` goes, and all but the newest million."""
        ...

    async def forget_handler(self, handler: str) -> None:
        """Remove its place, blocked runs, commands, marks and dead letters. Where it is running, its next save is refused."""
        ...
