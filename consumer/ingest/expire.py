"""Decision which proposed states are removed.

It is made by what is known at the time of the commit.

Pure; :mod:`consumer.ingest.state_expiry` walks the store and proposes.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

from consumer.domain import timers
from consumer.domain.lifecycle import OrgInfo
from consumer.domain.objects import RUN
from consumer.domain.state_retention import ExpiryCutoff, is_expirable
from consumer.ingest.batch import Batch, LoadedStates

__all__ = ["expire"]


def expire(
    keys: Sequence[str],
    loaded: LoadedStates,
    cutoff: ExpiryCutoff,
    uncommitted_ids: Container[str],
    org: OrgInfo,
) -> Batch:
    """Remove those of the proposed states that may go.

    Their timers and their place in the lists of targets go with them.

    Args:
        keys: keys of the proposed states.
        loaded: these states, the runs of steps among them, and the targets of runs among them.
        cutoff: times before which states expire.
        uncommitted_ids: records with changes that wait for a commit; neither they nor their steps may go.
        org: for the commit.
    """
    batch = Batch(org)
    for key in keys:
        state = loaded.records.get(key)
        if state is None:
            continue
        run_id = state.tracker_id
        run = None if state.entity == RUN or run_id is None else loaded.records.get(run_id)
        if key in uncommitted_ids or run_id in uncommitted_ids or not is_expirable(state, run, cutoff):
            continue
        batch.states[key] = None
        for name in timers.timers_of(state):
            batch.timers[timers.key_of(key, name)] = None
    for target_id, runs in loaded.targets.items():
        if any(run_id in batch.states for run_id, _ in runs.runs):
            batch.targets[target_id] = runs.without_runs(batch.states)
    return batch
