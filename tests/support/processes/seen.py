"""A handler that several processes share: which event was seen when, by which tenure; and whether that is what handlers are promised.

All write to one file, in which the order of lines is the order in which things happened, across processes. A line begins with a line
break and ends with a mark, so that one torn by a kill neither counts nor spoils its neighbour.
"""

import asyncio
import itertools
import os
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from consumer import Context, Handler, LifecycleEvent

_numbers = itertools.count(1)


class Seen(Handler):
    """Appends a line for each event, after a few milliseconds of pretended work: so a kill or a freeze finds calls under way."""

    class Settings(BaseModel):
        path: Path

    on = ("*",)

    async def open(self, settings: Settings, ctx: Context) -> None:
        """A service opens its handlers anew in every tenure."""
        self._tenure = f"{os.getpid()}.{next(_numbers)}"
        self._file = os.open(settings.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    async def handle(self, event: LifecycleEvent, ctx: Context) -> None:
        await asyncio.sleep(random.uniform(0, 0.01))
        os.write(self._file, f"\n{self._tenure} {event.id} .".encode())

    async def close(self) -> None:
        os.close(self._file)


@dataclass(frozen=True)
class Sight:
    """That an event was handed to the handler."""

    tenure: str
    id: str


def sights(path: Path) -> list[Sight]:
    """Everything that was seen so far, in order."""
    lines = path.read_text().splitlines() if path.exists() else []
    parts = [line.split() for line in lines if line.endswith(" .")]
    return [Sight(tenure, id_) for tenure, id_, _ in parts]


def repeats(journal: Sequence[Mapping[str, Any]], seen: Sequence[Sight]) -> int:
    """Assert that everything was seen at least once, the order of each run kept; how often something was seen again.

    The first sights of a run's events come in the order of the journal, whichever replica had them. A tenure sees nothing twice, and
    what it sees of a run stands in the order of the journal: so repeats come after a take-over only, as a stretch of the run.
    """
    at = {event["id"]: (_run(event), offset) for offset, event in enumerate(journal)}
    assert not {sight.id for sight in seen} - at.keys(), "something was seen that is not in the journal"
    firsts, of_tenure = defaultdict(list), defaultdict(list)
    for sight in dict.fromkeys(sight.id for sight in seen):
        run, offset = at[sight]
        firsts[run].append(offset)
    for sight in seen:
        run, offset = at[sight.id]
        of_tenure[sight.tenure, run].append(offset)
    unseen = at.keys() - {sight.id for sight in seen}
    assert not unseen, f"{len(unseen)} events were not seen, first {min(unseen)}"
    for run, offsets in firsts.items():
        assert offsets == sorted(offsets), f"run {run}: first seen in the order {offsets}"
    for (tenure, run), offsets in of_tenure.items():
        assert offsets == sorted(set(offsets)), f"run {run}: tenure {tenure} saw {offsets}"
    return len(seen) - len(at)


def _run(event: Mapping[str, Any]) -> str:
    return str(event.get("tracker_id") or event.get("record_id") or "")
