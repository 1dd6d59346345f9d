"""Command ``why``: origin and order of an event, and its outcome in each handler."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consumer.cli.command_frame import run_with_store
from consumer.cli.error_reporting import fail
from consumer.cli.options import Config, Json
from consumer.cli.render.output import print_json, print_message, table

if TYPE_CHECKING:
    from consumer.delivery.loading import LoadedHandler
    from consumer.domain.lifecycle_events import LifecycleEvent
    from consumer.inspection.explain import EventExplanation, HandlerOutcome
    from consumer.ports.store import Store
    from consumer.settings import Settings

__all__ = ["why"]


def why(
    event_id: Annotated[
        str,
        typer.Argument(
            metavar="EVENT_ID",
            help="Id of a lifecycle event, or its journal offset as printed by `tail`.",
        ),
    ],
    config: Config = None,
    json: Json = False,
) -> None:
    """Explain a lifecycle event: its change, order, origin and handlers' outcomes.

    Example: cadence-consumer why 1234
    """
    explanation = run_with_store(config, lambda settings, store: _explain(settings, store, event_id))
    if explanation is None:
        raise fail(
            f"there is no event {event_id}: it is not (or no longer) in the journal, and no handler has it as a dead letter"
        )
    if json:
        print_json(explanation.document())
        return
    table(("item", "value"), list(_facts(explanation)))
    if changes := list(_changes(explanation)):
        typer.echo()
        table(("field", "before", "after", ""), changes)
    typer.echo()
    table(
        ("handler", "outcome", "attempts", "at", "last error", ""),
        [_handler_row(item) for item in explanation.handlers],
    )


async def _explain(settings: Settings, store: Store, event_id: str) -> EventExplanation | None:
    from consumer.clock import SystemClock
    from consumer.inspection.explain import explain

    return await explain(store, event_id, _loadable_handlers(settings), SystemClock().wall_ms())


def _loadable_handlers(settings: Settings) -> list[LoadedHandler]:
    """Load the enabled handlers for their filters.

    A handler that cannot be loaded is explained by its cursor alone.
    """
    from consumer.delivery.loading import load_handler

    loaded = []
    for name in settings.enabled_handlers():
        handler, problems = load_handler(name, settings.handlers_to_run()[name])
        if handler is not None and not problems:
            loaded.append(handler)
        for problem in problems:
            print_message(f"its filters are unknown: {problem}")
    return loaded


def _facts(explanation: EventExplanation) -> Iterator[tuple[str, str]]:
    from consumer.clock import iso, to_ms
    from consumer.inspection.explain import describe_origin

    event = explanation.event
    yield "event", f"{event.type} {event.id}"
    yield (
        "journal",
        "removed by retention; kept as a dead letter"
        if explanation.offset is None
        else f"offset {explanation.offset}",
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
    yield "origin", f"{event.origin.value}: {describe_origin(event)}"
    if event.actor_id is not None:
        yield "made by", f"{event.actor_id}{f' through {event.change_origin}' if event.change_origin else ''}"
    if event.position is not None:
        yield "position", f"{event.position.replay_id} of {event.position.channel}"
    if explanation.key is not None and event.transaction is not None:
        epoch, commit, sequence = explanation.key
        yield "transaction", event.transaction.key
        yield "order", f"epoch {epoch}, commit {commit}, sequence {sequence}: {_order(explanation)}"
    if event.missed_transitions:
        yield "missed", "states between before and after are unknown, because Salesforce merged them"
    if explanation.same_change:
        yield "together with", ", ".join(item.rpartition("/")[2] for item in explanation.same_change)


def _order(explanation: EventExplanation) -> str:
    if explanation.event.late:
        newer = explanation.overtaken_by
        cause = f"{newer.type} ({newer.id})" if newer is not None else "a newer event of its run"
        return f"late, {cause} had been committed before"
    if explanation.after is None:
        return "in order, the first of its run in the journal"
    return f"in order, after {explanation.after.type} ({explanation.after.id})"


def _changes(explanation: EventExplanation) -> Iterator[tuple[str, str, str, str]]:
    event = explanation.event
    before, after = _fields(event, "before"), _fields(event, "after")
    names = event.changed or tuple(after)
    for name in names:
        note = (
            ""
            if explanation.still_current is None or name in explanation.still_current
            else "overwritten since"
        )
        yield name, _as_text(before.get(name)), _as_text(after.get(name)), note


def _fields(event: LifecycleEvent, side: str) -> dict[str, Any]:
    record = getattr(event, side)
    return {} if record is None else record.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _as_text(value: Any) -> str:
    return "" if value is None else str(value)


def _handler_row(outcome: HandlerOutcome) -> tuple[str, ...]:
    from consumer.clock import iso

    return (
        outcome.handler,
        outcome.verdict.value.replace("_", " "),
        str(outcome.attempts) if outcome.attempts is not None else "",
        iso(outcome.at_ms) if outcome.at_ms else "",
        outcome.error or "",
        outcome.detail,
    )
