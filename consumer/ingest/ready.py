"""What waits for the next commit."""

from __future__ import annotations

from dataclasses import dataclass, field

from consumer.ingest.interpreter import Part
from consumer.ingest.positions import Entry
from consumer.ports import IngestDeadLetter, JournalRecord
from consumer.tasks import Task

__all__ = ["Ready"]


@dataclass(slots=True)
class Ready:
    """What waits for the next commit.

    Attributes:
        parts: changes in their order.
        letters: what could not be understood, with the position to settle where it has one.
        journal: events that come from no change.
        since_ms: monotonic milliseconds when the oldest of it became ready; None when nothing is.
        channels: whether channel states have to be written even if nothing else is ready.
        epochs: whether the epochs have to be written.
        tasks: reconcile tasks to begin, by id.
    """

    parts: list[Part] = field(default_factory=list)
    letters: list[tuple[IngestDeadLetter, Entry | None]] = field(default_factory=list)
    journal: list[JournalRecord] = field(default_factory=list)
    since_ms: int | None = None
    channels: bool = False
    epochs: bool = False
    tasks: dict[str, Task] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.parts or self.letters or self.journal or self.channels or self.epochs or self.tasks)

    def mark(self, now_ms: int) -> None:
        """Something has become ready."""
        if self.since_ms is None:
            self.since_ms = now_ms

    def settle(self) -> None:
        """All of it is in a commit: its positions are finished as far as it goes."""
        for part in self.parts:
            part.entry.settle()
        for _, entry in self.letters:
            if entry is not None:
                entry.settle()

    def split(self, most: int, now_ms: int) -> Ready:
        """What is left for the commit after the next, which takes ``most`` changes and everything else; this keeps the rest."""
        left = Ready(parts=self.parts[most:])
        if left.parts:
            left.since_ms = now_ms
            del self.parts[most:]
        return left
