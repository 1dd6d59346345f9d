"""Positions of one channel: its checkpoint, and where a new session resumes.

Replay ids are opaque: stored as text, never compared by size, never computed with. What orders them is arrival.

* A position has one or more *parts*: a merged event is one change per record id, and enriched merged events come as several messages that
  share one replay id. Two entries for one position would lose data.
* A position is **complete** when all its parts are committed *and* a different position, or a later answer without it, has followed.
* The **checkpoint** is the last position in arrival order with nothing incomplete at or before it.
* A session resumes after the last position that was handed over completely in this tenure, committed or not: what is held is still in
  memory, and redelivery costs the org's daily allocation. A tenure starts from the store.

A pure class for one channel.
"""

from __future__ import annotations

from collections import deque

__all__ = ["ChannelPositions", "PositionEntry"]


class PositionEntry:
    """Position in arrival order.

    Attributes:
        position: its replay id; None when it may not become a checkpoint.
        uncommitted_parts: number of parts that are not committed yet.
        complete: whether everything with this position has arrived.
    """

    __slots__ = ("complete", "position", "uncommitted_parts")

    def __init__(self, position: str | None, parts: int) -> None:
        self.position = position
        self.uncommitted_parts = parts
        self.complete = False

    def mark_committed(self, parts: int = 1) -> None:
        """Count some of its parts as committed."""
        self.uncommitted_parts -= parts


class ChannelPositions:
    """Positions of one channel in arrival order.

    Args:
        checkpoint: the stored one, or None.
    """

    def __init__(self, checkpoint: str | None) -> None:
        self._checkpoint = checkpoint
        self._resume = checkpoint
        self._entries: deque[PositionEntry] = deque()
        self._seen_in_answer = False

    @property
    def checkpoint(self) -> str | None:
        """Last position in arrival order with nothing uncommitted at or before it."""
        entries = self._entries
        while entries and entries[0].complete and entries[0].uncommitted_parts == 0:
            entry = entries.popleft()
            if entry.position is not None:
                self._checkpoint = entry.position
        return self._checkpoint

    @property
    def resume(self) -> str | None:
        """Last position that was handed over completely."""
        return self._resume

    @property
    def is_idle(self) -> bool:
        """True when everything that arrived is committed.

        The last position may still be waiting for a successor.
        """
        return all(entry.uncommitted_parts == 0 for entry in self._entries)

    def arrive(self, position: str | None, parts: int) -> PositionEntry:
        """Note the arrival of a message.

        Args:
            position: its replay id; None for a message without one, which then belongs to the position before it.
            parts: number of changes (or dead letters) in it.

        Returns:
            The entry, to be marked committed once for each part.
        """
        last = self._entries[-1] if self._entries else None
        if last is not None and not last.complete and (position is None or position == last.position):
            last.uncommitted_parts += parts
            self._seen_in_answer = True
            return last
        if last is not None:
            self._complete(last)
        entry = PositionEntry(position, parts)
        if position is None:
            entry.complete = True
        self._entries.append(entry)
        self._seen_in_answer = True
        return entry

    def answer_ended(self) -> None:
        """Note the end of an answer.

        If the answer did not hold the last position, nothing more of that one arrives.
        """
        if not self._seen_in_answer and self._entries:
            self._complete(self._entries[-1])
        self._seen_in_answer = False

    def session_opened(self) -> None:
        """Note that a new session resumed.

        An incomplete position is delivered again, as a new entry, and is no checkpoint here.
        """
        self._seen_in_answer = False
        if self._entries and not self._entries[-1].complete:
            self._entries[-1].position = None
            self._entries[-1].complete = True

    def restart(self) -> None:
        """Forget where to resume, because the position was refused.

        Parts on their way are committed as before.
        """
        self.session_opened()
        for entry in self._entries:
            entry.position = None
        self._checkpoint = None
        self._resume = None

    def _complete(self, entry: PositionEntry) -> None:
        if not entry.complete:
            entry.complete = True
            if entry.position is not None:
                self._resume = entry.position
