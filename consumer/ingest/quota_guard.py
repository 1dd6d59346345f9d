"""The guard of the delivery allocation: may everything that is retained be read again?

Salesforce counts every event that it delivers, to whomever, over a rolling day; when the allocation is used up, the whole org's subscribers
stand still. Resuming by position costs what is new. Reading from the oldest retained event on (replay option -2: a refused position, or a
channel that has not finished one yet) costs up to three days of changes at once, for nothing but repetition.

So before a session asks for that, ``/limits`` says what is left and a count over REST says how many records were changed within the
retention, each by two events or so. What would use the rest up is refused: the service says so, is not ready, and looks again when the
window has moved on, four times an hour. An org that does not answer is no reason to stand still: nothing is known against it.

Source: Change Data Capture Developer Guide, "Change Data Capture Allocations"; REST API Developer Guide, "Limits".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from consumer.clock import iso
from consumer.domain.bus_retention import BUS_RETENTION_MS
from consumer.errors import EndReason, Remedy, SessionFault
from consumer.ingest.channels import ALL_RETAINED
from consumer.ingest.reconcile.triggers import entities_of

__all__ = ["OrgLimits", "QuotaGuard"]

_LIMIT_NAME: Final = "DailyDeliveredPlatformEvents"
EVENTS_PER_RECORD: Final = 2
"""Of a record that was changed within the retention: created or changed, and ended; busy ones have more, untouched ones none."""


class OrgLimits(Protocol):
    """What is asked; each method raises ``CadenceError`` when there is no answer."""

    async def limits(self) -> Mapping[str, tuple[int, int]]:
        """Allocation to what is allowed and what is left."""
        ...

    async def count(self, soql: str) -> int:
        """How many live records a ``SELECT COUNT()`` counts."""
        ...


class QuotaGuard:
    """Asked before each session.

    Args:
        org_limits: asked what is left.
    """

    def __init__(self, org_limits: OrgLimits) -> None:
        self._org_limits = org_limits

    async def admit(self, resume: Mapping[str, str], now_ms: int) -> None:
        """Return when a session may resume like this.

        Args:
            resume: replay option by channel.
            now_ms: Salesforce's time, about.

        Raises:
            SessionFault: it would use up what is left of the allocation; :attr:`consumer.errors.Remedy.WAIT_QUOTA`.
            CadenceError: Salesforce does not say what is left.
        """
        full_replays = [channel for channel, option in resume.items() if option == ALL_RETAINED]
        if not full_replays:
            return
        limits = await self._org_limits.limits()
        if _LIMIT_NAME not in limits:
            return
        _, remaining = limits[_LIMIT_NAME]
        since = iso(now_ms - BUS_RETENTION_MS)
        changed_records = 0
        for entity in entities_of(full_replays):
            changed_records += await self._org_limits.count(
                f"SELECT COUNT() FROM {entity} WHERE SystemModstamp >= {since}"  # noqa: S608 - no input of others
            )
        if changed_records * EVENTS_PER_RECORD <= remaining:
            return
        raise SessionFault(
            EndReason(
                "allocation_guard",
                f"reading {', '.join(full_replays)} from the oldest retained event on would deliver "
                f"about {changed_records * EVENTS_PER_RECORD} events, and {remaining} are left of the org's allocation; "
                "it waits until the rolling day has freed enough (replay.spend_allocation = true goes ahead)",
                Remedy.WAIT_QUOTA,
            )
        )
