"""What the org still allows: deliveries and API requests of the rolling day, and active runs.

Salesforce stops delivering to the whole org when the allocation is used up, whoever used it, and says so only then. REST knows before:
``/limits`` is one request that counts itself, so it is asked every five minutes; the active runs are counted every half an hour. Only the
lease holder asks, and only while Salesforce gives it tokens: a watch must not be what signs in again and again.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, Protocol, Self

import structlog

from consumer.errors import CadenceError
from consumer.telemetry.metrics import MetricName, Metrics

__all__ = ["ALLOCATIONS", "OrgLimitsReader", "OrgLimitsWatch"]

_EVERY_MS: Final = 300_000
_REFRESHES_PER_RUN_COUNT: Final = 6
"""Looks; counting goes through an index of up to 150,000 rows, so it is done less often."""
_WAIT_MS: Final = 1_000
"""Until it may ask."""

ALLOCATIONS: Final = {"deliveries": "DailyDeliveredPlatformEvents", "api_requests": "DailyApiRequests"}
"""Label to Salesforce's name."""


class OrgLimitsReader(Protocol):
    """What the watch asks of Salesforce; each is one request."""

    async def limits(self) -> Mapping[str, tuple[int, int]]:
        """Allocation to what is allowed and what is left."""
        ...

    async def active_runs(self) -> int:
        """How many runs are active."""
        ...


class OrgLimitsWatch:
    """Asks now and then; what it was told last is shown until the tenure ends.

    Args:
        org: asked.
        may_query: whether this replica holds the lease and Salesforce gives it tokens.
        metrics: shows the answers.
        every_ms: between two looks.
        wait_ms: between two questions whether it may ask; it may again in a new tenure, whose first look is at once.
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
        self._task = asyncio.create_task(self._watch(), name="allowance-watch")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def refresh(self) -> None:
        """Ask once. An org that does not answer is somebody else's news; one that answers something else is not asked for what it lacks."""
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
