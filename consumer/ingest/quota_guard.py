"""Guard of the delivery allocation.

It is asked before everything that the bus retains is read again.

Salesforce counts every event that it delivers, to any subscriber, over a rolling day; when the allocation is used up, no subscriber of the
org gets anything more. Resuming by position costs what is new. Reading from the oldest retained event on (replay option -2: after a refused
position, or for a channel that has no checkpoint yet) costs up to three days of changes at once, most of them repetitions.

Before a session asks for that, ``/limits`` gives what is left, and a count over REST gives the number of records that were changed within
the retention, each by about two events. A session that would use up the rest is refused: the service reports it, is not ready, and asks
again when the window has moved, four times an hour. An org that does not answer does not stop the session.

Source: Change Data Capture Developer Guide, "Change Data Capture Allocations"; REST API Developer Guide, "Limits".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from consumer.clock import iso
from consumer.domain.bus_retention import BUS_RETENTION_MS
from consumer.errors import EndReason, Remedy, SessionFault
from consumer.ingest.channels import ALL_RETAINED
from consumer.ingest.reconcile.triggers import entities_of
from consumer.ports.salesforce import RecordSource

__all__ = ["QuotaGuard"]

_LIMIT_NAME: Final = "DailyDeliveredPlatformEvents"
EVENTS_PER_RECORD: Final = 2
"""Events of a record that was changed within the retention: created or changed, and ended; busy records have more, untouched ones none."""


class QuotaGuard:
    """Guard that admits or refuses each session.

    Args:
        record_source: asked for limits and counts.
    """

    def __init__(self, record_source: RecordSource) -> None:
        self._record_source = record_source

    async def admit(self, resume: Mapping[str, str], now_ms: int) -> None:
        """Return if a session may resume like this.

        Args:
            resume: replay option by channel.
            now_ms: Salesforce's time, roughly.

        Raises:
            SessionFault: the session would use up what is left of the allocation; :attr:`consumer.errors.Remedy.WAIT_QUOTA`.
            CadenceError: Salesforce does not answer.
        """
        full_replays = [channel for channel, option in resume.items() if option == ALL_RETAINED]
        if not full_replays:
            return
        limits = await self._record_source.limits()
        if _LIMIT_NAME not in limits:
            return
        _, remaining = limits[_LIMIT_NAME]
        since = iso(now_ms - BUS_RETENTION_MS)
        changed_records = 0
        for entity in entities_of(full_replays):
            changed_records += await self._record_source.count(
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
