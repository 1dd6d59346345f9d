"""A replica of the real ingest whose store fails on demand, and what the acknowledged commits say is settled."""

import json
import random
from collections.abc import Sequence
from typing import Any

import orjson

from consumer.errors import CommitRefused, StoreUnavailable
from consumer.ingest.committer import Committer
from consumer.ingest.inbox import Inbox
from consumer.ingest.options import IngestOptions
from consumer.ingest.pipeline import Ingest
from consumer.lifecycle import Org as Where
from consumer.ports import Answer, Commit, SessionEnded, SessionOpened
from consumer.state import RecordState
from tests.changes import COMMIT_MS, ORG
from tests.model.world import OLD_INSTANCE, World

THE_ORG = Where(ORG, "https://acme.my.salesforce.com")


class Org:
    """REST, as far as ingest asks it: what never changes in a record's life."""

    def __init__(self, world: World) -> None:
        self._created = {}
        for one in world.ledger():
            payload = one["data"]["payload"]
            header = payload.get("ChangeEventHeader", {})
            if header.get("changeType") == "CREATE":
                self._created.update(dict.fromkeys(header["recordIds"], payload))

    async def rows(self, entity: str, ids: Sequence[str], fields: Sequence[str]) -> dict[str, dict[str, Any]]:
        return {
            one: {name: self._created[one].get(name) for name in fields}
            for one in ids
            if one in self._created
        }


class Crash(Exception):
    """kill -9, here."""


class Clock:
    """Time as the schedule says."""

    def __init__(self) -> None:
        self.now = 1_000

    def monotonic_ms(self) -> int:
        return self.now

    def wall_ms(self) -> int:
        return COMMIT_MS + self.now


class Instance:
    """The org's instance: another one as soon as a change of there has been delivered."""

    def __init__(self) -> None:
        self.name = "NA1"

    async def refresh(self) -> None: ...


class Quiet:
    """An observer that listens to nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


class Settled:
    """What acknowledged commits say: identities by record, checkpoints, dead letters. Goes back in time with the store."""

    def __init__(self) -> None:
        self.seen: dict[str, set[str]] = {}
        self.checkpoints: dict[str, str] = {}
        self.letters: set[str] = set()
        self.knows_numbers = False
        """Whether a commit number is stored, which a restart of numbers is noticed by."""
        self.knows_name = False
        """Whether the instance's name is stored, which a move is told by."""

    def copy(self) -> "Settled":
        other = Settled()
        other.seen = {record: set(identities) for record, identities in self.seen.items()}
        other.checkpoints, other.letters = dict(self.checkpoints), set(self.letters)
        other.knows_numbers, other.knows_name = self.knows_numbers, self.knows_name
        return other

    def take(self, commit: Commit) -> None:
        for key, data in commit.states.items():
            if not key.startswith("target/"):
                self.seen[key] = set(RecordState.decode(data).seen)
        self.knows_name |= commit.epochs is not None
        for channel, state in commit.channels.items():
            self.knows_numbers |= state.commit_number is not None
            if state.position is None:
                self.checkpoints.pop(channel, None)
            else:
                self.checkpoints[channel] = state.position
        self.letters |= {letter.id for letter in commit.dead_letters}


class FaultyStore:
    """The real store; commits may crash, lose their reply, or be executed again late."""

    def __init__(self, real: Any, settled: Settled, world: World) -> None:
        self.real = real
        self.settled = settled
        self.world = world
        self.next_fault: str | None = None
        self.given_up: Commit | None = None
        self.commits = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    async def states(self, record_ids: Sequence[str]) -> dict[str, bytes]:
        if self.next_fault == "unloadable":
            self.next_fault = None
            raise StoreUnavailable("model", "states")
        found = await self.real.states(record_ids)
        if self.next_fault == "crash_after_load":
            self.next_fault = None
            raise Crash
        return found

    async def commit(self, commit: Commit) -> bool:
        fault, self.next_fault = self.next_fault, None
        if fault == "crash_before":
            raise Crash
        if fault == "not_applied":
            raise StoreUnavailable("model", "lost request")
        if fault == "executed_late":
            self.given_up = commit
            raise StoreUnavailable("model", "the client gave up")
        applied = await self.real.commit(commit)
        if applied:
            self.commits += 1
            self.settled.take(commit)
            check_checkpoints(self.settled, self.world)
        if self.given_up is not None:
            late, self.given_up = self.given_up, None
            assert late.number == commit.number
            assert await self.real.commit(late) is False, (
                "a commit that was given up was executed beside its repetition"
            )
        if fault == "crash_after":
            raise Crash
        if fault == "lost_reply":
            raise StoreUnavailable("model", "lost reply")
        return applied


def check_checkpoints(settled: Settled, world: World) -> None:
    """Guarantee 1: a checkpoint never passes, in its channel's delivery order, something whose effects are not committed."""
    for channel, position in settled.checkpoints.items():
        bus = world.bus[channel]
        last = max(index for index, (one, _) in enumerate(bus) if one == position)
        for index, (_, one) in enumerate(bus[: last + 1]):
            header = one["data"]["payload"].get("ChangeEventHeader")
            if header is None:
                continue  # dead letters are checked at the end, by their bytes
            identity = f"{header['transactionKey']}/{header['commitNumber']}/{header['sequenceNumber']}"
            for record in header["recordIds"]:
                assert identity in settled.seen.get(record, ()), (
                    f"{channel}: checkpoint {position} (place {last}) passes place {index}: {record} {identity} is not committed"
                )


class Replica:
    """One tenure: the real ingest, driven step by step."""

    def __init__(self, store: FaultyStore, world: World, clock: Clock, dice: random.Random) -> None:
        self.store, self.world, self.clock, self.dice = store, world, clock, dice
        self.session = 0
        self.cursor: dict[str, int] = {}
        self.ingest: Ingest | None = None
        self.instance = Instance()

    async def begin(self, name: str) -> None:
        tenure = await self.store.real.acquire(name, 3_600_000)
        assert tenure is not None
        self.tenure = tenure
        self.committer = Committer(self.store, self.store, tenure, self.clock, lambda *facts: None)
        options = IngestOptions(
            self.world.channels,
            start="earliest",
            max_events=self.dice.choice((2, 5, 500)),
            window=self.dice.choice((3, 1_000)),
        )
        inbox = Inbox(10_000, 1 << 24)
        self.ingest = Ingest(
            self.store,
            self.committer,
            inbox,
            lambda: THE_ORG,
            self.instance,
            Org(self.world),
            options,
            self.clock,
            Quiet(),
        )
        await self.ingest.prepare()

    async def open(self, *, replay: bool = False) -> None:
        """A new session, where ingest wants to resume (or from the very beginning)."""
        self.session += 1
        resume = dict(await self.ingest.resume())
        if replay:
            resume = dict.fromkeys(resume, "-2")
        for channel, option in resume.items():
            places = [
                index for index, (position, _) in enumerate(self.world.bus[channel]) if position == option
            ]
            assert option == "-2" or places, f"{channel} resumes from {option}, which was never delivered"
            self.cursor[channel] = places[-1] + 1 if places else 0
        self.opened_at = dict(self.cursor)
        await self.take(SessionOpened(self.session, resume, COMMIT_MS, self.clock.now))

    async def answer(self, most: int) -> bool:
        """One poll answer: a random interleaving of what the channels have, each in its order; True while there is more."""
        # A group that shares a position may be split over answers, but the next answer goes on with it (a later answer without a
        # position completes it).
        messages = [self._next(channel) for channel in self.world.channels if self._is_split(channel)]
        for _ in range(most):
            left = [one for one in self.world.channels if self._has_next(one)]
            if not left:
                break
            messages.append(self._next(self.dice.choice(left)))
        if self.world.moves and any(
            "ChangeEventHeader" in one["data"]["payload"] and _of_new_instance(one) for one in messages
        ):
            self.instance.name = "NA2"
        body = orjson.dumps(messages)
        await self.take(Answer(self.session, json.loads(body), body, None, self.clock.now))
        return any(self.cursor[one] < len(self.world.bus[one]) for one in self.world.channels)

    def _is_split(self, channel: str) -> bool:
        bus, place = self.world.bus[channel], self.cursor[channel]
        return 0 < place < len(bus) and bus[place][0] == bus[place - 1][0] and place > self.opened_at[channel]

    def _has_next(self, channel: str) -> bool:
        """Whether the channel may deliver now.

        That an org has moved can only be noticed by somebody who has seen it before: a store that is new, and is given both instances'
        changes at once, cannot know where the first ones come from. Everything else is in the model.
        """
        bus, place = self.world.bus[channel], self.cursor[channel]
        if place >= len(bus):
            return False
        settled = self.store.settled
        knows = settled.knows_numbers and settled.knows_name
        return knows or not self.world.moves or not _of_new_instance(bus[place][1])

    def _next(self, channel: str) -> dict[str, Any]:
        self.cursor[channel] += 1
        return self.world.bus[channel][self.cursor[channel] - 1][1]

    async def lose(self) -> None:
        await self.take(SessionEnded(self.session, "unknown_client", self.clock.now))

    async def take(self, item: Any) -> None:
        """What the loop does with an item, step by step."""
        ingest = self.ingest
        await ingest._take(item)
        ingest._release()
        while ingest._should_commit():
            await ingest._commit()

    async def still_writes(self) -> bool:
        """Whether this replica's next commit or renewal is taken."""
        try:
            await self.store.real.renew(self.tenure, self.committer.number, 3_600_000)
        except CommitRefused:
            return False
        return True


def _of_new_instance(message: dict[str, Any]) -> bool:
    header = message["data"]["payload"].get("ChangeEventHeader")
    return header is None or header["commitNumber"] < OLD_INSTANCE
