"""Content of the next commit while it waits, and the sealing of that commit.

:meth:`PendingCommit.seal` keeps the guarantees by its order. Positions are marked committed before channel states are taken, so that the
checkpoint in a commit covers exactly what this commit and those before it hold. Dead letters, journal, tasks and positions leave together,
in one commit and in one step without a pause, so that nothing that arrives meanwhile is split over two commits.

Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from consumer.domain.reconcile_task import ReconcileTask
from consumer.ingest.batch import Batch, Part
from consumer.ingest.channels import Channels
from consumer.ingest.epochs import Epochs
from consumer.ingest.positions import PositionEntry
from consumer.ports.commit import Commit, IngestDeadLetter, JournalRecord

__all__ = ["PendingCommit"]

HISTORY_INTERVAL_MS: Final = 60_000
"""Least time between two commits that add to the history of positions."""


@dataclass(slots=True)
class PendingCommit:
    """Contents of the next commit, as far as they are ready.

    Attributes:
        parts: changes in their order.
        dead_letters: messages that could not be understood, each with its position where it has one.
        journal: events that come from no change.
        since_ms: monotonic milliseconds when the oldest of it became ready; None when nothing is.
        channels: whether channel states have to be written even if no checkpoint moves.
        epochs: whether the epochs have to be written.
        reconcile_tasks: reconcile tasks to begin, by id.
        history_ms: monotonic milliseconds of the last commit that added to the history of positions.
    """

    parts: list[Part] = field(default_factory=list)
    dead_letters: list[tuple[IngestDeadLetter, PositionEntry | None]] = field(default_factory=list)
    journal: list[JournalRecord] = field(default_factory=list)
    since_ms: int | None = None
    channels: bool = False
    epochs: bool = False
    reconcile_tasks: dict[str, ReconcileTask] = field(default_factory=dict)
    history_ms: int | None = None

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
        """Note that something has become ready."""
        if self.since_ms is None:
            self.since_ms = now_ms

    def take_parts(self, max_parts: int, now_ms: int) -> list[Part]:
        """Take the changes that the next commit holds.

        Those that are left wait from now on.
        """
        taken, self.parts = self.parts[:max_parts], self.parts[max_parts:]
        self.since_ms = now_ms if self.parts else None
        return taken

    def seal(
        self,
        commit: Commit,
        batch: Batch,
        channels: Channels,
        epochs: Epochs,
        *,
        reconciles: bool,
        now_ms: int,
        wall_ms: int,
    ) -> Commit:
        """Complete the draft of a commit with everything else that is ready.

        What becomes ready from now on belongs to the next commit.

        Args:
            commit: draft that holds the batch.
            batch: decision on the changes that were taken; gets the tasks that the commit begins.
            channels: channel states of the tenure.
            epochs: epochs of the tenure.
            reconciles: whether this tenure works on reconcile tasks; where it cannot, none begin.
            now_ms: monotonic milliseconds.
            wall_ms: wall milliseconds, for the history.

        Returns:
            The same commit.
        """
        commit.journal = self.journal + batch.journal
        commit.dead_letters = [dead_letter for dead_letter, _ in self.dead_letters]
        batch.reconcile_tasks = {**self.reconcile_tasks, **batch.reconcile_tasks} if reconciles else {}
        commit.reconcile_tasks = {task_id: task.encode() for task_id, task in batch.reconcile_tasks.items()}
        self._mark_committed(batch)
        commit.channels = channels.states_to_commit(
            wall_ms, epochs.greatest_commit_number, include_unchanged=self.channels
        )
        if self.epochs:
            commit.epochs = epochs.all
        if commit.channels and (self.history_ms is None or now_ms - self.history_ms >= HISTORY_INTERVAL_MS):
            self.history_ms = now_ms
            commit.history_at_ms = wall_ms
        self._clear()
        return commit

    def _mark_committed(self, batch: Batch) -> None:
        for part in batch.parts:
            part.entry.mark_committed()
        for _, entry in self.dead_letters:
            if entry is not None:
                entry.mark_committed()

    def _clear(self) -> None:
        """Drop everything but the changes that were not taken."""
        self.dead_letters, self.journal, self.reconcile_tasks = [], [], {}
        self.channels = self.epochs = False
        if not self.parts:
            self.since_ms = None
