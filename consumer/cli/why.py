"""``why``: where an event comes from, why it stands where it stands, and what each handler made of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consumer.cli.failures import fail
from consumer.cli.options import Config, Json, settings_and_store
from consumer.cli.output import json_line, say, table

if TYPE_CHECKING:
    from pathlib import Path

    from consumer.delivery.loading import LoadedHandler
    from consumer.events import LifecycleEvent
    from consumer.explanation import Explanation, HandlerView
    from consumer.settings import Settings

__all__ = ["why"]


def why(
    event_id: Annotated[
        str,
        typer.Argument(
            metavar="EVENT_ID",
            help="Id of a lifecycle event, or its offset in the journal as `tail` shows it.",
        ),
    ],
    config: Config = None,
    json: Json = False,
) -> None:
    """Explain a lifecycle event: the change, its place in the order, how it came to be known, and what each handler made of it.

    Example: cadence-consumer why 1234
    """
    import asyncio

    known = asyncio.run(_explain(config, event_id))
    if known is None:
        raise fail(
            f"there is no event {event_id}: the journal does not hold it (any more), and no handler has it as a dead letter"
        )
    if json:
        json_line(known.document())
        return
    table(("what", "value"), list(_facts(known)))
    if changes := list(_changes(known)):
        typer.echo()
        table(("field", "before", "after", ""), changes)
    typer.echo()
    table(
        ("handler", "made of it", "attempts", "at", "last error", ""), [_view(one) for one in known.handlers]
    )


async def _explain(config: Path | None, event_id: str) -> Explanation | None:
    from consumer.clock import SystemClock
    from consumer.explanation import explain

    async with settings_and_store(config) as (settings, store):
        return await explain(store, event_id, _loadable(settings), SystemClock().wall_ms())


def _loadable(settings: Settings) -> list[LoadedHandler]:
    """Handlers whose filters can be asked; of the others their place alone is told."""
    from consumer.delivery.loading import load_handler

    loaded = []
    for name in settings.enabled_handlers():
        handler, problems = load_handler(name, settings.handlers_to_run()[name])
        if handler is not None and not problems:
            loaded.append(handler)
        for problem in problems:
            say(f"its filters are not known: {problem}")
    return loaded


def _facts(known: Explanation) -> Iterator[tuple[str, str]]:
    from consumer.clock import iso, to_ms
    from consumer.explanation import origin_in_words

    event = known.event
    yield "event", f"{event.type} {event.id}"
    yield (
        "journal",
        "removed by retention; a dead letter has it" if known.offset is None else f"offset {known.offset}",
    )
    yield "happened", iso(to_ms(event.time))
    yield "record", f"{event.entity or 'none'} {event.record_id or ''}".rstrip()
    if event.tracker_id is not None:
        yield (
            "run",
            " ".join(
                part
                for part in (event.tracker_id, event.cadence_name or event.cadence_id, event.step_title)
                if part
            ),
        )
    yield "origin", f"{event.origin.value}: {origin_in_words(event)}"
    if event.actor_id is not None:
        yield "made by", f"{event.actor_id}{f' through {event.change_origin}' if event.change_origin else ''}"
    if event.position is not None:
        yield "position", f"{event.position.replay_id} of {event.position.channel}"
    if known.key is not None and event.transaction is not None:
        epoch, commit, sequence = known.key
        yield "transaction", event.transaction.key
        yield "order", f"epoch {epoch}, commit {commit}, sequence {sequence}: {_order(known)}"
    if event.missed_transitions:
        yield "missed", "Salesforce merged states between before and after away; they cannot be known"
    if known.together:
        yield "together with", ", ".join(one.rpartition("/")[2] for one in known.together)


def _order(known: Explanation) -> str:
    if known.event.late:
        by = known.overtaken_by
        newer = f"{by.type} ({by.id})" if by is not None else "something newer of its run"
        return f"late, {newer} had been committed before"
    if known.after is None:
        return "in order, the first of its run that the journal holds"
    return f"in order, after {known.after.type} ({known.after.id})"


def _changes(known: Explanation) -> Iterator[tuple[str, str, str, str]]:
    event = known.event
    before, after = _fields(event, "before"), _fields(event, "after")
    names = event.changed or tuple(after)
    for name in names:
        note = "" if known.standing is None or name in known.standing else "overwritten since"
        yield name, _shown(before.get(name)), _shown(after.get(name)), note


def _fields(event: LifecycleEvent, side: str) -> dict[str, Any]:
    record = getattr(event, side)
    return {} if record is None else record.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _shown(value: Any) -> str:
    return "" if value is None else str(value)


def _view(view: HandlerView) -> tuple[str, ...]:
    from consumer.clock import iso

    return (
        view.handler,
        view.verdict.value.replace("_", " "),
        str(view.attempts) if view.attempts is not None else "",
        iso(view.at_ms) if view.at_ms else "",
        view.error or "",
        view.detail,
    )
