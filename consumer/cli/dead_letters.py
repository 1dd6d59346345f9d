"""``dead-letters``: what could not be understood, and what handlers gave up on."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consumer.cli.failures import fail
from consumer.cli.options import Config, Json, settings_and_store
from consumer.cli.output import json_line, say, table

if TYPE_CHECKING:
    from consumer.ports import HandlerDeadLetter, IngestDeadLetter

__all__ = ["app"]

app = typer.Typer(help="Events that could not be understood or delivered.", no_args_is_help=True)

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
    handler: Annotated[str | None, typer.Option(help="Only what this handler gave up on.")] = None,
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
            messages = [] if handler else await store.ingest_dead_letters(most)
            return messages, await store.handler_dead_letters(handler, most)

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
