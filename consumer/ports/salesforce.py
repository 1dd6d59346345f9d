"""Salesforce over REST: what ingest asks of it, and what a query answers with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["DeletedLog", "RecordPage", "RecordSource"]


@dataclass(frozen=True, slots=True)
class RecordPage:
    """Rows and the time of the answer.

    Attributes:
        records: rows as Salesforce wrote them; one that is not an object is empty.
        server_ms: Salesforce's time of the answer, in milliseconds and whole seconds.
        is_whole: whether these are all rows that the query selects.
    """

    records: list[dict[str, Any]]
    server_ms: int
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class DeletedLog:
    """Records deleted between two times.

    Attributes:
        records: time of deletion in milliseconds and record id, ascending.
        unreadable: entries that could not be read: id and reason.
    """

    records: list[tuple[int, str]]
    unreadable: tuple[tuple[str, str], ...] = ()


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

    async def deleted(self, entity: str, since_ms: int, until_ms: int) -> DeletedLog:
        """Delete log between two times; Salesforce counts whole minutes."""
        ...

    async def count(self, soql: str) -> int:
        """Number of live records that a ``SELECT COUNT()`` finds."""
        ...

    async def limits(self) -> Mapping[str, tuple[int, int]]:
        """Allocations by name: the maximum, and what is left of it."""
        ...
