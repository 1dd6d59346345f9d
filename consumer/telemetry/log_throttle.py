"""Throttle of log lines: the first of a kind are written, the rest counted.

Ten thousand events that fail in the same way are ten thousand lines that say nothing new, fill a disk, and hide the one line that matters.
Lines are of one kind when event and key (handler and kind of error, channel and reason) are equal; ten of a kind are written in a minute,
and at its end one line has the number of those suppressed. Nothing is lost with a suppressed line: attempts are counted in metrics, dead
letters and messages that cannot be understood are in the store.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

__all__ = ["LogThrottle"]

_MAX_KEYS = 1_000
"""Number of kinds that are distinguished; beyond it, all lines of an event share one limit."""


@dataclass(slots=True)
class _Window:
    ends_at: float
    written: int = 0
    suppressed: int = 0


class LogThrottle:
    """Limit on the number of log lines of each kind.

    Args:
        max_lines: lines of a kind within a window.
        window_s: length of a window in seconds, from its first line.
        now: monotonic seconds.
    """

    def __init__(
        self, max_lines: int = 10, window_s: float = 60.0, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._log = structlog.get_logger()
        self._max_lines = max_lines
        self._window_s = window_s
        self._now = now
        self._windows: dict[tuple[str, tuple[tuple[str, str], ...]], _Window] = {}
        self._timer: asyncio.TimerHandle | None = None

    def allow(self, event: str, **key: str) -> bool:
        """Return whether this line is to be written; otherwise count it.

        Args:
            event: of the line.
            key: further facts that lines of a kind share; repeated in the line with the number suppressed.
        """
        now = self._now()
        self._close_windows(now)
        kind = (event, tuple(sorted(key.items())))
        if kind not in self._windows and len(self._windows) >= _MAX_KEYS:
            kind = (event, ())
        window = self._windows.get(kind)
        if window is None:
            window = self._windows[kind] = _Window(now + self._window_s)
        if window.written < self._max_lines:
            window.written += 1
            return True
        window.suppressed += 1
        self._schedule_close(window.ends_at - now)
        return False

    def flush(self) -> None:
        """Log the numbers suppressed so far; before the end of the process."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._close_windows(float("inf"))

    def _close_windows(self, now: float) -> None:
        for kind in [kind for kind, window in self._windows.items() if window.ends_at <= now]:
            window = self._windows.pop(kind)
            if window.suppressed:
                event, key = kind
                self._log.warning(
                    "log_lines_suppressed",
                    of=event,
                    **dict(key),
                    times=window.suppressed,
                    within_s=round(self._window_s),
                )

    def _schedule_close(self, after_s: float) -> None:
        """Close the window on time, even if no other line follows."""
        if self._timer is None:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                return
            self._timer = loop.call_later(after_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self._now()
        self._close_windows(now)
        waiting = [window.ends_at for window in self._windows.values() if window.suppressed]
        if waiting:
            self._schedule_close(max(0.05, min(waiting) - now))
