"""A handler's place in the journal: everything up to an offset is settled, and some of what follows.

Runs are delivered side by side, so events are settled out of order, while a restart must neither skip one nor repeat more than it has
to. The place therefore is an *offset*, at or below which nothing is unsettled, and the ranges above it that are settled already. A range
``[a, b]`` says: whatever the journal holds from ``a`` to ``b`` is settled; holes (retention) and entries that the handler does not want
lie in it without being mentioned.

An event that has failed waits for its next attempt, for minutes perhaps, and with it what follows in its run. Such a run is *parked*: its
events no longer hold the offset back, and a row of its own says where it stands (:class:`~consumer.ports.ParkedRun`). Everything of the
run from the row's first event on is unsettled, except what the row names as done. So one run in trouble costs one row, however long it
takes, and a restart finds its events in the journal, which retention keeps from the row's first event on.

What is above the offset or parked is bounded by the *window*: when that many entries wait or are settled above one that is not, nothing
more may be taken. Runs that fail while the most allowed are parked hold the offset back.

The encoded form is JSON: ``{"v": 2, "offset": 41, "settled": [[43, 60], [62, 62]]}``; the rows are kept beside it. Version 1 knew none.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

import orjson

from consumer.ports import ParkedRun

__all__ = ["MOST_PARKED", "WINDOW", "Place"]

FORMAT = 2
WINDOW = 10_000
"""Most entries that are remembered one by one."""
MOST_PARKED = 1_000
"""Most runs that are parked at once."""


@dataclass(slots=True)
class _Parked:
    """A parked run while it lives.

    ``row`` is what was stored at first; ``pending`` are its unsettled entries as far as they were announced, ascending.
    """

    row: ParkedRun
    pending: deque[int]


class Place:
    """Where a handler is.

    Entries are announced in ascending order, by :meth:`taken` or :meth:`passed`, and settled in any order.

    Args:
        offset: at or below it everything is settled.
        settled: ranges above it that are settled as well, ascending, not touching.
        window: how many entries are remembered at most.
        parked: the runs that are parked. :meth:`resume` gives them their entries up to ``offset``; later ones are announced.
        most_parked: how many runs are parked at most.
    """

    def __init__(
        self,
        offset: int = 0,
        settled: list[tuple[int, int]] | None = None,
        window: int = WINDOW,
        parked: Iterable[ParkedRun] = (),
        most_parked: int | None = None,
    ) -> None:
        self._offset = offset
        self._highest = offset
        self._window = window
        self._taken: deque[int] = deque()  # ascending; from the lowest outstanding one, settled ones between
        self._outstanding: set[int] = set()
        self._restored = list(settled or [])
        self._most_parked = MOST_PARKED if most_parked is None else most_parked
        self._parked = {row.tracker_id: _Parked(row, deque()) for row in parked}
        self._aside: dict[int, str | None] = {}  # unsettled entries of parked runs
        self._expected = set(self._parked)  # parked runs of which no entry has been seen yet
        self._changed: set[str | None] = set()

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
        return max(0, self._window - len(self._taken) - len(self._restored) - len(self._aside))

    @property
    def outstanding(self) -> int:
        """How many entries are taken and not settled."""
        return len(self._outstanding) + len(self._aside)

    @property
    def parked(self) -> int:
        """How many runs are parked."""
        return len(self._parked)

    @property
    def needed(self) -> int:
        """The lowest entry that is still needed from the journal."""
        return min((self._offset + 1, *(one.row.first for one in self._parked.values())))

    def row(self, tracker_id: str | None) -> ParkedRun | None:
        """The row of a run; None when it is not parked."""
        one = self._parked.get(tracker_id)
        return None if one is None else one.row

    def rows(self) -> list[ParkedRun]:
        """Every parked run."""
        return [one.row for one in self._parked.values()]

    def taken(self, offset: int, tracker_id: str | None = None) -> bool:
        """Announce an entry that is to be delivered; False when it was settled before a restart, and must not be.

        Raises:
            ValueError: ``offset`` is not greater than all before.
        """
        self._announce(offset)
        index = bisect_right(self._restored, offset, key=lambda span: span[0]) - 1
        if index >= 0 and offset <= self._restored[index][1]:
            self._advance()
            return False
        if self._parked and tracker_id in self._parked:
            self._taken.append(offset)
            self._set_aside(self._parked[tracker_id], offset)
            self._advance()
            return True
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
        if offset in self._aside:
            self._settle_aside(offset)
            return
        if offset not in self._outstanding:
            raise ValueError(f"offset {offset} is not outstanding")
        self._outstanding.remove(offset)
        if offset == self._taken[0]:
            self._advance()

    # ------------------------------------------------------------ parked runs

    def park(self, row: ParkedRun, offsets: Iterable[int]) -> bool:
        """Put a run aside, so that it holds the offset back no longer; or say anew why it is.

        Args:
            row: the run; its ``first`` is the lowest unsettled entry, its ``done`` whatever was settled above that since it is delivered.
            offsets: its unsettled entries, as far as they were taken.

        Returns:
            False when too many runs are parked; the run goes on holding the offset back.
        """
        one = self._parked.get(row.tracker_id)
        if one is None:
            if len(self._parked) >= self._most_parked:
                return False
            one = self._parked[row.tracker_id] = _Parked(row, deque())
            for offset in sorted(offsets):
                self._outstanding.remove(offset)
                self._set_aside(one, offset)
            self._advance()
        else:
            done = {offset for offset in (*one.row.done, *row.done) if offset > row.first}
            one.row = replace(row, done=tuple(sorted(done)))
        self._changed.add(row.tracker_id)
        return True

    def resume(self, tracker_id: str | None, offsets: Iterable[int]) -> None:
        """After a restart: which unsettled entries at or below the offset a parked run has; it is parked no longer when there are none."""
        one = self._parked[tracker_id]
        for offset in sorted(offsets):
            self._set_aside(one, offset)
        if not one.pending and one.row.first <= self._offset:
            self._unpark(tracker_id)
        elif one.pending and one.pending[0] != one.row.first:
            self._moved_on(one)

    def miss(self) -> None:
        """Let go of parked runs whose first entry should have come and did not, as when the handler does not want it any more."""
        for tracker_id in [each for each in self._expected if self._parked[each].row.first <= self._highest]:
            self._unpark(tracker_id)

    def changed_rows(self) -> dict[str | None, ParkedRun | None]:
        """What became of parked runs since the last call; None for those that are parked no longer."""
        rows = {each: self.row(each) for each in self._changed}
        self._changed.clear()
        return rows

    @property
    def expects(self) -> bool:
        """Whether :meth:`miss` could find anything."""
        return bool(self._expected)

    def _set_aside(self, one: _Parked, offset: int) -> None:
        one.pending.append(offset)
        self._aside[offset] = one.row.tracker_id
        self._expected.discard(one.row.tracker_id)

    def _settle_aside(self, offset: int) -> None:
        tracker_id = self._aside.pop(offset)
        one = self._parked[tracker_id]
        one.pending.remove(offset)
        self._changed.add(tracker_id)
        if not one.pending:
            self._unpark(tracker_id)
        elif one.pending[0] > one.row.first:
            self._moved_on(one)
        else:
            one.row = replace(one.row, done=tuple(sorted({*one.row.done, offset})))

    def _moved_on(self, one: _Parked) -> None:
        first = one.pending[0]
        one.row = replace(
            one.row,
            first=first,
            attempts=0,
            due_ms=0,
            error="",
            done=tuple(offset for offset in one.row.done if offset > first),
        )
        self._changed.add(one.row.tracker_id)

    def _unpark(self, tracker_id: str | None) -> None:
        del self._parked[tracker_id]
        self._expected.discard(tracker_id)
        self._changed.add(tracker_id)

    # ------------------------------------------------------------ storing

    def ranges(self) -> list[tuple[int, int]]:
        """The settled ranges above the offset, ascending."""
        spans = [span for span in self._restored if span[1] > self._offset]
        first: int | None = None
        last = 0
        for offset in self._taken:
            if offset not in self._outstanding and offset not in self._aside:
                first = offset if first is None else first
                last = offset
            elif first is not None:
                spans.append((first, last))
                first = None
        if first is not None:
            spans.append((first, last))
        spans.sort()
        apart: list[tuple[int, int]] = []
        for span in spans:
            # What was settled before a restart may lie between what was settled since: it is part of that range, not another one.
            if not apart or span[0] > apart[-1][1]:
                apart.append(span)
        return apart

    def snapshot(self) -> bytes:
        """The encoded place."""
        return orjson.dumps({"v": FORMAT, "offset": self._offset, "settled": self.ranges()})

    @classmethod
    def load(cls, data: bytes, window: int = WINDOW, parked: Iterable[ParkedRun] = ()) -> Place:
        """Decode a snapshot, with the rows kept beside it.

        Raises:
            ValueError: it is not one, or of a newer format.
        """
        value = orjson.loads(data)
        if not isinstance(value, dict) or value.get("v") not in (1, FORMAT):
            raise ValueError(f"not a place of format {FORMAT}, which is what this version reads")
        try:
            offset, settled = value["offset"], [(a, b) for a, b in value["settled"]]
        except (KeyError, TypeError) as error:
            raise ValueError(f"a place of format {FORMAT} without an offset or ranges") from error
        ends = [offset, *(end for span in settled for end in span)]
        if not all(type(end) is int and end >= 0 for end in ends):
            raise ValueError(f"a place of format {FORMAT} whose offset or ranges are no offsets of a journal")
        if any(a > b for a, b in settled) or any(b >= a for (_, b), (a, _) in pairwise(settled)):
            raise ValueError(f"a place of format {FORMAT} whose ranges do not ascend")
        return cls(offset, settled, window, parked)

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
