"""Order of changes: holds them back until nothing earlier is to be expected.

A sequence number may legitimately be missing (another entity, another channel), so completeness can never be waited for; only lateness can
be bounded. A change is held until it is the lowest held *and*

(a) ``lateness`` of answered time has passed since it arrived: anything older would have come by now; or
(b) ``window`` changes have arrived after it and every other channel has delivered a greater key: a backlog flows at full speed; or
(c) ``max_hold`` of session time has passed since it arrived: nothing is held forever;

and, when ``strict`` is off because milliseconds matter more than a channel that breaks its documented order, also

(d) on one channel, as soon as its transaction is complete up to it (1..n seen), or something greater has arrived: a channel that keeps its
    documented order has nothing smaller to bring then, and the missing numbers are another entity's;
(e) on several, as soon as every other one has delivered a greater key.

Neither clock runs while no session is open (:mod:`consumer.ingest.stream_clock`), and after an opening the waits of (a) and (c) begin only
when every channel has caught up (:mod:`consumer.ingest.catch_up`): a change must not be released because its elder sibling had no chance to
arrive. Nothing is flushed on a stop: what is held stays incomplete and is delivered again, since a flushed change would turn its late
sibling into something that looks late.

Two bounds end every wait, and what they release is counted as *forced*, since something earlier may still come: a change leaves at the
latest after ``max_catch_up`` and ``max_hold`` of session time, and at ``max_held`` changes the lowest leave until there is room.

A pure class, given the time by its caller in whole milliseconds.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from consumer.domain.change_events import OrderKey
from consumer.ingest.catch_up import CatchUp

__all__ = ["HeldChange", "Sequencer"]

T = TypeVar("T")

_COMPACT_ABOVE = 1_000


@dataclass(slots=True)
class HeldChange(Generic[T]):
    """Change that is held back.

    Attributes:
        key: its place in commit order.
        ordinal: its place in arrival order.
        session_ms: session time when it arrived.
        answered_ms: answered time when it arrived.
        channel: where it arrived.
        item: what the caller wants back.
        released: whether it has left.
    """

    key: OrderKey
    ordinal: int
    session_ms: int
    answered_ms: int
    channel: str
    item: T
    released: bool = False


class Sequencer(Generic[T]):
    """Heap of changes that are held back until nothing older is to be expected.

    Args:
        channels: every configured channel; rules (b), (d) and (e) ask whether the others have delivered more.
        lateness_ms: rule (a).
        window: rule (b), in changes.
        max_hold_ms: rule (c).
        strict: whether rules (d) and (e) are off.
        max_catch_up_ms: session time that channels are given to catch up after an opening.
        max_held: number of changes at which the lowest leave, whatever is still to come.

    Attributes:
        forced: number of changes released by one of the two bounds.
        catch_up: progress of the channels since the last opening.
    """

    def __init__(
        self,
        channels: Sequence[str],
        *,
        lateness_ms: int,
        window: int,
        max_hold_ms: int,
        strict: bool,
        max_catch_up_ms: int = 120_000,
        max_held: int = 20_000,
    ) -> None:
        self._lateness_ms = lateness_ms
        self._window = window
        self._max_hold_ms = max_hold_ms
        self._strict = strict
        self._max_held = max_held
        self._longest_ms = max_catch_up_ms + max_hold_ms
        self.forced = 0
        self.catch_up = CatchUp(channels, max_catch_up_ms=max_catch_up_ms)
        self._greatest: dict[str, OrderKey | None] = dict.fromkeys(channels)
        self._held: list[tuple[OrderKey, int, HeldChange[T]]] = []
        """A heap; the tuples are compared, which costs a third of comparing what they hold."""
        self._by_arrival: deque[HeldChange[T]] = deque()
        """The same in arrival order, with some that have left: the oldest decides when a wait has lasted too long."""
        self._arrived = 0
        # The last released change as (epoch, commitNumber, sequenceNumber) if its transaction is complete up to it.
        self._complete_to: OrderKey | None = None

    def __len__(self) -> int:
        return len(self._held)

    def push(
        self, key: OrderKey, channel: str, item: T, *, commit_ms: int, session_ms: int, answered_ms: int
    ) -> None:
        """Take a change that has just arrived, committed at Salesforce time ``commit_ms``."""
        greatest = self._greatest.get(channel)
        if greatest is None or greatest < key:
            self._greatest[channel] = key
        if not self.catch_up.is_done:
            self.catch_up.delivered(channel, key, commit_ms, session_ms=session_ms, answered_ms=answered_ms)
        self._arrived += 1
        held = HeldChange(key, self._arrived, session_ms, answered_ms, channel, item)
        heapq.heappush(self._held, (key, self._arrived, held))
        self._by_arrival.append(held)

    def pop(self, *, session_ms: int, answered_ms: int) -> list[T]:
        """Remove and return, in order, all changes that may go now."""
        self.catch_up.advance(session_ms=session_ms, answered_ms=answered_ms)
        released: list[T] = []
        held = self._held
        while held:
            lowest = held[0][2]
            if not self._is_releasable(lowest, session_ms, answered_ms):
                if not self._must_release(session_ms):
                    break
                self.forced += 1
            heapq.heappop(held)
            lowest.released = True
            self._record_released(lowest.key)
            released.append(lowest.item)
        if len(self._by_arrival) > 2 * len(held) + _COMPACT_ABOVE:
            # One change that waits keeps those in front of which it arrived, though they have left.
            self._by_arrival = deque(one for one in self._by_arrival if not one.released)
        return released

    def items(self) -> Iterator[T]:
        """Every held item, in no order."""
        return (held.item for _, _, held in self._held)

    def due_ms(self) -> int | None:
        """Session time at which the lowest held change leaves at the latest.

        The result is None when nothing is held.
        """
        if not self._held:
            return None
        lowest = self._held[0][2]
        waits_from = self.catch_up.waits_from(lowest.key)
        if waits_from is not None:
            return max(lowest.session_ms, waits_from[1]) + self._max_hold_ms
        ends_at_ms = self.catch_up.ends_at_ms()
        longest_ms = lowest.session_ms + self._longest_ms
        return longest_ms if ends_at_ms is None else min(longest_ms, ends_at_ms)

    def _is_releasable(self, lowest: HeldChange[T], session_ms: int, answered_ms: int) -> bool:
        waits_from = self.catch_up.waits_from(lowest.key)
        if waits_from is not None:
            if answered_ms - max(lowest.answered_ms, waits_from[0]) >= self._lateness_ms:
                return True
            if session_ms - max(lowest.session_ms, waits_from[1]) >= self._max_hold_ms:
                return True
        if self._arrived - lowest.ordinal >= self._window and self._others_are_past(lowest):
            return True
        if self._strict:
            return False
        if len(self._greatest) > 1:
            return self._others_are_past(lowest)
        greatest = self._greatest.get(lowest.channel)
        return self._is_complete(lowest.key) or (greatest is not None and greatest > lowest.key)

    def _must_release(self, session_ms: int) -> bool:
        """Check for a bound that is reached.

        Too many changes are held, or one of them for too long.
        """
        if len(self._held) >= self._max_held:
            return True
        by_arrival = self._by_arrival
        while by_arrival and by_arrival[0].released:
            by_arrival.popleft()
        return bool(by_arrival) and session_ms - by_arrival[0].session_ms >= self._longest_ms

    def _others_are_past(self, lowest: HeldChange[T]) -> bool:
        return all(
            greatest is not None and greatest > lowest.key
            for channel, greatest in self._greatest.items()
            if channel != lowest.channel
        )

    def _is_complete(self, key: OrderKey) -> bool:
        if key[2] == 1:
            return True
        done = self._complete_to
        return done is not None and done[:2] == key[:2] and key[2] <= done[2] + 1

    def _record_released(self, key: OrderKey) -> None:
        if self._is_complete(key):
            self._complete_to = key
