"""Salesforce over REST: what ingest asks of it, and what a query answers with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["RecordPage", "RecordSource"]


@dataclass(frozen=True, slots=True)
class RecordPage:
    """Rows and the time of the answer.

    Attributes:
        records: rows as Salesforce wrote them.
        server_ms: Salesforce's time of the answer, in milliseconds and whole seconds.
    """

    records: list[dict[str, Any]]
    server_ms: int


class RecordSource(Protocol):
    """Records and limits of the org.

    Each method raises ``CadenceError`` when there is no answer.
    """

    async def rows(self, entity: str, ids: Sequence[str], fields: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Id to fields of those of ``ids`` that exist and may be seen; any number of ids."""
        ...

    async def rows_with_time(
        self, entity: str, ids: Sequence[str], fields: Sequence[str]
    ) -> tuple[dict[str, dict[str, Any]], int]:
        """Rows as from :meth:`rows`, for at most 2,000 ids, with the time of the answer.

        The time is Salesforce's.
        """
        ...

    async def page(self, soql: str) -> RecordPage:
        """First page of a query over live and deleted records."""
        ...

    async def deleted(self, entity: str, since_ms: int, until_ms: int) -> list[tuple[int, str]]:
        """Delete log between two times, ascending: time in milliseconds and record id.

        Salesforce counts whole minutes.
        """
        ...

    async def count(self, soql: str) -> int:
        """Number of live records that a ``SELECT COUNT()`` finds."""
        ...

    async def limits(self) -> Mapping[str, tuple[int, int]]:
        """Allocations by name: the maximum, and what is left of it."""
        ...
