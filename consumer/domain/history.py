"""History of a record: facts of its earlier changes that later events repeat.

A run's ending reports how long the run took and how its steps fared, a reason that arrives after the end names the event that it corrects,
and a run that fails names the error of its step. None of this is a field of the record. Each fact is the same whatever the order in which
the changes arrive.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from consumer import event_types as v
from consumer.domain.change_events import order_key
from consumer.domain.objects import STEP
from consumer.domain.state_machines import step_ending

if TYPE_CHECKING:
    from consumer.domain.change_events import Change, OrderKey

__all__ = ["EMPTY", "Counts", "History"]

Counts = tuple[int, int, int]
"""Numbers of steps that were completed, skipped, and that failed at least once."""


@dataclass(frozen=True, slots=True)
class History:
    """Facts of earlier changes.

    Attributes:
        began_ms: commit time of the record's creation, in milliseconds; None where it was not received.
        ending: id of the event that reported the end last.
        has_failed: of a step, whether it was in ``Error`` at any time.
        counts: of a run, numbers of its steps that were completed, skipped, and that failed at least once.
        last_error: of a run, newest error code of one of its steps, with the key of the change that wrote it.
        due: of a run, due time of each step that waits for its timer, in milliseconds.
    """

    began_ms: int | None = None
    ending: str | None = None
    has_failed: bool = False
    counts: Counts = (0, 0, 0)
    last_error: tuple[str, OrderKey] | None = None
    due: Mapping[str, int] = field(default_factory=dict)

    def with_change(self, change: Change) -> History:
        """Account for a change of the record itself."""
        header = change.header
        history = replace(self, began_ms=header.commit_ms) if header.kind == "CREATE" else self
        if header.changed is None or "State" in header.changed:
            return history.with_state(header.entity, change.body.get("State"))
        return history

    def with_state(self, entity: str, state: Any) -> History:
        """Account for a State that the record was in."""
        return replace(self, has_failed=True) if entity == STEP and state == "Error" else self

    def with_step(self, before: Counts, after: Counts, error_code: Any, key: OrderKey) -> History:
        """Account for a change of a step of this run.

        Args:
            before: the step as it counted before the change.
            after: the step as it counts after it.
            error_code: ``ErrorCode`` that the change wrote, or None.
            key: the change's order key.
        """
        last_error = self.last_error
        if isinstance(error_code, str) and (last_error is None or last_error[1] <= key):
            last_error = (error_code, key)
        if before == after and last_error is self.last_error:
            return self
        first, second, third = (
            known + new - old for known, new, old in zip(self.counts, after, before, strict=True)
        )
        return replace(self, counts=(first, second, third), last_error=last_error)

    def as_step(self, state: Any, reason: str | None) -> Counts:
        """Count a step with this history among the completed, the skipped and the failed.

        Args:
            state: the step's last announced State.
            reason: its CompletionReason.
        """
        name = step_ending(reason) if state == "Completed" else None
        return (name == v.STEP_ENDED_COMPLETED, name == v.STEP_ENDED_SKIPPED, self.has_failed)

    def with_due(self, step_id: str, due_ms: int | None) -> History:
        """Set or remove the due time for which a step waits."""
        if self.due.get(step_id) == due_ms:
            return self
        due = {**self.due, step_id: due_ms} if due_ms is not None else dict(self.due)
        if due_ms is None:
            del due[step_id]
        return replace(self, due=due)

    def to_json(self) -> list[Any] | None:
        """Encode as part of the stored state; None where there is no fact."""
        if self == EMPTY:
            return None
        return [self.began_ms, self.ending, self.has_failed, self.counts, self.last_error, self.due]

    @classmethod
    def from_json(cls, value: list[Any] | None) -> History:
        """Read the stored form; an older release stored none."""
        if value is None:
            return EMPTY
        began_ms, ending, has_failed, counts, last_error, due = value
        first, second, third = counts
        error = None if last_error is None else (last_error[0], order_key(last_error[1]))
        return cls(began_ms, ending, has_failed, (first, second, third), error, due)


EMPTY: Final = History()
"""History of a record without any fact."""
