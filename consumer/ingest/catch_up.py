"""Catching up of channels since a session was opened.

After an opening the server delivers what was published meanwhile, and one channel may be far ahead of another. A change that has waited
long enough on a live stream has not waited at all then: its elder sibling may stand in the backlog of the other channel. So waiting begins
only when every channel has caught up: since the opening

* an answer came without messages, or
* the channel delivered a change that was committed after the opening, or
* it delivered a greater key than the one that waits: a channel keeps its own order, so nothing smaller is behind that, or
* it delivered nothing at all during :data:`QUIET_MS` of answered time.

Catching up ends after ``max_catch_up_ms`` of session time, summed over sessions: a channel that never catches up must not hold back the
others for ever.

Pure: told the time by its caller, as session time and answered time (:mod:`consumer.ingest.stream_clock`).
"""

from __future__ import annotations

from collections.abc import Sequence

from consumer.domain.change_events import OrderKey

__all__ = ["QUIET_MS", "CatchUp"]

QUIET_MS = 5_000
"""Answered time without a delivery after which a channel has nothing to catch up with."""

NEVER_MS = -(10**9)


class _ChannelProgress:
    """Progress of one channel since the opening."""

    __slots__ = ("answered_ms", "caught_up", "delivered_ms", "greatest", "session_ms")

    def __init__(self, answered_ms: int) -> None:
        self.caught_up = False
        self.greatest: OrderKey | None = None
        self.delivered_ms = answered_ms
        """Answered time of its last delivery, or of the opening."""
        self.answered_ms = NEVER_MS
        self.session_ms = NEVER_MS
        """Both clocks when it caught up."""


class CatchUp:
    """Progress of every channel since the last opening.

    Args:
        channels: every configured channel.
        max_catch_up_ms: session time after which nothing is waited for any more.

    Attributes:
        is_done: whether every channel has caught up, or the wait for it is over.
        from_answered_ms: with ``is_done``, answered time from which waiting counts.
        from_session_ms: with ``is_done``, session time from which waiting counts.
    """

    __slots__ = (
        "_began_ms",
        "_channels",
        "_max_catch_up_ms",
        "_opened_at_ms",
        "_progress",
        "from_answered_ms",
        "from_session_ms",
        "is_done",
    )

    def __init__(self, channels: Sequence[str], *, max_catch_up_ms: int) -> None:
        self._channels = tuple(channels)
        self._max_catch_up_ms = max_catch_up_ms
        self._progress: dict[str, _ChannelProgress] = {}
        self._opened_at_ms: int | None = None
        self._began_ms: int | None = None
        # Before the first opening nothing arrives.
        self.is_done = False
        self.from_answered_ms = self.from_session_ms = NEVER_MS

    def opened(self, server_ms: int | None, *, session_ms: int, answered_ms: int) -> None:
        """Begin anew, because a session was opened.

        It was opened at Salesforce time ``server_ms``, where that is known.
        """
        self._opened_at_ms = server_ms
        self._progress = {channel: _ChannelProgress(answered_ms) for channel in self._channels}
        self.is_done = False
        if self._began_ms is None:
            self._began_ms = session_ms

    def delivered(
        self, channel: str, key: OrderKey, commit_ms: int, *, session_ms: int, answered_ms: int
    ) -> None:
        """Note a change that arrived on ``channel``.

        It was committed at Salesforce time ``commit_ms`` (whole seconds).
        """
        progress = self._progress.get(channel)
        if progress is None or progress.caught_up:
            return
        progress.delivered_ms = answered_ms
        if progress.greatest is None or progress.greatest < key:
            progress.greatest = key
        # Both times tick in seconds: one of the same second may have been committed before the opening.
        if self._opened_at_ms is not None and commit_ms // 1000 > self._opened_at_ms // 1000:
            self._caught_up(progress, session_ms, answered_ms)
            self._finish_if_all()

    def answered_empty(self, *, session_ms: int, answered_ms: int) -> None:
        """Note an answer without messages: nothing is behind it on any channel."""
        if not self.is_done and self._progress:
            for progress in self._progress.values():
                self._caught_up(progress, session_ms, answered_ms)
            self._finish_if_all()

    def advance(self, *, session_ms: int, answered_ms: int) -> bool:
        """Note the time.

        The result is True when the wait for catching up ended because it lasted ``max_catch_up_ms``.
        """
        if self.is_done or not self._progress:
            return False
        for progress in self._progress.values():
            if not progress.caught_up and answered_ms - progress.delivered_ms >= QUIET_MS:
                self._caught_up(progress, session_ms, answered_ms)
        self._finish_if_all()
        if self._began_ms is None or session_ms - self._began_ms < self._max_catch_up_ms:
            return False
        for progress in self._progress.values():
            self._caught_up(progress, session_ms, answered_ms)
        self._finish_if_all()
        return True

    def waits_from(self, key: OrderKey) -> tuple[int, int] | None:
        """Answered time and session time from which a change at ``key`` waits.

        The result is None while a channel may deliver something smaller.
        """
        if self.is_done:
            return self.from_answered_ms, self.from_session_ms
        if not self._progress:
            return None
        answered_ms = session_ms = NEVER_MS
        for progress in self._progress.values():
            if progress.caught_up:
                answered_ms = max(answered_ms, progress.answered_ms)
                session_ms = max(session_ms, progress.session_ms)
            elif progress.greatest is None or progress.greatest <= key:
                return None
        return answered_ms, session_ms

    def ends_at_ms(self) -> int | None:
        """Session time at which the wait ends at the latest; None when it is over."""
        return None if self.is_done or self._began_ms is None else self._began_ms + self._max_catch_up_ms

    @staticmethod
    def _caught_up(progress: _ChannelProgress, session_ms: int, answered_ms: int) -> None:
        if not progress.caught_up:
            progress.caught_up = True
            progress.session_ms = session_ms
            progress.answered_ms = answered_ms

    def _finish_if_all(self) -> None:
        if all(progress.caught_up for progress in self._progress.values()):
            self.is_done = True
            self._began_ms = None
            self.from_answered_ms = max(one.answered_ms for one in self._progress.values())
            self.from_session_ms = max(one.session_ms for one in self._progress.values())
