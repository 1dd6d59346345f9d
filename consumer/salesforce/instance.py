"""Name of the org's instance, as in ``NA224``, queried when a session has opened.

Ingest needs the name to distinguish a migration from other causes of falling commit numbers. It waits briefly for the answer: while the
name is unknown, no epoch is declared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from consumer.errors import AuthenticationFailed
from consumer.salesforce.rest import RestClient, RestError

__all__ = ["InstanceName"]

TIMEOUT_MS = 3_000


class InstanceName:
    """Lookup of the instance name beside the stream.

    Args:
        rest: REST client for the query.
        on_failure: receives the reason of a failed query; one line.

    Attributes:
        name: the name; None while unknown.
    """

    def __init__(self, rest: RestClient, on_failure: Callable[[str], None]) -> None:
        self._rest = rest
        self._on_failure = on_failure
        self.name: str | None = None

    async def refresh(self) -> None:
        """Query the name again; returns after the answer or after :data:`TIMEOUT_MS`."""
        self.name = None
        try:
            async with asyncio.timeout(TIMEOUT_MS / 1000):
                await self._query()
        except TimeoutError:
            self._on_failure(f"no answer within {TIMEOUT_MS // 1000} s")

    async def _query(self) -> None:
        try:
            records = await self._rest.query("SELECT InstanceName FROM Organization")
        except (RestError, AuthenticationFailed) as error:
            self._on_failure(str(error))
            return
        if records and isinstance(records[0].get("InstanceName"), str):
            self.name = records[0]["InstanceName"]
