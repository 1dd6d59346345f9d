"""Commit port: one transaction of states, journal, timers, tasks and positions.

Includes the reads of ingest, and the checkpoints of operators.
"""

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
    """Stored state of one channel.

    Attributes:
        birth_ms: Salesforce time of the first acknowledged subscription; changes committed more than 60 s before it are ignored.
        position: the checkpoint, an opaque replay id; None until the first position is complete.
        position_ms: wall milliseconds when ``position`` last moved.
        polled_through_ms: Salesforce time up to which polls were answered without interruption.
        commit_number: greatest commit number of the newest epoch that had arrived by then; a restart of the numbers is detected by it.
    """

    birth_ms: int
    position: str | None = None
    position_ms: int | None = None
    polled_through_ms: int | None = None
    commit_number: int | None = None


@dataclass(frozen=True, slots=True)
class PastPosition:
    """Past position of a channel.

    Attributes:
        channel: name of the channel.
        position: the checkpoint at that time.
        at_ms: wall milliseconds at which it was recorded.
        offset: last offset of the journal at that time.
    """

    channel: str
    position: str
    at_ms: int
    offset: int


@dataclass(frozen=True, slots=True)
class Epoch:
    """Period with one sequence of commit numbers.

    The numbers restart when the org moves to another instance.

    Attributes:
        number: 0, 1, 2 …
        start_ms: commit time of the epoch's first change, milliseconds since 1970, a whole second; 0 for the first epoch.
        instance: the org's instance name where known, as in ``NA224``.
        fell_from: greatest commit number of the preceding epoch that had arrived; 0 for the first epoch.
    """

    number: int
    start_ms: int
    instance: str | None
    fell_from: int = 0


@dataclass(frozen=True, slots=True)
class JournalRecord:
    """Lifecycle event to be appended to the journal.

    Attributes:
        id: deterministic.
        type: as in ``run.enrolled``.
        tracker_id: the run, which is the ordering key; None for system events.
        data: the event's JSON.
    """

    id: str
    type: str
    tracker_id: str | None
    data: bytes


@dataclass(frozen=True, slots=True)
class IngestDeadLetter:
    """Message that could not be decoded, with its bytes.

    Attributes:
        id: deterministic: channel, position and a digest of ``raw``.
        channel: channel on which the message arrived.
        position: replay id of the message, where it had one.
        reason: stable label (``BadEvent.reason``).
        detail: description of the problem, one line.
        raw: the exact bytes.
        at_ms: wall milliseconds at which the message arrived.
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
    """Transaction of ingest, applied completely or not at all.

    Attributes:
        token: the tenure's token.
        number: 1, 2, 3 … within the tenure.
        org_id: 18 characters; a store that belongs to another org refuses the commit.
        states: record id to encoded state; None removes the state.
        journal: events to append, in this order.
        channels: channel to its new state.
        dead_letters: stored by id, so that a repeated one is stored once.
        history_at_ms: when not None, positions in ``channels`` are also added to the history, as of these wall milliseconds.
        epochs: the new list of all epochs; None when it does not change.
        timers: key (``consumer.domain.timers.key_of``) to due time in milliseconds since the epoch; None removes the timer.
        reconcile_tasks: id of a reconcile task to its encoded form; None removes the task.
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
    """Store operations of a tenure, besides the lease."""

    async def commit(self, commit: Commit) -> bool:
        """Apply a commit; False when the store had applied it before (its reply was lost).

        Raises:
            CommitRefused: the tenure is over; nothing was written.
            StoreForeign: the store belongs to another org; nothing was written.
            StoreUnavailable: the commit may or may not have been written; send the same commit again.
        """
        ...

    async def states(self, record_ids: Sequence[str]) -> dict[str, bytes]:
        """Load the encoded states of the known ones among ``record_ids``."""
        ...

    async def walk(self, cursor: str | None, limit: int) -> tuple[list[tuple[str, bytes]], str | None]:
        """Scan all states, about ``limit`` per call.

        A state that exists throughout a scan from None to None is returned at least once; one that is added or removed meanwhile may or may
        not be returned.

        Args:
            cursor: None to begin; else the cursor that the previous call returned, in this or another process.
            limit: approximate number of states.

        Returns:
            Key and encoded state of each, and the next cursor; None at the end of the scan.
        """
        ...

    async def channels(self) -> dict[str, ChannelState]:
        """Load the state of every channel."""
        ...

    async def org_id(self) -> str | None:
        """Load the id of the org that the store belongs to; None while the store is new."""
        ...

    async def epochs(self) -> list[Epoch]:
        """Load every epoch of commit numbers, oldest first.

        Empty during the first epoch while nothing is known of it.
        """
        ...

    async def timers(self, until_ms: int, limit: int) -> list[tuple[str, int]]:
        """Load up to ``limit`` timers due at or before ``until_ms``, the earliest first.

        Returns:
            Key and due time of each.
        """
        ...

    async def reconcile_tasks(self) -> dict[str, bytes]:
        """Load every reconcile task: id to encoded form."""
        ...

    async def add_reconcile_task(self, task_id: str, data: bytes) -> None:
        """Add an operator's task, outside any tenure; one that exists is kept as it is."""
        ...

    async def ingest_dead_letters(self, limit: int) -> list[IngestDeadLetter]:
        """Load the newest ingest dead letters, oldest first."""
        ...


class CheckpointStore(Protocol):
    """Store operations of operators on positions."""

    async def history(self, channel: str | None, limit: int) -> list[PastPosition]:
        """Load the newest past positions, oldest first; of all channels with None."""
        ...

    async def save_checkpoint(self, name: str, channels: Mapping[str, ChannelState]) -> None:
        """Store positions under a name, replacing any existing ones."""
        ...

    async def saved_checkpoints(self) -> dict[str, dict[str, ChannelState]]:
        """Load every named checkpoint."""
        ...

    async def move(self, channels: Mapping[str, ChannelState]) -> None:
        """Set the state of channels and end the current tenure, in one transaction.

        The holder's next commit or renewal is refused; it wins the lease again and loads everything from the store, as every tenure does.
        """
        ...
