"""Triggers of reconcile tasks, and the event that is journaled when a task ends.

* A session that opens begins the sweep of every object that has none; the first of a new store begins a snapshot, where the settings want
  one.
* A refused position begins a window from the last poll that missed nothing. Where that is longer ago than the delete log reaches, neither
  rows nor log show what was deleted; ``snapshot.mode = when_needed`` reads everything then.

Gap and overflow events begin their tasks where they are interpreted (:mod:`consumer.ingest.interpret`), in the commit of their position.
Pure functions.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from typing import Any, Final

import orjson

from consumer import event_types as v
from consumer.clock import iso
from consumer.domain.lifecycle_events import FORMAT
from consumer.domain.objects import ENTITIES
from consumer.domain.reconcile_task import (
    DELETE_LOG_MS,
    ReconcileTask,
    snapshot_task,
    sweep_task,
    window_task,
)
from consumer.ingest.options import IngestOptions
from consumer.ingest.reconcile.compare import EMIT, UnknownRecordPolicy
from consumer.ports.commit import JournalRecord

__all__ = ["entities_of", "on_opening", "on_refusal", "report_of", "unknown_record_policy"]

_SNAPSHOT_EMITTED: Final = UnknownRecordPolicy(origin="snapshot", fire_overdue=False, keep_tombstone=False)
_SNAPSHOT_SILENT: Final = UnknownRecordPolicy(emit=False, fire_overdue=False, keep_tombstone=False)
_WINDOW: Final = UnknownRecordPolicy(keep_tombstone=False)


def entities_of(channels: Iterable[str]) -> tuple[str, ...]:
    """Objects that channels carry, as far as their names show it."""
    found: dict[str, None] = {}
    for channel in channels:
        named = channel.removeprefix("/data/").removesuffix("ChangeEvent")
        found.update(dict.fromkeys((named,) if named in ENTITIES else ENTITIES))
    return tuple(found)


def on_opening(
    options: IngestOptions, new_channels: Iterable[str], known: Container[str], server_ms: int
) -> Iterator[ReconcileTask]:
    """Tasks that begin when a session opens.

    Args:
        options: settings of ingest.
        new_channels: channels that were never subscribed before, where no other carries the same object.
        known: ids of existing tasks.
        server_ms: Salesforce's time.
    """
    if options.sweep_ms is not None:
        for entity in entities_of(options.channels):
            task = sweep_task(entity, server_ms, options.sweep_ms)
            if task.id not in known:
                yield task
    if options.snapshot != "never":
        for entity in entities_of(new_channels):
            yield snapshot_task(entity, "initial", verify=False)


def on_refusal(
    options: IngestOptions, channel: str, position: str, since_ms: int, now_ms: int
) -> Iterator[ReconcileTask]:
    """Tasks that read what was missed since a refused position.

    All times are Salesforce's, in milliseconds.
    """
    for entity in entities_of([channel]):
        if options.snapshot == "when_needed" and now_ms - since_ms > DELETE_LOG_MS:
            yield snapshot_task(entity, f"{channel}/{position}", verify=True)
        else:
            yield window_task("expired", f"{channel}/{position}", entity, since_ms, 0)


def unknown_record_policy(task: ReconcileTask, options: IngestOptions) -> UnknownRecordPolicy:
    """Treatment of records that were never seen before a page of this task."""
    if task.reason == "snapshot":
        return _SNAPSHOT_EMITTED if options.snapshot_emit else _SNAPSHOT_SILENT
    return _WINDOW if task.is_window else EMIT


def report_of(task: ReconcileTask, org_id: str, at_ms: int) -> JournalRecord | None:
    """Event that reports what an ended task has changed.

    The result is None where there is nothing to report.
    """
    if task.reason == "sweep" and not task.events:
        return None
    if task.reason == "snapshot" and not task.is_snapshot:
        return None  # the fresh rows of a snapshot that has reported itself
    cause = f"{task.id}/{task.until_ms}" if task.reason == "sweep" else task.id
    name = v.SYSTEM_SNAPSHOT if task.is_snapshot else v.SYSTEM_REPAIRED
    event_id = f"{org_id}/{cause}/{name}"
    event: dict[str, Any] = {
        "v": FORMAT,
        "id": event_id,
        "type": name,
        "time": iso(at_ms),
        "entity": task.entity,
        "origin": "snapshot" if task.is_snapshot else "repair",
        "after": task.report(),
    }
    return JournalRecord(event_id, name, None, orjson.dumps(event))
