"""Commands ``dead-letters``: dead letters of ingest and of handlers.

A handler's dead letter can be redriven or discarded. A redrive is a command in the store: within about a second the lease holder delivers
the events, the oldest first, each behind the waiting events of its run. A dead letter is removed once its handler has acknowledged the
event.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consumer.cli.command_frame import run_with_store
from consumer.cli.error_reporting import fail
from consumer.cli.options import Config, Json, instant_ms, record_id
from consumer.cli.render.output import print_json, print_message, table
from consumer.process import ExitCode

if TYPE_CHECKING:
    from consumer.ports.commit import IngestDeadLetter
    from consumer.ports.delivery import HandlerDeadLetter
    from consumer.ports.store import Store
    from consumer.settings import Settings

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)

HandlerOption = Annotated[str | None, typer.Option("--handler", help="Only dead letters of this handler.")]
TypeOption = Annotated[
    str | None, typer.Option("--type", help="Only these event types, exact or as a pattern: run.ended.*")
]
RunOption = Annotated[str | None, typer.Option("--run", metavar="ID", help="Only events of this run.")]
SinceOption = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="TIME",
        help="Only dead letters since this time: ISO 8601, or 2h for two hours ago.",
    ),
]
EveryOption = Annotated[bool, typer.Option("--all", help="All dead letters of handlers.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Event ids, as printed by `list`.")]

PREVIEW = 60
"""Characters of a message shown in the table."""
NO_LIMIT = 1_000_000
"""Limit of dead letters read where ``--limit`` does not apply."""


@app.callback()
def _group() -> None:
    """List, redrive and discard messages and events that failed."""


@app.command("list")
def list_(
    config: Config = None,
    json: Json = False,
    handler: HandlerOption = None,
    type_: TypeOption = None,
    run: RunOption = None,
    since: SinceOption = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, help="Maximum of each kind, the newest ones.")
    ] = 100,
    raw: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Print only the exact bytes of this dead letter."),
    ] = None,
) -> None:
    """List dead letters of ingest (messages) and of handlers (lifecycle events).

    Example: cadence-consumer dead-letters list --json
    """
    matches = _filter(type_, run, since)
    maximum = NO_LIMIT if raw is not None else limit

    async def read(_: Settings, store: Store) -> tuple[list[IngestDeadLetter], list[HandlerDeadLetter]]:
        narrowed = handler or type_ or run or since
        messages = [] if narrowed else await store.ingest_dead_letters(maximum)
        dead_letters = await store.handler_dead_letters(handler, NO_LIMIT if narrowed else maximum)
        return messages, [dead_letter for dead_letter in dead_letters if matches(dead_letter)][-maximum:]

    messages, events = run_with_store(config, read)
    if raw is not None:
        _print_raw(raw, messages, events)
        return
    lines = [*map(_message, messages), *map(_event, events)]
    if json:
        for line in lines:
            print_json(line)
        return
    if not lines:
        print_message("no dead letters")
        return
    table(
        ("time", "of", "why", "where", "id", "what"),
        [
            (
                line["time"],
                line["handler"] or "ingest",
                line["why"],
                line["where"],
                line["id"],
                _preview(line["what"]),
            )
            for line in lines
        ],
    )


@app.command("show")
def show(
    dead_letter_id: Annotated[
        str, typer.Argument(metavar="ID", help="Id of a dead letter, as printed by `list`.")
    ],
    config: Config = None,
    json: Json = False,
) -> None:
    """Show a dead letter in full, once for each handler that has it.

    Example: cadence-consumer dead-letters show 00D…/run.failed
    """
    import orjson

    async def read(_: Settings, store: Store) -> list[dict[str, Any]]:
        messages = [
            _message(dead_letter)
            for dead_letter in await store.ingest_dead_letters(NO_LIMIT)
            if dead_letter.id == dead_letter_id
        ]
        dead_letters = await store.handler_dead_letters(None, NO_LIMIT)
        return messages + [
            {**_event(dead_letter), "what": orjson.loads(dead_letter.data)}
            for dead_letter in dead_letters
            if dead_letter.event_id == dead_letter_id
        ]

    lines = run_with_store(config, read)
    if not lines:
        raise fail(f"there is no dead letter {dead_letter_id}; `dead-letters list` shows them")
    for line in lines:
        if json:
            print_json(line)
        else:
            for name, value in line.items():
                shown = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() if name == "what" else value
                typer.echo(f"{name}: {shown}")


@app.command("redrive")
def redrive(
    ids: Ids = None,
    handler: HandlerOption = None,
    type_: TypeOption = None,
    run: RunOption = None,
    since: SinceOption = None,
    every: EveryOption = False,
    config: Config = None,
) -> None:
    """Deliver dead letters to their handlers again, the oldest first.

    Each event is delivered behind the waiting events of its run. A dead letter is removed once its handler has acknowledged the event; if
    the handler fails again, the dead letter remains, with the new error.

    Example: cadence-consumer dead-letters redrive --handler crm --type "run.ended.*"
    """

    async def apply(store: Store, name: str, dead_letters: list[HandlerDeadLetter]) -> None:
        await store.redrive_dead_letters(name, [dead_letter.event_id for dead_letter in dead_letters])

    _apply_to_selected(
        config, (ids, handler, type_, run, since, every), apply, "queued for redelivery", yes=True
    )


app.command(
    "retry",
    hidden=True,
    help="Do the same as `redrive`, under its former name.\n\nExample: cadence-consumer dead-letters retry --all",
)(redrive)


@app.command("discard")
def discard(
    ids: Ids = None,
    handler: HandlerOption = None,
    type_: TypeOption = None,
    run: RunOption = None,
    since: SinceOption = None,
    every: EveryOption = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Discard them; without this, only print their number.")
    ] = False,
    config: Config = None,
) -> None:
    """Discard dead letters: their handlers will never receive these events.

    A dry run unless --yes is set.

    Example: cadence-consumer dead-letters discard --handler crm --since 2h --yes
    """

    async def apply(store: Store, name: str, dead_letters: list[HandlerDeadLetter]) -> None:
        await store.resolve_dead_letters(name, [dead_letter.event_id for dead_letter in dead_letters])

    _apply_to_selected(config, (ids, handler, type_, run, since, every), apply, "discarded", yes=yes)


_Selection = tuple[list[str] | None, str | None, str | None, str | None, str | None, bool]


def _apply_to_selected(
    config: Path | None,
    selection: _Selection,
    apply: Callable[[Store, str, list[HandlerDeadLetter]], Awaitable[None]],
    effect: str,
    *,
    yes: bool,
) -> None:
    """Apply an operation to the selected dead letters, handler by handler."""
    ids, handler, type_, run, since, every = selection
    if not (ids or handler or type_ or run or since or every):
        raise fail(
            "no dead letters selected: give ids, --handler, --type, --run, --since, or --all", ExitCode.USAGE
        )
    matches = _filter(type_, run, since)
    selected_ids = set(ids or ())

    async def do(_: Settings, store: Store) -> None:
        dead_letters = await store.handler_dead_letters(handler, NO_LIMIT)
        if missing := selected_ids - {dead_letter.event_id for dead_letter in dead_letters}:
            raise fail(f"no handler has a dead letter {min(missing)}; `dead-letters list` shows them")
        selected = [
            dead_letter
            for dead_letter in dead_letters
            if matches(dead_letter) and (not selected_ids or dead_letter.event_id in selected_ids)
        ]
        for name in sorted({dead_letter.handler for dead_letter in selected}):
            of_handler = [dead_letter for dead_letter in selected if dead_letter.handler == name]
            if yes:
                await apply(store, name, of_handler)
            print_message(
                f"{name}: {len(of_handler)} dead letter{'s' if len(of_handler) != 1 else ''} {'' if yes else 'would be '}{effect}"
            )
        if not selected:
            print_message("no dead letter of a handler matches")
        elif not yes:
            print_message("nothing was changed; pass --yes to apply it")

    run_with_store(config, do, read_only=not yes)


def _filter(type_: str | None, run: str | None, since: str | None) -> Callable[[HandlerDeadLetter], bool]:
    from consumer.event_types import matching_types

    types = matching_types(type_) if type_ is not None else None
    if type_ is not None and not types:
        raise typer.BadParameter(f"{type_!r} selects no event type", param_hint="--type")
    tracker_id = record_id(run) if run is not None else None
    since_ms = instant_ms(since, "--since") if since is not None else 0
    return lambda dead_letter: (
        (types is None or dead_letter.type in types)
        and tracker_id in (None, dead_letter.tracker_id)
        and dead_letter.at_ms >= since_ms
    )


def _print_raw(
    dead_letter_id: str, messages: list[IngestDeadLetter], events: list[HandlerDeadLetter]
) -> None:
    contents = [dead_letter.raw for dead_letter in messages if dead_letter.id == dead_letter_id]
    contents += [dead_letter.data for dead_letter in events if dead_letter.event_id == dead_letter_id]
    if not contents:
        raise fail(f"there is no dead letter {dead_letter_id}; `dead-letters list` shows them")
    sys.stdout.buffer.write(contents[0])
    sys.stdout.buffer.flush()


def _message(dead_letter: IngestDeadLetter) -> dict[str, Any]:
    from consumer.clock import iso

    return {
        "kind": "ingest",
        "time": iso(dead_letter.at_ms),
        "id": dead_letter.id,
        "handler": None,
        "why": f"{dead_letter.reason}: {dead_letter.detail}",
        "reason": dead_letter.reason,
        "channel": dead_letter.channel,
        "position": dead_letter.position,
        "where": f"{dead_letter.channel} at {dead_letter.position or 'no position'}",
        "what": dead_letter.raw.decode("utf-8", "replace"),
    }


def _event(dead_letter: HandlerDeadLetter) -> dict[str, Any]:
    from consumer.clock import iso

    return {
        "kind": "handler",
        "time": iso(dead_letter.at_ms),
        "id": dead_letter.event_id,
        "handler": dead_letter.handler,
        "why": f"{dead_letter.error} (after {dead_letter.attempts} attempt{'s' if dead_letter.attempts != 1 else ''})",
        "attempts": dead_letter.attempts,
        "type": dead_letter.type,
        "tracker_id": dead_letter.tracker_id,
        "offset": dead_letter.offset,
        "where": f"offset {dead_letter.offset}, run {dead_letter.tracker_id or '-'}",
        "what": dead_letter.type,
    }


def _preview(text: str) -> str:
    return text if len(text) <= PREVIEW else f"{text[:PREVIEW]}…"
