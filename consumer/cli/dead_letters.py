"""``dead-letters``: what could not be understood, and what handlers gave up on.

A letter of a handler can be delivered again or thrown away. The first is a wish written into the store: whoever holds the lease delivers,
within a second or so, the oldest first and behind what waits in the run of the event. A letter goes when its handler is done with it.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consumer.cli.failures import ExitCode, fail
from consumer.cli.options import Config, Json, instant_ms, read_settings, record_id, settings_and_store
from consumer.cli.output import json_line, say, table

if TYPE_CHECKING:
    from consumer.ports import HandlerDeadLetter, IngestDeadLetter, Store

__all__ = ["app"]

app = typer.Typer(help="Events that could not be understood or delivered.", no_args_is_help=True)

HandlerOption = Annotated[str | None, typer.Option("--handler", help="Only what this handler gave up on.")]
TypeOption = Annotated[
    str | None, typer.Option("--type", help="Only these types, exact or as a pattern: run.ended.*")
]
RunOption = Annotated[str | None, typer.Option("--run", metavar="ID", help="Only events of this run.")]
SinceOption = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="Only given up on since: 2h, or a time in ISO 8601."),
]
EveryOption = Annotated[bool, typer.Option("--all", help="All of them.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="These, as `list` prints them.")]

PREVIEW = 60
"""Bytes of a message that the table shows."""
EVERY = 1_000_000
"""How far ``--raw`` looks."""


@app.callback()
def _group() -> None:
    """Events that could not be understood or delivered."""


@app.command("list")
def list_(
    config: Config = None,
    json: Json = False,
    handler: HandlerOption = None,
    type_: TypeOption = None,
    run: RunOption = None,
    since: SinceOption = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, help="At most so many of each kind, the newest.")
    ] = 100,
    raw: Annotated[
        str | None, typer.Option(metavar="ID", help="Print the exact bytes of this one and nothing else.")
    ] = None,
) -> None:
    """List dead letters of ingest (messages) and of handlers (lifecycle events).

    Example: cadence-consumer dead-letters list --json
    """
    import asyncio

    async def read(most: int) -> tuple[list[IngestDeadLetter], list[HandlerDeadLetter]]:
        async with settings_and_store(config) as (_, store):
            narrowed = handler or type_ or run or since
            messages = [] if narrowed else await store.ingest_dead_letters(most)
            letters = await store.handler_dead_letters(handler, EVERY if narrowed else most)
            return messages, [letter for letter in letters if wanted(letter)][-most:]

    wanted = _filter(type_, run, since)
    messages, events = asyncio.run(read(EVERY if raw is not None else limit))
    if raw is not None:
        _print_raw(raw, messages, events)
        return
    lines = [*map(_message, messages), *map(_event, events)]
    if json:
        for line in lines:
            json_line(line)
        return
    if not lines:
        say("no dead letters")
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
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="Of a dead letter, as `list` prints it.")],
    config: Config = None,
    json: Json = False,
) -> None:
    """Show a dead letter with everything that is known of it; of several handlers, where several gave up on the event.

    Example: cadence-consumer dead-letters show 00D…/run.failed
    """
    import asyncio

    import orjson

    async def read() -> list[dict[str, Any]]:
        async with settings_and_store(config) as (_, store):
            messages = [
                _message(each) for each in await store.ingest_dead_letters(EVERY) if each.id == letter_id
            ]
            letters = await store.handler_dead_letters(None, EVERY)
            return messages + [
                {**_event(each), "what": orjson.loads(each.data)}
                for each in letters
                if each.event_id == letter_id
            ]

    found = asyncio.run(read())
    if not found:
        raise fail(f"there is no dead letter {letter_id}")
    for line in found:
        if json:
            json_line(line)
        else:
            for name, value in line.items():
                shown = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() if name == "what" else value
                typer.echo(f"{name}: {shown}")


@app.command("retry")
def retry(
    ids: Ids = None,
    handler: HandlerOption = None,
    type_: TypeOption = None,
    run: RunOption = None,
    since: SinceOption = None,
    every: EveryOption = False,
    config: Config = None,
) -> None:
    """Deliver dead letters of handlers again, the oldest first, each behind what waits in its run.

    A letter goes when its handler is done with it; when the handler gives up again, the letter stays with the new error.

    Example: cadence-consumer dead-letters retry --handler crm --type "run.ended.*"
    """

    async def ask(store: Store, name: str, letters: list[HandlerDeadLetter]) -> None:
        await store.retry_dead_letters(name, [letter.event_id for letter in letters])

    _each(config, (ids, handler, type_, run, since, every), ask, "to be delivered again", yes=True)


@app.command("discard")
def discard(
    ids: Ids = None,
    handler: HandlerOption = None,
    type_: TypeOption = None,
    run: RunOption = None,
    since: SinceOption = None,
    every: EveryOption = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this, only say what would go.")] = False,
    config: Config = None,
) -> None:
    """Throw dead letters of handlers away: these handlers never get these events. A dry run until --yes.

    Example: cadence-consumer dead-letters discard --handler crm --since 2h --yes
    """

    async def ask(store: Store, name: str, letters: list[HandlerDeadLetter]) -> None:
        await store.settle_dead_letters(name, [letter.event_id for letter in letters])

    _each(config, (ids, handler, type_, run, since, every), ask, "thrown away", yes=yes)


_Selection = tuple[list[str] | None, str | None, str | None, str | None, str | None, bool]


def _each(
    config: Path | None,
    selection: _Selection,
    ask: Callable[[Store, str, list[HandlerDeadLetter]], Awaitable[None]],
    what: str,
    *,
    yes: bool,
) -> None:
    """Do something to the letters that are selected, handler by handler."""
    import asyncio

    ids, handler, type_, run, since, every = selection
    if not (ids or handler or type_ or run or since or every):
        raise fail("say which: ids, --handler, --type, --run, --since, or --all", ExitCode.USAGE)
    wanted = _filter(type_, run, since)
    chosen = set(ids or ())

    async def do() -> None:
        from consumer.app import open_store

        async with open_store(read_settings(config), read_only=not yes) as store:
            letters = await store.handler_dead_letters(handler, EVERY)
            if missing := chosen - {letter.event_id for letter in letters}:
                raise fail(f"no handler has a dead letter {min(missing)}; `dead-letters list` shows them")
            mine = [
                letter for letter in letters if wanted(letter) and (not chosen or letter.event_id in chosen)
            ]
            for name in sorted({letter.handler for letter in mine}):
                of_one = [letter for letter in mine if letter.handler == name]
                if yes:
                    await ask(store, name, of_one)
                say(
                    f"{name}: {len(of_one)} dead letter{'s' if len(of_one) != 1 else ''} {'' if yes else 'would be '}{what}"
                )
            if not mine:
                say("no dead letter of a handler is like that")
            elif not yes:
                say("nothing was changed; --yes does it")

    asyncio.run(do())


def _filter(type_: str | None, run: str | None, since: str | None) -> Callable[[HandlerDeadLetter], bool]:
    from consumer.vocabulary import expand

    types = expand(type_) if type_ is not None else None
    if type_ is not None and not types:
        raise typer.BadParameter(f"{type_!r} selects no event type", param_hint="--type")
    tracker_id = record_id(run) if run is not None else None
    since_ms = instant_ms(since, "--since") if since is not None else 0
    return lambda letter: (
        (types is None or letter.type in types)
        and tracker_id in (None, letter.tracker_id)
        and letter.at_ms >= since_ms
    )


def _print_raw(wanted: str, messages: list[IngestDeadLetter], events: list[HandlerDeadLetter]) -> None:
    found = [letter.raw for letter in messages if letter.id == wanted]
    found += [letter.data for letter in events if letter.event_id == wanted]
    if not found:
        raise fail(f"there is no dead letter {wanted}")
    sys.stdout.buffer.write(found[0])
    sys.stdout.buffer.flush()


def _message(letter: IngestDeadLetter) -> dict[str, Any]:
    from consumer.clock import iso

    return {
        "kind": "ingest",
        "time": iso(letter.at_ms),
        "id": letter.id,
        "handler": None,
        "why": f"{letter.reason}: {letter.detail}",
        "reason": letter.reason,
        "channel": letter.channel,
        "position": letter.position,
        "where": f"{letter.channel} at {letter.position or 'no position'}",
        "what": letter.raw.decode("utf-8", "replace"),
    }


def _event(letter: HandlerDeadLetter) -> dict[str, Any]:
    from consumer.clock import iso

    return {
        "kind": "handler",
        "time": iso(letter.at_ms),
        "id": letter.event_id,
        "handler": letter.handler,
        "why": f"{letter.error} (after {letter.attempts} attempt{'s' if letter.attempts != 1 else ''})",
        "attempts": letter.attempts,
        "type": letter.type,
        "tracker_id": letter.tracker_id,
        "offset": letter.offset,
        "where": f"offset {letter.offset}, run {letter.tracker_id or '-'}",
        "what": letter.type,
    }


def _preview(text: str) -> str:
    return text if len(text) <= PREVIEW else f"{text[:PREVIEW]}…"
