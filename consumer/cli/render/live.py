"""Lifecycle events for people: one line each, or a live view."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from consumer.domain.lifecycle_events import LifecycleEvent

__all__ = ["LiveView", "plain_line"]

_COLOURS = {"run": "cyan", "step": "green", "system": "red"}
_ROWS_KEPT = 200


def plain_line(event: LifecycleEvent) -> str:
    """Format an event as ``09:30:01  run.enrolled  0qB…  detail``, for pipes."""
    time, name, run, detail = _cells(event)
    return f"{time}  {name:<22} {run:<18}  {detail}".rstrip()


def _cells(event: LifecycleEvent) -> tuple[str, str, str, str]:
    words = [
        event.step_title or event.step_type or event.cadence_name or "",
        event.reason or "",
        event.disposition or "",
    ]
    if event.error is not None:
        words.append(event.error.code or event.error.message or "")
    if event.late:
        words.append("late")
    detail = " · ".join(word for word in words if word)
    return f"{event.time:%H:%M:%S}", event.type, event.tracker_id or "", detail


class LiveView:
    """The newest events below the counters, redrawn four times a second."""

    def __init__(self, url: str) -> None:
        self._console = Console()
        self._rows: deque[tuple[str, str, str, str]] = deque(maxlen=_ROWS_KEPT)
        self._counters: Sequence[str] = ()
        self._url = url
        self._live = Live(
            get_renderable=self._render, console=self._console, refresh_per_second=4, screen=False
        )

    def add(self, event: LifecycleEvent, counters: Sequence[str]) -> None:
        """Add an event and replace the counters."""
        self._rows.append(_cells(event))
        self._counters = counters

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def _render(self) -> Group:
        events = Table.grid(padding=(0, 2))
        height = max(self._console.height - 6, 5)
        for time, name, run, detail in list(self._rows)[-height:]:
            events.add_row(
                Text(time, "dim"),
                Text(name, _COLOURS.get(name.split(".")[0], "")),
                Text(run, "dim"),
                Text(detail),
            )
        head = Text(f"cadence-consumer demo · simulated org at {self._url} · Ctrl-C stops it", style="bold")
        return Group(head, *(Text(line) for line in self._counters), Text(""), events)
