"""The parts of the README that are derived from the code: ``python -m tests.readme`` writes them, a test compares them."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from consumer import transitions
from consumer.delivery.spec import HandlerSpec
from consumer.settings import Settings
from tests.stories import kept

README = Path(__file__).parents[1] / "README.md"
_PART = re.compile(r"(<!-- (\w+): .*? -->\n).*?(<!-- /\2 -->)", re.DOTALL)


def _rows(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _rows(kind, f"{prefix}{name}.")
        elif name != "handlers":
            yield f"| `{prefix}{name}` | {field.description} |\n"


def settings_table() -> str:
    """Every setting with what, unit, default and why."""
    rows = [*_rows(Settings, ""), *_rows(HandlerSpec, "handlers.<name>.")]
    return "| setting | what it is |\n|---|---|\n" + "".join(rows)


def _machine_rows(noun: str, machine: transitions.Machine[Any]) -> Iterator[str]:
    for row in machine.transitions:
        types = [f"`{noun}.ended.*`" if name == transitions.ENDED else f"`{name}`" for name in row.types]
        origins = ", ".join(f"`{origin}`" if origin != transitions.NEW else "new" for origin in row.origins)
        yield f"| {noun} | {origins} | `{row.state}` | {row.trigger} | {', '.join(types) or 'nothing'} |\n"


def _ending_rows(endings: Mapping[Any, str]) -> Iterator[str]:
    for name in dict.fromkeys(endings.values()):
        yield f"| `{name}` | {', '.join(f'`{reason}`' for reason in endings if endings[reason] == name)} |\n"


def transitions_table() -> str:
    """Every legal transition with its trigger and its events, and every ending with its reasons."""
    return "".join((
        "| of | from | to | when | announces |\n|---|---|---|---|---|\n",
        *_machine_rows("run", transitions.RUN),
        *_machine_rows("step", transitions.STEP),
        "\n| ending | `CompletionReason` |\n|---|---|\n",
        *_ending_rows(transitions.RUN_ENDINGS),
        "| `run.ended.other` | none, or one of a newer release |\n",
        *_ending_rows(transitions.STEP_ENDINGS),
    ))  # fmt: skip


def timeline_example() -> str:
    """A story exactly as the command prints it, from the kept text that a test compares with what is printed."""
    told = kept("error_and_retry").read_text()
    return f"```console\n$ cadence-consumer timeline {told.split()[1]}\n{told}```\n"


PARTS = {"settings": settings_table, "transitions": transitions_table, "timeline": timeline_example}


def rendered() -> str:
    """The README as it should be."""
    return _PART.sub(lambda found: found[1] + PARTS[found[2]]() + found[3], README.read_text())


if __name__ == "__main__":
    README.write_text(rendered())
