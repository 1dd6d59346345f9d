"""Cursor of a handler: an offset, and acknowledged ranges above it.

Runs are delivered in parallel, so events are acknowledged out of order, while a restart must neither skip one nor repeat more than needed.
The cursor is an *offset*, at or below which every event is acknowledged, plus the acknowledged ranges above it. A range ``[a, b]`` covers
whatever the journal holds from ``a`` to ``b``, holes left by retention and entries of other types included.

An event that has failed waits for its next attempt, for minutes perhaps, and with it the later events of its run. Such a run is *blocked*:
its events no longer hold the offset back, and a row of its own is stored for it (:class:`~consumer.ports.delivery.SavedBlockedRun`). All
events of the run from the row's first entry on are unacknowledged, except those that the row lists as done. A failing run thus costs one
row, however long it fails, and a restart finds its events in the journal, which retention keeps from the row's first entry on.

The *window* bounds the entries that are tracked one by one, above the offset or in blocked runs: when it is full, nothing more is read. A
run that fails while the largest number of runs is blocked holds the offset back.

The encoded form is JSON: ``{"v": 2, "offset": 41, "settled": [[43, 60], [62, 62]]}``; the rows are stored beside it. Version 1 had none.
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
"""Largest number of entries that are tracked one by one."""
MAX_BLOCKED_RUNS = 1_000
"""Largest number of runs that are blocked at once."""


@dataclass(slots=True)
class _LiveBlockedRun:
    """Blocked run in memory.

    ``row`` is the row to be stored; ``pending`` are its unacknowledged entries as far as they were announced, ascending.
    """

    row: SavedBlockedRun
    pending: deque[int]


class Cursor:
    """Cursor of one handler.

    Entries are announced in ascending order, by :meth:`tracked` or :meth:`skipped`, and acknowledged in any order.

    Args:
        offset: offset at or below which everything is acknowledged.
        acknowledged: ranges above it that are acknowledged as well, ascending, not touching.
        window: largest number of entries that are tracked one by one.
        blocked_runs: blocked runs. :meth:`restore_run` gives them their entries up to ``offset``; later ones are announced.
        max_blocked_runs: largest number of blocked runs.
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
        # Ascending; begins with the lowest outstanding one, with acknowledged ones in between.
        self._tracked: deque[int] = deque()
        self._outstanding: set[int] = set()
        self._restored_ranges = list(acknowledged or [])
        self._max_blocked_runs = MAX_BLOCKED_RUNS if max_blocked_runs is None else max_blocked_runs
        self._blocked_runs = {row.tracker_id: _LiveBlockedRun(row, deque()) for row in blocked_runs}
        self._blocked_entries: dict[int, str | None] = {}  # unacknowledged entries of blocked runs
        self._unseen_runs = set(self._blocked_runs)  # blocked runs of which no entry has been seen yet
        self._changed: set[str | None] = set()

    @property
    def offset(self) -> int:
        """Offset at or below which everything is acknowledged."""
        return self._offset

    @property
    def through(self) -> int:
        """Highest acknowledged offset."""
        spans = self.ranges()
        return spans[-1][1] if spans else self._offset

    @property
    def capacity(self) -> int:
        """Number of further entries that may be announced now."""
        return max(
            0, self._window - len(self._tracked) - len(self._restored_ranges) - len(self._blocked_entries)
        )

    @property
    def outstanding(self) -> int:
        """Number of announced entries that are not acknowledged."""
        return len(self._outstanding) + len(self._blocked_entries)

    @property
    def blocked_runs(self) -> int:
        """Number of blocked runs."""
        return len(self._blocked_runs)

    @property
    def lowest_needed_offset(self) -> int:
        """Lowest offset that is still needed from the journal."""
        return min((self._offset + 1, *(run.row.first for run in self._blocked_runs.values())))

    def row(self, tracker_id: str | None) -> SavedBlockedRun | None:
        """Row of a run; None when it is not blocked."""
        run = self._blocked_runs.get(tracker_id)
        return None if run is None else run.row

    def rows(self) -> list[SavedBlockedRun]:
        """Rows of all blocked runs."""
        return [run.row for run in self._blocked_runs.values()]

    def tracked(self, offset: int, tracker_id: str | None = None) -> bool:
        """Announce an entry to be delivered; False when it must not be.

        An entry that was acknowledged before a restart must not be delivered again.

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
        """Announce an entry of a type that the handler does not get.

        Raises:
            ValueError: ``offset`` is not greater than all before.
        """
        self._announce(offset)
        self._advance()

    def acknowledged(self, offset: int) -> None:
        """Acknowledge an announced entry.

        Raises:
            ValueError: it was not announced, or is acknowledged already.
        """
        if offset in self._blocked_entries:
            self._acknowledge_blocked(offset)
            return
        if offset not in self._outstanding:
            raise ValueError(f"offset {offset} is not outstanding")
        self._outstanding.remove(offset)
        if offset == self._tracked[0]:
            self._advance()

    # ------------------------------------------------------------ blocked runs

    def block(self, row: SavedBlockedRun, offsets: Iterable[int]) -> bool:
        """Block a run, or update the row of a blocked run.

        A blocked run no longer holds the offset back.

        Args:
            row: row of the run; its ``first`` is the lowest unacknowledged entry, its ``done`` those acknowledged above it.
            offsets: unacknowledged entries of the run, as far as they were announced.

        Returns:
            False when too many runs are blocked; the run then still holds the offset back.
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
        """Restore the unacknowledged entries of a blocked run after a restart.

        These are the entries at or below the offset; later ones are announced. A run without any is unblocked.
        """
        run = self._blocked_runs[tracker_id]
        for offset in sorted(offsets):
            self._block_entry(run, offset)
        if not run.pending and run.row.first <= self._offset:
            self._unblock(tracker_id)
        elif run.pending and run.pending[0] != run.row.first:
            self._advance_run(run)

    def drop_missing_runs(self) -> None:
        """Unblock runs whose first entry was passed without being announced.

        That happens when the handler no longer gets the type of the entry.
        """
        for tracker_id in [
            each
            for each in self._unseen_runs
            if self._blocked_runs[each].row.first <= self._highest_announced
        ]:
            self._unblock(tracker_id)

    def changed_rows(self) -> dict[str | None, SavedBlockedRun | None]:
        """Return the rows that changed since the last call; None for unblocked runs."""
        rows = {each: self.row(each) for each in self._changed}
        self._changed.clear()
        return rows

    @property
    def has_unseen_runs(self) -> bool:
        """True when :meth:`drop_missing_runs` could find a run."""
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

    # ------------------------------------------------------------ encoding

    def ranges(self) -> list[tuple[int, int]]:
        """Acknowledged ranges above the offset, ascending."""
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
            # A range from before a restart may lie within one that was acknowledged since: it is part of that range.
            if not merged or span[0] > merged[-1][1]:
                merged.append(span)
        return merged

    def snapshot(self) -> bytes:
        """Encode the cursor, without the rows of blocked runs."""
        return orjson.dumps({"v": FORMAT, "offset": self._offset, "settled": self.ranges()})

    @classmethod
    def load(cls, data: bytes, window: int = WINDOW, blocked_runs: Iterable[SavedBlockedRun] = ()) -> Cursor:
        """Decode a snapshot, with the rows that are stored beside it.

        Raises:
            ValueError: ``data`` is no snapshot, or has a newer format.
        """
        value = load_object(data, FORMAT)
        try:
            offset, acknowledged = value["offset"], [(a, b) for a, b in value["settled"]]
        except (KeyError, TypeError) as error:
            raise ValueError(f"a cursor of format {FORMAT} without an offset or ranges") from error
        ends = [offset, *(end for span in acknowledged for end in span)]
        if not all(type(end) is int and end >= 0 for end in ends):
            raise ValueError(
                f"a cursor of format {FORMAT} whose offset or ranges are no offsets of a journal"
            )
        if any(a > b for a, b in acknowledged) or any(b >= a for (_, b), (a, _) in pairwise(acknowledged)):
            raise ValueError(f"a cursor of format {FORMAT} whose ranges do not ascend")
        return cls(offset, acknowledged, window, blocked_runs)

    @classmethod
    def restore(
        cls,
        handler: str,
        saved: SavedCursor,
        window: int = WINDOW,
        blocked_runs: Iterable[SavedBlockedRun] = (),
    ) -> Cursor:
        """Decode the stored cursor of ``handler``, with the rows stored beside it.

        Raises:
            StoreForeign: the cursor has a newer format, or is none.
        """
        try:
            return cls.load(saved.data, window, blocked_runs)
        except ValueError as error:
            raise StoreForeign(
                f"the cursor of handler {handler!r} cannot be read ({error}): "
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
