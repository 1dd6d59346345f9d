"""Parts and batches.

Parts are changes on their way to a commit; batches are what decisions make of them.

A batch is filled by the pure functions that decide (:mod:`consumer.ingest.interpret`, :mod:`consumer.ingest.reconcile.compare`,
:mod:`consumer.ingest.fire_timers`, :mod:`consumer.ingest.expire`) from what :class:`LoadedStates` holds. Its methods are what these
functions have in common; each writes to the batch and, where a later decision has to see it, to the loaded states.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from consumer.domain import timers
from consumer.domain.change_events import Change, OrderKey
from consumer.domain.lifecycle import OrgInfo
from consumer.domain.objects import RUN
from consumer.domain.reconcile_task import ReconcileTask
from consumer.domain.record_state import IDENTITY_RETENTION_MS, RecordState
from consumer.domain.target_runs import TargetRuns
from consumer.ingest.positions import PositionEntry
from consumer.ports.commit import JournalRecord

__all__ = ["Batch", "LoadedStates", "Part"]


@dataclass(slots=True)
class Part:
    """Change on its way to a commit.

    Attributes:
        change: what happened.
        key: its place in the order.
        entry: the position of which it is a part.
    """

    change: Change
    key: OrderKey
    entry: PositionEntry


@dataclass(slots=True)
class LoadedStates:
    """States and names that one decision may read.

    They are all loaded beforehand and are discarded with the decision.

    Attributes:
        records: states by key; None for a record that the store does not hold.
        targets: runs of each target, by target id.
        run_lookups: runs that were looked up over REST and are not listed with their target yet, with the fields of the answer.
        cadence_names: names by cadence id.
        newest_commit_ms: greatest commit time of any change of the tenure; 0 before the first.
    """

    records: dict[str, RecordState | None] = field(default_factory=dict)
    targets: dict[str, TargetRuns] = field(default_factory=dict)
    run_lookups: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    cadence_names: Mapping[str, str] = field(default_factory=dict)
    newest_commit_ms: int = 0

    def run_id_of(self, record_id: str) -> str | None:
        """Id of the run that a record belongs to, as far as its state is known."""
        record = self.records.get(record_id)
        return record.tracker_id if record is not None else None


@dataclass(slots=True)
class Batch:
    """Result of a decision: what a commit has to write, and the figures of it.

    Attributes:
        org: the org of the events.
        parts: the changes that were decided on; empty where there were none.
        states: records whose state changed; None for those that are forgotten.
        targets: targets whose list of runs changed; None for those that have none left.
        timers: key to due time in milliseconds, None to remove it.
        journal: lifecycle events, in order.
        events: type to count.
        duplicates: number of changes that had been committed before.
        late: number of changes below the greatest key of their run.
        ignored: number of changes from before their channel's birth.
        newest_commit_ms: greatest commit time among the changes.
        reconcile_tasks: tasks that the changes begin, by id.
        changed_rows: number of rows that said something new.
        deleted: number of those that said that the record is gone.
    """

    org: OrgInfo
    parts: Sequence[Part] = ()
    states: dict[str, RecordState | None] = field(default_factory=dict)
    targets: dict[str, TargetRuns | None] = field(default_factory=dict)
    timers: dict[str, int | None] = field(default_factory=dict)
    journal: list[JournalRecord] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    late: int = 0
    ignored: int = 0
    newest_commit_ms: int | None = None
    reconcile_tasks: dict[str, ReconcileTask] = field(default_factory=dict)
    changed_rows: int = 0
    deleted: int = 0

    def put(self, state: RecordState, loaded: LoadedStates) -> None:
        """Set the state of a record, without identities that are too old to come again."""
        state.forget_identities(loaded.newest_commit_ms - IDENTITY_RETENTION_MS)
        loaded.records[state.record_id] = self.states[state.record_id] = state

    def add_event(self, event: dict[str, Any]) -> None:
        """Append a lifecycle event to the journal."""
        name = event["type"]
        self.events[name] += 1
        self.journal.append(JournalRecord(event["id"], name, event.get("tracker_id"), orjson.dumps(event)))

    def set_timers(self, timers_before: Mapping[str, int], after: RecordState) -> None:
        """Set, move and remove the timers of a record according to its new state."""
        timers_after = timers.timers_of(after)
        for name in timers_before.keys() - timers_after.keys():
            self.timers[timers.key_of(after.record_id, name)] = None
        for name, due_ms in timers_after.items():
            if timers_before.get(name) != due_ms:
                self.timers[timers.key_of(after.record_id, name)] = due_ms

    def link_target(
        self, run_id: str, fields: Mapping[str, Any], run: RecordState | None, loaded: LoadedStates
    ) -> RecordState | None:
        """List a run with its target and link it to the run before it in a daisy chain.

        Args:
            run_id: id of the run.
            fields: fields that name the target: those of the run's image, or of a look-up.
            run: state of the run as it is known.
            loaded: lists of runs by target; a target that is not among them is left alone.

        Returns:
            The state of the run, with the link where there is one.
        """
        target_id = fields.get("TargetId")
        runs = loaded.targets.get(target_id) if isinstance(target_id, str) else None
        if runs is None or run_id in runs:
            return run
        iteration = fields.get("DaisyChainIteration")
        previous = runs.previous_run(iteration)
        runs = runs.with_run(run_id, iteration)
        loaded.targets[runs.target_id] = self.targets[runs.target_id] = runs
        if previous is None:
            return run
        return (run or RecordState(RUN, run_id)).with_previous(previous)
