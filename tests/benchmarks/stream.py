"""As many change events as wanted, like those of a living org: one recorded block of a simulated world, repeated with fresh ids.

A block is a world from its first enrolment to the end of its last run, as the sandbox published it, with every field of the record sent
along as enrichment (which is what makes an event of this size on a channel with enriched fields). Repetition *k* has other record ids,
transactions, commit numbers and replay ids, all of the same width, so that an event is made by joining bytes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from consumer.sandbox import ManualClock, OrgOptions, Sandbox, SandboxOptions, entity_channel

CUSTOM = "/data/Cadences__chn"
FIRST_REPLAY_ID = 100_000_000_000
COMMIT_SPAN = 1_000_000_000
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_DYNAMIC = re.compile(
    rb'(?P<id>(?<=")(?:0qB|8HF|00Q|003)WP)0{4}|(?P<commit>"commitNumber":)\d+|(?P<key>"transactionKey":")[0-9a-f]{8}|(?P<replay>"replayId":)\d+'
)


@dataclass
class Template:
    """One event: what stays between what changes."""

    entity: str
    fixed: list[bytes]
    kinds: list[str]
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


def record(now_ms: int, *, events: int = 2_000, seed: int = 7, holes: float = 0.0) -> Block:
    """Let a world live for about ``events`` events and to the end of its runs."""
    clock = ManualClock(now_ms // 1000 * 1000)
    options = SandboxOptions(seed=seed, clock=clock, org=OrgOptions(sequence_holes=holes))
    sandbox = Sandbox(options)
    ledger = sandbox.ledger
    sandbox.world.advance_until(lambda: len(list(ledger)) >= events)
    sandbox.world.finish_all()
    block = Block(commit_ms=clock())
    images: dict[str, dict[str, Any]] = {}
    size = 0
    for entry in ledger:
        data = orjson.loads(entry.data)
        payload = data["payload"]
        header = payload.pop("ChangeEventHeader")
        record_id = header["recordIds"][0]
        image = images.setdefault(record_id, {})
        image.update(payload)
        if header["changeType"] == "UPDATE" and len(header["recordIds"]) == 1:
            payload = {**image, **payload}
        data["payload"] = {**payload, "ChangeEventHeader": header}
        raw = orjson.dumps({"data": data, "channel": "?"}).removesuffix(b'"?"}')
        size += len(raw) + 25
        block.templates.append(_template(entry.entity, raw, header["commitNumber"]))
    block.bytes_per_event = size / len(block.templates)
    return block


def _template(entity: str, raw: bytes, commit: int) -> Template:
    fixed, kinds, last = [], [], 0
    for match in _DYNAMIC.finditer(raw):
        kind = str(match.lastgroup)
        fixed.append(raw[last : match.end(kind)])
        kinds.append(kind)
        last = match.end()
    fixed.append(raw[last:])
    return Template(entity, fixed, kinds, commit)


def channel_of(entity: str, channels: tuple[str, ...]) -> str:
    """The channel that carries it."""
    return CUSTOM if CUSTOM in channels else entity_channel(entity)


def messages(block: Block, first: int, channels: tuple[str, ...]) -> Iterator[bytes]:
    """Every message from the ``first`` (counting from 0) on, without end."""
    size = len(block.templates)
    endings = {one.entity: b'"%b"}' % channel_of(one.entity, channels).encode() for one in block.templates}
    index = first
    while True:
        repetition, place = divmod(index, size)
        template = block.templates[place]
        values = {
            "id": _base36(repetition),
            "commit": b"%d" % (template.commit + repetition * COMMIT_SPAN),
            "key": b"%08x" % repetition,
            "replay": b"%d" % (FIRST_REPLAY_ID + index),
        }
        parts = []
        for fixed, kind in zip(template.fixed, template.kinds, strict=False):
            parts += (fixed, values[kind])
        parts += (template.fixed[-1], endings[template.entity])
        yield b"".join(parts)
        index += 1


def _base36(number: int) -> bytes:
    digits = ""
    for _ in range(4):
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits.encode()
