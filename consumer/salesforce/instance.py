"""The name of the instance that the org lives on, as in ``NA224``; asked for whenever a session has opened.

Ingest needs it only to tell a migration from anything else that makes commit numbers fall, so nobody waits for it: while it is not known,
no epoch is declared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from consumer.errors import AuthenticationFailed
from consumer.salesforce.rest import RestClient, RestError

__all__ = ["InstanceName"]


class InstanceName:
    """Looks it up beside the stream.

    Args:
        rest: to ask with.
        failed: told why it could not be had; one line.
    """

    def __init__(self, rest: RestClient, failed: Callable[[str], None]) -> None:
        self._rest = rest
        self._failed = failed
        self._asking: asyncio.Task[None] | None = None
        self.name: str | None = None

    def refresh(self) -> None:
        """Ask again; the answer replaces ``name`` when it comes."""
        self.name = None
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask(), name="instance name")

    async def aclose(self) -> None:
        """Stop asking."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    async def _ask(self) -> None:
        try:
            records = await self._rest.query("SELECT InstanceName FROM Organization")
        except (RestError, AuthenticationFailed) as error:
            self._failed(str(error))
            return
        if records and isinstance(records[0].get("InstanceName"), str):
            self.name = records[0]["InstanceName"]
