"""A seeded world: consistent change events, and the bus of each channel in delivery order."""

import copy
import json
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from consumer.clock import iso
from tests.support.builders.changes import (
    COMMIT_MS,
    RUN,
    RUN_CHANNEL,
    STEP,
    STEP_CHANNEL,
    message,
)

ALL = "/data/ChangeEvents"
CUSTOM = "/data/Cadences__chn"
SETUPS = ((RUN_CHANNEL, STEP_CHANNEL), (CUSTOM,), (ALL, RUN_CHANNEL))
NEXT = {
    None: ("Running", "Running", "Initializing"), "Initializing": ("Running",), "Running": ("Paused", "Processing", "Complete", "Error"),
    "Processing": ("Running", "Paused", "Complete"), "Paused": ("Running", "Complete"), "Error": ("Running",), "Complete": ("Complete",),
    "Active": ("InProgress", "Completed", "Paused", "Cancelled", "Error"), "InProgress": ("Completed",), "Completed": ("Completed",),
    "Cancelled": ("Cancelled",),
}  # fmt: skip


class Told(NamedTuple):
    """What is true of one change.

    Attributes:
        run: of its record.
        key: epoch, commit number, sequence number.
    """

    run: str
    key: tuple[int, int, int]


@dataclass
class World:
    """Everything that a schedule reads.

    Attributes:
        channels: the configured ones.
        bus: channel to (position, message) in delivery order; several messages may share a position, and one may have none.
        start: where a channel begins that was never subscribed, as in the settings.
        moves: whether the org moves to another instance on the way, where commit numbers restart.
    """

    channels: tuple[str, ...]
    bus: dict[str, list[tuple[str | None, dict[str, Any]]]] = field(default_factory=dict)
    start: str = "earliest"
    moves: bool = False

    def ledger(self) -> list[dict[str, Any]]:
        return [one for channel in self.channels for _, one in self.bus[channel]]

    def told(self) -> dict[tuple[str, str], Told]:
        """Record id and identity of every change to what is true of it."""
        headers = [(one["data"]["payload"], _header(one)) for one in self.ledger() if not is_bad(one)]
        runs: dict[str, str] = {}
        for payload, header in headers:
            if header["changeType"] == "CREATE":
                runs |= {
                    record: payload.get("ActionCadenceTrackerId", record) for record in header["recordIds"]
                }
        told = {}
        for _, header in headers:
            number, sequence = header["commitNumber"], header["sequenceNumber"]
            epoch = 1 if self.moves and number < OLD_INSTANCE else 0
            for record in header["recordIds"]:
                identity = f"{header['transactionKey']}/{number}/{sequence}"
                told[record, identity] = Told(runs[record], (epoch, number, sequence))
        return told

    def shown(self, bus: list[tuple[str | None, dict[str, Any]]]) -> str:
        """A channel for people: where each change stands."""
        shown = []
        for position, one in bus:
            header = _header(one)
            order_key = "bad" if header is None else f"{header['commitNumber']}.{header['sequenceNumber']}"
            shown.append(f"{order_key}@{position or '-'}")
        return " ".join(shown)


def _header(one: Mapping[str, Any]) -> Any:
    return one["data"]["payload"].get("ChangeEventHeader")


def is_bad(one: Mapping[str, Any]) -> bool:
    """Whether a message is no usable change event."""
    return _header(one) is None


def is_of_new_instance(one: Mapping[str, Any]) -> bool:
    """Whether it has a commit number of the instance that the org moves to."""
    return not is_bad(one) and _header(one)["commitNumber"] < OLD_INSTANCE


def make_world(dice: random.Random) -> World:
    world = World(dice.choice(SETUPS))
    world.start = dice.choice(("earliest", "latest"))
    world.moves = dice.random() < 0.15
    history = _history(dice, moves=world.moves)
    for channel in world.channels:
        carried = [one for one in history if _carries(channel, one)]
        mine = _ungrouped(carried) if dice.random() < 0.5 else [[one] for one in carried]
        if not world.moves:
            _reorder(mine, dice)
        if dice.random() < 0.25 and len(mine) > 4 and not world.moves:
            mine.append(mine.pop(_worth_missing(mine, dice)))
        for _ in range(dice.choice((0, 0, 1, 2))):
            if mine and not world.moves:
                mine.insert(dice.randrange(len(mine) + 1), copy.deepcopy(dice.choice(mine)))  # republished
        world.bus[channel] = _published(channel, mine, dice)
    return world


def _worth_missing(mine: list[list[dict[str, Any]]], dice: random.Random) -> int:
    """Which event is really late: often the one that says which run a step belongs to."""
    creations = [
        index
        for index, (one, *_) in enumerate(mine[:-3])
        if not is_bad(one) and (_header(one)["changeType"], _header(one)["entityName"]) == ("CREATE", STEP)
    ]
    return dice.choice(creations) if creations and dice.random() < 0.5 else dice.randrange(len(mine) - 3)


def _carries(channel: str, one: dict[str, Any]) -> bool:
    if channel in (ALL, CUSTOM):
        return True
    entity = one["data"]["payload"].get("ChangeEventHeader", {}).get("entityName", RUN)
    return channel == (RUN_CHANNEL if entity == RUN else STEP_CHANNEL)


OLD_INSTANCE = 3 * 10**13
"""Commit numbers of the instance that the org moves away from begin here; those of the new one are far below."""


def _history(dice: random.Random, *, moves: bool) -> list[dict[str, Any]]:
    """Transactions in commit order."""
    states: dict[str, str] = {}
    owners: dict[str, str] = {}
    history = []
    commit = OLD_INSTANCE if moves else 1_000
    transactions = dice.randrange(3, 14)
    moves_at = dice.randrange(1, transactions) if moves else None
    for number in range(transactions):
        commit = 5_000_000 if number == moves_at else commit + dice.choice((1, 1, 7, 900))
        sequence = 0
        for _ in range(dice.choice((1, 1, 2, 3))):
            sequence += dice.choice((1, 1, 1, 2))  # holes are legitimate
            history.append(_dated(_change(dice, states, owners, commit, sequence), number))
        if dice.random() < 0.06:
            bad = message(
                "UPDATE", RUN, "0qB000000000009AAA", {"State": "Paused"}, commit=commit, sequence=sequence + 5
            )
            del bad["data"]["payload"]["ChangeEventHeader"]
            history.append(bad)
    return history


def _dated(one: dict[str, Any], number: int) -> dict[str, Any]:
    one["data"]["payload"]["ChangeEventHeader"]["commitTimestamp"] = COMMIT_MS + number * 1_000
    return one


def _change(
    dice: random.Random, states: dict[str, str], owners: dict[str, str], commit: int, sequence: int
) -> dict[str, Any]:
    runs = [one for one in states if one.startswith("0qB")]
    if not states or dice.random() < 0.25:
        if runs and dice.random() < 0.5:
            record, run = f"8HF{len(states):012d}AAA", dice.choice(runs)
            states[record], owners[record] = "Active", run
            fields = {"State": "Active", "ActionCadenceTrackerId": run, "StepType": "MakeACall"}
            if dice.random() < 0.3:
                fields["DueDateTime"] = iso(COMMIT_MS + dice.randrange(10, 60) * 1_000)
            return message("CREATE", STEP, record, fields, commit=commit, sequence=sequence)
        record = f"0qB{len(states):012d}AAA"
        states[record] = dice.choice(NEXT[None])
        fields = {"State": states[record], "TargetId": "00Q000000000001AAA", "OwnerId": "005A"}
        return message("CREATE", RUN, record, fields, commit=commit, sequence=sequence)
    record = dice.choice(list(states))
    entity = RUN if record.startswith("0qB") else STEP
    if dice.random() < 0.05:
        return message("DELETE", entity, record, commit=commit, sequence=sequence)
    if dice.random() < 0.03:
        fields = {"State": states[record]} | (
            {"ActionCadenceTrackerId": owners[record]} if entity == STEP else {}
        )
        return message("UNDELETE", entity, record, fields, commit=commit, sequence=sequence)
    if dice.random() < 0.2:
        return message(
            "UPDATE", entity, record, {"Custom__c": commit % 977}, commit=commit, sequence=sequence
        )
    if entity == RUN and len(runs) > 1 and dice.random() < 0.35:
        same = [one for one in runs if states[one] == states[record]][:3]
        state = dice.choice(NEXT[states[record]])
        states.update(dict.fromkeys(same, state))
        return message("UPDATE", RUN, same, {"State": state}, commit=commit, sequence=sequence)
    states[record] = dice.choice(NEXT[states[record]])
    fields = {"State": states[record]}
    if dice.random() < 0.4:
        # Enrichment is read at delivery time: what never changes may be taken from it, an owner may not.
        fields |= {"OwnerId": "005Z"} if entity == RUN else {"ActionCadenceTrackerId": owners[record]}
    return message("UPDATE", entity, record, fields, commit=commit, sequence=sequence, changed=["State"])


def _ungrouped(mine: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Enriched channels deliver a merged event as one message for each record, all with one replay id."""
    groups = []
    for one in mine:
        header = one["data"]["payload"].get("ChangeEventHeader")
        if header is None or len(header["recordIds"]) == 1:
            groups.append([one])
            continue
        parts = []
        for record in header["recordIds"]:
            part = copy.deepcopy(one)
            part["data"]["payload"]["ChangeEventHeader"]["recordIds"] = [record]
            parts.append(part)
        groups.append(parts)
    return groups


def _reorder(mine: list[Any], dice: random.Random) -> None:
    for index in range(len(mine) - 1):
        if dice.random() < 0.2:
            mine[index], mine[index + 1] = mine[index + 1], mine[index]


def _published(
    channel: str, groups: list[list[dict[str, Any]]], dice: random.Random
) -> list[tuple[str | None, dict[str, Any]]]:
    """Positions are opaque: random, so that nothing but arrival can order them."""
    bus: list[tuple[str | None, dict[str, Any]]] = []
    for group in groups:
        position: str | None = str(dice.randrange(1, 10**9))
        if is_bad(group[0]) and dice.random() < 0.3:
            position = None
        for one in group:
            each = copy.deepcopy(one)
            each["channel"] = channel
            if is_bad(each):
                each["data"]["payload"]["Custom__c"] = dice.randrange(
                    10**9
                )  # each is kept, so no two are alike
            if position is None:
                del each["data"]["event"]
            else:
                each["data"]["event"] = {"replayId": int(position)}
            bus.append((position, each))
    return bus


def in_one_sequence(world: World, value: Any) -> Any:
    """Ledger or journal as if commit numbers had not restarted: the oracle orders by them alone."""
    if not world.moves:
        return value
    text = json.dumps(value)
    return json.loads(
        re.sub(r"(?<![0-9a-f-])(50\d{5})(?![0-9])", lambda found: str(int(found[1]) + 2 * OLD_INSTANCE), text)
    )
