"""From released changes to what a commit holds: states and lifecycle events.

This is where a change meets what is known. Duplicates are recognised by identity, kept with the record's state and written in the same
commit; lateness by the greatest key committed for the run, kept with the run. Both are decided here, for a commit, so that a crash
cannot change the answer: nobody else can write while this tenure's token is in the store, and the cache was built under it.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from consumer import targets, tasks, timers
from consumer import vocabulary as v
from consumer.changes import Change, Key
from consumer.expiry import GAP_NOTE, Horizon, may_go
from consumer.ids import EMPTY_ID, is_wildcard
from consumer.ingest.cache import RecordCache
from consumer.ingest.lookup import Lookup
from consumer.ingest.positions import Entry
from consumer.lifecycle import Org, interpret, system_event, timer_event
from consumer.ports import ChannelState, IngestStore, JournalRecord
from consumer.records import RUN, STEP
from consumer.rows import Row, interpret_row
from consumer.state import IDENTITY_MEMORY_MS, RecordState
from consumer.targets import TargetRuns
from consumer.tasks import Task

__all__ = ["TOLD", "Batch", "Interpreter", "Part", "Unseen"]

BIRTH_SLACK_MS = 60_000
"""Changes committed this long before a channel's birth are history; commit times and server time tick in seconds and lag a little."""

_TARGETS_KEPT = 1_000


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
        states: records whose state changed; None for those that are forgotten.
        targets: targets whose list of runs changed; None for those that have none left.
        timers: key to due time in milliseconds, None to remove it.
        journal: lifecycle events, in order.
        events: type to count.
        duplicates: changes that had been committed before.
        late: changes below the greatest key of their run.
        ignored: changes from before their channel's birth.
        newest_commit_ms: greatest commit time among the changes.
        tasks: what has to be asked of Salesforce because of the changes, by id.
        compared: rows that said something that was not known.
        deleted: of those, how many said that the record is gone.
    """

    org: Org
    states: dict[str, RecordState | None] = field(default_factory=dict)
    targets: dict[str, TargetRuns | None] = field(default_factory=dict)
    timers: dict[str, int | None] = field(default_factory=dict)
    journal: list[JournalRecord] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    late: int = 0
    ignored: int = 0
    newest_commit_ms: int | None = None
    tasks: dict[str, Task] = field(default_factory=dict)
    compared: int = 0
    deleted: int = 0


@dataclass(frozen=True, slots=True)
class Unseen:
    """What becomes of a record that only a row tells of.

    Attributes:
        emit: whether its events are journaled.
        origin: of these events; None for that of the others.
        overdue: whether what has been due before the row was read is told as due now.
        as_tombstone: whether one that is gone is remembered as gone, so that changes which arrive later are late.
    """

    emit: bool = True
    origin: str | None = None
    overdue: bool = True
    as_tombstone: bool = True


TOLD = Unseen()


class Interpreter:
    """Keeps the states of recently changed records and interprets changes against them.

    Args:
        store: where states are loaded from.
        lookup: for what the stream does not say.
        hydrate: whether runs that were never seen are looked up; steps always are, since their run orders them.
        cache_weight: fields and identities of records that are kept in memory, about 200 bytes each.
    """

    def __init__(
        self, store: IngestStore, lookup: Lookup, *, hydrate: bool = True, cache_weight: int = 50_000
    ) -> None:
        self._store = store
        self._lookup = lookup
        self._hydrate_runs = hydrate
        self._targets: OrderedDict[str, TargetRuns] = OrderedDict()
        self._described: dict[str, Mapping[str, Any]] = {}
        """Runs that were looked up and are not listed with their target yet: what the answer said."""
        self._cache = RecordCache(cache_weight)
        self._newest_ms = 0

    async def interpret(self, parts: Sequence[Part], channels: Mapping[str, ChannelState], org: Org) -> Batch:
        """States and events of ``parts``, in their order; ``org`` is for ids and links.

        The commit before may be under way. Memory grows by what is loaded until :meth:`shrink` is called.

        Raises:
            StoreUnavailable: states could not be loaded; nothing has changed.
        """
        await self._load(parts)
        await self._hydrate(parts)
        await self._load_targets(parts)
        await self._lookup.name_cadences(self._cadences(parts))
        batch = Batch(replace(org, cadence_names=self._lookup.cadence_names))
        for part in parts:
            self._take(part, channels, batch)
        self._described.clear()
        return batch

    def shrink(self, batch: Batch) -> None:
        """Let go of what was not needed for longest, but for what ``batch`` changed, which alone is not in the store yet."""
        # A target is asked for when a run of it begins, its records with every change.
        self._cache.shrink(batch.states)
        while len(self._targets) > _TARGETS_KEPT and next(iter(self._targets)) not in batch.targets:
            self._targets.popitem(last=False)

    async def fire(self, due: Sequence[tuple[str, int]], org: Org) -> Batch:
        """States and events of timers that are due: key and due time each, the earliest first.

        Raises:
            StoreUnavailable: states could not be loaded; nothing has changed.
        """
        records = [timers.parts_of(key)[0] for key, _ in due]
        await self._fetch(records)
        await self._fetch(run_id for one in records if (run_id := self._run_id_of(one)) is not None)
        batch = Batch(replace(org, cadence_names=self._lookup.cadence_names))
        for key, due_ms in due:
            record_id, name = timers.parts_of(key)
            batch.timers[key] = None
            record = self._cache.get(record_id)
            if record is None or timers.timers_of(record).get(name) != due_ms:
                continue  # the change that cancelled it has been committed since it was read
            run_id = self._run_id_of(record_id)
            run = self._cache.get(run_id) if run_id is not None else None
            self._append(batch, timer_event(name, due_ms, record, run, batch.org))
            self._keep(record.with_fired(name, due_ms), batch)
        self.shrink(batch)
        return batch

    def _overtaken(
        self,
        record: RecordState,
        run: RecordState | None,
        had: Mapping[str, int],
        commit_ms: int,
        batch: Batch,
    ) -> RecordState:
        """The record after those of its timers that a change overtakes.

        A change of a later second than the due time proves that the time has come, and that everything before it has been committed:
        what was due is told before the change cancels it, however long nobody was there to look at the clock.
        """
        for name, due_ms in had.items():
            if due_ms < commit_ms:
                self._append(batch, timer_event(name, due_ms, record, run, batch.org))
                record = record.with_fired(name, due_ms)
        return record

    def _run_id_of(self, record_id: str) -> str | None:
        record = self._cache.get(record_id)
        return record.tracker_id if record is not None else None

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
            header = change.header
            if change.record_id == header.record_ids[0]:  # one event, however many records it is about
                noted = self._cache.get(_gap_key(change)) or RecordState(header.entity, _gap_key(change))
                if change.identity in noted.seen:
                    batch.duplicates += 1
                    return
                self._keep(noted.with_seen(change.identity, commit_ms), batch)
                name = v.SYSTEM_OVERFLOW if header.kind == "GAP_OVERFLOW" else v.SYSTEM_GAP
                self._append(
                    batch,
                    system_event(
                        name, change, batch.org, kind=header.kind, record_ids=list(header.record_ids)
                    ),
                )
                self._mend(change, batch)
            return
        record = self._cache.get(change.record_id)
        if record is not None and change.identity in record.seen:
            batch.duplicates += 1
            return
        if commit_ms < self._newest_ms - IDENTITY_MEMORY_MS:
            # Whether it was journaled once cannot be known any more: it is reported, not repeated.
            self._append(
                batch,
                system_event(v.SYSTEM_GAP, change, batch.org, kind="EXPIRED", record_ids=[change.record_id]),
            )
            task = tasks.of_gap(change.channel, change.position, change.header.entity, (change.record_id,))
            batch.tasks[task.id] = task
            return
        self._apply(part, record, batch)

    @staticmethod
    def _mend(change: Change, batch: Batch) -> None:
        """Have Salesforce asked for what a gap does not tell: its records, or everything stamped about then where it names none."""
        header = change.header
        if change.record_id == EMPTY_ID or is_wildcard(change.record_id) or header.kind == "GAP_OVERFLOW":
            cause = f"{change.channel}/{change.position}"
            task = tasks.of_window("overflow", cause, header.entity, header.commit_ms, header.commit_ms)
        else:
            task = tasks.of_gap(change.channel, change.position, header.entity, tuple(header.record_ids))
        batch.tasks[task.id] = task

    async def compare(
        self, rows: Sequence[Row], origin: str, org: Org, *, unseen: Unseen = TOLD, server_ms: int = 0
    ) -> Batch:
        """States and events of rows that REST answered with, against what is known.

        Args:
            rows: as answered.
            origin: of the events: ``gap`` or ``repair``.
            org: for ids and links.
            unseen: what becomes of records that were never heard of.
            server_ms: Salesforce's time of the answer.

        Raises:
            StoreUnavailable: states could not be loaded; nothing has changed.
        """
        passing = [row.record_id for row in rows if row.record_id not in self._cache]
        await self._fetch(
            wanted
            for row in rows
            for wanted in (row.record_id, row.values.get("ActionCadenceTrackerId"))
            if isinstance(wanted, str)
        )
        await self._fetch(told for row in rows if (told := self._run_id_of(row.record_id)) is not None)
        await self._fetch_targets(
            row.values["TargetId"] for row in rows if row.entity == RUN and "TargetId" in row.values
        )
        await self._lookup.name_cadences(
            row.values["ActionCadenceId"] for row in rows if "ActionCadenceId" in row.values
        )
        batch = Batch(replace(org, cadence_names=self._lookup.cadence_names))
        for row in rows:
            record = self._cache.get(row.record_id)
            run: RecordState | None
            if row.entity == RUN:
                record = run = self._listed(row.record_id, row.values, record, batch)
            else:
                run_id = row.values.get("ActionCadenceTrackerId") or self._run_id_of(row.record_id)
                run = self._cache.get(run_id) if run_id is not None else None
            is_new = record is None or not record.exists
            if row.is_deleted and is_new and not unseen.as_tombstone:
                continue
            state, events = interpret_row(
                row, record, run, batch.org, unseen.origin or origin if is_new else origin
            )
            if state is None:
                continue
            if is_new and not unseen.emit:
                events = []
            if not unseen.overdue and (record is None or record.image is None):
                for name, due_ms in timers.timers_of(state).items():
                    if due_ms <= server_ms:
                        state = state.with_fired(name, due_ms)
            had = timers.timers_of(record) if record is not None else {}
            self._set_timers(had, state, batch)
            self._keep(state, batch)
            batch.compared += bool(events)
            batch.deleted += bool(events) and row.is_deleted
            for event in events:
                self._append(batch, event)
        for record_id in passing:
            # A page passes through once: what it is about must not drive out what the stream is about.
            self._cache.forget(record_id)
        self.shrink(batch)
        return batch

    async def expire(self, keys: Sequence[str], horizon: Horizon, waiting: Container[str], org: Org) -> Batch:
        """Forget those of ``keys`` that may go by what is known now; not those whose changes are ``waiting`` to be interpreted.

        Read past the cache, which is for records that change.

        Raises:
            StoreUnavailable: states could not be loaded; nothing has changed.
        """
        states = await self._known(keys)
        runs = await self._known({one for state in states.values() if (one := state.tracker_id) is not None})
        batch = Batch(org)
        for key, state in states.items():
            run = None if state.entity == RUN or state.tracker_id is None else runs.get(state.tracker_id)
            if key in waiting or state.tracker_id in waiting or not may_go(state, run, horizon):
                continue
            batch.states[key] = None
            for name in timers.timers_of(state):
                batch.timers[timers.key_of(key, name)] = None
        gone = {key: state for key, state in states.items() if key in batch.states}
        target_ids = {state.get("TargetId") for state in gone.values() if state.entity == RUN}
        await self._fetch_targets(one for one in target_ids if isinstance(one, str))
        for key in gone:
            self._cache.forget(key)
        for target_id in target_ids:
            listed = self._targets.pop(target_id, None)
            if listed is not None and any(run in gone for run, _ in listed.runs):
                batch.targets[target_id] = listed.without_runs(gone)
        return batch

    async def _known(self, keys: Iterable[str]) -> dict[str, RecordState]:
        """What is known of each, from the cache or the store; leaves the cache as it is."""
        wanted = dict.fromkeys(keys)
        found = await self._store.states([key for key in wanted if key not in self._cache])
        known = {key: self._cache.get(key) for key in wanted if key in self._cache}
        known |= {key: RecordState.decode(data) for key, data in found.items()}
        return {key: state for key, state in known.items() if state is not None}

    @property
    def newest_ms(self) -> int | None:
        """The greatest commit time of any change of this tenure; None before the first."""
        return self._newest_ms or None

    def _apply(self, part: Part, record: RecordState | None, batch: Batch) -> None:
        change, key = part.change, part.key
        is_run = change.header.entity == RUN
        tracker_id = change.record_id if is_run else self._tracker_of(change, record)
        run = record if is_run else (self._cache.get(tracker_id) if tracker_id is not None else None)
        # A step whose run is unknown is its own ordering key.
        orderer = record if is_run or tracker_id is None else run
        late = orderer is not None and orderer.high is not None and key < orderer.high
        if is_run and change.header.changed is None:
            record = run = self._listed(change.record_id, change.body, record, batch)
        elif tracker_id is not None and (row := self._described.pop(tracker_id, None)) is not None:
            run = self._listed(tracker_id, row, run, batch)
            record = run if is_run else record
        had = timers.timers_of(record) if record is not None else {}
        if had and record is not None and not late:
            record = self._overtaken(record, run, had, change.header.commit_ms, batch)
            run = record if is_run else run
        state, events = interpret(change, key, record, run, batch.org, late=late)
        if is_run or tracker_id is None:
            state = state.with_high(key, change.header.commit_ms)
        else:
            self._keep((run or RecordState(RUN, tracker_id)).with_high(key, change.header.commit_ms), batch)
        self._set_timers(had, state, batch)
        self._keep(state, batch)
        batch.late += late
        for event in events:
            self._append(batch, event)

    def _listed(
        self, run_id: str, told: Mapping[str, Any], run: RecordState | None, batch: Batch
    ) -> RecordState | None:
        """The run, listed with the target that its image or a look-up names, and linked to the run before it in a daisy chain."""
        target_id = told.get("TargetId")
        runs = self._targets.get(target_id) if isinstance(target_id, str) else None
        if runs is None or run_id in runs:
            return run
        iteration = told.get("DaisyChainIteration")
        previous = runs.before(iteration)
        runs = runs.with_run(run_id, iteration)
        self._targets[runs.target_id] = batch.targets[runs.target_id] = runs
        if previous is None:
            return run
        return (run or RecordState(RUN, run_id)).with_previous(previous)

    @staticmethod
    def _set_timers(had: Mapping[str, int], after: RecordState, batch: Batch) -> None:
        has = timers.timers_of(after)
        for name in had.keys() - has.keys():
            batch.timers[timers.key_of(after.record_id, name)] = None
        for name, due_ms in has.items():
            if had.get(name) != due_ms:
                batch.timers[timers.key_of(after.record_id, name)] = due_ms

    def _keep(self, state: RecordState, batch: Batch) -> None:
        state.forget_identities(self._newest_ms - IDENTITY_MEMORY_MS)
        self._cache.keep(state.record_id, state)
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
            if part.change.is_gap:
                wanted.add(_gap_key(part.change))
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

    async def _hydrate(self, parts: Sequence[Part]) -> None:
        """Look up the run of steps that were never seen, and the target of runs that were never seen."""
        told: dict[str, bool] = {}
        for part in parts:
            change = part.change
            if change.header.entity == STEP and not change.is_gap:
                # The first of a record's changes decides: what a later one tells comes too late for it.
                run_id = self._tracker_of(change, self._cache.get(change.record_id))
                told.setdefault(change.record_id, run_id is not None)
        steps = [step_id for step_id, is_told in told.items() if not is_told]
        if steps:
            for step_id, row in (await self._lookup.fetch(STEP, steps)).items():
                step = self._cache.get(step_id) or RecordState(STEP, step_id)
                self._cache.keep(step_id, step.filled(row))
            await self._fetch(run for one in steps if (run := self._run_id_of(one)) is not None)
        if self._hydrate_runs:
            created = {part.change.record_id for part in parts if part.change.header.changed is None}
            runs = [run for run in self._runs_of(parts) if run not in created and not self._is_described(run)]
            if runs:
                for run_id, row in (await self._lookup.fetch(RUN, runs)).items():
                    self._described[run_id] = row
                    seen = self._cache.get(run_id) or RecordState(RUN, run_id)
                    self._cache.keep(run_id, seen.filled(row))

    def _runs_of(self, parts: Sequence[Part]) -> set[str]:
        runs = set()
        for part in parts:
            change = part.change
            if change.is_gap:
                continue
            if change.header.entity == RUN:
                runs.add(change.record_id)
            elif (tracker_id := self._tracker_of(change, self._cache.get(change.record_id))) is not None:
                runs.add(tracker_id)
        return runs

    def _is_described(self, run_id: str) -> bool:
        run = self._cache.get(run_id)
        return run is not None and (run.image is not None or run.get("TargetId") is not None)

    async def _load_targets(self, parts: Sequence[Part]) -> None:
        """The lists of runs that new runs, and those that were looked up, will be added to."""
        wanted = {
            target_id
            for row in self._described.values()
            if isinstance(target_id := row.get("TargetId"), str) and target_id not in self._targets
        }
        for part in parts:
            change = part.change
            if change.header.entity == RUN and change.header.changed is None:
                target_id = change.body.get("TargetId")
                if isinstance(target_id, str) and target_id not in self._targets:
                    wanted.add(target_id)
        await self._fetch_targets(wanted)

    async def _fetch_targets(self, target_ids: Iterable[str]) -> None:
        wanted = {one for one in target_ids if one not in self._targets}
        if wanted:
            found = await self._store.states([targets.key_of(one) for one in wanted])
            for target_id in wanted:
                data = found.get(targets.key_of(target_id))
                self._targets[target_id] = TargetRuns(target_id) if data is None else TargetRuns.decode(data)

    def _cadences(self, parts: Sequence[Part]) -> set[str]:
        """Every cadence that the events of these changes will name."""
        cadences: set[str] = set()
        for part in parts:
            change = part.change
            record = self._cache.get(change.record_id)
            known = change.body.get("ActionCadenceId") or (
                record.get("ActionCadenceId") if record is not None else None
            )
            if known is None and record is not None and record.tracker_id is not None:
                run = self._cache.get(record.tracker_id)
                known = run.get("ActionCadenceId") if run is not None else None
            if isinstance(known, str):
                cadences.add(known)
        return cadences

    async def _fetch(self, record_ids: Iterable[str]) -> None:
        missing = []
        for record_id in record_ids:
            if record_id in self._cache:
                self._cache.touch(record_id)
            else:
                missing.append(record_id)
        if missing:
            found = await self._store.states(missing)
            for record_id in missing:
                data = found.get(record_id)
                self._cache.keep(record_id, None if data is None else RecordState.decode(data))


def _gap_key(change: Change) -> str:
    """Where identities of gaps are kept: beside the record's state, which they say nothing about."""
    return f"{GAP_NOTE}{change.record_id}"
