"""The handler of the soak: a rolling checksum of what Salesforce told, written down every second."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import BaseModel

from consumer import BatchHandler, Context, LifecycleEvent
from tests.rounds.soak.checksum import Checksum
from tests.rounds.soak.world import COMMIT_SPAN, slot_of


class Rolling(BatchHandler):
    """Appends the sums of repetitions that are over to ``folded.jsonl``, and says in ``now.json`` where it is."""

    class Settings(BaseModel):
        """Where to."""

        folder: Path

    async def open(self, settings: Settings, ctx: Context) -> None:
        """Begin with nothing: it is the only handler of a store that was empty."""
        self.folder = settings.folder
        self.checksum = Checksum()
        self.others = 0
        self.last = 0
        self.written_s = 0.0

    async def handle_batch(self, events: Sequence[LifecycleEvent], ctx: Context) -> None:
        """Add each that Salesforce told; timers and what concerns no run are counted."""
        for event in events:
            if event.position is None or event.transaction is None or event.tracker_id is None:
                self.others += 1
                continue
            slot = slot_of(event.tracker_id, event.record_id)
            commit = event.transaction.commit_number - slot.repetition * COMMIT_SPAN
            what = f"{slot.record} {commit} {event.transaction.sequence_number} {event.type}"
            self.checksum.add(slot.repetition, slot.run, what)
            self.last = max(self.last, int(event.position.replay_id or 0))
        if over := self.checksum.fold():
            with (self.folder / "folded.jsonl").open("a") as file:
                file.writelines(json.dumps(asdict(one)) + "\n" for one in over)
        if time.monotonic() - self.written_s >= 1:
            self.write()

    async def close(self) -> None:
        """The last word."""
        self.write()

    def write(self) -> None:
        """Say where it is."""
        self.written_s = time.monotonic()
        words = {
            "events": self.checksum.events,
            "others": self.others,
            "last": self.last,
            "open": [asdict(one) for one in self.checksum.sums()],
        }
        partial = self.folder / "now.part"
        partial.write_text(json.dumps(words))
        partial.replace(self.folder / "now.json")
