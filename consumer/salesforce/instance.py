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

PATIENCE_MS = 3_000


class InstanceName:
    """Looks it up beside the stream.

    Args:
        rest: to ask with.
        failed: told why it could not be had; one line.
    """

    def __init__(self, rest: RestClient, failed: Callable[[str], None]) -> None:
        self._rest = rest
        self._failed = failed
        self.name: str | None = None

    async def refresh(self) -> None:
        """Ask again; returns when the answer has come, or after :data:`PATIENCE_MS` without one."""
        self.name = None
        try:
            async with asyncio.timeout(PATIENCE_MS / 1000):
                await self._ask()
        except TimeoutError:
            self._failed(f"no answer within {PATIENCE_MS // 1000} s")

    async def _ask(self) -> None:
        try:
            records = await self._rest.query("SELECT InstanceName FROM Organization")
        except (RestError, AuthenticationFailed) as error:
            self._failed(str(error))
            return
        if records and isinstance(records[0].get("InstanceName"), str):
            self.name = records[0]["InstanceName"]
