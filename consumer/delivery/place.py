"""A handler's place in the journal: everything up to an offset is settled, and some of what follows.

Runs are delivered side by side, so events are settled out of order, while a restart must neither skip one nor repeat more than it has
to. The place therefore is an *offset*, at or below which nothing is unsettled, and the ranges above it that are settled already. A range
``[a, b]`` says: whatever the journal holds from ``a`` to ``b`` is settled; holes (retention) and entries that the handler does not want
lie in it without being mentioned.

What is above the offset is bounded by the *window*: when that many entries wait or are settled above one that is not, nothing more may
be taken until it is.

The encoded form is JSON: ``{"v": 1, "offset": 41, "settled": [[43, 60], [62, 62]]}``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque

import orjson

__all__ = ["WINDOW", "Place"]

FORMAT = 1
WINDOW = 10_000
"""Most entries above the offset that are remembered one by one."""


class Place:
    """Where a handler is.

    Entries are announced in ascending order, by :meth:`taken` or :meth:`passed`, and settled in any order.

    Args:
        offset: at or below it everything is settled.
        settled: ranges above it that are settled as well, ascending, not touching.
        window: how many entries above ``offset`` are remembered at most.
    """

    def __init__(
        self, offset: int = 0, settled: list[tuple[int, int]] | None = None, window: int = WINDOW
    ) -> None:
        self._offset = offset
        self._highest = offset
        self._window = window
        self._taken: deque[int] = deque()  # ascending; from the lowest outstanding one, settled ones between
        self._outstanding: set[int] = set()
        self._restored = list(settled or [])

    @property
    def offset(self) -> int:
        """At or below it everything is settled."""
        return self._offset

    @property
    def through(self) -> int:
        """The highest settled entry."""
        spans = self.ranges()
        return spans[-1][1] if spans else self._offset

    @property
    def room(self) -> int:
        """How many entries may be taken now."""
        return max(0, self._window - len(self._taken) - len(self._restored))

    @property
    def outstanding(self) -> int:
        """How many entries are taken and not settled."""
        return len(self._outstanding)

    def taken(self, offset: int) -> bool:
        """Announce an entry that is to be delivered; False when it was settled before a restart, and must not be.

        Raises:
            ValueError: ``offset`` is not greater than all before.
        """
        self._announce(offset)
        index = bisect_right(self._restored, offset, key=lambda span: span[0]) - 1
        if index >= 0 and offset <= self._restored[index][1]:
            self._advance()
            return False
        self._taken.append(offset)
        self._outstanding.add(offset)
        return True

    def passed(self, offset: int) -> None:
        """Announce an entry that the handler does not want.

        Raises:
            ValueError: ``offset`` is not greater than all before.
        """
        self._announce(offset)
        self._advance()

    def settled(self, offset: int) -> None:
        """Settle an entry that was taken.

        Raises:
            ValueError: it was not taken, or is settled.
        """
        if offset not in self._outstanding:
            raise ValueError(f"offset {offset} is not outstanding")
        self._outstanding.remove(offset)
        if offset == self._taken[0]:
            self._advance()

    def ranges(self) -> list[tuple[int, int]]:
        """The settled ranges above the offset, ascending."""
        spans = [span for span in self._restored if span[1] > self._offset]
        first: int | None = None
        last = 0
        for offset in self._taken:
            if offset not in self._outstanding:
                first = offset if first is None else first
                last = offset
            elif first is not None:
                spans.append((first, last))
                first = None
        if first is not None:
            spans.append((first, last))
        spans.sort()
        return spans

    def snapshot(self) -> bytes:
        """The encoded place."""
        return orjson.dumps({"v": FORMAT, "offset": self._offset, "settled": self.ranges()})

    @classmethod
    def load(cls, data: bytes, window: int = WINDOW) -> Place:
        """Decode a snapshot.

        Raises:
            ValueError: it is not one, or of a newer format.
        """
        value = orjson.loads(data)
        if not isinstance(value, dict) or value.get("v") != FORMAT:
            raise ValueError(f"not a place of format {FORMAT}, which is what this version reads")
        try:
            return cls(int(value["offset"]), [(int(a), int(b)) for a, b in value["settled"]], window)
        except (KeyError, TypeError) as error:
            raise ValueError(f"a place of format {FORMAT} without a usable offset or ranges") from error

    def _announce(self, offset: int) -> None:
        if offset <= self._highest:
            raise ValueError(f"offset {offset} does not come after {self._highest}")
        self._highest = offset

    def _advance(self) -> None:
        taken = self._taken
        while taken and taken[0] not in self._outstanding:
            taken.popleft()
        self._offset = taken[0] - 1 if taken else self._highest
        while self._restored and self._restored[0][1] <= self._offset:
            del self._restored[0]
