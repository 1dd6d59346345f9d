"""Repository of record states.

It is the only owner of the cache, of the runs of targets, and of look-ups over REST.

A decision is made in three steps: load everything that it may read, decide (a pure function), write back what it changed. The commit before
may be in flight while a batch is loaded and decided, so what a batch changed is written back only after that commit was applied, and stays
in memory until its own commit is: the store does not hold it yet.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from consumer.domain import target_runs, timers
from consumer.domain.objects import RUN, STEP
from consumer.domain.record_state import RecordState
from consumer.domain.row_diff import Row
from consumer.domain.target_runs import TargetRuns
from consumer.ingest.batch import Batch, LoadedStates, Part
from consumer.ingest.interpret import gap_key, run_id_of_step
from consumer.ingest.states.cache import RecordCache
from consumer.ingest.states.lookup import RecordLookup
from consumer.ports.commit import IngestStore

__all__ = ["StateRepository"]

_MAX_TARGETS: Final = 1_000


class StateRepository:
    """States of one tenure.

    Args:
        store: where states are loaded from.
        lookup: for fields that the stream does not carry.
        hydrate: whether runs that were never seen are looked up; steps always are, since their run orders them.
        cache_weight: fields and identities of records that are kept in memory, about 200 bytes each.
    """

    def __init__(
        self, store: IngestStore, lookup: RecordLookup, *, hydrate: bool = True, cache_weight: int = 50_000
    ) -> None:
        self._store = store
        self._lookup = lookup
        self._hydrate_runs = hydrate
        self._cache = RecordCache(cache_weight)
        self._targets: OrderedDict[str, TargetRuns] = OrderedDict()
        self._run_lookups: dict[str, Mapping[str, Any]] = {}
        """Runs that were looked up by a load which has not come to its end yet: a repeated load does not ask again."""
        self._newest_commit_ms = 0

    @property
    def newest_commit_ms(self) -> int | None:
        """Greatest commit time of any change of this tenure; None before the first."""
        return self._newest_commit_ms or None

    # ------------------------------------------------------------ load

    async def load(self, parts: Sequence[Part]) -> LoadedStates:
        """Load everything that changes are about.

        That is their records and runs, the targets of new runs, and the names of cadences.

        The cache grows by what is loaded until :meth:`write_back` is called.

        Raises:
            StoreUnavailable: states could not be loaded; nothing has changed.
        """
        loaded = self._empty()
        await self._load_records(parts, loaded)
        await self._hydrate(parts, loaded)
        await self._load_targets(parts, loaded)
        await self._lookup.load_cadence_names(_cadences(parts, loaded))
        loaded.run_lookups, self._run_lookups = self._run_lookups, {}
        return loaded

    async def load_timers(self, due_timers: Sequence[tuple[str, int]]) -> LoadedStates:
        """Load the records of timers, given as key and due time, and their runs.

        Raises:
            StoreUnavailable: states could not be loaded; nothing has changed.
        """
        loaded = self._empty()
        record_ids = [timers.parts_of(key)[0] for key, _ in due_timers]
        await self._load(record_ids, loaded)
        await self._load(_run_ids(record_ids, loaded), loaded)
        return loaded

    async def load_rows(self, rows: Sequence[Row]) -> LoadedStates:
        """Load the records of rows and everything that they refer to.

        That is their runs, the targets of runs among them, and the names of cadences.

        Read past the cache: a page passes through once, and must not evict what the stream is about.

        Raises:
            StoreUnavailable: states could not be loaded; nothing has changed.
        """
        loaded = self._empty()
        named = (
            record_id
            for row in rows
            for record_id in (row.record_id, row.values.get("ActionCadenceTrackerId"))
            if isinstance(record_id, str)
        )
        await self._peek(named, loaded)
        await self._peek(_run_ids((row.record_id for row in rows), loaded), loaded)
        await self._peek_targets(
            (row.values["TargetId"] for row in rows if row.entity == RUN and "TargetId" in row.values), loaded
        )
        await self._lookup.load_cadence_names(
            row.values["ActionCadenceId"] for row in rows if "ActionCadenceId" in row.values
        )
        return loaded

    async def load_expirable(self, keys: Sequence[str]) -> LoadedStates:
        """Load proposed states and everything that they refer to, past the cache.

        That is the runs of steps among them, and the targets of runs among them.

        Raises:
            StoreUnavailable: states could not be loaded; nothing has changed.
        """
        loaded = self._empty()
        await self._peek(keys, loaded)
        states = [state for state in loaded.records.values() if state is not None]
        await self._peek(_run_ids(keys, loaded), loaded)
        target_ids = (state.get("TargetId") for state in states if state.entity == RUN)
        await self._peek_targets((one for one in target_ids if isinstance(one, str)), loaded)
        return loaded

    def _empty(self) -> LoadedStates:
        return LoadedStates(cadence_names=self._lookup.cadence_names, newest_commit_ms=self._newest_commit_ms)

    # ------------------------------------------------------------ write back

    def write_back(self, batch: Batch, *, only_cached: bool = False) -> None:
        """Remember what a batch changed, and evict what was not needed for longest.

        No commit may be in flight: everything but what ``batch`` changed can be loaded from the store again.

        Args:
            batch: the decision, about to be committed.
            only_cached: whether records that are not in memory stay out of it.
        """
        self._newest_commit_ms = max(self._newest_commit_ms, batch.newest_commit_ms or 0)
        for record_id, state in batch.states.items():
            if state is None:
                self._cache.discard(record_id)
            elif not only_cached or record_id in self._cache:
                self._cache.put(record_id, state)
        for target_id, runs in batch.targets.items():
            if runs is None:
                self._targets.pop(target_id, None)
            elif not only_cached or target_id in self._targets:
                self._targets[target_id] = runs
        # A target is asked for when a run of it begins, its records with every change.
        self._cache.evict(batch.states)
        while len(self._targets) > _MAX_TARGETS and next(iter(self._targets)) not in batch.targets:
            self._targets.popitem(last=False)

    # ------------------------------------------------------------ what changes are about

    async def _load_records(self, parts: Sequence[Part], loaded: LoadedStates) -> None:
        wanted = set()
        for part in parts:
            wanted.add(part.change.record_id)
            if part.change.is_gap:
                wanted.add(gap_key(part.change))
            run_id = part.change.body.get("ActionCadenceTrackerId")
            if isinstance(run_id, str):
                wanted.add(run_id)
        await self._load(wanted, loaded)
        runs = set()
        for part in parts:
            record = loaded.records[part.change.record_id]
            if record is not None and record.entity != RUN and record.tracker_id is not None:
                runs.add(record.tracker_id)
        await self._load(runs - wanted, loaded)

    async def _hydrate(self, parts: Sequence[Part], loaded: LoadedStates) -> None:
        """Look up the run of steps, and the target of runs, that were never seen."""
        has_run: dict[str, bool] = {}
        for part in parts:
            change = part.change
            if change.header.entity == STEP and not change.is_gap:
                # The first of a record's changes decides: a run that a later one names comes too late for it.
                run_id = run_id_of_step(change, loaded.records[change.record_id])
                has_run.setdefault(change.record_id, run_id is not None)
        steps = [step_id for step_id, known in has_run.items() if not known]
        if steps:
            for step_id, fields in (await self._lookup.fetch(STEP, steps)).items():
                self._add_immutable_fields(STEP, step_id, fields, loaded)
            await self._load(_run_ids(steps, loaded), loaded)
        if self._hydrate_runs:
            created = {part.change.record_id for part in parts if part.change.header.changed is None}
            unseen = [
                run_id
                for run_id in _runs_of(parts, loaded)
                if run_id not in created and not _is_hydrated(loaded.records.get(run_id))
            ]
            if unseen:
                for run_id, fields in (await self._lookup.fetch(RUN, unseen)).items():
                    self._run_lookups[run_id] = fields
                    self._add_immutable_fields(RUN, run_id, fields, loaded)

    def _add_immutable_fields(
        self, entity: str, record_id: str, fields: Mapping[str, Any], loaded: LoadedStates
    ) -> None:
        known = loaded.records.get(record_id) or RecordState(entity, record_id)
        state = known.with_immutable_fields(fields)
        self._cache.put(record_id, state)
        loaded.records[record_id] = state

    async def _load_targets(self, parts: Sequence[Part], loaded: LoadedStates) -> None:
        """Load the lists of runs to which runs will be added.

        These are new runs, and those that were looked up.
        """
        wanted = {
            target_id
            for fields in self._run_lookups.values()
            if isinstance(target_id := fields.get("TargetId"), str)
        }
        for part in parts:
            change = part.change
            if change.header.entity == RUN and change.header.changed is None:
                target_id = change.body.get("TargetId")
                if isinstance(target_id, str):
                    wanted.add(target_id)
        self._targets |= await self._stored_targets(wanted)
        loaded.targets = {target_id: self._targets[target_id] for target_id in wanted}

    # ------------------------------------------------------------ the store and the cache

    async def _load(self, record_ids: Iterable[str], loaded: LoadedStates) -> None:
        """Load states through the cache."""
        cache, missing = self._cache, []
        for record_id in record_ids:
            if record_id in cache:
                cache.touch(record_id)
                loaded.records[record_id] = cache.get(record_id)
            else:
                missing.append(record_id)
        for record_id, state in (await self._stored(missing)).items():
            cache.put(record_id, state)
            loaded.records[record_id] = state

    async def _peek(self, record_ids: Iterable[str], loaded: LoadedStates) -> None:
        """Load states, and leave the cache as it is."""
        missing = []
        for record_id in dict.fromkeys(record_ids):
            if record_id in self._cache:
                loaded.records[record_id] = self._cache.get(record_id)
            elif record_id not in loaded.records:
                missing.append(record_id)
        loaded.records |= await self._stored(missing)

    async def _stored(self, record_ids: Sequence[str]) -> dict[str, RecordState | None]:
        if not record_ids:
            return {}
        found = await self._store.states(record_ids)
        return {
            record_id: None if (data := found.get(record_id)) is None else RecordState.decode(data)
            for record_id in record_ids
        }

    async def _peek_targets(self, target_ids: Iterable[str], loaded: LoadedStates) -> None:
        wanted = set(target_ids)
        loaded.targets |= await self._stored_targets(wanted)
        loaded.targets |= {one: self._targets[one] for one in wanted if one in self._targets}

    async def _stored_targets(self, target_ids: Iterable[str]) -> dict[str, TargetRuns]:
        """Lists of runs by target, of those targets that are not in memory."""
        missing = [target_id for target_id in target_ids if target_id not in self._targets]
        if not missing:
            return {}
        found = await self._store.states([target_runs.key_of(target_id) for target_id in missing])
        return {
            target_id: TargetRuns(target_id)
            if (data := found.get(target_runs.key_of(target_id))) is None
            else TargetRuns.decode(data)
            for target_id in missing
        }


def _is_hydrated(run: RecordState | None) -> bool:
    return run is not None and (run.image is not None or run.get("TargetId") is not None)


def _run_ids(record_ids: Iterable[str], loaded: LoadedStates) -> list[str]:
    return [run_id for one in record_ids if (run_id := loaded.run_id_of(one)) is not None]


def _runs_of(parts: Sequence[Part], loaded: LoadedStates) -> set[str]:
    runs = set()
    for part in parts:
        change = part.change
        if change.is_gap:
            continue
        if change.header.entity == RUN:
            runs.add(change.record_id)
        elif (run_id := run_id_of_step(change, loaded.records.get(change.record_id))) is not None:
            runs.add(run_id)
    return runs


def _cadences(parts: Sequence[Part], loaded: LoadedStates) -> set[str]:
    """Every cadence that the events of these changes will name."""
    cadences: set[str] = set()
    for part in parts:
        change = part.change
        record = loaded.records.get(change.record_id)
        known = change.body.get("ActionCadenceId") or (
            record.get("ActionCadenceId") if record is not None else None
        )
        if known is None and record is not None and record.tracker_id is not None:
            run = loaded.records.get(record.tracker_id)
            known = run.get("ActionCadenceId") if run is not None else None
        if isinstance(known, str):
            cadences.add(known)
    return cadences
