"""Runs of one target: links daisy chains, and finds the runs of a known prospect.

Stored beside the record states, under a key of its own, and written in the same commit as the run that it lists.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any, Final

import orjson

from consumer.domain.stored_json import decode_stored, load_object

__all__ = ["TargetRuns", "is_target", "key_of"]

FORMAT: Final = 1
_PREFIX: Final = "target/"
MAX_RUNS: Final = 100
"""Maximum number of stored runs per target; the longest documented chain is ten."""


def key_of(target_id: str) -> str:
    """Build the key of a target among the store's states."""
    return f"{_PREFIX}{target_id}"


def is_target(key: str) -> bool:
    """Report whether a key of the store's states belongs to a target."""
    return key.startswith(_PREFIX)


class TargetRuns:
    """Runs of one target, oldest first.

    Attributes:
        target_id: 18 characters.
        runs: (run, its number in a daisy chain or None), in the order in which they became known.
    """

    __slots__ = ("runs", "target_id")

    def __init__(self, target_id: str, runs: tuple[tuple[str, int | None], ...] = ()) -> None:
        self.target_id = target_id
        self.runs = runs

    def __contains__(self, tracker_id: object) -> bool:
        return any(run == tracker_id for run, _ in self.runs)

    def with_run(self, tracker_id: str, iteration: int | None) -> TargetRuns:
        """Copy with one more run."""
        if tracker_id in self:
            return self
        return TargetRuns(self.target_id, (*self.runs, (tracker_id, iteration))[-MAX_RUNS:])

    def without_runs(self, tracker_ids: Container[str]) -> TargetRuns | None:
        """Copy without the expired runs; None when none is left."""
        remaining = tuple(entry for entry in self.runs if entry[0] not in tracker_ids)
        return TargetRuns(self.target_id, remaining) if remaining else None

    def previous_run(self, iteration: Any) -> str | None:
        """Find the predecessor in a daisy chain: the newest run with the number before."""
        if not isinstance(iteration, int | float) or iteration <= 1:
            return None
        return next((run for run, number in reversed(self.runs) if number == iteration - 1), None)

    def encode(self) -> bytes:
        """Encode as stored."""
        return orjson.dumps({"v": FORMAT, "id": self.target_id, "runs": self.runs})

    @classmethod
    def decode(cls, data: bytes) -> TargetRuns:
        """Read the stored form.

        Raises:
            StoreForeign: a newer version wrote the data.
            StoreDamaged: the data is not a stored list of runs.
        """
        return decode_stored("runs of a target", data, cls._from_json)

    @classmethod
    def _from_json(cls, data: bytes) -> TargetRuns:
        value = load_object(data, FORMAT, identity="id")
        return cls(value["id"], tuple((run, iteration) for run, iteration in value["runs"]))
