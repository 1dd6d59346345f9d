"""State of every channel, and the replay option of a new session.

The state is the channel's birth, its checkpoint, and how far it was polled.

* The first acknowledged subscription of a channel commits its **birth**. A channel with a birth and no position resumes from the oldest
  event that is retained, and changes committed before its birth are ignored.
* A position that Salesforce refuses is forgotten: the channel starts anew, from the oldest retained event or from the tip.
* ``polled_through`` is the time up to which polls were answered and everything was committed; a refused position with a recent one missed
  nothing, however old the position is (a quiet channel ages).

Pure: given the time and what arrived, it returns what to commit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from consumer.ingest.positions import ChannelPositions
from consumer.ports.commit import ChannelState
from consumer.ports.source import SessionOpened

__all__ = ["Channels"]

_POLLED_THROUGH_EVERY_MS = 10 * 60 * 1000

ALL_RETAINED, TIP = "-2", "-1"


class Channels:
    """Channels of one tenure.

    Args:
        names: names of all configured channels.
        start: where a channel begins that was never subscribed: ``latest`` or ``earliest``.
        known: stored states.
    """

    def __init__(self, names: Sequence[str], start: str, known: Mapping[str, ChannelState]) -> None:
        self._names = tuple(names)
        self._start = start
        self._known = {name: state for name, state in known.items() if name in self._names}
        self._positions = {
            name: ChannelPositions(self._known[name].position if name in self._known else None)
            for name in self._names
        }
        self._restart_options: dict[str, str] = {}
        self._polled_through_ms: int | None = None

    @property
    def states(self) -> Mapping[str, ChannelState]:
        """States by channel."""
        return self._known

    def positions(self, channel: str) -> ChannelPositions | None:
        """Positions of a channel; None for one that is not configured."""
        return self._positions.get(channel)

    # ------------------------------------------------------------ resuming

    def resume(self) -> dict[str, str]:
        """Replay option of each channel for a new session."""
        return {name: self._option(name) for name in self._names}

    def _option(self, name: str) -> str:
        position = self._positions[name].resume
        if position is not None:
            return position
        if name in self._restart_options:
            return self._restart_options[name]
        if name in self._known:
            return ALL_RETAINED  # it has a birth: everything since then, older commit times are ignored
        return ALL_RETAINED if self._start == "earliest" else TIP

    def opened(self, opened: SessionOpened, server_ms: int) -> bool:
        """Note a session that has every channel acknowledged.

        The result is True when that is the birth of a channel.
        """
        has_new_channel = False
        for name, option in opened.resumed.items():
            self._positions[name].session_opened()
            if option == TIP or name not in self._known:
                # From the tip, now: this is its birth, or its new one after a refused position.
                birth_ms = server_ms if option == TIP else 0
                self._known[name] = ChannelState(birth_ms, polled_through_ms=server_ms)
                self._restart_options.pop(name, None)
                has_new_channel = True
        return has_new_channel

    def polled_through(self, channel: str) -> int | None:
        """Salesforce time up to which nothing of the channel can have been missed."""
        known = self._known.get(channel)
        return known.polled_through_ms if known is not None else None

    def restart(self, channel: str, *, from_tip: bool) -> str:
        """Forget the refused position of a channel.

        The result is the replay option with which the channel starts anew.
        """
        self._positions[channel].restart()
        option = self._restart_options[channel] = TIP if from_tip else ALL_RETAINED
        if channel in self._known:
            self._known[channel] = replace(self._known[channel], position=None)
        return option

    # ------------------------------------------------------------ polling and committing

    def answer_ended(self, server_ms: int | None) -> bool:
        """Note the end of an answer.

        The result is True when ``polled_through`` moved and should be committed.
        """
        for positions in self._positions.values():
            positions.answer_ended()
        last_ms = self._polled_through_ms
        if server_ms is None or (last_ms is not None and server_ms - last_ms < _POLLED_THROUGH_EVERY_MS):
            return False
        if not all(positions.is_idle for positions in self._positions.values()):
            return False
        self._polled_through_ms = server_ms
        for name, state in self._known.items():
            self._known[name] = replace(state, polled_through_ms=server_ms)
        return True

    def states_to_commit(
        self, wall_ms: int, greatest_commit_number: int | None, *, include_unchanged: bool
    ) -> dict[str, ChannelState]:
        """States that a commit has to write, after its parts were marked committed.

        Args:
            wall_ms: wall milliseconds now.
            greatest_commit_number: greatest commit number that has arrived.
            include_unchanged: whether states are written whose checkpoint has not moved.
        """
        changed: dict[str, ChannelState] = {}
        for name, known in self._known.items():
            checkpoint = self._positions[name].checkpoint
            if checkpoint is not None and checkpoint != known.position:
                changed[name] = replace(
                    known, position=checkpoint, position_ms=wall_ms, commit_number=greatest_commit_number
                )
            elif known.commit_number is None and greatest_commit_number is not None:
                # From the first commit on, so that an org that moves before the first checkpoint is noticed too.
                changed[name] = replace(known, commit_number=greatest_commit_number)
            elif include_unchanged:
                changed[name] = known
        self._known.update(changed)
        return changed
