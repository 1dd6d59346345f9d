"""Expiry of states.

A walk through everything that the store holds proposes states to forget.

The walk only reads. A state that looks expirable is put into the buffer like an answer of the stream; the ingest loop decides again on what
it knows by then (:mod:`consumer.ingest.expire`) and removes it in an ordinary commit, so only the holder of the lease forgets, and never a
record that was changed meanwhile. A page of proposals is committed before the next page is read.

Steps are walked through before runs, both with the cutoff of the walk's beginning: a run that expires leaves no step behind. The walk is
slow on purpose (some thousand records a minute for a few milliseconds of each second) and counts what it sees on its way.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from consumer.clock import Clock
from consumer.domain.objects import RUN
from consumer.domain.record_state import RecordState
from consumer.domain.state_retention import (
    GAP_NOTE,
    ExpiryCutoff,
    is_expirable,
    needs_run_state,
)
from consumer.domain.target_runs import is_target
from consumer.errors import CadenceError
from consumer.ingest.buffer import BufferClosed, IntakeBuffer
from consumer.ports.commit import IngestStore
from consumer.ports.observers.ingest_events import IngestEvent
from consumer.ports.observers.observer import Observer
from consumer.ports.observers.reconcile_events import StatesCounted
from consumer.ports.source import FetchedItem

__all__ = ["FIRST_DELAY_MS", "INTERVAL_MS", "POSTPONE_MS", "ExpiryProposal", "StateExpiry"]

INTERVAL_MS = 3_600_000
"""Wait between the end of one walk and the beginning of the next."""
FIRST_DELAY_MS = 60_000
PAGE_SIZE = 200
"""Number of states that are read at a time, and proposed at most: one commit takes them without keeping the stream waiting."""
PAUSE_MS = 500
RETRY_AFTER_MS = 10_000
POSTPONE_MS = 600_000

Kind = Literal["run", "step", "target", "gap"]


@dataclass(frozen=True, slots=True)
class ExpiryProposal:
    """Proposal to forget states.

    Attributes:
        keys: keys of the states.
        cutoff: times before which states expire.
    """

    keys: tuple[str, ...]
    cutoff: ExpiryCutoff


class _Postponed(Exception):
    """Signal that a reconcile task is open, so that known states may be found wrong."""


class StateExpiry:
    """Expiry of states in one tenure.

    Args:
        store: the store to walk through.
        buffer: takes the proposals.
        clock: for waiting.
        now_ms: Salesforce time up to which all changes have been received; None while it is unknown, and nothing may be forgotten.
        retention_ms: ``state.retention``; None keeps ended runs.
        observer: notified of the counts.
    """

    def __init__(
        self,
        store: IngestStore,
        buffer: IntakeBuffer,
        clock: Clock,
        now_ms: Callable[[], int | None],
        retention_ms: int | None,
        observer: Observer[IngestEvent],
    ) -> None:
        self._store = store
        self._buffer = buffer
        self._clock = clock
        self._now_ms = now_ms
        self._retention_ms = retention_ms
        self._observer = observer
        self._resolved = asyncio.Event()
        self._applied = True

    def proposal_resolved(self, *, applied: bool) -> None:
        """Note the outcome of a proposal.

        It was committed, or was not applied because a reconcile task is open.
        """
        self._applied = applied
        self._resolved.set()

    async def run(self) -> None:
        """Walk every hour until cancelled or until the buffer is closed."""
        wait_ms = FIRST_DELAY_MS
        while True:
            await asyncio.sleep(wait_ms / 1000)
            now_ms = self._now_ms()
            if now_ms is None:
                wait_ms = RETRY_AFTER_MS
                continue
            cutoff = ExpiryCutoff.at(now_ms, self._retention_ms)
            try:
                await self._walk(cutoff, steps=True)
                counts, sizes = await self._walk(cutoff, steps=False)
            except BufferClosed:
                return
            except _Postponed:
                wait_ms = POSTPONE_MS
                continue
            self._observer.observe(StatesCounted(counts, sizes))
            wait_ms = INTERVAL_MS

    async def _walk(self, cutoff: ExpiryCutoff, *, steps: bool) -> tuple[Counter[str], Counter[str]]:
        """Walk once and propose steps, or everything but steps.

        The result is the number of states of each kind, and their bytes.
        """
        counts: Counter[str] = Counter()
        sizes: Counter[str] = Counter()
        cursor: str | None = None
        while True:
            try:
                found, next_cursor = await self._store.walk(cursor, PAGE_SIZE)
                states = {key: RecordState.decode(data) for key, data in found if not is_target(key)}
                proposed = await self._expirable_keys(states, cutoff, steps=steps)
            except CadenceError:
                await asyncio.sleep(
                    RETRY_AFTER_MS / 1000
                )  # an outage of the store is reported with the commits
                continue
            for start in range(0, len(proposed), PAGE_SIZE):
                await self._propose(tuple(proposed[start : start + PAGE_SIZE]), cutoff)
            proposed_keys = set(proposed)
            for key, data in found:
                if key in proposed_keys:
                    continue
                kind = _kind_of(key, states.get(key))
                counts[kind] += 1
                sizes[kind] += len(data)
            if next_cursor is None:
                return counts, sizes
            cursor = next_cursor
            await asyncio.sleep(PAUSE_MS / 1000)

    async def _expirable_keys(
        self, states: Mapping[str, RecordState], cutoff: ExpiryCutoff, *, steps: bool
    ) -> list[str]:
        """Keys of the states that are expirable as far as the store shows."""
        of_kind = {key: state for key, state in states.items() if (_kind_of(key, state) == "step") == steps}
        need_run = [state for state in of_kind.values() if needs_run_state(state, cutoff)]
        runs = await self._store.states(
            sorted({run for state in need_run if (run := state.tracker_id) is not None})
        )
        known = {run: RecordState.decode(data) for run, data in runs.items()}
        return [
            key
            for key, state in of_kind.items()
            if is_expirable(state, known.get(state.tracker_id or "") if steps else None, cutoff)
        ]

    async def _propose(self, keys: tuple[str, ...], cutoff: ExpiryCutoff) -> None:
        self._resolved.clear()
        await self._buffer.put(FetchedItem(ExpiryProposal(keys, cutoff), self._clock.monotonic_ms()))
        await self._resolved.wait()
        if not self._applied:
            raise _Postponed


def _kind_of(key: str, state: RecordState | None) -> Kind:
    if state is None:
        return "target"
    if key.startswith(GAP_NOTE):
        return "gap"
    return "run" if state.entity == RUN else "step"
