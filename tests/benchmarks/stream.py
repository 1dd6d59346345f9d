"""As many change events as wanted, like those of a living org: one recorded block of a simulated world, repeated with fresh ids.

A block is a world from its first enrolment to the end of its last run, as the sandbox published it, on a channel that enriches ten fields of
each object (as many as Salesforce allows) in an org that has added some fields of its own and writes titles as people do: 1.5 kB an event.
Repetition *k* has other record ids, transactions, commit numbers and replay ids, all of the same width, so that an event is made by joining
bytes and nobody has to keep a million of them.
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from consumer.sandbox import (
    STEP_TRACKER,
    TRACKER,
    ManualClock,
    OrgOptions,
    Sandbox,
    SandboxOptions,
    entity_channel,
)
from tests.support.builders.stencil import Stencil

CUSTOM = "/data/Cadences__chn"
FIRST_REPLAY_ID = 100_000_000_000
COMMIT_SPAN = 1_000_000_000
ENRICHED = {
    TRACKER: (
        "OwnerId", "ActionCadenceId", "TargetId", "State", "CurrentStepId", "DaisyChainIteration",
        "Territory__c", "Campaign__c", "Play__c", "Next_Best_Action__c",
    ),
    STEP_TRACKER: (
        "ActionCadenceId", "ActionCadenceTrackerId", "ActionCadenceStepId", "TargetId", "State", "StepType", "StepTitle",
        "Territory__c", "Play__c", "Talk_Track__c",
    ),
}  # fmt: skip
"""What the channel sends along with every update."""
OWN = {
    "Territory__c": "EMEA / Central Europe / Mid-Market / Manufacturing and Process Industries",
    "Campaign__c": "2026-Q4 Predictive maintenance webinar series, second wave, invited by partner",
    "Play__c": "Multi-threaded outbound: champion first, then operations and finance, at last the board",
    "Next_Best_Action__c": "Send the case study of a plant of the same size and offer a call with its maintenance lead; if there is no answer "
    "within three days, try the plant manager, whose number stands in the account's notes, and tell the account's owner",
    "Talk_Track__c": "Refer to the downtime figures of their annual report, ask who owns the maintenance budget, offer the fifteen-minute "
    "walk-through and the return-on-investment sheet; do not mention prices before the second call, nor their competitor",
}
"""Fields that the org has added, and what stands in them."""
TITLE = "{}: personal, about unplanned downtime in the second plant, with the reference of their neighbour across the river"
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_DYNAMIC = re.compile(
    rb'(?P<id>(?<=")(?:0qB|8HF|00Q|003)WP)0{4}|(?P<commit>"commitNumber":)\d+|(?P<key>"transactionKey":")[0-9a-f]{8}|(?P<replay>"replayId":)\d+'
)


@dataclass
class Template:
    """One event."""

    entity: str
    stencil: Stencil
    commit: int


@dataclass
class Block:
    """A world to repeat.

    Attributes:
        templates: its events in the order of publication.
        commit_ms: commit time of all of them.
        bytes_per_event: mean size of a message.
    """

    templates: list[Template] = field(default_factory=list)
    commit_ms: int = 0
    bytes_per_event: float = 0.0


class Bodies:
    """What events of this org hold besides what has changed."""

    def __init__(self) -> None:
        self._images: dict[str, dict[str, Any]] = {}

    def of(self, entity: str, payload: dict[str, Any]) -> dict[str, Any]:
        """A payload with the org's own fields in it, and with the enriched ones where Salesforce sends them: with updates of one record."""
        payload = dict(payload)
        header = payload.pop("ChangeEventHeader")
        if "StepTitle" in payload:
            payload["StepTitle"] = TITLE.format(payload["StepTitle"])
        image = self._images.setdefault(header["recordIds"][0], {})
        if header["changeType"] == "CREATE":
            payload |= {name: text for name, text in OWN.items() if name in ENRICHED[entity]}
        image.update(payload)
        if header["changeType"] == "UPDATE" and len(header["recordIds"]) == 1:
            along = {
                name: image[name]
                for name in ENRICHED[entity]
                if name not in payload and image.get(name) is not None
            }
            payload = {**along, **payload}
        return {**payload, "ChangeEventHeader": header}


def record(now_ms: int, *, events: int = 2_000, seed: int = 7, holes: float = 0.0) -> Block:
    """Let a world live for about ``events`` events and to the end of its runs."""
    clock = ManualClock(now_ms // 1000 * 1000)
    options = SandboxOptions(seed=seed, clock=clock, org=OrgOptions(sequence_holes=holes))
    sandbox = Sandbox(options)
    sandbox.world.advance_until(lambda: len(list(sandbox.ledger)) >= events)
    sandbox.world.finish_all()
    return block_of(list(sandbox.ledger), clock())


@dataclass(frozen=True)
class Life:
    """One run with its steps, as far as it is known beforehand, and what happens to it then.

    Attributes:
        before: it is enrolled, its first step is done, its second one is open and due tomorrow: a run and two steps.
        then: one transaction of three events: the second step is done, a third begins, the run goes on to it.
    """

    before: Block
    then: Block


def life(now_ms: int) -> Life:
    """A run to be repeated, each time with other ids."""
    clock = ManualClock(now_ms // 1000 * 1000)
    sandbox = Sandbox(SandboxOptions(seed=7, clock=clock))
    run = sandbox.world.enrol("Event Follow-up")
    sandbox.world.complete_step(run)
    sandbox.world.change_due(run)
    known = len(list(sandbox.ledger))
    sandbox.world.complete_step(run)
    entries = list(sandbox.ledger)
    whole = block_of(entries, clock())
    before = Block(whole.templates[:known], whole.commit_ms, whole.bytes_per_event)
    # Transactions are numbered by visit, so that they come in the order of their numbers whoever is visited.
    return Life(before, Block(whole.templates[known:], whole.commit_ms, whole.bytes_per_event))


def visits(lives: int, count: int, seed: int = 1) -> list[int]:
    """Whose turn it is: ``count`` different ones of so many lives, evenly spread."""
    return random.Random(seed).sample(range(lives), count)


def block_of(entries: Sequence[Any], commit_ms: int) -> Block:
    """What the sandbox published, to be repeated."""
    block = Block(commit_ms=commit_ms)
    bodies = Bodies()
    size = 0
    for entry in entries:
        data = orjson.loads(entry.data)
        data["payload"] = bodies.of(entry.entity, data["payload"])
        raw = orjson.dumps({"data": data, "channel": "?"}).removesuffix(b'"?"}')
        size += len(raw) + 25
        commit = data["payload"]["ChangeEventHeader"]["commitNumber"]
        block.templates.append(Template(entry.entity, Stencil.cut(raw, _DYNAMIC), commit))
    block.bytes_per_event = size / len(block.templates)
    return block


def channel_of(entity: str, channels: tuple[str, ...]) -> str:
    """The channel that carries it."""
    return CUSTOM if CUSTOM in channels else entity_channel(entity)


def messages(
    block: Block, first: int, channels: tuple[str, ...], order: Sequence[int] | None = None
) -> Iterator[bytes]:
    """Every message from the ``first`` (counting from 0) on, without end.

    Args:
        block: what is repeated.
        first: where to begin.
        channels: that carry them.
        order: the ids of which repetition come when; counted up when None.
    """
    size = len(block.templates)
    endings = {one.entity: b'"%b"}' % channel_of(one.entity, channels).encode() for one in block.templates}
    index = first
    while True:
        repetition, slot = divmod(index, size)
        template = block.templates[slot]
        values = {
            "id": numbered(repetition if order is None else order[repetition]),
            "commit": b"%d" % (template.commit + repetition * COMMIT_SPAN),
            "key": b"%08x" % repetition,
            "replay": b"%d" % (FIRST_REPLAY_ID + index),
        }
        yield template.stencil.filled(values) + endings[template.entity]
        index += 1


def numbered(number: int) -> bytes:
    """The four characters that tell the ids of one repetition from those of another; such that checksums of ids stay right."""
    digits = ""
    for _ in range(4):
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits.encode()
