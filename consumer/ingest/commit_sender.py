"""Numbers the commits of a tenure and sends each until the store has answered.

A commit whose reply was lost may or may not have been applied. It is sent again *unchanged*, with the same number, and the store says
"already applied" where it was. Renewals of the lease check the same number, so both take turns here.
"""

from __future__ import annotations

import asyncio
from itertools import count

from consumer.backoff import Backoff
from consumer.clock import Clock
from consumer.errors import StoreUnavailable
from consumer.ports.commit import Commit, IngestStore
from consumer.ports.lease import LeaseStore, Tenure
from consumer.ports.observers.ingest_events import CommitFailed
from consumer.ports.observers.observer import Observer

__all__ = ["CommitSender"]

_BACKOFF = Backoff(50, 2_000)


class CommitSender:
    """Sends commits and renewals of one tenure, one at a time.

    Args:
        store: takes the commits.
        lease: takes the renewals (usually the same).
        tenure: whose token every commit carries.
        clock: for retries.
        observer: notified each time the store does not answer.
    """

    def __init__(
        self,
        store: IngestStore,
        lease: LeaseStore,
        tenure: Tenure,
        clock: Clock,
        observer: Observer[CommitFailed],
    ) -> None:
        self._store = store
        self._lease = lease
        self._tenure = tenure
        self._clock = clock
        self._observer = observer
        self._lock = asyncio.Lock()
        self._number = 0

    @property
    def number(self) -> int:
        """Number of the last commit that was applied."""
        return self._number

    def draft(self, org_id: str) -> Commit:
        """An empty commit of this tenure, to be filled; it gets its number when it is sent."""
        return Commit(token=self._tenure.token, number=0, org_id=org_id)

    async def send(self, commit: Commit) -> None:
        """Apply it, however often the store has to be asked.

        Raises:
            CommitRefused: the tenure is over.
            StoreForeign: the store belongs to another org.
        """
        async with self._lock:
            commit.number = self._number + 1
            began_ms = self._clock.monotonic_ms()
            for failures in count(1):
                try:
                    await self._store.commit(commit)
                except StoreUnavailable as error:
                    self._observer.observe(
                        CommitFailed(commit.number, error.why, self._clock.monotonic_ms() - began_ms)
                    )
                    await asyncio.sleep(_BACKOFF.delay_ms(failures) / 1000)
                else:
                    self._number = commit.number
                    return

    async def renew(self, lease_ms: int) -> None:
        """Prolong the lease.

        Raises:
            CommitRefused: the tenure is over.
            StoreUnavailable: unknown; try again before the lease ends.
        """
        async with self._lock:
            await self._lease.renew(self._tenure, self._number, lease_ms)
