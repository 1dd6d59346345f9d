"""Firing of due timers.

The result is the events that they journal and the states that remember them.

Pure; :mod:`consumer.ingest.timer_watermark` says which timers may fire.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from consumer.domain import timers
from consumer.domain.lifecycle import OrgInfo, timer_event
from consumer.ingest.batch import Batch, LoadedStates

__all__ = ["fire_timers"]


def fire_timers(due_timers: Sequence[tuple[str, int]], loaded: LoadedStates, org: OrgInfo) -> Batch:
    """Decide which due timers still hold, and fire those.

    Args:
        due_timers: key and due time of each, the earliest first.
        loaded: states of their records and of the runs of these; changed with each timer.
        org: for ids and links.
    """
    batch = Batch(replace(org, cadence_names=loaded.cadence_names))
    for key, due_ms in due_timers:
        record_id, name = timers.parts_of(key)
        batch.timers[key] = None
        record = loaded.records.get(record_id)
        if record is None or timers.timers_of(record).get(name) != due_ms:
            continue  # a change committed since the timer was read has cancelled it
        run_id = record.tracker_id
        run = loaded.records.get(run_id) if run_id is not None else None
        batch.add_event(timer_event(name, due_ms, record, run, batch.org))
        batch.put(record.with_fired(name, due_ms), loaded)
    return batch
