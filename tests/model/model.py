"""What may be believed: every acknowledged commit, and what each must leave true.

The model knows the protocol and nothing of how it is implemented. It holds which token and which number the store must have, and so
predicts what the store answers to any commit or renewal, also of a replica that was overtaken, also after the store went back in time
(then the model goes back with it). Of each commit that is applied it asks at once:

* no identity is forgotten, and what is journaled has its identity in the same commit, once;
* an event is marked late exactly if a greater key of its run was committed before it;
* no checkpoint passes, in its channel's delivery order, anything whose effects are not in the store.
"""

import copy
import json
from typing import Any

from consumer.domain.record_state import RecordState
from consumer.ports.commit import Commit
from tests.model.world import Told, World, is_bad

Change = tuple[str, str]
"""Record id and identity."""


class Model:
    """The truth at this moment."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.told: dict[Change, Told] = world.told()
        self.token: str | None = None
        self.number = 0
        self.seen: dict[str, set[str]] = {}
        self.high: dict[str, tuple[int, int, int]] = {}
        self.journal: set[str] = set()
        self.checkpoints: dict[str, str] = {}
        self.born: set[str] = set()
        self.dead_letters: set[str] = set()
        self.knows_numbers = False
        self.knows_name = False

    def snapshot(self) -> "Model":
        """The truth as it can be gone back to."""
        other = copy.copy(self)
        other.seen = {record: set(identities) for record, identities in self.seen.items()}
        other.high, other.checkpoints = dict(self.high), dict(self.checkpoints)
        other.journal, other.born, other.dead_letters = (
            set(self.journal),
            set(self.born),
            set(self.dead_letters),
        )
        return other

    # ------------------------------------------------------------ who may write

    def won(self, token: str) -> None:
        assert token != self.token, "a tenure began with the token of the one before"
        self.token, self.number = token, 0

    def over(self) -> None:
        """Somebody moved the channels: nobody holds the lease."""
        self.token = None

    def answer_to(self, commit: Commit) -> str:
        """What the store must say to it now."""
        if commit.token != self.token or commit.number not in {self.number, self.number + 1}:
            return "refused"
        return "again" if commit.number == self.number else "applied"

    def may_renew(self, token: str, number: int) -> bool:
        return (token, number) == (self.token, self.number)

    # ------------------------------------------------------------ what a commit makes true

    def applied(self, commit: Commit) -> list[Change]:
        """Believe it; the changes that it was the first to take."""
        assert self.answer_to(commit) == "applied", f"commit {commit.number} was applied, and must not be"
        self.number = commit.number
        fresh: list[Change] = []
        for key, data in commit.states.items():
            if key.startswith("target/"):
                continue
            seen = set(RecordState.decode(data).seen)
            before = self.seen.get(key, set())
            assert before <= seen, f"{key} forgets {sorted(before - seen)}"
            fresh += ((key, identity) for identity in sorted(seen - before))
            self.seen[key] = seen
        self._check_journal(commit, fresh)
        for change in fresh:
            told = self.told[change]
            self.high[told.run] = max(self.high.get(told.run, told.key), told.key)
        self.dead_letters |= {canonical(json.loads(dead_letter.raw)) for dead_letter in commit.dead_letters}
        self.knows_name |= commit.epochs is not None
        for channel, state in commit.channels.items():
            self.born.add(channel)
            self.knows_numbers |= state.commit_number is not None
            if state.position is None:
                self.checkpoints.pop(channel, None)
            else:
                self.checkpoints[channel] = state.position
        self._check_checkpoints()
        return fresh

    def _check_journal(self, commit: Commit, fresh: list[Change]) -> None:
        highest = dict(self.high)
        for change in fresh:
            told = self.told[change]
            highest[told.run] = max(highest.get(told.run, told.key), told.key)
        high = dict(self.high)
        for record in commit.journal:
            assert record.id not in self.journal, f"{record.id} is journaled twice"
            self.journal.add(record.id)
            event = json.loads(record.data)
            if event.get("origin", "stream") != "stream" or record.type.startswith("system."):
                continue
            order_key = event["transaction"]
            change = (
                event["record_id"],
                f"{order_key['key']}/{order_key['commit_number']}/{order_key['sequence_number']}",
            )
            assert change in fresh, (
                f"{record.id} is journaled and its identity is not stored in the same commit"
            )
            told, late = self.told[change], bool(event.get("late"))
            if late:
                assert told.key < highest[told.run], (
                    f"{record.id} is marked late, and nothing newer of its run is known"
                )
            elif told.run in high:
                assert told.key >= high[told.run], (
                    f"{record.id} is behind {high[told.run]} of its run and not marked late"
                )
            high[told.run] = max(high.get(told.run, told.key), told.key)

    def _check_checkpoints(self) -> None:
        for channel, position in self.checkpoints.items():
            bus = self.world.bus[channel]
            last = max(index for index, (one, _) in enumerate(bus) if one == position)
            for index, (_, one) in enumerate(bus[: last + 1]):
                assert self.is_complete(one), (
                    f"{channel}: checkpoint {position} (place {last}) passes place {index}, which is not committed: {short(one)}"
                )

    def is_complete(self, message: dict[str, Any]) -> bool:
        """Whether every effect of a message is in the store."""
        if is_bad(message):
            return canonical(message) in self.dead_letters
        return all(identity in self.seen.get(record, ()) for record, identity in changes_of(message))


def changes_of(message: dict[str, Any]) -> list[Change]:
    """Every change in a message; none in a bad one."""
    if is_bad(message):
        return []
    header = message["data"]["payload"]["ChangeEventHeader"]
    identity = f"{header['transactionKey']}/{header['commitNumber']}/{header['sequenceNumber']}"
    return [(record, identity) for record in header["recordIds"]]


def canonical(message: Any) -> str:
    return json.dumps(message, sort_keys=True)


def short(message: dict[str, Any]) -> str:
    """A message for people."""
    if is_bad(message):
        return "a bad event"
    header = message["data"]["payload"]["ChangeEventHeader"]
    order_key = f"{header['commitNumber']}.{header['sequenceNumber']}"
    return f"{header['changeType']} {'+'.join(record[:3] + record[11:15] for record in header['recordIds'])} {order_key}"
