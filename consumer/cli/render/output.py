"""Data on standard output, words on standard error.

Tables are for people: coloured on a terminal unless ``NO_COLOR`` is set, never cut off in a pipe. ``--json`` prints one object a line,
written at once, so that a pipe sees each when it happens.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["console", "make_table", "print_json", "print_message", "table"]

PIPE_WIDTH = 240
"""Columns where there is no terminal: nothing is cut off for grep."""


def print_message(text: str) -> None:
    """A line on standard error."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def print_json(value: Mapping[str, Any] | bytes) -> None:
    """One object on a line of standard output; bytes are JSON already."""
    import orjson

    data = value if isinstance(value, bytes) else orjson.dumps(value)
    sys.stdout.write(f"{data.decode()}\n")
    sys.stdout.flush()


def console() -> Console:
    """Standard output for people."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    return Console(
        file=sys.stdout, width=None if terminal else PIPE_WIDTH, highlight=False, soft_wrap=not terminal
    )


def make_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table to be shown; text in it is as it is, whatever brackets are in it."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE_HEAD if sys.stdout.isatty() else None, pad_edge=False, header_style="bold")
    for column in columns:
        shown.add_column(column, overflow="fold")
    for row in rows:
        shown.add_row(*(Text(cell) for cell in row))
    return shown


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on standard output."""
    shown = make_table(columns, rows)
    if sys.stdout.isatty():
        console().print(shown)
        return
    # What is copied from a pipe into a ticket, or compared, has no blanks at the ends of its lines.
    with (pipe := console()).capture() as captured:
        pipe.print(shown)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
