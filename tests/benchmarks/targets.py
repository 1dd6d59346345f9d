"""What was wanted and whether it holds: computed from the figures, so that nobody can write it by hand."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """One of them.

    Attributes:
        what: is measured.
        wanted: in words.
        measured: in words.
        held: whether that is as wanted.
    """

    what: str
    wanted: str
    measured: str
    held: bool


def table(targets: Iterable[Target]) -> list[str]:
    """For the page."""
    return [
        "| what | target | measured | |",
        "|---|---|---|---|",
        *(
            f"| {one.what} | {one.wanted} | {one.measured} | {'held' if one.held else '**not held**'} |"
            for one in targets
        ),
    ]
