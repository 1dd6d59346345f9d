"""Command ``timeline``: history of a run, or of every run of a target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from consumer.cli.command_frame import run_with_store
from consumer.cli.error_reporting import fail
from consumer.cli.options import Config, Json, record_id
from consumer.cli.render.output import print_json, print_message, table

if TYPE_CHECKING:
    from consumer.ports.journal import JournalEntry
    from consumer.ports.store import Store
    from consumer.settings import Settings

__all__ = ["runs_of", "timeline"]


def timeline(
    record: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="Id of a run, of a step, or of a target (lead, contact, person account), 15 or 18 characters, or the record's URL.",
        ),
    ],
    config: Config = None,
    json: Json = False,
) -> None:
    """Print the history of a run, or of every run of a target.

    Example: cadence-consumer timeline 0qBxx0000004C92EAE
    """
    requested_id = record_id(record)

    async def read(_: Settings, store: Store) -> list[tuple[str, list[JournalEntry]]]:
        return [(run, await store.read_run(run)) for run in await runs_of(store, requested_id)]

    runs = [(run, entries) for run, entries in run_with_store(config, read) if entries]
    if not runs:
        raise fail(
            f"the journal has no events of {requested_id}: it is not a known run, step or target, or retention has removed them"
        )
    for run, entries in runs:
        _print_run(run, entries, json=json)


def _print_run(run: str, entries: list[JournalEntry], *, json: bool) -> None:
    from consumer.cli.render.event_line import (
        event_row,
        shown_time,
        state_change,
        step_names,
    )
    from consumer.domain.lifecycle_events import LifecycleEvent

    events = [LifecycleEvent.from_json(entry.data) for entry in entries]
    steps = step_names(events)
    lines = [event_row(event, steps) for event in events]
    if json:
        for entry, row in zip(entries, lines, strict=True):
            print_json({"offset": entry.offset, **row})
        return
    first = events[0]
    name = next(
        (event.cadence_name for event in events if event.cadence_name),
        first.cadence_id or "an unknown cadence",
    )
    target = next((event.target_id for event in events if event.target_id), "unknown")
    after = next((event.previous_tracker_id for event in events if event.previous_tracker_id), None)
    print_message(f"run {run} of target {target} in {name}{f', after run {after}' if after else ''}")
    table(
        ("time", "event", "step", "state", "by", ""),
        [
            (
                shown_time(row["time"]),
                row["type"],
                row["step"] or "",
                state_change(row["before"], row["after"]),
                row["actor"] or "",
                " ".join([row["detail"] or "", *(f"[{mark}]" for mark in row["marks"])]).strip(),
            )
            for row in lines
        ],
    )


async def runs_of(store: Store, requested_id: str) -> list[str]:
    """Find the runs of a target or the run of a step; any other id is a run's own."""
    from consumer.domain import target_runs
    from consumer.domain.record_state import RecordState

    key = target_runs.key_of(requested_id)
    stored = await store.states([requested_id, key])
    if key in stored:
        return [run for run, _ in target_runs.TargetRuns.decode(stored[key]).runs]
    if requested_id in stored:
        return [RecordState.decode(stored[requested_id]).tracker_id or requested_id]
    return [requested_id]
