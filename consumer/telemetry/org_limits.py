"""Limits of the org: deliveries, API requests, active runs.

Salesforce stops delivering to the whole org when the allocation is used up, whichever client used it, and reports it only then. REST knows
earlier: ``/limits`` is one request that counts itself, so it is read every five minutes; the active runs are counted every half hour. Only
the lease holder reads them, and only while Salesforce issues tokens: a watch must not cause sign-ins of its own.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, Protocol, Self

import structlog

from consumer.errors import CadenceError
from consumer.telemetry.metric_catalogue import MetricName
from consumer.telemetry.metrics import Metrics

__all__ = ["ALLOCATIONS", "OrgLimitsReader", "OrgLimitsWatch"]

_EVERY_MS: Final = 300_000
_REFRESHES_PER_RUN_COUNT: Final = 6
"""Reads of the limits for each count of the runs, which scans an index of up to 150,000 rows."""
_WAIT_MS: Final = 1_000
"""Milliseconds between two checks of whether it may query."""

ALLOCATIONS: Final = {"deliveries": "DailyDeliveredPlatformEvents", "api_requests": "DailyApiRequests"}
"""Label to the name in Salesforce."""


class OrgLimitsReader(Protocol):
    """Source of the limits; each method is one request."""

    async def limits(self) -> Mapping[str, tuple[int, int]]:
        """Return limit to allowed and remaining number."""
        ...

    async def active_runs(self) -> int:
        """Return the number of active runs."""
        ...


class OrgLimitsWatch:
    """Periodic reader of the org's limits.

    The last values are shown until the tenure ends.

    Args:
        org: source of the limits.
        may_query: whether this replica holds the lease and Salesforce issues it tokens.
        metrics: shows the limits.
        every_ms: milliseconds between two reads; the first read of a tenure is immediate.
        wait_ms: milliseconds between two calls of ``may_query``.
    """

    def __init__(
        self,
        org: OrgLimitsReader,
        may_query: Callable[[], bool],
        metrics: Metrics,
        every_ms: int = _EVERY_MS,
        wait_ms: int = _WAIT_MS,
    ) -> None:
        self._log = structlog.get_logger()
        self._org = org
        self._may_query = may_query
        self._metrics = metrics
        self._every_ms = every_ms
        self._wait_ms = wait_ms
        self._refreshes = 0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch(), name="org-limits-watch")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def refresh(self) -> None:
        """Read the limits once.

        An org that does not answer is reported by its session; a limit that it does not name is NaN.
        """
        gauge = self._metrics.gauge
        try:
            limits = await self._org.limits()
            for label, name in ALLOCATIONS.items():
                allowed, left = limits.get(name, (math.nan, math.nan))
                gauge(MetricName.ORG_LIMIT, label).set(allowed)
                gauge(MetricName.ORG_LIMIT_REMAINING, label).set(left)
            if self._refreshes % _REFRESHES_PER_RUN_COUNT == 0:
                gauge(MetricName.ACTIVE_RUNS).set(await self._org.active_runs())
        except CadenceError as error:
            self._log.debug("org_limits_unavailable", error=str(error))
        else:
            self._refreshes += 1

    async def _watch(self) -> None:
        time, next_at = asyncio.get_running_loop().time, 0.0
        while True:
            if not self._may_query():
                self._refreshes, next_at = 0, 0.0
            elif time() >= next_at:
                await self.refresh()
                next_at = time() + self._every_ms / 1000
            await asyncio.sleep(self._wait_ms / 1000)
