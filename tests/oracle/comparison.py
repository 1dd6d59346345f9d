"""A journal beside an expectation."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.oracle.expectation import Expectation


@dataclass
class Verdict:
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    out_of_order: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not (self.missing or self.unexpected or self.duplicated or self.out_of_order or self.different)

    def __str__(self) -> str:
        classes = vars(self)
        return (
            "\n".join(f"{name}: {len(found)}, first {found[0]}" for name, found in classes.items() if found)
            or "equal"
        )


def compare(expectation: Expectation, journal: Sequence[dict[str, Any]]) -> Verdict:
    """Nothing missing, nothing unexpected, nothing twice, order per run kept.

    Runs with a late event are compared by changes instead of types: a late change is told without looking at what was before, which may
    name it differently, but it has to be told.
    """
    verdict = Verdict()
    told = [event for event in journal if not event["type"].startswith("system.")]
    verdict.duplicated = [one for one, times in Counter(event["id"] for event in told).items() if times > 1]
    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in told:
        runs[event["tracker_id"]].append(event)
    for tracker in {*expectation.runs, *runs}:
        wanted, found = expectation.runs.get(tracker, []), runs.get(tracker, [])
        if any(event.get("late") for event in found):
            _late_run(verdict, tracker, wanted, found)
            continue
        wanted_ids, found_ids = [event.id for event in wanted], [event["id"] for event in found]
        verdict.missing += [one for one in wanted_ids if one not in set(found_ids)]
        verdict.unexpected += [one for one in found_ids if one not in set(wanted_ids)]
        if sorted(wanted_ids) == sorted(found_ids) and wanted_ids != found_ids:
            place = next(i for i, (a, b) in enumerate(zip(wanted_ids, found_ids, strict=True)) if a != b)
            # Parts of one merged event have one key: between records of a run their order is free.
            if [_key(event) for event in found] != sorted(
                _key(event) for event in found
            ) or not _same_by_record(wanted, found):
                verdict.out_of_order.append(
                    f"{tracker}: {found_ids[place]} where {wanted_ids[place]} belongs"
                )
        facts = {event.id: (event.missed, event.owner_id, event.target_id) for event in wanted}
        for event in found:
            have = (event.get("missed_transitions", False), event.get("owner_id"), event.get("target_id"))
            if event["id"] in facts and facts[event["id"]] != have:
                verdict.different.append(
                    f"{event['id']}: missed, owner, target {have}, expected {facts[event['id']]}"
                )
    return verdict


def _late_run(verdict: Verdict, tracker: str, wanted: list[Any], found: list[dict[str, Any]]) -> None:
    have = {_change(event) for event in found}
    verdict.missing += [f"{tracker}: {event.id}" for event in wanted if event.change not in have]
    known = {event.change for event in wanted}
    verdict.unexpected += [event["id"] for event in found if _change(event) not in known]
    keys = [_key(event) for event in found if not event.get("late")]
    if keys != sorted(keys):
        verdict.out_of_order.append(f"{tracker}: events that are not late are out of order")


def _same_by_record(wanted: list[Any], found: list[dict[str, Any]]) -> bool:
    left: dict[str, list[str]] = defaultdict(list)
    right: dict[str, list[str]] = defaultdict(list)
    for event in wanted:
        left[event.record_id].append(event.id)
    for event in found:
        right[event["record_id"]].append(event["id"])
    return left == right


def _key(event: dict[str, Any]) -> tuple[int, int]:
    return event["transaction"]["commit_number"], event["transaction"]["sequence_number"]


def _change(event: dict[str, Any]) -> tuple[str, str, int, int]:
    transaction = event["transaction"]
    return (
        event["record_id"],
        transaction["key"],
        transaction["commit_number"],
        transaction["sequence_number"],
    )
