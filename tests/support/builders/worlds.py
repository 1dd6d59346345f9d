"""Worlds of change events as hypothesis draws them, and the real ingest that consumes them in the order in which it is told to.

A world is a list of transactions. Within one, whatever is done to a record is coalesced into one event (the first kind, the last values), the
same change of several records is merged into one event, and sequence numbers have holes, as Salesforce documents it. How it arrives is
drawn apart: in which order, what is published twice, in how many answers, how much time passes between them.
"""

import copy
import itertools
import json
from datetime import datetime
from typing import Any, NamedTuple

from hypothesis import strategies as st

from consumer.clock import iso
from tests.model.rig import OrgInfo
from tests.support.builders.changes import (
    COMMIT_MS,
    RUN,
    RUN_CHANNEL,
    STEP,
    STEP_CHANNEL,
    message,
)
from tests.support.rigs.stepwise import tenure

BOTH = "/data/Cadences__chn"
SETUPS = ((BOTH,), (RUN_CHANNEL, STEP_CHANNEL))
RUNS = tuple(f"0qB{number:012d}AAA" for number in range(3))
STEPS = {f"8HF{number:012d}AAA": RUNS[number % 3] for number in range(5)}
SOON = (COMMIT_MS + 2_500, COMMIT_MS + 4_000)
"""Due times within the story of a world, in epoch milliseconds."""

RUN_VALUES = {
    "State": ("Initializing", "Running", "Paused", "Processing", "Complete", "Error", "Hibernating"),
    "OwnerId": ("005000000000001AAA", "005000000000002AAA"), "CurrentStepId": (*list(STEPS)[:2], None),
    "CompletionReason": ("NoMoreSteps", "ManuallyRemoved"), "CompletionDisposition": ("Success", None),
    "ScheduledResumeDateTime": (iso(COMMIT_MS + 10**9), None), "Custom__c": (1, 2),
}  # fmt: skip
STEP_VALUES = {
    "State": ("Active", "InProgress", "Scheduled", "Paused", "Completed", "Cancelled", "Error"),
    "CompletionReason": ("ManuallySkipped", "AutomaticallyCompleted"), "DueDateTime": (*map(iso, SOON), iso(COMMIT_MS + 10**9), None),
    "ActionTakenDateTime": (iso(COMMIT_MS), None), "StepTitle": ("Call", "Mail"),
}  # fmt: skip


class World(NamedTuple):
    """The channels in use, and the events in commit order."""

    channels: tuple[str, ...]
    events: list[dict[str, Any]]

    def ledger(self) -> list[dict[str, Any]]:
        return self.events


class Arrival(NamedTuple):
    """How a world arrives: (milliseconds before it, indices of events) for each answer, and after which the session is lost."""

    answers: list[tuple[int, list[int]]]
    lost_after: int | None


def _values(values: dict[str, tuple[Any, ...]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={name: st.sampled_from(one) for name, one in values.items()})


_deeds = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(RUNS), _values(RUN_VALUES)),
    st.tuples(st.just("write"), st.sampled_from(sorted(STEPS)), _values(STEP_VALUES)),
    st.tuples(st.just("together"), st.just(""), _values(RUN_VALUES).filter(bool)),
    st.tuples(st.sampled_from(["delete", "undelete"]), st.sampled_from([*RUNS, *STEPS]), st.just({})),
)
_transactions = st.lists(st.lists(_deeds, min_size=1, max_size=4), min_size=3, max_size=9)


class _Org:
    """The records as they are, and the transaction under way."""

    def __init__(self) -> None:
        self.records: dict[str, dict[str, Any]] = {}
        self.deleted: set[str] = set()
        self.open: dict[str, tuple[str, dict[str, Any]]] = {}

    def do(self, deed: str, record: str, values: dict[str, Any]) -> None:
        if deed == "together":
            for one in RUNS:
                if one in self.records and one not in self.deleted:
                    self._write(one, values)
        elif deed == "write":
            self._write(record, values)
        elif record in self.records and record not in self.open:
            if deed == "delete" and record not in self.deleted:
                self.deleted.add(record)
                self.open[record] = ("DELETE", {})
            elif deed == "undelete" and record in self.deleted:
                self.deleted.remove(record)
                full = {name: one for name, one in self.records[record].items() if one is not None}
                self.open[record] = ("UNDELETE", full)

    def _write(self, record: str, values: dict[str, Any]) -> None:
        if record in self.deleted:
            return
        if record not in self.records:
            born = {"State": "Running", "TargetId": "00Q000000000001AAA", "OwnerId": "005000000000001AAA"}
            if record in STEPS:
                born = {"State": "Active", "ActionCadenceTrackerId": STEPS[record], "StepType": "MakeACall"}
            self.records[record] = {}
            values = {name: one for name, one in {**born, **values}.items() if one is not None}
            self.open[record] = ("CREATE", {})
        if values:
            kind, told = self.open.get(record, ("UPDATE", {}))
            self.open[record] = (kind, {**told, **values})
            self.records[record] = {**self.records[record], **values}

    def commit(self) -> list[tuple[str, list[str], dict[str, Any]]]:
        """The transaction as events: kind, record ids, fields; the same update of several runs is one."""
        events: list[tuple[str, list[str], dict[str, Any]]] = []
        for record, (kind, told) in self.open.items():
            same = [
                ids for other, ids, body in events if kind == other == "UPDATE" and body == told and ids[0][:3] == record[:3]
            ]  # fmt: skip
            if same:
                same[0].append(record)
            else:
                if kind in {"CREATE", "UNDELETE"}:
                    told = {name: one for name, one in told.items() if one is not None}  # noqa: PLW2901
                events.append((kind, [record], told))
        self.open = {}
        return events


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """A world with at least one event."""
    channels, org, history = draw(st.sampled_from(SETUPS)), _Org(), []
    org.do("write", RUNS[0], {})
    for number, deeds in enumerate(draw(_transactions)):
        for deed in deeds:
            org.do(*deed)
        sequence = itertools.count(1, draw(st.integers(1, 2)))
        for kind, ids, fields in org.commit():
            entity = RUN if ids[0] in RUNS else STEP
            history.append(
                message(
                    kind, entity, ids, fields, commit=100 + number * 7, sequence=next(sequence),
                    position=f"opaque-{len(history)}", commit_ms=COMMIT_MS + number * 1_000,
                    channel=BOTH if channels == (BOTH,) else None,
                )
            )  # fmt: skip
    return World(channels, history)


@st.composite
def arrivals(draw: st.DrawFn, world: World) -> Arrival:
    """A disturbed arrival: a little or wildly out of order, some of it twice."""
    count = len(world.events)
    far = draw(st.sampled_from([0, 2, 5, 100, 100]))
    places = [index + draw(st.integers(0, far)) for index in range(count)]
    order = sorted(range(count), key=lambda index: places[index])
    order += draw(st.lists(st.integers(0, count - 1), max_size=3))
    answers, rest = [], order
    while rest:
        most = draw(st.integers(1, 4))
        answers.append((draw(st.sampled_from([0, 100, 1_100, 1_100, 6_000])), rest[:most]))
        rest = rest[most:]
    return Arrival(answers, draw(st.none() | st.integers(0, len(answers) - 1)))


@st.composite
def in_order(draw: st.DrawFn, world: World) -> Arrival:
    """Everything in commit order, in any answers, after any time, some of it twice; the session may be lost."""
    answers, rest = [], list(range(len(world.events)))
    while rest:
        most = draw(st.integers(1, 6))
        again = draw(st.lists(st.integers(0, rest[0]), max_size=2))
        answers.append((draw(st.sampled_from([0, 100, 1_100, 6_000])), [*again, *rest[:most]]))
        rest = rest[most:]
    return Arrival(answers, draw(st.none() | st.integers(0, len(answers) - 1)))


def undisturbed(world: World) -> Arrival:
    """Everything once, in commit order."""
    return Arrival([(0, [index]) for index in range(len(world.events))], None)


def alarms(world: World) -> set[tuple[str, int]]:
    """Step and due time of every step that was open, and nothing done, when its due time had come; by hand, event by event."""
    told: set[tuple[str, int]] = set()
    steps: dict[str, dict[str, Any]] = {}

    def look(before_ms: int, step: str) -> None:
        fields = steps.get(step, {})
        due = fields.get("DueDateTime")
        is_open = fields.get("announced") in {"Active", "InProgress", "Scheduled", "Queued", "Error"}
        if due is not None and is_open and not fields.get("ActionTakenDateTime") and not fields.get("gone"):
            due_ms = round(datetime.fromisoformat(due).timestamp() * 1000)
            if due_ms < before_ms:
                told.add((step, due_ms))

    for event in world.events:
        payload = event["data"]["payload"]
        header = payload["ChangeEventHeader"]
        body = {name: one for name, one in payload.items() if name != "ChangeEventHeader"}
        for step in header["recordIds"]:
            if header["entityName"] != STEP:
                continue
            look(header["commitTimestamp"], step)
            if header["changeType"] == "DELETE":
                steps[step]["gone"] = True
                continue
            kept = steps.get(step, {}) if header["changeType"] == "UPDATE" else {}
            steps[step] = {**kept, **body, "announced": body.get("State", kept.get("announced"))}
    for step in steps:
        look(COMMIT_MS + 20_000, step)
    return told


def _commit_ms(event: dict[str, Any]) -> int:
    return int(event["data"]["payload"]["ChangeEventHeader"]["commitTimestamp"])


async def consume(store: Any, world: World, arrival: Arrival) -> list[dict[str, Any]]:
    """Let a tenure of the real ingest consume a world; the journal afterwards."""

    def taken(indices: list[int]) -> list[dict[str, Any]]:
        return [copy.deepcopy(world.events[index]) for index in indices]

    async with tenure(store, world.channels, OrgInfo(world), start="earliest") as ingest:
        await ingest.open()
        heard_ms = COMMIT_MS
        for number, (after_ms, indices) in enumerate(arrival.answers):
            # While time passes polls are answered, with nothing: what comes afterwards may come too late.
            await ingest.answer([], after_ms=after_ms, server_ms=heard_ms)
            await ingest.answer(taken(indices))
            heard_ms = max(heard_ms, *(_commit_ms(world.events[index]) for index in indices))
            if number == arrival.lost_after:
                await ingest.lose()
                await ingest.open(after_ms=300)
                # Delivered again: whatever is not settled, and some that is.
                again = [index for _, before in arrival.answers[: number + 1] for index in before][-4:]
                await ingest.answer(taken(again), after_ms=100)
        for after_ms in (1_100, 6_000, 1_100):
            await ingest.answer([], after_ms=after_ms)
    return [json.loads(entry.data) for entry in await store.read(0, 100_000)]
