"""SOQL that several rooms ask with: the active runs, and values quoted for a query."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

__all__ = ["ACTIVE_RUNS", "MAX_IDS_PER_QUERY", "batches", "quoted", "quoted_list"]

ACTIVE_RUNS: Final = "FROM ActionCadenceTracker WHERE IsTrackerActive = true"
"""Source and condition of a query over the runs that have not ended; further conditions follow with ``AND``."""

MAX_IDS_PER_QUERY: Final = 400
"""Ids of one query: Salesforce takes 16,384 bytes of URL."""


def batches(values: Sequence[str], size: int = MAX_IDS_PER_QUERY) -> Iterator[Sequence[str]]:
    """The values in groups of which each fits into one query."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def quoted(value: str) -> str:
    """A string literal."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def quoted_list(values: Iterable[str]) -> str:
    """String literals for ``IN (…)``."""
    return ", ".join(quoted(value) for value in values)
