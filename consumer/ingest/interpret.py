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

from consumer import event_types as v
from consumer.domain import reconcile_task, target_runs, timers
from consumer.domain.change_events import Change, OrderKey
from consumer.domain.lifecycle import (
    OrgInfo,
    interpret,
    system_event,
    timer_event,
)
from consumer.domain.objects import RUN, STEP
from consumer.domain.reconcile_task import ReconcileTask
from consumer.domain.record_ids import EMPTY_ID, is_wildcard
from consumer.domain.record_state import IDENTITY_RETENTION_MS, RecordState
from consumer.domain.row_diff import Row, interpret_row
from consumer.domain.state_retention import GAP_NOTE, ExpiryCutoff, is_expirable
from consumer.domain.target_runs import TargetRuns
from consumer.ingest.positions import PositionEntry
from consumer.ingest.states.cache import RecordCache
from consumer.ingest.states.lookup import RecordLookup
from consumer.ports.commit import ChannelState, IngestStore, JournalRecord

__all__ = ["EMIT", "Batch", "Interpreter", "Part", "UnknownRecordPolicy"]

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
    key: OrderKey
    entry: PositionEntry


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
        reconcile_tasks: what has to be asked of Salesforce because of the changes, by id.
        changed_rows: rows that said something that was not known.
        deleted: of those, how many said that the record is gone.
    """

    org: OrgInfo
    states: dict[str, RecordState | None] = field(default_factory=dict)
    targets: dict[str, TargetRuns | None] = field(default_factory=dict)
    timers: dict[str, int | None] = field(default_factory=dict)
    journal: list[JournalRecord] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    late: int = 0
    ignored: int = 0
    newest_commit_ms: int | None = None
    reconcile_tasks: dict[str, ReconcileTask] = field(default_factory=dict)
    changed_rows: int = 0
    deleted: int = 0


@dataclass(frozen=True, slots=True)
class UnknownRecordPolicy:
    """What becomes of a record that only a row tells of.

    Attributes:
        emit: whether its events are journaled.
        origin: of these events; None for that of the others.
        fire_overdue: whether what has been due before the row was read is told as due now.
        keep_tombstone: whether one that is gone is remembered as gone, so that changes which arrive later are late.
    """

    emit: bool = True
    origin: str | None = None
    fire_overdue: bool = True
    keep_tombstone: bool = True


EMIT = UnknownRecordPolicy()


class Interpreter:
    """Keeps the states of recently changed records and interprets changes against them.

    Args:
        store: where states are loaded from.
        lookup: for what the stream does not say.
        hydrate: whether runs that were never seen are looked up; steps always are, since their run orders them.
        cache_weight: fields and identities of records that are kept in memory, about 200 bytes each.
    """

    def __init__(
        self, store: IngestStore, lookup: RecordLookup, *, hydrate: bool = True, cache_weight: int = 50_000
    ) -> None:
        self._store = store
        self._lookup = lookup
        self._hydrate_runs = hydrate
        self._targets: OrderedDict[str, TargetRuns] = OrderedDict()
        self._hydrated: dict[str, Mapping[str, Any]] = {}
        """Runs that were looked up and are not listed with their target yet: what the answer said."""
        self._cache = RecordCache(cache_weight)
        self._newest_ms = 0

    async def interpret(
        self, parts: Sequence[Part], channels: Mapping[str, ChannelState], org: OrgInfo
    ) -> Batch:
        """States and events of ``parts``, in their order; ``org`` is for ids and links.

        The commit before may be under way. Memory grows by what is loaded until :meth:`evict` is called.

        Raises:
            StoreUnavailable: states could not be loaded; nothing has changed.
        """
        await self._load_records(parts)
        await self._hydrate(parts)
        await self._load_targets(parts)
        await self._lookup.load_cadence_names(self._cadences(parts))
        batch = Batch(replace(org, cadence_names=self._lookup.cadence_names))
        for part in parts:
            self._interpret_change(part, channels, batch)
        self._hydrated.clear()
        return batch

    def evict(self, batch: Batch) -> None:
        """Let go of what was not needed for longest, but for what ``batch`` changed, which alone is not in the store yet."""
        # A target is asked for when a run of it begins, its records with every change.
        self._cache.evict(batch.states)
        while len(self._targets) > _TARGETS_KEPT and next(iter(self._targets)) not in batch.targets:
            self._targets.popitem(last=False)

    async def fire(self, due_timers: Sequence[tuple[str, int]], org: OrgInfo) -> Batch:
        """States and events of timers that are due: key and due time each, the earliest first.

        Raises:
            StoreUnavailable: states could not be loaded; nothing has changed.
        """
        records = [timers.parts_of(key)[0] for key, _ in due_timers]
        await self._load_states(records)
        await self._load_states(
            run_id for item_id in records if (run_id := self._run_id_of(item_id)) is not None
        )
        batch = Batch(replace(org, cadence_names=self._lookup.cadence_names))
        for key, due_ms in due_timers:
            record_id, name = timers.parts_of(key)
            batch.timers[key] = None
            record = self._cache.get(record_id)
            if record is None or timers.timers_of(record).get(name) != due_ms:
                continue  # the change that cancelled it has been committed since it was read
            run_id = self._run_id_of(record_id)
            run = self._cache.get(run_id) if run_id is not None else None
            self._append(batch, timer_event(name, due_ms, record, run, batch.org))
            self._put(record.with_fired(name, due_ms), batch)
        self.evict(batch)
        return batch

    def _fire_overdue_first(
        self,
        record: RecordState,
        run: RecordState | None,
        timers_before: Mapping[str, int],
        commit_ms: int,
        batch: Batch,
    ) -> RecordState:
        """The record after those of its timers that a change overtakes.

        A change of a later second than the due time proves that the time has come, and that everything before it has been committed:
        what was due is told before the change cancels it, however long nobody was there to look at the clock.
        """
        for name, due_ms in timers_before.items():
            if due_ms < commit_ms:
                self._append(batch, timer_event(name, due_ms, record, run, batch.org))
                record = record.with_fired(name, due_ms)
        return record

    def _run_id_of(self, record_id: str) -> str | None:
        record = self._cache.get(record_id)
        return record.tracker_id if record is not None else None

    def _interpret_change(self, part: Part, channels: Mapping[str, ChannelState], batch: Batch) -> None:
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
                gap_note = self._cache.get(_gap_key(change)) or RecordState(header.entity, _gap_key(change))
                if change.identity in gap_note.seen:
                    batch.duplicates += 1
                    return
                self._put(gap_note.with_seen(change.identity, commit_ms), batch)
                name = v.SYSTEM_OVERFLOW if header.kind == "GAP_OVERFLOW" else v.SYSTEM_GAP
                self._append(
                    batch,
                    system_event(
                        name, change, batch.org, kind=header.kind, record_ids=list(header.record_ids)
                    ),
                )
                self._add_reconcile_task(change, batch)
            return
        record = self._cache.get(change.record_id)
        if record is not None and change.identity in record.seen:
            batch.duplicates += 1
            return
        if commit_ms < self._newest_ms - IDENTITY_RETENTION_MS:
            # Whether it was journaled once cannot be known any more: it is reported, not repeated.
            self._append(
                batch,
                system_event(v.SYSTEM_GAP, change, batch.org, kind="EXPIRED", record_ids=[change.record_id]),
            )
            task = reconcile_task.gap_task(
                change.channel, change.position, change.header.entity, (change.record_id,)
            )
            batch.reconcile_tasks[task.id] = task
            return
        self._apply(part, record, batch)

    @staticmethod
    def _add_reconcile_task(change: Change, batch: Batch) -> None:
        """Have Salesforce asked for what a gap does not tell: its records, or everything stamped about then where it names none."""
        header = change.header
        if change.record_id == EMPTY_ID or is_wildcard(change.record_id) or header.kind == "GAP_OVERFLOW":
            cause = f"{change.channel}/{change.position}"
            task = reconcile_task.window_task(
                "overflow", cause, header.entity, header.commit_ms, header.commit_ms
            )
        else:
            task = reconcile_task.gap_task(
                change.channel, change.position, header.entity, tuple(header.record_ids)
            )
        batch.reconcile_tasks[task.id] = task

    async def compare(
        self,
        rows: Sequence[Row],
        origin: str,
        org: OrgInfo,
        *,
        unknown_records: UnknownRecordPolicy = EMIT,
        server_ms: int = 0,
    ) -> Batch:
        """States and events of rows that REST answered with, against what is known.

        Args:
            rows: as answered.
            origin: of the events: ``gap`` or ``repair``.
            org: for ids and links.
            unknown_records: what becomes of records that were never heard of.
            server_ms: Salesforce's time of the answer.

        Raises:
            StoreUnavailable: states could not be loaded; nothing has changed.
        """
        uncached_ids = [row.record_id for row in rows if row.record_id not in self._cache]
        await self._load_states(
            wanted
            for row in rows
            for wanted in (row.record_id, row.values.get("ActionCadenceTrackerId"))
            if isinstance(wanted, str)
        )
        await self._load_states(
            known_run for row in rows if (known_run := self._run_id_of(row.record_id)) is not None
        )
        await self._load_target_runs(
            row.values["TargetId"] for row in rows if row.entity == RUN and "TargetId" in row.values
        )
        await self._lookup.load_cadence_names(
            row.values["ActionCadenceId"] for row in rows if "ActionCadenceId" in row.values
        )
        batch = Batch(replace(org, cadence_names=self._lookup.cadence_names))
        for row in rows:
            record = self._cache.get(row.record_id)
            run: RecordState | None
            if row.entity == RUN:
                record = run = self._link_target(row.record_id, row.values, record, batch)
            else:
                run_id = row.values.get("ActionCadenceTrackerId") or self._run_id_of(row.record_id)
                run = self._cache.get(run_id) if run_id is not None else None
            is_new = record is None or not record.exists
            if row.is_deleted and is_new and not unknown_records.keep_tombstone:
                continue
            state, events = interpret_row(
                row, record, run, batch.org, unknown_records.origin or origin if is_new else origin
            )
            if state is None:
                continue
            if is_new and not unknown_records.emit:
                events = []
            if not unknown_records.fire_overdue and (record is None or record.image is None):
                for name, due_ms in timers.timers_of(state).items():
                    if due_ms <= server_ms:
                        state = state.with_fired(name, due_ms)
            timers_before = timers.timers_of(record) if record is not None else {}
            self._set_timers(timers_before, state, batch)
            self._put(state, batch)
            batch.changed_rows += bool(events)
            batch.deleted += bool(events) and row.is_deleted
            for event in events:
                self._append(batch, event)
        for record_id in uncached_ids:
            # A page passes through once: what it is about must not drive out what the stream is about.
            self._cache.discard(record_id)
        self.evict(batch)
        return batch

    async def expire(
        self, keys: Sequence[str], cutoff: ExpiryCutoff, uncommitted_ids: Container[str], org: OrgInfo
    ) -> Batch:
        """Forget those of ``keys`` that may go by what is known now; not those whose changes are ``uncommitted_ids`` to be interpreted.

        Read past the cache, which is for records that change.

        Raises:
            StoreUnavailable: states could not be loaded; nothing has changed.
        """
        states = await self._peek(keys)
        runs = await self._peek(
            {item_id for state in states.values() if (item_id := state.tracker_id) is not None}
        )
        batch = Batch(org)
        for key, state in states.items():
            run = None if state.entity == RUN or state.tracker_id is None else runs.get(state.tracker_id)
            if (
                key in uncommitted_ids
                or state.tracker_id in uncommitted_ids
                or not is_expirable(state, run, cutoff)
            ):
                continue
            batch.states[key] = None
            for name in timers.timers_of(state):
                batch.timers[timers.key_of(key, name)] = None
        expired = {key: state for key, state in states.items() if key in batch.states}
        target_ids = {state.get("TargetId") for state in expired.values() if state.entity == RUN}
        await self._load_target_runs(item_id for item_id in target_ids if isinstance(item_id, str))
        for key in expired:
            self._cache.discard(key)
        for target_id in target_ids:
            target_runs = self._targets.pop(target_id, None)
            if target_runs is not None and any(run in expired for run, _ in target_runs.runs):
                batch.targets[target_id] = target_runs.without_runs(expired)
        return batch

    async def _peek(self, keys: Iterable[str]) -> dict[str, RecordState]:
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
        ordering_state = record if is_run or tracker_id is None else run
        late = (
            ordering_state is not None
            and ordering_state.highest_key is not None
            and key < ordering_state.highest_key
        )
        if is_run and change.header.changed is None:
            record = run = self._link_target(change.record_id, change.body, record, batch)
        elif tracker_id is not None and (row := self._hydrated.pop(tracker_id, None)) is not None:
            run = self._link_target(tracker_id, row, run, batch)
            record = run if is_run else record
        timers_before = timers.timers_of(record) if record is not None else {}
        if timers_before and record is not None and not late:
            record = self._fire_overdue_first(record, run, timers_before, change.header.commit_ms, batch)
            run = record if is_run else run
        state, events = interpret(change, key, record, run, batch.org, late=late)
        if is_run or tracker_id is None:
            state = state.with_highest_key(key, change.header.commit_ms)
        else:
            self._put(
                (run or RecordState(RUN, tracker_id)).with_highest_key(key, change.header.commit_ms), batch
            )
        self._set_timers(timers_before, state, batch)
        self._put(state, batch)
        batch.late += late
        for event in events:
            self._append(batch, event)

    def _link_target(
        self, run_id: str, known_run: Mapping[str, Any], run: RecordState | None, batch: Batch
    ) -> RecordState | None:
        """The run, listed with the target that its image or a look-up names, and linked to the run before it in a daisy chain."""
        target_id = known_run.get("TargetId")
        runs = self._targets.get(target_id) if isinstance(target_id, str) else None
        if runs is None or run_id in runs:
            return run
        iteration = known_run.get("DaisyChainIteration")
        previous = runs.previous_run(iteration)
        runs = runs.with_run(run_id, iteration)
        self._targets[runs.target_id] = batch.targets[runs.target_id] = runs
        if previous is None:
            return run
        return (run or RecordState(RUN, run_id)).with_previous(previous)

    @staticmethod
    def _set_timers(timers_before: Mapping[str, int], after: RecordState, batch: Batch) -> None:
        timers_after = timers.timers_of(after)
        for name in timers_before.keys() - timers_after.keys():
            batch.timers[timers.key_of(after.record_id, name)] = None
        for name, due_ms in timers_after.items():
            if timers_before.get(name) != due_ms:
                batch.timers[timers.key_of(after.record_id, name)] = due_ms

    def _put(self, state: RecordState, batch: Batch) -> None:
        state.forget_identities(self._newest_ms - IDENTITY_RETENTION_MS)
        self._cache.put(state.record_id, state)
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

    async def _load_records(self, parts: Sequence[Part]) -> None:
        wanted = set()
        for part in parts:
            wanted.add(part.change.record_id)
            if part.change.is_gap:
                wanted.add(_gap_key(part.change))
            tracker_id = part.change.body.get("ActionCadenceTrackerId")
            if isinstance(tracker_id, str):
                wanted.add(tracker_id)
        await self._load_states(wanted)
        runs = set()
        for part in parts:
            record = self._cache.get(part.change.record_id)
            if record is not None and record.entity != RUN and record.tracker_id is not None:
                runs.add(record.tracker_id)
        await self._load_states(runs)

    async def _hydrate(self, parts: Sequence[Part]) -> None:
        """Look up the run of steps that were never seen, and the target of runs that were never seen."""
        known_run: dict[str, bool] = {}
        for part in parts:
            change = part.change
            if change.header.entity == STEP and not change.is_gap:
                # The first of a record's changes decides: what a later one tells comes too late for it.
                run_id = self._tracker_of(change, self._cache.get(change.record_id))
                known_run.setdefault(change.record_id, run_id is not None)
        steps = [step_id for step_id, has_run in known_run.items() if not has_run]
        if steps:
            for step_id, row in (await self._lookup.fetch(STEP, steps)).items():
                step = self._cache.get(step_id) or RecordState(STEP, step_id)
                self._cache.put(step_id, step.with_immutable_fields(row))
            await self._load_states(run for item_id in steps if (run := self._run_id_of(item_id)) is not None)
        if self._hydrate_runs:
            created = {part.change.record_id for part in parts if part.change.header.changed is None}
            runs = [run for run in self._runs_of(parts) if run not in created and not self._is_hydrated(run)]
            if runs:
                for run_id, row in (await self._lookup.fetch(RUN, runs)).items():
                    self._hydrated[run_id] = row
                    seen = self._cache.get(run_id) or RecordState(RUN, run_id)
                    self._cache.put(run_id, seen.with_immutable_fields(row))

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

    def _is_hydrated(self, run_id: str) -> bool:
        run = self._cache.get(run_id)
        return run is not None and (run.image is not None or run.get("TargetId") is not None)

    async def _load_targets(self, parts: Sequence[Part]) -> None:
        """The lists of runs that new runs, and those that were looked up, will be added to."""
        wanted = {
            target_id
            for row in self._hydrated.values()
            if isinstance(target_id := row.get("TargetId"), str) and target_id not in self._targets
        }
        for part in parts:
            change = part.change
            if change.header.entity == RUN and change.header.changed is None:
                target_id = change.body.get("TargetId")
                if isinstance(target_id, str) and target_id not in self._targets:
                    wanted.add(target_id)
        await self._load_target_runs(wanted)

    async def _load_target_runs(self, target_ids: Iterable[str]) -> None:
        wanted = {item_id for item_id in target_ids if item_id not in self._targets}
        if wanted:
            found = await self._store.states([target_runs.key_of(item_id) for item_id in wanted])
            for target_id in wanted:
                data = found.get(target_runs.key_of(target_id))
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

    async def _load_states(self, record_ids: Iterable[str]) -> None:
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
                self._cache.put(record_id, None if data is None else RecordState.decode(data))


def _gap_key(change: Change) -> str:
    """Where identities of gaps are kept: beside the record's state, which they say nothing about."""
    return f"{GAP_NOTE}{change.record_id}"
