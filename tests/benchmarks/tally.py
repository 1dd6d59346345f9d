"""The handler of a measurement: counts what reaches it, and says when enough has.

It knows which change an event came from by its replay id, which the bus counts up, so it can say how many changes are through without
knowing what each of them meant.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from consumer import BatchHandler, Context, LifecycleEvent


class Tally(BatchHandler):
    """Writes one line of JSON to ``out`` once an event of replay id ``until`` or later has come; before that, every second, how far it is."""

    batch_wait = 0

    class Settings(BaseModel):
        """Where to and how far."""

        out: Path
        until: int
        each: bool = False

    async def open(self, settings: Settings, ctx: Context) -> None:
        """Start counting."""
        self.settings = settings
        self.count = 0
        self.first_ns: int | None = None
        self.told_ns = 0
        self.seen: list[tuple[int, int]] = []
        self.done = False

    async def handle_batch(self, events: Sequence[LifecycleEvent], ctx: Context) -> None:
        """Count."""
        now_ns = time.monotonic_ns()
        self.count += len(events)
        if self.first_ns is None:
            self.first_ns = now_ns
        if self.settings.each:
            self.seen += ((int(one.position.replay_id), now_ns) for one in events if one.position)
        position = events[-1].position  # journal order, which a batch keeps
        last = int(position.replay_id) if position is not None and position.replay_id is not None else 0
        if last >= self.settings.until and not self.done:
            self.done = True
            figures = {
                "first_ns": self.first_ns,
                "ended_ns": now_ns,
                "events": self.count,
                "seen": self.seen,
            }
            self._write(self.settings.out, json.dumps(figures))
        elif now_ns - self.told_ns > 1_000_000_000:
            self.told_ns = now_ns
            self._write(self.settings.out.with_suffix(".progress"), str(last))

    @staticmethod
    def _write(path: Path, text: str) -> None:
        partial = path.with_suffix(".part")
        partial.write_text(text)
        partial.replace(path)
