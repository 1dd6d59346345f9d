"""What is derived from the code in the README and in ``deploy/``: ``python -m tests.support.builders.readme`` writes it, a test compares it."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from consumer.delivery.handler_settings import HandlerSpec
from consumer.delivery.plugins import resolve
from consumer.domain import state_machines
from consumer.settings import Settings
from consumer.telemetry.metrics import CATALOGUE, LABELS, MetricDefinition
from tests.support.builders.stories import kept

ROOT = Path(__file__).parents[3]
README = ROOT / "README.md"
METRICS = ROOT / "deploy" / "metrics.md"
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


def _machine_rows(noun: str, machine: state_machines.Machine[Any]) -> Iterator[str]:
    for row in machine.transitions:
        types = [f"`{noun}.ended.*`" if name == state_machines.ENDED else f"`{name}`" for name in row.types]
        origins = ", ".join(
            f"`{origin}`" if origin != state_machines.NEW else "new" for origin in row.origins
        )
        yield f"| {noun} | {origins} | `{row.state}` | {row.trigger} | {', '.join(types) or 'nothing'} |\n"


def _ending_rows(endings: Mapping[Any, str]) -> Iterator[str]:
    for name in dict.fromkeys(endings.values()):
        yield f"| `{name}` | {', '.join(f'`{reason}`' for reason in endings if endings[reason] == name)} |\n"


def transitions_table() -> str:
    """Every legal transition with its trigger and its events, and every ending with its reasons."""
    return "".join((
        "| of | from | to | when | announces |\n|---|---|---|---|---|\n",
        *_machine_rows("run", state_machines.RUN),
        *_machine_rows("step", state_machines.STEP),
        "\n| ending | `CompletionReason` |\n|---|---|\n",
        *_ending_rows(state_machines.RUN_ENDINGS),
        "| `run.ended.other` | none, or one of a newer release |\n",
        *_ending_rows(state_machines.STEP_ENDINGS),
    ))  # fmt: skip


def timeline_example() -> str:
    """A story exactly as the command prints it, from the kept text that a test compares with what is printed."""
    told = kept("error_and_retry").read_text()
    return f"```console\n$ cadence-consumer timeline {told.split()[1]}\n{told}```\n"


BUILT_IN = ("jsonl", "webhook", "redis_stream", "postgres", "kafka", "remove_bounced")


def handlers_table() -> str:
    """Every setting of every built-in handler that has some."""
    rows = ["| handler | setting | what it is |\n|---|---|---|\n"]
    for name in BUILT_IN:
        model = resolve(name).Settings  # type: ignore[attr-defined]
        for field, about in model.model_fields.items():
            needed = " Needed." if about.is_required() else ""
            rows.append(f"| `{name}` | `{about.alias or field}` | {about.description}{needed} |\n")
    return "".join(rows)


PARTS = {
    "handlers": handlers_table,
    "settings": settings_table,
    "transitions": transitions_table,
    "timeline": timeline_example,
}


def rendered() -> str:
    """The README as it should be."""
    return _PART.sub(lambda found: found[1] + PARTS[found[2]]() + found[3], README.read_text())


_METRICS_HEAD = """\
# Metrics

What `/metrics` shows, beside the usual `process_*` and `python_*`. Written by `python -m tests.support.builders.readme` from
[`consumer/telemetry/metrics.py`](../consumer/telemetry/metrics.py).

Those marked *leader* are known to the replica that holds the lease alone: others show NaN, or no series where there are labels.

| metric | kind | labels | meaning |
|---|---|---|---|
"""


def metrics_page() -> str:
    """Every metric with kind, labels and meaning, and every label with the set of its values."""
    return "".join((
        _METRICS_HEAD,
        *(_metric_row(name, definition) for name, definition in CATALOGUE.items()),
        "\n| label | values |\n|---|---|\n",
        *(f"| `{label}` | {values} |\n" for label, values in LABELS.items()),
    ))  # fmt: skip


def _metric_row(name: str, definition: MetricDefinition) -> str:
    labels = ", ".join(f"`{label}`" for label in definition.labels)
    leader = " *leader*" if definition.tenure else ""
    return f"| `{name}` | {definition.kind}{leader} | {labels} | {definition.help} |\n"


if __name__ == "__main__":
    README.write_text(rendered())
    METRICS.parent.mkdir(exist_ok=True)
    METRICS.write_text(metrics_page())
