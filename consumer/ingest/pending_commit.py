"""What waits for the next commit."""

from __future__ import annotations

from dataclasses import dataclass, field

from consumer.domain.reconcile_task import ReconcileTask
from consumer.ingest.interpret import Part
from consumer.ingest.positions import PositionEntry
from consumer.ports.commit import IngestDeadLetter, JournalRecord

__all__ = ["PendingCommit"]


@dataclass(slots=True)
class PendingCommit:
    """What waits for the next commit.

    Attributes:
        parts: changes in their order.
        dead_letters: what could not be understood, with the position to settle where it has one.
        journal: events that come from no change.
        since_ms: monotonic milliseconds when the oldest of it became ready; None when nothing is.
        channels: whether channel states have to be written even if nothing else is ready.
        epochs: whether the epochs have to be written.
        reconcile_tasks: reconcile tasks to begin, by id.
    """

    parts: list[Part] = field(default_factory=list)
    dead_letters: list[tuple[IngestDeadLetter, PositionEntry | None]] = field(default_factory=list)
    journal: list[JournalRecord] = field(default_factory=list)
    since_ms: int | None = None
    channels: bool = False
    epochs: bool = False
    reconcile_tasks: dict[str, ReconcileTask] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(
            self.parts
            or self.dead_letters
            or self.journal
            or self.channels
            or self.epochs
            or self.reconcile_tasks
        )

    def touch(self, now_ms: int) -> None:
        """Something has become ready."""
        if self.since_ms is None:
            self.since_ms = now_ms

    def mark_committed(self) -> None:
        """All of it is in a commit: its positions are finished as far as it goes."""
        for part in self.parts:
            part.entry.mark_committed()
        for _, entry in self.dead_letters:
            if entry is not None:
                entry.mark_committed()

    def split(self, max_parts: int, now_ms: int) -> PendingCommit:
        """What is left for the commit after the next, which takes ``max_parts`` changes and everything else; this keeps the rest."""
        remainder = PendingCommit(parts=self.parts[max_parts:])
        if remainder.parts:
            remainder.since_ms = now_ms
            del self.parts[max_parts:]
        return remainder
