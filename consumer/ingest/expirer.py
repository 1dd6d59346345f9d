"""The expirer: walks through everything that is known and proposes what may be forgotten.

It reads, and that is all it does. What looks as if it might go is put into the inbox like an answer of the stream; the ingest loop decides
again on what it knows by then and removes it in an ordinary commit, so only the holder of the lease forgets, and never a record that was
changed meanwhile. A page of proposals is committed before the next page is read.

Steps are walked through before runs, both with the horizon of the walk's beginning: a run that goes leaves no step behind.
The walk is slow on purpose (some thousand records a minute for a few milliseconds of each second) and counts what it sees on its way.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from consumer.clock import Clock
from consumer.errors import CadenceError
from consumer.expiry import GAP_NOTE, Horizon, may_go, needs_its_run
from consumer.ingest.inbox import Inbox, InboxClosed
from consumer.ingest.observer import IngestEvents
from consumer.ports import Fetched, IngestStore
from consumer.records import RUN
from consumer.state import RecordState
from consumer.targets import is_target

__all__ = ["EVERY_MS", "FIRST_MS", "POSTPONED_MS", "Expirer", "Proposal"]

EVERY_MS = 3_600_000
"""From the end of one walk to the beginning of the next."""
FIRST_MS = 60_000
PAGE = 200
"""States read at a time, and proposed at most: what one commit takes without keeping the stream waiting."""
PAUSE_MS = 500
AGAIN_MS = 10_000
POSTPONED_MS = 600_000

Kind = Literal["run", "step", "target", "gap"]


@dataclass(frozen=True, slots=True)
class Proposal:
    """What might be forgotten.

    Attributes:
        keys: of states.
        horizon: by which it looks so.
    """

    keys: tuple[str, ...]
    horizon: Horizon


class _Postponed(Exception):
    """Something is being mended: what may be forgotten is not certain."""


class Expirer:
    """Proposes for one tenure.

    Args:
        store: walked through.
        inbox: takes the proposals.
        clock: for waiting.
        now_ms: up to when Salesforce's time has certainly come; None while nobody knows, or while nothing may be forgotten.
        retention_ms: ``state.retention``; None keeps ended runs.
        observer: told what there is.
    """

    def __init__(
        self,
        store: IngestStore,
        inbox: Inbox,
        clock: Clock,
        now_ms: Callable[[], int | None],
        retention_ms: int | None,
        observer: IngestEvents,
    ) -> None:
        self._store = store
        self._inbox = inbox
        self._clock = clock
        self._now_ms = now_ms
        self._retention_ms = retention_ms
        self._observer = observer
        self._decided = asyncio.Event()
        self._taken = True

    def decided(self, *, taken: bool) -> None:
        """Told when a page of proposals has been committed, or is not taken because something is being mended."""
        self._taken = taken
        self._decided.set()

    async def run(self) -> None:
        """Walk every hour until it is cancelled or the inbox is closed."""
        wait_ms = FIRST_MS
        while True:
            await asyncio.sleep(wait_ms / 1000)
            now_ms = self._now_ms()
            if now_ms is None:
                wait_ms = AGAIN_MS
                continue
            horizon = Horizon.at(now_ms, self._retention_ms)
            try:
                await self._walk(horizon, steps=True)
                counts, sizes = await self._walk(horizon, steps=False)
            except InboxClosed:
                return
            except _Postponed:
                wait_ms = POSTPONED_MS
                continue
            self._observer.states_counted(counts, sizes)
            wait_ms = EVERY_MS

    async def _walk(self, horizon: Horizon, *, steps: bool) -> tuple[Counter[str], Counter[str]]:
        """Everything once, proposing steps or what is none; how many states of each kind there are, and their bytes."""
        counts: Counter[str] = Counter()
        sizes: Counter[str] = Counter()
        cursor: str | None = None
        while True:
            try:
                found, following = await self._store.walk(cursor, PAGE)
                states = {key: RecordState.decode(data) for key, data in found if not is_target(key)}
                proposed = await self._promising(states, horizon, steps=steps)
            except CadenceError:
                await asyncio.sleep(AGAIN_MS / 1000)  # whoever commits tells
                continue
            for start in range(0, len(proposed), PAGE):
                await self._propose(tuple(proposed[start : start + PAGE]), horizon)
            gone = set(proposed)
            for key, data in found:
                if key in gone:
                    continue
                kind = _kind_of(key, states.get(key))
                counts[kind] += 1
                sizes[kind] += len(data)
            if following is None:
                return counts, sizes
            cursor = following
            await asyncio.sleep(PAUSE_MS / 1000)

    async def _promising(
        self, states: Mapping[str, RecordState], horizon: Horizon, *, steps: bool
    ) -> list[str]:
        """Those that might go, as far as the store knows."""
        of_kind = {key: state for key, state in states.items() if (_kind_of(key, state) == "step") == steps}
        asking = [state for state in of_kind.values() if needs_its_run(state, horizon)]
        runs = await self._store.states(
            sorted({run for state in asking if (run := state.tracker_id) is not None})
        )
        known = {run: RecordState.decode(data) for run, data in runs.items()}
        return [
            key
            for key, state in of_kind.items()
            if may_go(state, known.get(state.tracker_id or "") if steps else None, horizon)
        ]

    async def _propose(self, keys: tuple[str, ...], horizon: Horizon) -> None:
        self._decided.clear()
        await self._inbox.put(Fetched(Proposal(keys, horizon), self._clock.monotonic_ms()))
        await self._decided.wait()
        if not self._taken:
            raise _Postponed


def _kind_of(key: str, state: RecordState | None) -> Kind:
    if state is None:
        return "target"
    if key.startswith(GAP_NOTE):
        return "gap"
    return "run" if state.entity == RUN else "step"
