"""Command ``tail``: lifecycle events as they are journaled, or from any offset."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from consumer.cli.command_frame import run_with_store
from consumer.cli.error_reporting import fail
from consumer.cli.options import Config, Json, record_id
from consumer.cli.render.output import console, print_json
from consumer.process import ExitCode

if TYPE_CHECKING:
    from rich.console import Console

    from consumer.ports.journal import JournalEntry, JournalStore
    from consumer.ports.store import Store
    from consumer.settings import Settings

__all__ = ["tail"]

PAGE_SIZE = 1_000
DEFAULT_COUNT = 10
SEARCH_DEPTH = 100_000
"""Number of newest entries searched; --earliest and --run find older matches."""
WAIT_MS = 1_000
ORIGINS = ("stream", "snapshot", "gap", "repair", "timer")


@dataclass(frozen=True, slots=True)
class _TailOptions:
    after: int | None
    count: int | None
    follow: bool
    run: str | None


@dataclass(frozen=True, slots=True)
class _EntryFilter:
    """Filter of journal entries; a condition that is None matches every entry.

    Attributes:
        types: event types.
        run: id of the run.
        target: id of the target.
        cadences: id or name of a cadence, case-folded, in all its forms.
        origins: origins of the event.
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
    from consumer.event_types import ALL_TYPES

    return [name for name in ALL_TYPES if name.startswith(incomplete)]


def _known_origins(incomplete: str) -> list[str]:
    return [name for name in ORIGINS if name.startswith(incomplete)]


def tail(
    config: Config = None,
    json: Json = False,
    from_offset: Annotated[int | None, typer.Option(min=1, help="Start at this journal offset.")] = None,
    earliest: Annotated[bool, typer.Option("--earliest", help="Start at the oldest event.")] = False,
    follow: Annotated[bool, typer.Option(help="Continue with new events until interrupted.")] = True,
    type_: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            metavar="PATTERN",
            help="Only these event types, for example run.ended.*; can be repeated.",
            autocompletion=_known_types,
        ),
    ] = None,
    run: Annotated[
        str | None, typer.Option(metavar="ID", help="Only this run: 15 or 18 characters, or its URL.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="ID", help="Only runs of this lead, contact or person account.")
    ] = None,
    cadence: Annotated[
        str | None,
        typer.Option(metavar="NAME_OR_ID", help="Only runs of this cadence: its full name, or its id."),
    ] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help=f"Only events of this origin ({', '.join(ORIGINS)}); can be repeated.",
            autocompletion=_known_origins,
        ),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--count",
            min=1,
            help=f"Start with the last COUNT events (default {DEFAULT_COUNT}); with --earliest or --from-offset: stop after COUNT.",
        ),
    ] = None,
) -> None:
    """Print lifecycle events from the journal.

    Example: cadence-consumer tail --type 'run.ended.*' --json
    """
    if earliest and from_offset is not None:
        raise fail("--earliest and --from-offset exclude each other; give one of them", ExitCode.USAGE)
    after = 0 if earliest else from_offset - 1 if from_offset is not None else None
    entry_filter = _EntryFilter(
        _types(type_ or []),
        record_id(run) if run else None,
        record_id(target) if target else None,
        _cadences(cadence) if cadence else None,
        _origins(origin or []),
    )
    tail_options = _TailOptions(after, count, follow, entry_filter.run)

    async def print_all(_: Settings, store: Store) -> None:
        terminal = None if json else console()
        async for entry in _entries(store, tail_options, entry_filter.matches):
            _print(entry, terminal)

    with suppress(KeyboardInterrupt):  # the intended way to stop
        run_with_store(config, print_all)


def _types(patterns: list[str]) -> frozenset[str] | None:
    from difflib import get_close_matches

    from consumer.event_types import ALL_TYPES, matching_types

    selected: set[str] = set()
    for pattern in patterns:
        types = matching_types(pattern)
        if not types:
            close_matches = get_close_matches(pattern, ALL_TYPES, n=1)
            hint = (
                f"; did you mean {close_matches[0]}?"
                if close_matches
                else f"; types are {', '.join(ALL_TYPES[:3])}, …"
            )
            raise fail(f"--type: {pattern} matches no event type{hint}", ExitCode.USAGE)
        selected |= types
    return frozenset(selected) if patterns else None


def _cadences(text: str) -> frozenset[str]:
    from consumer.domain.record_ids import parse_record_id

    names = {text.strip()}
    with suppress(ValueError):  # the text is a name
        names.add(parse_record_id(text))
    return frozenset(name.casefold() for name in names)


def _origins(names: list[str]) -> frozenset[str] | None:
    for name in names:
        if name not in ORIGINS:
            raise fail(
                f"--origin: there is no origin {name}; origins are {', '.join(ORIGINS)}", ExitCode.USAGE
            )
    return frozenset(names) or None


async def _entries(
    store: JournalStore, tail_options: _TailOptions, matches: Callable[[JournalEntry], bool]
) -> AsyncIterator[JournalEntry]:
    _, last = await store.bounds()
    remaining = tail_options.count if tail_options.after is not None else None
    if tail_options.after is not None:
        after = tail_options.after
    else:
        for entry in await _newest(store, tail_options, last, matches):
            yield entry
        after = last
    while True:
        page = await store.read(after, PAGE_SIZE)
        for entry in page:
            after = entry.offset
            if not matches(entry):
                continue
            yield entry
            if remaining is not None:
                remaining -= 1
                if remaining == 0:
                    return
        if not page:
            if not tail_options.follow:
                return
            await store.wait(after, WAIT_MS)


async def _newest(
    store: JournalStore, tail_options: _TailOptions, last: int, matches: Callable[[JournalEntry], bool]
) -> list[JournalEntry]:
    newest: deque[JournalEntry] = deque(maxlen=tail_options.count or DEFAULT_COUNT)
    if tail_options.run is not None:
        newest.extend(
            entry
            for entry in await store.read_run(tail_options.run)
            if entry.offset <= last and matches(entry)
        )
        return list(newest)
    after = max(0, last - SEARCH_DEPTH)
    while after < last:
        page = await store.read(after, PAGE_SIZE)
        newest.extend(entry for entry in page if entry.offset <= last and matches(entry))
        after = page[-1].offset if page else last
    return list(newest)


def _print(entry: JournalEntry, terminal: Console | None) -> None:
    if terminal is None:
        print_json(entry.data)
        return
    from rich.text import Text

    from consumer.clock import iso, to_ms
    from consumer.domain.lifecycle_events import LifecycleEvent

    event = LifecycleEvent.from_json(entry.data)
    marks = [
        mark
        for mark, applies in (("late", event.late), (event.origin.value, event.origin != "stream"))
        if applies
    ]
    detail = event.step_title or event.step_type or event.reason or ""
    line = Text.assemble(
        (f"{entry.offset:>8}  {iso(to_ms(event.time))}   ", "dim"),
        (f"{event.type:<22} ", _style(event.type)),
        f"{event.tracker_id or '-'}  {event.cadence_name or event.cadence_id or '-'}  {detail} ",
        (" ".join(f"[{mark}]" for mark in marks), "yellow"),
    )
    line.rstrip()
    terminal.print(line)


def _style(event_type: str) -> str:
    if event_type.endswith(("failed", "overdue")):
        return "red"
    return "green" if ".ended." in event_type else "cyan"
