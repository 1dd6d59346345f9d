"""The name of the instance that the org lives on, as in ``NA224``; asked for whenever a session has opened.

Ingest needs it to tell a migration from anything else that makes commit numbers fall. It waits for the answer, but not long: while the
name is not known, no epoch is declared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from consumer.errors import AuthenticationFailed
from consumer.salesforce.rest import RestClient, RestError

__all__ = ["InstanceName"]

TIMEOUT_MS = 3_000


class InstanceName:
    """Looks it up beside the stream.

    Args:
        rest: to ask with.
        on_failure: told why it could not be had; one line.
    """

    def __init__(self, rest: RestClient, on_failure: Callable[[str], None]) -> None:
        self._rest = rest
        self._on_failure = on_failure
        self.name: str | None = None

    async def refresh(self) -> None:
        """Ask again; returns when the answer has come, or after :data:`TIMEOUT_MS` without one."""
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
