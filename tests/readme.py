"""The parts of the README that are derived from the code: ``python -m tests.readme`` writes them, a test compares them."""

import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from consumer.delivery.spec import HandlerSpec
from consumer.settings import Settings

README = Path(__file__).parents[1] / "README.md"
_PART = re.compile(r"(<!-- settings: .*? -->\n).*?(<!-- /settings -->)", re.DOTALL)


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


def rendered() -> str:
    """The README as it should be."""
    return _PART.sub(lambda found: found[1] + settings_table() + found[2], README.read_text())


if __name__ == "__main__":
    README.write_text(rendered())
