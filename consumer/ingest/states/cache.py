"""Records in memory: those that were changed last, as many as weigh no more than they may.

A record is as heavy as what is known of it: its fields, and the identity of every change of the last 96 hours. Counting records alone would
let memory grow with the changes that busy records collect, for days, until it hurts.

A known absence is kept too: a record that the store does not hold need not be asked for again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container

from consumer.domain.record_state import RecordState

__all__ = ["RecordCache"]

_BASE_WEIGHT = 8
"""Of a record of which nothing is known, in fields."""


class RecordCache:
    """The records changed last, by id.

    Args:
        max_weight: fields and identities that are kept altogether, about 200 bytes each.
    """

    def __init__(self, max_weight: int) -> None:
        self._max_weight = max_weight
        self._records: OrderedDict[str, RecordState | None] = OrderedDict()
        self._weights: dict[str, int] = {}
        self.weight = 0
        self.get = self._records.get

    def __contains__(self, record_id: str) -> bool:
        return record_id in self._records

    def __len__(self) -> int:
        return len(self._records)

    def touch(self, record_id: str) -> None:
        """It was needed: it is let go of later than others."""
        self._records.move_to_end(record_id)

    def put(self, record_id: str, state: RecordState | None) -> None:
        """What is known of it from now on; None for nothing."""
        weight = _BASE_WEIGHT if state is None else _BASE_WEIGHT + len(state.fields) + len(state.seen)
        self.weight += weight - self._weights.get(record_id, 0)
        self._weights[record_id] = weight
        self._records[record_id] = state
        self._records.move_to_end(record_id)

    def discard(self, record_id: str) -> None:
        """The store does not hold it any more; when it is needed again, it is asked for."""
        self._records.pop(record_id, None)
        self.weight -= self._weights.pop(record_id, 0)

    def evict(self, uncommitted_ids: Container[str]) -> None:
        """Let go of what was not needed for longest, until the rest is light enough or the next is ``uncommitted_ids``."""
        while self.weight > self._max_weight:
            record_id = next(iter(self._records))
            if record_id in uncommitted_ids:
                return  # and everything after it is needed as well, or was loaded for the same changes
            del self._records[record_id]
            self.weight -= self._weights.pop(record_id)
