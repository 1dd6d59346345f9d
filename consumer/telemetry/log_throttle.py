"""A storm of failures must not write the same line a thousand times: the first few are written, the rest are counted in one line.

Ten thousand events that fail in the same way are ten thousand lines that say nothing new, fill a disk, and hide the one line that matters.
Lines are alike when event and key (handler and kind of error, channel and reason) are; of these ten are written in a minute, and when the
minute is over one line says how many were left out. Nothing is only in the lines that are left out: attempts are counted in metrics, dead
letters and what cannot be understood stand in the store.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

__all__ = ["LogThrottle"]

_MAX_KEYS = 1_000
"""Kinds of lines that are told apart; what is beyond shares one limit with its event."""


@dataclass(slots=True)
class _Window:
    ends_at: float
    written: int = 0
    suppressed: int = 0


class LogThrottle:
    """Says which lines may be written.

    Args:
        max_lines: lines of a kind within the window.
        window_s: in seconds, from the first line.
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
        """Whether this line is written; if not, it is counted.

        Args:
            event: of the line.
            key: what else makes lines alike; stands in the line that says how many were left out.
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
        """Say now what was left out; before the end of the process."""
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
        """Be there when the window ends, also if no other line comes."""
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
