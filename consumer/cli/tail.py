"""``tail``: lifecycle events as they are journaled, or from any place in the journal."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from consumer.cli.failures import ExitCode, fail
from consumer.cli.options import Config, Json, record_id, settings_and_store
from consumer.cli.output import console, json_line

if TYPE_CHECKING:
    from rich.console import Console

    from consumer.ports import JournalEntry, JournalStore

__all__ = ["tail"]

PAGE = 1_000
LAST = 10
LOOK_BACK = 100_000
"""Entries searched for the last matching ones; older matches are found with --earliest or --run."""
WAIT_MS = 1_000
ORIGINS = ("stream", "snapshot", "gap", "repair", "timer")


@dataclass(frozen=True, slots=True)
class _Where:
    after: int | None
    count: int | None
    follow: bool
    run: str | None


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which entries are shown; None where everything is.

    Attributes:
        types: event types.
        run: id of the run.
        target: id of the prospect.
        cadences: id and names of one cadence, as somebody may have it, without regard to case.
        origins: how the event came to be known.
    """

    types: frozenset[str] | None
    run: str | None
    target: str | None
    cadences: frozenset[str] | None
    origins: frozenset[str] | None

    def matches(self, entry: JournalEntry) -> bool:
        if self.types is not None and entry.type not in self.types:
            return False
        if self.run not in (None, entry.tracker_id):
            return False
        if self.target is None and self.cadences is None and self.origins is None:
            return True
        return self._content_matches(entry)

    def _content_matches(self, entry: JournalEntry) -> bool:
        import orjson

        event = orjson.loads(entry.data)
        if self.target not in (None, event.get("target_id")):
            return False
        if self.origins is not None and event.get("origin", "stream") not in self.origins:
            return False
        names = {str(event.get(name, "")).casefold() for name in ("cadence_id", "cadence_name")}
        return self.cadences is None or bool(self.cadences & names)


def _known_types(incomplete: str) -> list[str]:
    from consumer.vocabulary import ALL_TYPES

    return [name for name in ALL_TYPES if name.startswith(incomplete)]


def _known_origins(incomplete: str) -> list[str]:
    return [name for name in ORIGINS if name.startswith(incomplete)]


def tail(
    config: Config = None,
    json: Json = False,
    from_offset: Annotated[
        int | None, typer.Option(min=1, help="Begin at this offset of the journal.")
    ] = None,
    earliest: Annotated[bool, typer.Option("--earliest", help="Begin with the oldest entry.")] = False,
    follow: Annotated[bool, typer.Option(help="Go on with new events until interrupted.")] = True,
    type_: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            metavar="PATTERN",
            help="Only these types, as in run.ended.*; may be repeated.",
            autocompletion=_known_types,
        ),
    ] = None,
    run: Annotated[
        str | None, typer.Option(metavar="ID", help="Only this run (15 or 18 characters, or a URL).")
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="ID", help="Only runs of this Lead, Contact or person account.")
    ] = None,
    cadence: Annotated[
        str | None,
        typer.Option(metavar="NAME_OR_ID", help="Only runs of this cadence, by its whole name or its id."),
    ] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help=f"Only what came to be known so ({', '.join(ORIGINS)}); may be repeated.",
            autocompletion=_known_origins,
        ),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--count",
            min=1,
            help=f"Begin with the last COUNT events (default {LAST}); with --earliest or --from-offset: end after COUNT.",
        ),
    ] = None,
) -> None:
    """Print lifecycle events from the journal.

    Example: cadence-consumer tail --type 'run.ended.*' --json
    """
    import asyncio

    if earliest and from_offset is not None:
        raise fail("--earliest and --from-offset are two beginnings; keep one", ExitCode.USAGE)
    after = 0 if earliest else from_offset - 1 if from_offset is not None else None
    wanted = _Wanted(
        _types(type_ or []),
        record_id(run) if run else None,
        record_id(target) if target else None,
        _cadences(cadence) if cadence else None,
        _origins(origin or []),
    )
    where = _Where(after, count, follow, wanted.run)

    async def print_all() -> None:
        lines = None if json else console()
        async with settings_and_store(config) as (_, store):
            async for entry in _entries(store, where, wanted.matches):
                _print(entry, lines)

    try:
        asyncio.run(print_all())
    except KeyboardInterrupt:
        # The way to end it, not a failure.
        return


def _types(patterns: list[str]) -> frozenset[str] | None:
    from difflib import get_close_matches

    from consumer.vocabulary import ALL_TYPES, expand

    selected: set[str] = set()
    for pattern in patterns:
        types = expand(pattern)
        if not types:
            meant = get_close_matches(pattern, ALL_TYPES, n=1)
            hint = f"; did you mean {meant[0]}?" if meant else f" (there are {', '.join(ALL_TYPES[:3])}, …)"
            raise fail(f"--type: {pattern} matches no event type{hint}", ExitCode.USAGE)
        selected |= types
    return frozenset(selected) if patterns else None


def _cadences(text: str) -> frozenset[str]:
    from consumer.ids import as_people_have_it

    names = {text.strip()}
    with suppress(ValueError):  # a name is no id
        names.add(as_people_have_it(text))
    return frozenset(name.casefold() for name in names)


def _origins(names: list[str]) -> frozenset[str] | None:
    for name in names:
        if name not in ORIGINS:
            raise fail(f"--origin: there is no origin {name}; there are {', '.join(ORIGINS)}", ExitCode.USAGE)
    return frozenset(names) or None


async def _entries(
    store: JournalStore, where: _Where, matches: Callable[[JournalEntry], bool]
) -> AsyncIterator[JournalEntry]:
    _, last = await store.bounds()
    left = where.count if where.after is not None else None
    if where.after is not None:
        after = where.after
    else:
        for entry in await _newest(store, where, last, matches):
            yield entry
        after = last
    while True:
        page = await store.read(after, PAGE)
        for entry in page:
            after = entry.offset
            if not matches(entry):
                continue
            yield entry
            if left is not None:
                left -= 1
                if left == 0:
                    return
        if not page:
            if not where.follow:
                return
            await store.wait(after, WAIT_MS)


async def _newest(
    store: JournalStore, where: _Where, last: int, matches: Callable[[JournalEntry], bool]
) -> list[JournalEntry]:
    newest: deque[JournalEntry] = deque(maxlen=where.count or LAST)
    if where.run is not None:
        newest.extend(
            entry for entry in await store.of_run(where.run) if entry.offset <= last and matches(entry)
        )
        return list(newest)
    after = max(0, last - LOOK_BACK)
    while after < last:
        page = await store.read(after, PAGE)
        newest.extend(entry for entry in page if entry.offset <= last and matches(entry))
        after = page[-1].offset if page else last
    return list(newest)


def _print(entry: JournalEntry, lines: Console | None) -> None:
    if lines is None:
        json_line(entry.data)
        return
    from rich.text import Text

    from consumer.clock import iso, to_ms
    from consumer.events import LifecycleEvent

    event = LifecycleEvent.from_json(entry.data)
    marks = [
        mark for mark, on in (("late", event.late), (event.origin.value, event.origin != "stream")) if on
    ]
    what = event.step_title or event.step_type or event.reason or ""
    line = Text.assemble(
        (f"{entry.offset:>8}  {iso(to_ms(event.time))}   ", "dim"),
        (f"{event.type:<22} ", _style(event.type)),
        f"{event.tracker_id or '-'}  {event.cadence_name or event.cadence_id or '-'}  {what} ",
        (" ".join(f"[{mark}]" for mark in marks), "yellow"),
    )
    line.rstrip()
    lines.print(line)


def _style(event_type: str) -> str:
    if event_type.endswith(("failed", "overdue")):
        return "red"
    return "green" if ".ended." in event_type else "cyan"
