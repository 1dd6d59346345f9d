"""Output of commands: data on standard output, messages on standard error.

Tables are for people: coloured on a terminal unless ``NO_COLOR`` is set, never truncated in a pipe. ``--json`` prints one object per
line, flushed at once, so that the reader of a pipe receives it without delay.
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
"""Width without a terminal, in columns: wide enough for grep."""


def print_message(text: str) -> None:
    """Print a line on standard error."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def print_json(value: Mapping[str, Any] | bytes) -> None:
    """Print an object on a line of standard output; bytes are already JSON."""
    import orjson

    data = value if isinstance(value, bytes) else orjson.dumps(value)
    sys.stdout.write(f"{data.decode()}\n")
    sys.stdout.flush()


def console() -> Console:
    """Open a console on standard output, for people."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    return Console(
        file=sys.stdout, width=None if terminal else PIPE_WIDTH, highlight=False, soft_wrap=not terminal
    )


def make_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Make a table; brackets in its text are not markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.SIMPLE_HEAD if sys.stdout.isatty() else None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    return made


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table on standard output."""
    made = make_table(columns, rows)
    if sys.stdout.isatty():
        console().print(made)
        return
    # Trailing spaces are in the way when output is compared, or pasted into a ticket.
    with (pipe := console()).capture() as captured:
        pipe.print(made)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
