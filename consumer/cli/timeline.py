"""``timeline``: the story of one run, in the order in which it happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from consumer.cli.failures import fail
from consumer.cli.options import Config, Json, record_id, settings_and_store
from consumer.cli.output import json_line, say, table

if TYPE_CHECKING:
    from consumer.events import LifecycleEvent
    from consumer.ports import JournalEntry, Store

__all__ = ["run_of", "timeline"]


def timeline(
    record: Annotated[
        str, typer.Argument(metavar="ID", help="A run or one of its steps: 15 or 18 characters, or its URL.")
    ],
    config: Config = None,
    json: Json = False,
) -> None:
    """Tell the story of a run.

    Example: cadence-consumer timeline 0qBxx0000004C92EAE
    """
    import asyncio

    from consumer.events import LifecycleEvent

    wanted = record_id(record)

    async def read() -> tuple[str, list[JournalEntry]]:
        async with settings_and_store(config) as (_, store):
            tracker = await run_of(store, wanted)
            return tracker, await store.of_run(tracker)

    tracker, entries = asyncio.run(read())
    if not entries:
        raise fail(
            f"nothing is journaled about {wanted}: it is no run or step that has been seen, or retention removed it"
        )
    events = [LifecycleEvent.from_json(entry.data) for entry in entries]
    if json:
        for entry, event in zip(entries, events, strict=True):
            json_line({"offset": entry.offset, **_line(event)})
        return
    first = events[0]
    name = next(
        (event.cadence_name for event in events if event.cadence_name),
        first.cadence_id or "an unknown cadence",
    )
    say(f"run {tracker} of target {first.target_id or 'unknown'} in {name}")
    table(
        ("time", "event", "step", "state", "by", ""),
        [
            (
                line["time"],
                line["type"],
                line["step"] or "",
                _arrow(line["before"], line["after"]),
                line["actor"] or "",
                " ".join(line["marks"]),
            )
            for line in map(_line, events)
        ],
    )


async def run_of(store: Store, wanted: str) -> str:
    """The run that ``wanted`` belongs to: a step's run where the step is known, else ``wanted`` itself."""
    from consumer.state import RecordState

    known = await store.states([wanted])
    if wanted not in known:
        return wanted
    return RecordState.decode(known[wanted]).tracker_id or wanted


def _line(event: LifecycleEvent) -> dict[str, Any]:
    from consumer.clock import iso, to_ms

    marks = [
        mark
        for mark, on in (
            ("late", event.late),
            ("missed transitions", event.missed_transitions),
            (event.origin.value, event.origin != "stream"),
        )
        if on
    ]
    step = event.step_title or event.step_type or event.step_tracker_id
    return {
        "time": iso(to_ms(event.time)),
        "type": event.type,
        "step": step,
        "step_tracker_id": event.step_tracker_id,
        "before": getattr(event.before, "state", None),
        "after": getattr(event.after, "state", None),
        "actor": event.actor_id,
        "late": event.late,
        "marks": marks,
        "id": event.id,
    }


def _arrow(before: str | None, after: str | None) -> str:
    if before is None or before == after:
        return after or ""
    return f"{before} → {after or '?'}"
