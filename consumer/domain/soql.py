"""Shared parts of SOQL queries: the active runs, and quoted values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

__all__ = ["ACTIVE_RUNS", "MAX_IDS_PER_QUERY", "batches", "quoted", "quoted_list"]

ACTIVE_RUNS: Final = "FROM ActionCadenceTracker WHERE IsTrackerActive = true"
"""Source and condition of a query over the active runs.

Further conditions follow with ``AND``.
"""

MAX_IDS_PER_QUERY: Final = 400
"""Ids per query: Salesforce accepts URLs of up to 16,384 bytes."""


def batches(values: Sequence[str], size: int = MAX_IDS_PER_QUERY) -> Iterator[Sequence[str]]:
    """Split values into batches that fit into one query each."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def quoted(value: str) -> str:
    """Quote a value as a string literal."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def quoted_list(values: Iterable[str]) -> str:
    """Quote values as string literals for ``IN (…)``."""
    return ", ".join(quoted(value) for value in values)
