"""What the journal must hold: every lifecycle event of a ledger, per run and in order, and the final state of every record.

It is what in-order arrival without any disturbance would have given. The run of a step is its `ActionCadenceTrackerId`, wherever in
the ledger that is first told; a step that was never told its run is its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.oracle.meaning import Known, always_speaks, announce, never_speaks
from tests.oracle.wire import RUN, Gap, Key, LedgerChange, read


@dataclass(frozen=True, slots=True)
class ExpectedEvent:
    """One lifecycle event and the facts that the journal must agree with.

    Attributes:
        id: of the event; what it begins with, up to the type, is `change_id`.
        type: as in ``run.started``.
        tracker_id: the run.
        record_id: the changed record.
        missed: whether states in between were merged away.
        commit_number: orders transactions.
        sequence_number: orders changes within the transaction.
        commit_ms: when the change was committed, epoch ms.
        owner_id: the run's owner as of this event, None where never told.
        cadence_id: ``ActionCadenceId`` of the record as of this event.
        target_id: ``TargetId`` of the record as of this event.
    """

    id: str
    type: str
    tracker_id: str
    record_id: str
    missed: bool
    commit_number: int
    sequence_number: int
    commit_ms: int
    owner_id: str | None
    cadence_id: str | None
    target_id: str | None

    @property
    def change_id(self) -> str:
        """The change that it belongs to."""
        return self.id.rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class ExpectedChange:
    """One change, whether it is an event or not.

    Attributes:
        id: org, entity, record, transaction key, commit number and sequence number.
        entity: API name of the record's object.
        record_id: the changed record.
        tracker_id: the run.
        key: commit number and sequence number.
        commit_ms: when it was committed, epoch ms.
        always_speaks: it is an event whatever was known before.
        never_speaks: it is none whatever was known before.
    """

    id: str
    entity: str
    record_id: str
    tracker_id: str
    key: Key
    commit_ms: int
    always_speaks: bool
    never_speaks: bool

    @property
    def is_run_known(self) -> bool:
        """False for a step that was never told its run."""
        return self.entity == RUN or self.tracker_id != self.record_id


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a ledger means.

    Attributes:
        runs: the events of each run in order; runs without any event are absent.
        states: the fields of every record after all its changes, those of deleted records too.
        deleted: ids of records that are deleted in the end.
        bad: messages that are no usable change events.
        gaps: gap and overflow events, in order of first appearance.
        changes: every distinct change by its id, in order.
    """

    runs: Mapping[str, Sequence[ExpectedEvent]]
    states: Mapping[str, Mapping[str, Any]]
    deleted: frozenset[str]
    bad: Sequence[Any]
    gaps: Sequence[Gap]
    changes: Mapping[str, ExpectedChange]

    @property
    def events(self) -> list[ExpectedEvent]:
        """All events, run by run."""
        return [event for events in self.runs.values() for event in events]

    @property
    def ids(self) -> set[str]:
        """The ids of all events."""
        return {event.id for event in self.events}


def expected(ledger: Iterable[Any], org_id: str) -> Expectation:
    """Compute what a journal must hold after a service has consumed all of `ledger` (CometD messages, in any order)."""
    reading = read(ledger)
    run_of = _runs(reading.changes)
    known: defaultdict[str, Known] = defaultdict(Known)
    runs: defaultdict[str, list[ExpectedEvent]] = defaultdict(list)
    changes: dict[str, ExpectedChange] = {}
    for change in reading.changes:
        record_id, tracker_id, change_id = change.record_id, run_of[change.record_id], change.id(org_id)
        types, missed = announce(change, known[record_id])
        record = known[record_id].fields
        # A look-up that leaves no trace: a run that nothing was told about has no state.
        owner_id = known[tracker_id].fields.get("OwnerId") if tracker_id in known else None
        for type_ in types:
            runs[tracker_id].append(
                ExpectedEvent(
                    id=f"{change_id}/{type_}",
                    type=type_,
                    tracker_id=tracker_id,
                    record_id=record_id,
                    missed=missed,
                    commit_number=change.commit_number,
                    sequence_number=change.sequence_number,
                    commit_ms=change.commit_ms,
                    owner_id=owner_id,
                    cadence_id=record.get("ActionCadenceId"),
                    target_id=record.get("TargetId"),
                )
            )
        changes[change_id] = ExpectedChange(
            change_id,
            change.entity,
            record_id,
            tracker_id,
            change.key,
            change.commit_ms,
            always_speaks(change),
            never_speaks(change),
        )
    return Expectation(
        runs=dict(runs),
        states={record_id: record.fields for record_id, record in known.items()},
        deleted=frozenset(record_id for record_id, record in known.items() if record.deleted),
        bad=reading.bad,
        gaps=reading.gaps,
        changes=changes,
    )


def _runs(changes: Sequence[LedgerChange]) -> dict[str, str]:
    """The run of every record."""
    told: dict[str, str] = {}
    for change in changes:
        run = (change.written | change.enrichment).get("ActionCadenceTrackerId")
        if change.entity != RUN and isinstance(run, str):
            told.setdefault(change.record_id, run)
    return {change.record_id: told.get(change.record_id, change.record_id) for change in changes}
