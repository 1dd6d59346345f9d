"""One recorded world, repeated without end: its messages with other ids, numbers and times, and what the service must make of each repetition.

Everything that tells one repetition from another has the same width in all of them, so a message is made by joining bytes. Commit times
move on with the repetition, far faster than the clock on the wall.
"""

import re
from dataclasses import dataclass

import orjson

from consumer.sandbox import ManualClock, Sandbox, SandboxOptions
from tests.oracle import expected
from tests.rounds.soak.checksum import Checksum, Sum
from tests.support.builders.stencil import Stencil

__all__ = ["CHANNEL", "COMMIT_SPAN", "Slot", "World", "slot_of"]

CHANNEL = "/data/Cadences__chn"
COMMIT_SPAN = 10_000_000_000
"""Between the commit numbers of two repetitions; a world takes far fewer."""
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_DYNAMIC = re.compile(
    rb'(?P<id>(?<=")(?:0qB|8HF|00Q|003)WP)0{4}|(?P<commit>"commitNumber":)\d+|(?P<time>"commitTimestamp":)\d+'
    rb'|(?P<key>"transactionKey":")[0-9a-f]{8}|(?P<replay>"replayId":)\d+'
)


@dataclass(frozen=True)
class Slot:
    """Where an event belongs: which repetition, and what run and record are called in every one of them."""

    repetition: int
    run: str
    record: str


def slot_of(run_id: str, record_id: str) -> Slot:
    """Of an event about these; no lower case letter changes the checksum of an id, so four of them count repetitions."""
    return Slot(int(run_id[5:9], 36), run_id[:5] + run_id[9:], record_id[:5] + record_id[9:])


@dataclass(frozen=True)
class _Template:
    stencil: Stencil
    commit: int
    after_ms: int


class World:
    """A world that lived until about ``changes`` change events had been published, and then to the end of its runs.

    Args:
        changes: how many, about.
        began_ms: when the first repetition begins, in Salesforce's time.
        step_ms: how much later each change of a repetition is committed than the one before.
    """

    def __init__(self, changes: int, began_ms: int, step_ms: int, seed: int = 7) -> None:
        sandbox = Sandbox(SandboxOptions(seed=seed, clock=ManualClock(began_ms // 1000 * 1000)))
        ledger = sandbox.ledger
        sandbox.world.advance_until(lambda: len(list(ledger)) >= changes)
        sandbox.world.finish_all()
        messages = [{"data": orjson.loads(one.data), "channel": CHANNEL} for one in ledger]
        self._began_ms = began_ms
        self._step_ms = step_ms
        self._templates: list[_Template] = []
        first_of: dict[int, int] = {}
        for index, message in enumerate(messages):
            commit = message["data"]["payload"]["ChangeEventHeader"]["commitNumber"]
            # All changes of a transaction are committed together.
            after_ms = first_of.setdefault(commit, index) * step_ms
            stencil = Stencil.cut(orjson.dumps(message), _DYNAMIC)
            self._templates.append(_Template(stencil, commit, after_ms))
        self.sum = _sum_of(messages)

    def __len__(self) -> int:
        return len(self._templates)

    def time_ms(self, index: int) -> int:
        """Salesforce's time when so many changes have been published."""
        return self._began_ms + index * self._step_ms

    def message(self, index: int, replay_id: int) -> bytes:
        """Change number ``index``, counting from 0 through all repetitions."""
        repetition, slot = divmod(index, len(self._templates))
        one = self._templates[slot]
        began_ms = self.time_ms(repetition * len(self._templates))
        values = {
            "id": _base36(repetition),
            "commit": b"%d" % (one.commit + repetition * COMMIT_SPAN),
            "time": b"%d" % ((began_ms + one.after_ms) // 1000 * 1000),
            "key": b"%08x" % repetition,
            "replay": b"%d" % replay_id,
        }
        return one.stencil.filled(values)


def _sum_of(messages: list[dict]) -> Sum:
    """What the oracle says of one repetition; the first, which is called 0 like every other."""
    checksum = Checksum()
    for run, events in expected(messages, "").runs.items():
        for event in events:
            slot = slot_of(run, event.record_id)
            what = f"{slot.record} {event.commit_number} {event.sequence_number} {event.type}"
            checksum.add(0, slot.run, what)
    (only,) = checksum.sums()
    return only


def _base36(number: int) -> bytes:
    digits = ""
    for _ in range(4):
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits.encode()
