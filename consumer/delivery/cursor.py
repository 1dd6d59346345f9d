"""A handler's place in the journal: everything up to an offset is settled, and some of what follows.

Runs are delivered side by side, so events are settled out of order, while a restart must neither skip one nor repeat more than it has
to. The place therefore is an *offset*, at or below which nothing is unsettled, and the ranges above it that are settled already. A range
``[a, b]`` says: whatever the journal holds from ``a`` to ``b`` is settled; holes (retention) and entries that the handler does not want
lie in it without being mentioned.

An event that has failed waits for its next attempt, for minutes perhaps, and with it what follows in its run. Such a run is *parked*: its
events no longer hold the offset back, and a row of its own says where it stands (:class:`~consumer.ports.delivery.SavedBlockedRun`).
Everything of the
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

from consumer.domain.stored_json import load_object
from consumer.errors import StoreForeign
from consumer.ports.delivery import SavedBlockedRun, SavedCursor

__all__ = ["MAX_BLOCKED_RUNS", "WINDOW", "Cursor"]

FORMAT = 2
WINDOW = 10_000
"""Most entries that are remembered one by one."""
MAX_BLOCKED_RUNS = 1_000
"""Most runs that are parked at once."""


@dataclass(slots=True)
class _LiveBlockedRun:
    """A parked run while it lives.

    ``row`` is what was stored at first; ``pending`` are its unsettled entries as far as they were announced, ascending.
    """

    row: SavedBlockedRun
    pending: deque[int]


class Cursor:
    """Where a handler is.

    Entries are announced in ascending order, by :meth:`tracked` or :meth:`skipped`, and settled in any order.

    Args:
        offset: at or below it everything is settled.
        acknowledged: ranges above it that are settled as well, ascending, not touching.
        window: how many entries are remembered at most.
        blocked_runs: the runs that are parked. :meth:`restore_run` gives them their entries up to ``offset``; later ones are announced.
        max_blocked_runs: how many runs are parked at most.
    """

    def __init__(
        self,
        offset: int = 0,
        acknowledged: list[tuple[int, int]] | None = None,
        window: int = WINDOW,
        blocked_runs: Iterable[SavedBlockedRun] = (),
        max_blocked_runs: int | None = None,
    ) -> None:
        self._offset = offset
        self._highest_announced = offset
        self._window = window
        self._tracked: deque[int] = (
            deque()
        )  # ascending; from the lowest outstanding one, settled ones between
        self._outstanding: set[int] = set()
        self._restored_ranges = list(acknowledged or [])
        self._max_blocked_runs = MAX_BLOCKED_RUNS if max_blocked_runs is None else max_blocked_runs
        self._blocked_runs = {row.tracker_id: _LiveBlockedRun(row, deque()) for row in blocked_runs}
        self._blocked_entries: dict[int, str | None] = {}  # unsettled entries of parked runs
        self._unseen_runs = set(self._blocked_runs)  # parked runs of which no entry has been seen yet
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
    def capacity(self) -> int:
        """How many entries may be taken now."""
        return max(
            0, self._window - len(self._tracked) - len(self._restored_ranges) - len(self._blocked_entries)
        )

    @property
    def outstanding(self) -> int:
        """How many entries are taken and not settled."""
        return len(self._outstanding) + len(self._blocked_entries)

    @property
    def blocked_runs(self) -> int:
        """How many runs are parked."""
        return len(self._blocked_runs)

    @property
    def lowest_needed_offset(self) -> int:
        """The lowest entry that is still needed from the journal."""
        return min((self._offset + 1, *(run.row.first for run in self._blocked_runs.values())))

    def row(self, tracker_id: str | None) -> SavedBlockedRun | None:
        """The row of a run; None when it is not parked."""
        run = self._blocked_runs.get(tracker_id)
        return None if run is None else run.row

    def rows(self) -> list[SavedBlockedRun]:
        """Every parked run."""
        return [run.row for run in self._blocked_runs.values()]

    def tracked(self, offset: int, tracker_id: str | None = None) -> bool:
        """Announce an entry that is to be delivered; False when it was settled before a restart, and must not be.

        Raises:
            ValueError: ``offset`` is not greater than all before.
        """
        self._announce(offset)
        index = bisect_right(self._restored_ranges, offset, key=lambda span: span[0]) - 1
        if index >= 0 and offset <= self._restored_ranges[index][1]:
            self._advance()
            return False
        if self._blocked_runs and tracker_id in self._blocked_runs:
            self._tracked.append(offset)
            self._block_entry(self._blocked_runs[tracker_id], offset)
            self._advance()
            return True
        self._tracked.append(offset)
        self._outstanding.add(offset)
        return True

    def skipped(self, offset: int) -> None:
        """Announce an entry that the handler does not want.

        Raises:
            ValueError: ``offset`` is not greater than all before.
        """
        self._announce(offset)
        self._advance()

    def acknowledged(self, offset: int) -> None:
        """Settle an entry that was taken.

        Raises:
            ValueError: it was not taken, or is settled.
        """
        if offset in self._blocked_entries:
            self._acknowledge_blocked(offset)
            return
        if offset not in self._outstanding:
            raise ValueError(f"offset {offset} is not outstanding")
        self._outstanding.remove(offset)
        if offset == self._tracked[0]:
            self._advance()

    # ------------------------------------------------------------ parked runs

    def block(self, row: SavedBlockedRun, offsets: Iterable[int]) -> bool:
        """Put a run aside, so that it holds the offset back no longer; or say anew why it is.

        Args:
            row: the run; its ``first`` is the lowest unsettled entry, its ``done`` whatever was settled above that since it is delivered.
            offsets: its unsettled entries, as far as they were taken.

        Returns:
            False when too many runs are parked; the run goes on holding the offset back.
        """
        run = self._blocked_runs.get(row.tracker_id)
        if run is None:
            if len(self._blocked_runs) >= self._max_blocked_runs:
                return False
            run = self._blocked_runs[row.tracker_id] = _LiveBlockedRun(row, deque())
            for offset in sorted(offsets):
                self._outstanding.remove(offset)
                self._block_entry(run, offset)
            self._advance()
        else:
            done = {offset for offset in (*run.row.done, *row.done) if offset > row.first}
            run.row = replace(row, done=tuple(sorted(done)))
        self._changed.add(row.tracker_id)
        return True

    def restore_run(self, tracker_id: str | None, offsets: Iterable[int]) -> None:
        """After a restart: which unsettled entries at or below the offset a parked run has; it is parked no longer when there are none."""
        run = self._blocked_runs[tracker_id]
        for offset in sorted(offsets):
            self._block_entry(run, offset)
        if not run.pending and run.row.first <= self._offset:
            self._unblock(tracker_id)
        elif run.pending and run.pending[0] != run.row.first:
            self._advance_run(run)

    def drop_missing_runs(self) -> None:
        """Let go of parked runs whose first entry should have come and did not, as when the handler does not want it any more."""
        for tracker_id in [
            each
            for each in self._unseen_runs
            if self._blocked_runs[each].row.first <= self._highest_announced
        ]:
            self._unblock(tracker_id)

    def changed_rows(self) -> dict[str | None, SavedBlockedRun | None]:
        """What became of parked runs since the last call; None for those that are parked no longer."""
        rows = {each: self.row(each) for each in self._changed}
        self._changed.clear()
        return rows

    @property
    def has_unseen_runs(self) -> bool:
        """Whether :meth:`drop_missing_runs` could find anything."""
        return bool(self._unseen_runs)

    def _block_entry(self, run: _LiveBlockedRun, offset: int) -> None:
        run.pending.append(offset)
        self._blocked_entries[offset] = run.row.tracker_id
        self._unseen_runs.discard(run.row.tracker_id)

    def _acknowledge_blocked(self, offset: int) -> None:
        tracker_id = self._blocked_entries.pop(offset)
        run = self._blocked_runs[tracker_id]
        run.pending.remove(offset)
        self._changed.add(tracker_id)
        if not run.pending:
            self._unblock(tracker_id)
        elif run.pending[0] > run.row.first:
            self._advance_run(run)
        else:
            run.row = replace(run.row, done=tuple(sorted({*run.row.done, offset})))

    def _advance_run(self, run: _LiveBlockedRun) -> None:
        first = run.pending[0]
        run.row = replace(
            run.row,
            first=first,
            attempts=0,
            due_ms=0,
            error="",
            done=tuple(offset for offset in run.row.done if offset > first),
        )
        self._changed.add(run.row.tracker_id)

    def _unblock(self, tracker_id: str | None) -> None:
        del self._blocked_runs[tracker_id]
        self._unseen_runs.discard(tracker_id)
        self._changed.add(tracker_id)

    # ------------------------------------------------------------ storing

    def ranges(self) -> list[tuple[int, int]]:
        """The settled ranges above the offset, ascending."""
        spans = [span for span in self._restored_ranges if span[1] > self._offset]
        first: int | None = None
        last = 0
        for offset in self._tracked:
            if offset not in self._outstanding and offset not in self._blocked_entries:
                first = offset if first is None else first
                last = offset
            elif first is not None:
                spans.append((first, last))
                first = None
        if first is not None:
            spans.append((first, last))
        spans.sort()
        merged: list[tuple[int, int]] = []
        for span in spans:
            # What was settled before a restart may lie between what was settled since: it is part of that range, not another one.
            if not merged or span[0] > merged[-1][1]:
                merged.append(span)
        return merged

    def snapshot(self) -> bytes:
        """The encoded place."""
        return orjson.dumps({"v": FORMAT, "offset": self._offset, "settled": self.ranges()})

    @classmethod
    def load(cls, data: bytes, window: int = WINDOW, blocked_runs: Iterable[SavedBlockedRun] = ()) -> Cursor:
        """Decode a snapshot, with the rows kept beside it.

        Raises:
            ValueError: it is not one, or of a newer format.
        """
        value = load_object(data, FORMAT)
        try:
            offset, acknowledged = value["offset"], [(a, b) for a, b in value["settled"]]
        except (KeyError, TypeError) as error:
            raise ValueError(f"a place of format {FORMAT} without an offset or ranges") from error
        ends = [offset, *(end for span in acknowledged for end in span)]
        if not all(type(end) is int and end >= 0 for end in ends):
            raise ValueError(f"a place of format {FORMAT} whose offset or ranges are no offsets of a journal")
        if any(a > b for a, b in acknowledged) or any(b >= a for (_, b), (a, _) in pairwise(acknowledged)):
            raise ValueError(f"a place of format {FORMAT} whose ranges do not ascend")
        return cls(offset, acknowledged, window, blocked_runs)

    @classmethod
    def restore(
        cls,
        handler: str,
        saved: SavedCursor,
        window: int = WINDOW,
        blocked_runs: Iterable[SavedBlockedRun] = (),
    ) -> Cursor:
        """Decode what the store holds for ``handler``, with the rows kept beside it.

        Raises:
            StoreForeign: it is of a newer format, or none of ours.
        """
        try:
            return cls.load(saved.data, window, blocked_runs)
        except ValueError as error:
            raise StoreForeign(
                f"the place of handler {handler!r} cannot be read ({error}): "
                "a newer version of this service wrote it; run that version"
            ) from error

    def _announce(self, offset: int) -> None:
        if offset <= self._highest_announced:
            raise ValueError(f"offset {offset} does not come after {self._highest_announced}")
        self._highest_announced = offset

    def _advance(self) -> None:
        tracked = self._tracked
        while tracked and tracked[0] not in self._outstanding:
            tracked.popleft()
        self._offset = tracked[0] - 1 if tracked else self._highest_announced
        while self._restored_ranges and self._restored_ranges[0][1] <= self._offset:
            del self._restored_ranges[0]
