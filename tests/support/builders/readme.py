"""The pages, and what is derived from the code in them: ``python -m tests.support.builders.readme`` writes it, a test compares it.

Each folder owns its page. A derived part lies between ``<!-- name: … -->`` and ``<!-- /name -->``.
"""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from consumer.delivery.handler_settings import HandlerSpec
from consumer.delivery.plugins import resolve
from consumer.domain import state_machines
from consumer.domain.lifecycle_events import LifecycleEvent
from consumer.event_types import RUN_TYPES, STEP_TYPES, SYSTEM_TYPES
from consumer.settings import Settings
from consumer.telemetry.metric_catalogue import CATALOGUE, LABELS, MetricDefinition
from tests.support.builders.stories import kept

ROOT = Path(__file__).parents[3]
README = ROOT / "README.md"
HANDLERS = ROOT / "handlers" / "README.md"
ARCHITECTURE = ROOT / "consumer" / "README.md"
COMMANDS = ROOT / "consumer" / "cli" / "README.md"
SETTINGS = ROOT / "consumer" / "settings" / "README.md"
DOMAIN = ROOT / "consumer" / "domain" / "README.md"
OPERATION = ROOT / "deploy" / "README.md"
METRICS = ROOT / "deploy" / "metrics.md"
PROMISES = ROOT / "tests" / "README.md"
SPEED = ROOT / "tests" / "benchmarks" / "README.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
SECURITY = ROOT / "SECURITY.md"
PAGES = (
    README,
    HANDLERS,
    ARCHITECTURE,
    COMMANDS,
    SETTINGS,
    DOMAIN,
    OPERATION,
    METRICS,
    PROMISES,
    SPEED,
    CONTRIBUTING,
    SECURITY,
)
_PART = re.compile(r"(<!-- (\w+): .*? -->\n).*?(<!-- /\2 -->)", re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    """Code blocks of a page in one language, without their fences."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


def _rows(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _rows(kind, f"{prefix}{name}.")
        elif name != "handlers":
            yield f"| `{prefix}{name}` | {field.description} |\n"


def settings_tables() -> str:
    """Every setting with what, unit, default and why, a table for each section of the file."""
    sections: dict[str, list[str]] = {}
    for row in (*_rows(Settings, ""), *_rows(HandlerSpec, "handlers.<name>.")):
        name = row.split("`")[1]
        sections.setdefault(name.rpartition(".")[0] or name, []).append(row)
    return "\n".join(
        f"### `{name}`\n\n| setting | what it is |\n|---|---|\n{''.join(rows)}"
        for name, rows in sections.items()
    )


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


def types_table() -> str:
    """Every type of lifecycle event, by the kind of its record."""
    rows = ["| of | types |\n|---|---|\n"]
    for noun, types in (("run", RUN_TYPES), ("step", STEP_TYPES), ("system", SYSTEM_TYPES)):
        rows.append(f"| {noun} | {' · '.join(f'`{name}`' for name in types)} |\n")
    return "".join(rows)


def event_fields_table() -> str:
    """Every field of a lifecycle event, as its class documents them."""
    _, _, attributes = (inspect.getdoc(LifecycleEvent) or "").partition("Attributes:\n")
    told = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", attributes, re.MULTILINE)
    about = {name: re.sub(r"\s+", " ", text).replace("``", "`").replace("|", r"\|") for name, text in told}
    rows = [f"| `{name}` | {about[name]} |\n" for name in LifecycleEvent.model_fields]
    return "| field | what it is |\n|---|---|\n" + "".join(rows)


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


PARTS: dict[str, tuple[Path, Callable[[], str]]] = {
    "handlers": (HANDLERS, handlers_table),
    "settings": (SETTINGS, settings_tables),
    "types": (DOMAIN, types_table),
    "event": (DOMAIN, event_fields_table),
    "transitions": (DOMAIN, transitions_table),
    "timeline": (DOMAIN, timeline_example),
}


def rendered(page: Path) -> str:
    """The page as it should be."""

    def part(found: re.Match[str]) -> str:
        owner, text = PARTS[found[2]]
        return found[1] + text() + found[3] if owner == page else found[0]

    return _PART.sub(part, page.read_text())


_METRICS_HEAD = """\
# Metrics

What `/metrics` shows, beside the usual `process_*` and `python_*`. Written by `python -m tests.support.builders.readme` from
[`consumer/telemetry/metric_catalogue.py`](../consumer/telemetry/metric_catalogue.py).

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
    for page in sorted({page for page, _ in PARTS.values()}):
        page.write_text(rendered(page))
    METRICS.write_text(metrics_page())
