"""Commit: one transaction of states, journal, timers, tasks and positions; and what ingest reads back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

__all__ = [
    "ChannelState",
    "CheckpointStore",
    "Commit",
    "Epoch",
    "IngestDeadLetter",
    "IngestStore",
    "JournalRecord",
    "PastPosition",
]


@dataclass(frozen=True, slots=True)
class ChannelState:
    """What is remembered of one channel.

    Attributes:
        birth_ms: Salesforce time of its first acknowledged subscription; changes committed 60 s before it are ignored.
        position: the checkpoint, an opaque replay id; None until one is finished.
        position_ms: wall milliseconds when ``position`` last moved.
        polled_through_ms: Salesforce time up to which polls were answered without interruption.
        commit_number: the greatest that had arrived then, of the newest epoch; what a restart of numbers is noticed by.
    """

    birth_ms: int
    position: str | None = None
    position_ms: int | None = None
    polled_through_ms: int | None = None
    commit_number: int | None = None


@dataclass(frozen=True, slots=True)
class PastPosition:
    """Where a channel once was.

    Attributes:
        channel: which.
        position: its checkpoint then.
        at_ms: wall milliseconds.
        offset: the journal's end then.
    """

    channel: str
    position: str
    at_ms: int
    offset: int


@dataclass(frozen=True, slots=True)
class Epoch:
    """A stretch of time with one sequence of commit numbers; they restart when the org moves to another instance.

    Attributes:
        number: 0, 1, 2 …
        start_ms: commit time of its first change, milliseconds since the epoch, a whole second; 0 for the first.
        instance: the org's instance name as far as known, as in ``NA224``.
        fell_from: the greatest commit number of the epoch before, as far as it had arrived; 0 for the first.
    """

    number: int
    start_ms: int
    instance: str | None
    fell_from: int = 0


@dataclass(frozen=True, slots=True)
class JournalRecord:
    """A lifecycle event on its way into the journal.

    Attributes:
        id: deterministic.
        type: as in ``run.enrolled``.
        tracker_id: the run, which is the ordering key; None for system events.
        data: its JSON.
    """

    id: str
    type: str
    tracker_id: str | None
    data: bytes


@dataclass(frozen=True, slots=True)
class IngestDeadLetter:
    """A message that could not be understood, with its bytes.

    Attributes:
        id: deterministic: channel, position and a digest of ``raw``.
        channel: where it came from.
        position: its replay id, where it had one.
        reason: stable label (``BadEvent.reason``).
        detail: one line.
        raw: the exact bytes.
        at_ms: wall milliseconds when it was seen.
    """

    id: str
    channel: str
    position: str | None
    reason: str
    detail: str
    raw: bytes
    at_ms: int


@dataclass(slots=True)
class Commit:
    """All or nothing.

    Attributes:
        token: of the tenure.
        number: 1, 2, 3 … within the tenure.
        org_id: 18 characters; a store that belongs to another org refuses.
        states: record id to its encoded state; None removes it.
        journal: appended in this order.
        channels: channel to what is remembered of it from now on.
        dead_letters: kept by id, so that a repeated one is one.
        history_at_ms: when not None, positions in ``channels`` are also kept as history, as of these wall milliseconds.
        epochs: every epoch from now on; None when nothing changes.
        timers: key (``consumer.domain.timers.key_of``) to due time in milliseconds since the epoch; None removes it.
        reconcile_tasks: id of a reconcile task to its encoded form; None removes it.
    """

    token: str
    number: int
    org_id: str
    states: dict[str, bytes | None] = field(default_factory=dict)
    journal: list[JournalRecord] = field(default_factory=list)
    channels: dict[str, ChannelState] = field(default_factory=dict)
    dead_letters: list[IngestDeadLetter] = field(default_factory=list)
    history_at_ms: int | None = None
    epochs: list[Epoch] | None = None
    timers: dict[str, int | None] = field(default_factory=dict)
    reconcile_tasks: dict[str, bytes | None] = field(default_factory=dict)


class IngestStore(Protocol):
    """What a tenure needs besides the lease."""

    async def commit(self, commit: Commit) -> bool:
        """Apply it; False when the store had applied it already (its reply was lost).

        Raises:
            CommitRefused: the tenure is over; nothing was written.
            StoreForeign: the store belongs to another org; nothing was written.
            StoreUnavailable: whether it was written is unknown; send the same commit again.
        """
        ...

    async def states(self, record_ids: Sequence[str]) -> dict[str, bytes]:
        """The encoded states of those that are known."""
        ...

    async def walk(self, cursor: str | None, limit: int) -> tuple[list[tuple[str, bytes]], str | None]:
        """Some of what :meth:`states` knows, about ``limit`` of it, and where to go on.

        What is there all along is met at least once in a walk from None to None; what comes and goes meanwhile may be met or not.

        Args:
            cursor: None begins; else what the call before returned, in this or another process.
            limit: about how many.

        Returns:
            Key and encoded state of each, and the next cursor; None when the walk is over.
        """
        ...

    async def channels(self) -> dict[str, ChannelState]:
        """Every remembered channel."""
        ...

    async def org_id(self) -> str | None:
        """The org this store belongs to; None while it is new."""
        ...

    async def epochs(self) -> list[Epoch]:
        """Every epoch of commit numbers, oldest first; empty while the first lasts and nothing is known of it."""
        ...

    async def timers(self, until_ms: int, limit: int) -> list[tuple[str, int]]:
        """Up to ``limit`` timers due at or before ``until_ms``, the earliest first: key and due time."""
        ...

    async def reconcile_tasks(self) -> dict[str, bytes]:
        """Every reconcile task: id to encoded form."""
        ...

    async def add_reconcile_task(self, task_id: str, data: bytes) -> None:
        """Add a task that a person wants, outside any tenure; one that is there already stays as it is."""
        ...

    async def ingest_dead_letters(self, limit: int) -> list[IngestDeadLetter]:
        """The newest, oldest first."""
        ...


class CheckpointStore(Protocol):
    """What people do with positions."""

    async def history(self, channel: str | None, limit: int) -> list[PastPosition]:
        """The newest, oldest first; of all channels with None."""
        ...

    async def save_checkpoint(self, name: str, channels: Mapping[str, ChannelState]) -> None:
        """Keep positions under a name, replacing what had it."""
        ...

    async def saved_checkpoints(self) -> dict[str, dict[str, ChannelState]]:
        """Every named checkpoint."""
        ...

    async def move(self, channels: Mapping[str, ChannelState]) -> None:
        """Put channels elsewhere and end whatever tenure is under way, in one transaction.

        The holder's next commit or renewal is refused; it wins the lease again and builds everything from the store, as every tenure does.
        """
        ...
