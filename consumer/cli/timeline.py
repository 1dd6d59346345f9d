"""``timeline``: the story of a run, or of all runs of a target, in the order in which it happened."""

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
            help="A run, one of its steps, or a target (Lead, Contact, person account): 15 or 18 characters, or its URL.",
        ),
    ],
    config: Config = None,
    json: Json = False,
) -> None:
    """Tell the story of a run, or of every run of a target.

    Example: cadence-consumer timeline 0qBxx0000004C92EAE
    """
    wanted = record_id(record)

    async def read(_: Settings, store: Store) -> list[tuple[str, list[JournalEntry]]]:
        return [(run, await store.read_run(run)) for run in await runs_of(store, wanted)]

    runs = [(run, entries) for run, entries in run_with_store(config, read) if entries]
    if not runs:
        raise fail(
            f"nothing is journaled about {wanted}: it is no run, step or target that has been seen, or retention removed it"
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


async def runs_of(store: Store, wanted: str) -> list[str]:
    """The runs that ``wanted`` stands for: those of a target, the run of a step, else ``wanted`` itself."""
    from consumer.domain import target_runs
    from consumer.domain.record_state import RecordState

    key = target_runs.key_of(wanted)
    known = await store.states([wanted, key])
    if key in known:
        return [run for run, _ in target_runs.TargetRuns.decode(known[key]).runs]
    if wanted in known:
        return [RecordState.decode(known[wanted]).tracker_id or wanted]
    return [wanted]
