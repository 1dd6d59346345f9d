"""Watchdogs for two faults that raise no error.

An event loop that one call keeps busy answers no probe, polls nothing, commits nothing and reports nothing: :class:`LoopWatch` observes it
from a thread and logs once which call keeps it busy. A position that ages towards Salesforce's 72 hours loses changes without an error, on
the day the service is started again: :class:`RetentionWatch` reports the time left, also on a standby and while no session can be opened.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Protocol, Self

import structlog

from consumer.clock import Clock
from consumer.domain.bus_retention import HEADROOM_WARNINGS_MS, headroom_ms
from consumer.durations import humanize_ms
from consumer.errors import StoreError
from consumer.ports.commit import ChannelState
from consumer.telemetry.metric_catalogue import MetricName
from consumer.telemetry.metrics import Metrics

__all__ = ["LoopWatch", "PositionReader", "RetentionWatch"]

_REFRESH_EVERY_MS = 15_000
_FIRST_REFRESH_EVERY_MS = 1_000
"""Milliseconds between two reads until there is a position to show."""


class LoopWatch:
    """Watchdog of the event loop that entered it.

    Args:
        metrics: counts the stalls.
        limit_ms: milliseconds without a heartbeat that count as a stall; probes usually give up earlier.
    """

    def __init__(self, metrics: Metrics, limit_ms: int = 5_000) -> None:
        self._log = structlog.get_logger()
        self._stalls = metrics.counter(MetricName.LOOP_STALLS)
        self._limit_s = limit_ms / 1000
        self._step_s = self._limit_s / 5
        self._stop = threading.Event()
        self._last_heartbeat_at = 0.0
        self._loop_thread = 0
        self._heartbeat_timer: asyncio.TimerHandle | None = None
        self._thread: threading.Thread | None = None

    async def __aenter__(self) -> Self:
        self._loop_thread = threading.get_ident()
        self._heartbeat(asyncio.get_running_loop())
        self._thread = threading.Thread(target=self._watch, name="loop-watch", daemon=True)
        self._thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._heartbeat_timer is not None:
            self._heartbeat_timer.cancel()
        if self._thread is not None:
            self._thread.join()

    def _heartbeat(self, loop: asyncio.AbstractEventLoop) -> None:
        self._last_heartbeat_at = time.monotonic()
        self._heartbeat_timer = loop.call_later(self._step_s, self._heartbeat, loop)

    def _watch(self) -> None:
        stalled_at: float | None = None
        last_checked_at = time.monotonic()
        while not self._stop.wait(self._step_s):
            now = time.monotonic()
            was_frozen, last_checked_at = now - last_checked_at > self._limit_s, now
            last_heartbeat_at = self._last_heartbeat_at
            if stalled_at is None and now - last_heartbeat_at > self._limit_s and not was_frozen:
                # A process that was frozen as a whole, with this thread, did not stall: its loop runs as soon as it does.
                stalled_at = last_heartbeat_at
                self._stalls.inc()
                self._log.error(
                    "event_loop_stalled", for_ms=_ms(now - last_heartbeat_at), where=self._where()
                )
            elif stalled_at is not None and last_heartbeat_at > stalled_at:
                self._log.warning("event_loop_recovered", after_ms=_ms(last_heartbeat_at - stalled_at))
                stalled_at = None

    def _where(self) -> list[str]:
        """Return the innermost calls of the loop's thread; no values, so no secrets."""
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - what the faulthandler of the standard library reads too
        if frame is None:
            return []
        stack = traceback.extract_stack(frame)[-12:]
        return [f"{each.filename}:{each.lineno} {each.name}" for each in stack]


class PositionReader(Protocol):
    """Source of the stored positions."""

    async def channels(self) -> dict[str, ChannelState]:
        """Return every stored channel."""
        ...


class RetentionWatch:
    """Periodic reader of the stored positions.

    The metrics compute their age when they are scraped.

    Args:
        store: source of the positions; while it is unreachable the last positions continue to age.
        metrics: shows the headroom.
        clock: wall.
        channels: the configured channels.
        every_ms: milliseconds between two reads.
    """

    def __init__(
        self,
        store: PositionReader,
        metrics: Metrics,
        clock: Clock,
        channels: Sequence[str],
        every_ms: int = _REFRESH_EVERY_MS,
    ) -> None:
        self._log = structlog.get_logger()
        self._store = store
        self._clock = clock
        self._channels = tuple(channels)
        self._every_ms = every_ms
        self._states: Mapping[str, ChannelState] = {}
        self._warned_levels: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None
        for channel in self._channels:
            headroom = metrics.gauge(MetricName.RETENTION_HEADROOM_SECONDS, channel)
            headroom.set_function(partial(self._headroom, channel))
            age = metrics.gauge(MetricName.CHECKPOINT_AGE_SECONDS, channel)
            age.set_function(partial(self._age, channel))
            polled_through = metrics.gauge(MetricName.POLLED_THROUGH_SECONDS, channel)
            polled_through.set_function(partial(self._polled_through, channel))

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch(), name="retention-watch")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def refresh(self) -> None:
        """Read the positions and log those whose headroom is low.

        An unreachable store is reported elsewhere.
        """
        try:
            self._states = await self._store.channels()
        except StoreError:
            self._log.debug("positions_unavailable")
        for channel in self._channels:
            state = self._states.get(channel)
            if state is not None:
                self._warn_if_short(channel, headroom_ms(state, self._clock.wall_ms()))

    async def _watch(self) -> None:
        while True:
            await self.refresh()
            every_ms = self._every_ms if self._states else min(self._every_ms, _FIRST_REFRESH_EVERY_MS)
            await asyncio.sleep(every_ms / 1000)

    def _warn_if_short(self, channel: str, left_ms: int) -> None:
        """Log once for each level that is passed, until the position moves again."""
        level = sum(left_ms < threshold for threshold in (*HEADROOM_WARNINGS_MS, 0))
        if level > self._warned_levels.get(channel, 0):
            action = "Salesforce keeps changes for 72 h: see /readyz for the cause."
            if left_ms <= 0:
                self._log.error(
                    "retention_exceeded", channel=channel, since=humanize_ms(-left_ms), action=action
                )
            else:
                self._log.error(
                    "retention_headroom_low", channel=channel, left=humanize_ms(left_ms), action=action
                )
        self._warned_levels[channel] = level

    def _headroom(self, channel: str) -> float:
        state = self._states.get(channel)
        return float("nan") if state is None else headroom_ms(state, self._clock.wall_ms()) / 1000

    def _age(self, channel: str) -> float:
        state = self._states.get(channel)
        if state is None or state.position_ms is None:
            return float("nan")
        return (self._clock.wall_ms() - state.position_ms) / 1000

    def _polled_through(self, channel: str) -> float:
        state = self._states.get(channel)
        if state is None or state.polled_through_ms is None:
            return float("nan")
        return state.polled_through_ms / 1000


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
