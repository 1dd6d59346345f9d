"""Cache of record states: those that were used last, up to a total weight.

The weight of a record is what is known of it: its fields, and the identity of every change of the last 96 hours. A limit on the number of
records alone would let memory grow for days with the changes that busy records collect.

A known absence is kept too: a record that the store does not hold need not be asked for again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container

from consumer.domain.record_state import RecordState

__all__ = ["RecordCache"]

_BASE_WEIGHT = 8
"""Weight of a record of which nothing is known, in fields."""


class RecordCache:
    """States of the records used last, by id.

    Args:
        max_weight: total number of fields and identities that are kept, about 200 bytes each.
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
        """Note that a record was used, so that it is evicted later than others."""
        self._records.move_to_end(record_id)

    def put(self, record_id: str, state: RecordState | None) -> None:
        """Set the state of a record; None for one that the store does not hold."""
        weight = _BASE_WEIGHT if state is None else _BASE_WEIGHT + len(state.fields) + len(state.seen)
        self.weight += weight - self._weights.get(record_id, 0)
        self._weights[record_id] = weight
        self._records[record_id] = state
        self._records.move_to_end(record_id)

    def discard(self, record_id: str) -> None:
        """Remove a record; when it is needed again, the store is asked."""
        self._records.pop(record_id, None)
        self.weight -= self._weights.pop(record_id, 0)

    def evict(self, uncommitted_ids: Container[str]) -> None:
        """Evict what was not used for longest.

        This ends when the rest is light enough or the next is one of ``uncommitted_ids``.
        """
        while self.weight > self._max_weight:
            record_id = next(iter(self._records))
            if record_id in uncommitted_ids:
                return  # everything after it is uncommitted as well, or was loaded for the same changes
            del self._records[record_id]
            self.weight -= self._weights.pop(record_id)
