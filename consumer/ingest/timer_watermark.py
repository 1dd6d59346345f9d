"""Watermark of timers.

They fire once Salesforce's own time is past due *and* everything up to then is committed.

Only answers carry Salesforce's time, and only some of them show that everything before it has been delivered: one without events, or one
whose events were all committed a moment ago. An answer full of old events is a backlog, in which the change that cancels a timer may still
follow. Downtime therefore raises no false alarm, and a local clock that jumps fires nothing.

Pure: given the time and what arrived.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["TimerWatermark"]

LIVE_WITHIN_MS = 30 * 1000
"""Age up to which the changes of an answer count as live, not as a backlog."""


class TimerWatermark:
    """Next timer of a tenure, and the watermark of the stream.

    The watermark is the Salesforce time up to which everything has arrived.

    Args:
        lateness_ms: ``ordering.lateness``, the time that changes may take to arrive.
    """

    def __init__(self, lateness_ms: int) -> None:
        self._lateness_ms = lateness_ms
        self._next_ms: int | None = None
        self._caught_up_ms: int | None = None
        self._server_ms: int | None = None
        self._server_received_ms = 0

    def set_next(self, due_ms: int | None) -> None:
        """Set the store's earliest timer; None where it holds none."""
        self._next_ms = due_ms

    def committed(self, due_times_ms: Iterable[int | None]) -> None:
        """Note timers that a commit set (or, with None, removed)."""
        for due_ms in due_times_ms:
            if due_ms is not None and (self._next_ms is None or due_ms < self._next_ms):
                self._next_ms = due_ms

    def answered(self, server_ms: int, oldest_commit_ms: int | None, *, empty: bool, now_ms: int) -> None:
        """Note an answer.

        Args:
            server_ms: Salesforce time of the answer.
            oldest_commit_ms: lowest commit time of its changes; None when it had none.
            empty: whether it had no messages at all.
            now_ms: monotonic milliseconds.
        """
        self._server_ms, self._server_received_ms = server_ms, now_ms
        caught_up_ms: int | None = None
        if empty:
            caught_up_ms = server_ms
        elif oldest_commit_ms is not None and oldest_commit_ms >= server_ms - LIVE_WITHIN_MS:
            caught_up_ms = oldest_commit_ms
        if caught_up_ms is not None:
            self._caught_up_ms = max(caught_up_ms, self._caught_up_ms or 0)

    def watermark_ms(self, uncommitted: Iterable[int]) -> int | None:
        """Salesforce time at or before which due timers may fire; None while none may.

        Args:
            uncommitted: commit times of changes that have arrived and are not committed.
        """
        if self._next_ms is None or self._caught_up_ms is None:
            return None
        watermark_ms = self._caught_up_ms - self._lateness_ms
        if self._next_ms > watermark_ms:
            return None
        # Commit times are whole seconds: a change of the due second may have come before or after it.
        watermark_ms = min((watermark_ms, *(commit_ms - 1 for commit_ms in uncommitted)))
        return watermark_ms if self._next_ms <= watermark_ms else None

    def poll_within_ms(self, now_ms: int) -> int | None:
        """Time within which a poll should be answered even without events.

        Its answer lets the next timer find Salesforce's time past due.
        """
        if self._next_ms is None or self._server_ms is None:
            return None
        left_ms = self._next_ms + self._lateness_ms - self._server_ms - (now_ms - self._server_received_ms)
        return max(left_ms, 0) + 1_000
