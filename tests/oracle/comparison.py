"""Where a journal differs from what the ledger means.

For a record that was told in order, every event id is certain. A record of which something arrived late was interpreted from half the
story, so its events may be others: there it counts that every change that is an event in any case is accounted for, and that nothing came
of changes that never are one. The same holds for a record that was repaired from fetched rows after a gap; from the gap on its changes may
even be contained in the row and leave no event of their own. What is not demanded for such a reason is listed as excused, so that a
test can say how much it tolerates. Events of timers, snapshots and repairs have no change of their own; only their ids are looked at.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final

from tests.oracle.expectation import Expectation, ExpectedChange, ExpectedEvent
from tests.oracle.wire import Key

JournalEvent = Mapping[str, Any]

_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\dT")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_OF_FETCHED_ROWS: Final = frozenset({"gap", "repair", "snapshot"})


@dataclass(frozen=True, slots=True)
class Disorder:
    """At `index` of the events of a run that both sides have, the journal has `found` where `wanted` belongs."""

    tracker_id: str
    index: int
    wanted: str
    found: str

    def __str__(self) -> str:
        return f"run {self.tracker_id}, event {self.index}: {self.found} where {self.wanted} belongs"


@dataclass(frozen=True, slots=True)
class Contradiction:
    """The journal has the event, but says something else about it."""

    id: str
    fact: str
    wanted: Any
    found: Any

    def __str__(self) -> str:
        return f"{self.id}: {self.fact} is {self.found!r}, should be {self.wanted!r}"


@dataclass(slots=True)
class Verdict:
    """What a comparison found.

    Attributes:
        missing: ids of expected events that are absent; of a change (an id without type) where any event would do.
        unexpected: ids in the journal that no change of the ledger explains.
        duplicated: ids that are in the journal more than once.
        out_of_order: runs whose events stand in another order, by their first difference.
        contradicted: facts about an event that differ.
        late: ids of events marked late.
        excused: ids of expected events that are absent, where that may be due to lateness or a gap; no defect.
        compared: how many expected events were looked for.
    """

    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    out_of_order: list[Disorder] = field(default_factory=list)
    contradicted: list[Contradiction] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    excused: list[str] = field(default_factory=list)
    compared: int = 0

    @property
    def ok(self) -> bool:
        """Whether the journal holds what it must, once, in order, and nothing else."""
        return not any((self.missing, self.unexpected, self.duplicated, self.out_of_order, self.contradicted))

    def __str__(self) -> str:
        scope = f"{self.compared} expected events, {len(self.late)} late, {len(self.excused)} excused"
        if self.ok:
            return f"the journal holds what the ledger means ({scope})"
        defects: dict[str, Sequence[object]] = {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "duplicated": self.duplicated,
            "out of order": self.out_of_order,
            "contradicted": self.contradicted,
        }
        lines = [f"  {name}: {len(found)}, first: {found[0]}" for name, found in defects.items() if found]
        return "\n".join((f"the journal is not what the ledger means ({scope})", *lines))


def compare(
    expectation: Expectation, journal: Sequence[JournalEvent], *, from_commit_ms: int | None = None
) -> Verdict:
    """Compare a journal, in its order, with what it must hold; ``system.*`` events are ignored.

    Args:
        expectation: what the ledger means.
        journal: lifecycle events as decoded JSON.
        from_commit_ms: changes committed before are neither demanded nor refused. The states that they left are taken for known to
            the service, as they are after a snapshot; where there was none, compute the expectation from the part of the ledger that
            the service saw instead.
    """
    return _Comparison(expectation, journal, from_commit_ms).verdict()


def differing_states(
    expectation: Expectation, states: Mapping[str, Mapping[str, Any]]
) -> list[Contradiction]:
    """Fields whose final values differ, of the records that the ledger tells about; null is the same as absent, dates are instants."""
    return [
        Contradiction(record_id, name, wanted.get(name), found.get(name))
        for record_id, wanted in expectation.states.items()
        for found in (states.get(record_id, {}),)
        for name in sorted(wanted.keys() | found.keys())
        if not same_value(wanted.get(name), found.get(name))
    ]


def same_value(one: Any, other: Any) -> bool:
    """Whether two field values are the same; dates in any ISO 8601 form, or as aware datetimes, are compared as instants."""
    return bool(_instant(one) == _instant(other))


def _instant(value: Any) -> Any:
    if isinstance(value, str) and _INSTANT.match(value):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return value
        # Salesforce's dates are UTC; one without an offset is not a local time.
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return value


class _Comparison:
    """One journal against one expectation."""

    def __init__(
        self, expectation: Expectation, journal: Sequence[JournalEvent], from_commit_ms: int | None
    ) -> None:
        self._expectation = expectation
        self._told = [event for event in journal if not event["type"].startswith("system.")]
        self._stream: dict[str, JournalEvent] = {}
        for event in self._told:
            if event.get("origin", "stream") == "stream":
                self._stream.setdefault(event["id"], event)
        self._from_commit_ms = from_commit_ms
        self._wanted = {
            event.id: event for event in expectation.events if not self._is_too_old(event.commit_ms)
        }
        self._first_gap = _first_gaps(expectation)
        self._repaired = {
            event["record_id"] for event in self._told if event.get("origin") in _OF_FETCHED_ROWS
        } | self._first_gap.keys()
        self._loose = self._repaired | {
            event["record_id"] for event in self._stream.values() if event.get("late")
        }

    def verdict(self) -> Verdict:
        verdict = Verdict(compared=len(self._wanted))
        verdict.late = [id_ for id_, event in self._stream.items() if event.get("late")]
        verdict.duplicated = [
            id_ for id_, times in Counter(event["id"] for event in self._told).items() if times > 1
        ]
        verdict.unexpected = [id_ for id_ in self._stream if not self._is_explained(id_)]
        self._look_for_missing(verdict)
        verdict.out_of_order = list(self._disorders())
        verdict.contradicted = [
            Contradiction(id_, fact, wanted, found)
            for id_, event in self._stream.items()
            for fact, wanted, found in self._facts(id_, event)
            if wanted != found
        ]
        return verdict

    def _is_too_old(self, commit_ms: int) -> bool:
        return self._from_commit_ms is not None and commit_ms < self._from_commit_ms

    def _change(self, id_: str) -> ExpectedChange | None:
        return self._expectation.changes.get(id_.rpartition("/")[0])

    def _is_explained(self, id_: str) -> bool:
        if id_ in self._wanted:
            return True
        change = self._change(id_)
        if change is None:
            return False
        if self._is_too_old(change.commit_ms):
            return True
        return change.record_id in self._loose and not change.never_speaks

    def _look_for_missing(self, verdict: Verdict) -> None:
        covered = {id_.rpartition("/")[0] for id_ in self._stream}
        for id_, event in self._wanted.items():
            if id_ in self._stream:
                continue
            if event.record_id not in self._loose:
                verdict.missing.append(id_)
            elif event.change_id in covered or not self._is_demanded(
                self._expectation.changes[event.change_id]
            ):
                verdict.excused.append(id_)
            elif event.change_id not in verdict.missing:
                verdict.missing.append(event.change_id)

    def _is_demanded(self, change: ExpectedChange) -> bool:
        """Whether a change of a loose record must be an event: always, unless a fetched row may contain it."""
        if change.record_id in self._repaired:
            gap = self._first_gap.get(change.record_id)
            return gap is not None and change.key < gap and change.always_speaks
        return change.always_speaks

    def _disorders(self) -> Iterable[Disorder]:
        """The first difference of each run that has one."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        for id_, event in self._stream.items():
            change = self._change(id_)
            # What was fetched orders a repaired record anew; what is late says so.
            if change is not None and change.record_id not in self._repaired and not event.get("late"):
                found[change.tracker_id].append(id_)
        for tracker_id, ids in found.items():
            disorder = self._disorder_of_ids(tracker_id, ids) or self._disorder_of_keys(tracker_id, ids)
            if disorder is not None:
                yield disorder

    def _disorder_of_keys(self, tracker_id: str, ids: Sequence[str]) -> Disorder | None:
        for index, (one, other) in enumerate(pairwise(ids)):
            if self._key(other) < self._key(one):
                return Disorder(tracker_id, index, wanted=other, found=one)
        return None

    def _disorder_of_ids(self, tracker_id: str, ids: Sequence[str]) -> Disorder | None:
        present = set(ids)
        wanted = [event.id for event in self._expectation.runs.get(tracker_id, ()) if event.id in present]
        common = set(wanted)
        found = [id_ for id_ in ids if id_ in common]
        for index, (one, other) in enumerate(zip(wanted, found, strict=True)):
            if one != other:
                return Disorder(tracker_id, index, wanted=one, found=other)
        return None

    def _key(self, id_: str) -> Key:
        change = self._change(id_)
        assert change is not None
        return change.key

    def _facts(self, id_: str, event: JournalEvent) -> Iterable[tuple[str, Any, Any]]:
        """What the journal says about an event beside what it must say."""
        yield "type", id_.rpartition("/")[2], event["type"]
        change = self._change(id_)
        if change is None:
            return
        yield "record_id", change.record_id, event.get("record_id")
        if change.is_run_known:
            yield "tracker_id", change.tracker_id, event.get("tracker_id")
        if event.get("time") is not None:
            yield "time", _EPOCH + timedelta(milliseconds=change.commit_ms), _instant(event["time"])
        wanted = self._wanted.get(id_)
        if wanted is not None and change.record_id not in self._loose:
            yield "missed_transitions", wanted.missed, bool(event.get("missed_transitions"))
            yield from self._shared_facts(wanted, event)

    def _shared_facts(self, wanted: ExpectedEvent, event: JournalEvent) -> Iterable[tuple[str, Any, Any]]:
        """Facts that either side may not know, compared where both do."""
        names = ["cadence_id", "target_id"]
        if wanted.tracker_id not in self._loose:
            names.append("owner_id")
        for name in names:
            if getattr(wanted, name) is not None and event.get(name) is not None:
                yield name, getattr(wanted, name), event[name]


def _first_gaps(expectation: Expectation) -> dict[str, Key]:
    """Where the story of each record first has a gap; an overflow names no record, a wildcard all of its object."""
    records = {change.record_id: change.entity for change in expectation.changes.values()}
    first: dict[str, Key] = {}
    for gap in expectation.gaps:
        key = (gap.commit_number, gap.sequence_number)
        for record_id, entity in records.items():
            if entity == gap.entity and _names(gap.record_ids, record_id):
                first[record_id] = min(first.get(record_id, key), key)
    return first


def _names(record_ids: Sequence[str], record_id: str) -> bool:
    return record_id in record_ids or any(
        each.endswith("*") and record_id.startswith(each[:-1]) for each in record_ids
    )
