"""The handler of a measurement: counts what reaches it, and says when enough has.

It knows which change an event came from by its replay id, which the bus counts up, so it can say how many changes are through without
knowing what each of them meant.
"""

import json
import resource
import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from consumer import BatchHandler, Context, LifecycleEvent


class Tally(BatchHandler):
    """Writes one line of JSON to ``out`` once an event of replay id ``until`` or later has come."""

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
        self.cpu_s = time.process_time()
        self.seen: list[tuple[int, int]] = []
        self.done = False

    async def handle_batch(self, events: Sequence[LifecycleEvent], ctx: Context) -> None:
        """Count."""
        now_ns = time.monotonic_ns()
        self.count += len(events)
        if self.settings.each:
            self.seen += ((int(one.position.replay_id), now_ns) for one in events if one.position)
        position = events[-1].position  # journal order, which a batch keeps
        last = int(position.replay_id) if position is not None and position.replay_id is not None else 0
        if last >= self.settings.until and not self.done:
            self.done = True
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            figures = {
                "ended_ns": now_ns,
                "cpu_s": time.process_time() - self.cpu_s,
                "rss_peak": peak,
                "events": self.count,
                "seen": self.seen,
            }
            partial = self.settings.out.with_suffix(".part")
            partial.write_text(json.dumps(figures))
            partial.replace(self.settings.out)
