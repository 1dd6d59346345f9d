"""From released changes to what a commit holds: states and lifecycle events.

This is where a change meets what is known. Duplicates are recognised by identity, kept with the record's state and written in the same
commit; lateness by the greatest key committed for the run, kept with the run. Both are decided here, for a commit, so that a crash
cannot change the answer: nobody else can write while this tenure's token is in the store, and the cache was built under it.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from consumer import vocabulary as v
from consumer.changes import Change, Key
from consumer.ingest.positions import Entry
from consumer.lifecycle import Org, interpret, system_event
from consumer.ports import ChannelState, IngestStore, JournalRecord
from consumer.records import RUN
from consumer.state import IDENTITY_MEMORY_MS, RecordState

__all__ = ["Batch", "Interpreter", "Part"]

BIRTH_SLACK_MS = 60_000
"""Changes committed this long before a channel's birth are history; commit times and server time tick in seconds and lag a little."""


@dataclass(slots=True)
class Part:
    """One change on its way to a commit.

    Attributes:
        change: what happened.
        key: its place in the order.
        entry: the position to settle.
    """

    change: Change
    key: Key
    entry: Entry


@dataclass(slots=True)
class Batch:
    """What some changes amount to.

    Attributes:
        org: where they happened.
        states: records whose state changed.
        journal: lifecycle events, in order.
        events: type to count.
        duplicates: changes that had been committed before.
        late: changes below the greatest key of their run.
        ignored: changes from before their channel's birth.
        newest_commit_ms: greatest commit time among the changes.
    """

    org: Org
    states: dict[str, RecordState] = field(default_factory=dict)
    journal: list[JournalRecord] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    late: int = 0
    ignored: int = 0
    newest_commit_ms: int | None = None


class Interpreter:
    """Keeps the states of recently changed records and interprets changes against them.

    Args:
        store: where states are loaded from.
        cache_size: how many records are kept in memory.
    """

    def __init__(self, store: IngestStore, cache_size: int = 20_000) -> None:
        self._store = store
        self._cache_size = cache_size
        self._cache: OrderedDict[str, RecordState | None] = OrderedDict()
        self._newest_ms = 0

    async def interpret(self, parts: Sequence[Part], channels: Mapping[str, ChannelState], org: Org) -> Batch:
        """States and events of ``parts``, in their order; ``org`` is for ids and links.

        Raises:
            StoreUnavailable: states could not be loaded; nothing has changed.
        """
        await self._load(parts)
        batch = Batch(org)
        for part in parts:
            self._take(part, channels, batch)
        self._shrink()
        return batch

    def _take(self, part: Part, channels: Mapping[str, ChannelState], batch: Batch) -> None:
        change = part.change
        commit_ms = change.header.commit_ms
        if batch.newest_commit_ms is None or commit_ms > batch.newest_commit_ms:
            batch.newest_commit_ms = commit_ms
        self._newest_ms = max(self._newest_ms, commit_ms)
        channel = channels.get(change.channel)
        if channel is not None and commit_ms < channel.birth_ms - BIRTH_SLACK_MS:
            batch.ignored += 1
            return
        if change.is_gap:
            name = v.SYSTEM_OVERFLOW if change.header.kind == "GAP_OVERFLOW" else v.SYSTEM_GAP
            self._append(
                batch,
                system_event(name, change, batch.org, kind=change.header.kind, record_id=change.record_id),
            )
            return
        record = self._cache.get(change.record_id)
        if record is not None and change.identity in record.seen:
            batch.duplicates += 1
            return
        if commit_ms < self._newest_ms - IDENTITY_MEMORY_MS:
            # Whether it was journaled once cannot be known any more: it is reported, not repeated.
            self._append(
                batch,
                system_event(v.SYSTEM_GAP, change, batch.org, kind="EXPIRED", record_id=change.record_id),
            )
            return
        self._apply(part, record, batch)

    def _apply(self, part: Part, record: RecordState | None, batch: Batch) -> None:
        change, key = part.change, part.key
        is_run = change.header.entity == RUN
        tracker_id = change.record_id if is_run else self._tracker_of(change, record)
        run = record if is_run else (self._cache.get(tracker_id) if tracker_id is not None else None)
        # A step whose run is unknown is its own ordering key.
        orderer = record if is_run or tracker_id is None else run
        late = orderer is not None and orderer.high is not None and key < orderer.high
        state, events = interpret(change, key, record, run, batch.org, late=late)
        if is_run or tracker_id is None:
            state = state.with_high(key)
        else:
            self._keep((run or RecordState(RUN, tracker_id)).with_high(key), batch)
        self._keep(state, batch)
        batch.late += late
        for event in events:
            self._append(batch, event)

    def _keep(self, state: RecordState, batch: Batch) -> None:
        state.forget_identities(self._newest_ms - IDENTITY_MEMORY_MS)
        self._cache[state.record_id] = state
        self._cache.move_to_end(state.record_id)
        batch.states[state.record_id] = state

    @staticmethod
    def _append(batch: Batch, event: dict[str, Any]) -> None:
        name = event["type"]
        batch.events[name] += 1
        batch.journal.append(JournalRecord(event["id"], name, event.get("tracker_id"), orjson.dumps(event)))

    @staticmethod
    def _tracker_of(change: Change, record: RecordState | None) -> str | None:
        known = record.get("ActionCadenceTrackerId") if record is not None else None
        value = known or change.body.get("ActionCadenceTrackerId")
        return value if isinstance(value, str) else None

    async def _load(self, parts: Sequence[Part]) -> None:
        wanted = set()
        for part in parts:
            wanted.add(part.change.record_id)
            tracker_id = part.change.body.get("ActionCadenceTrackerId")
            if isinstance(tracker_id, str):
                wanted.add(tracker_id)
        await self._fetch(wanted)
        runs = set()
        for part in parts:
            record = self._cache.get(part.change.record_id)
            if record is not None and record.entity != RUN and record.tracker_id is not None:
                runs.add(record.tracker_id)
        await self._fetch(runs)

    async def _fetch(self, record_ids: Iterable[str]) -> None:
        missing = []
        for record_id in record_ids:
            if record_id in self._cache:
                self._cache.move_to_end(record_id)
            else:
                missing.append(record_id)
        if missing:
            found = await self._store.states(missing)
            for record_id in missing:
                data = found.get(record_id)
                self._cache[record_id] = None if data is None else RecordState.decode(data)

    def _shrink(self) -> None:
        while len(self._cache) > self._cache_size:
            self._cache.popitem(last=False)
