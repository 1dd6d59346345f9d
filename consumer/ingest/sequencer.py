"""Sequencer: puts changes back into the order in which Salesforce committed them.

A sequence number may legitimately be missing (another entity, another channel), so completeness can never be waited for; only lateness can
be bounded. A change is held until it is the lowest held *and*

(a) ``lateness`` of time with answered polls has passed since it arrived: anything older would have arrived by now; or
(b) ``window`` changes have arrived after it and every other channel has delivered a greater key: a backlog flows at full speed; or
(c) ``max_hold`` of wall time has passed: nothing is held forever;

and, when ``strict`` is off because milliseconds matter more than a channel that breaks its documented order, also

(d) on one channel, as soon as its transaction is complete up to it (1..n seen), or something greater has arrived: a channel that keeps its
    documented order has nothing smaller to bring then, and the missing numbers are another entity's;
(e) on several, as soon as every other one has delivered a greater key.

Time with answered polls (:mod:`consumer.ingest.stream_clock`) does not advance while no session is up, so a change is not released merely
because its older sibling could not arrive. Nothing is flushed on a stop: held changes stay uncommitted and are delivered again, since a
flushed change would make its older sibling late.

A pure class, given the time by its caller in whole milliseconds.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from consumer.domain.change_events import OrderKey

__all__ = ["HeldChange", "Sequencer"]

T = TypeVar("T")


@dataclass(slots=True)
class HeldChange(Generic[T]):
    """Change that is held back.

    Attributes:
        key: its place in commit order.
        ordinal: its place in arrival order.
        arrived_ms: monotonic milliseconds.
        answered_ms: time with answered polls when it arrived.
        channel: channel on which it arrived.
        item: value that is returned to the caller.
    """

    key: OrderKey
    ordinal: int
    arrived_ms: int
    answered_ms: int
    channel: str
    item: T


class Sequencer(Generic[T]):
    """Heap of changes that are held back until nothing older is to be expected.

    Args:
        channels: every configured channel; rules (b), (d) and (e) ask whether the others have delivered more.
        lateness_ms: rule (a).
        window: rule (b), in changes.
        max_hold_ms: rule (c).
        strict: whether rules (d) and (e) are off.
    """

    def __init__(
        self, channels: Sequence[str], *, lateness_ms: int, window: int, max_hold_ms: int, strict: bool
    ) -> None:
        self._lateness_ms = lateness_ms
        self._window = window
        self._max_hold_ms = max_hold_ms
        self._strict = strict
        self._greatest: dict[str, OrderKey | None] = dict.fromkeys(channels)
        self._held: list[tuple[OrderKey, int, HeldChange[T]]] = []
        """A heap; the tuples are compared, which costs a third of comparing what they hold."""
        self._arrived = 0
        # The last released change as (epoch, commitNumber, sequenceNumber) if its transaction is complete up to it.
        self._complete_to: OrderKey | None = None

    def __len__(self) -> int:
        return len(self._held)

    def push(self, key: OrderKey, channel: str, item: T, *, now_ms: int, answered_ms: int) -> None:
        """Add a change that has just arrived."""
        greatest = self._greatest.get(channel)
        if greatest is None or greatest < key:
            self._greatest[channel] = key
        self._arrived += 1
        held = HeldChange(key, self._arrived, now_ms, answered_ms, channel, item)
        heapq.heappush(self._held, (key, self._arrived, held))

    def pop(self, *, now_ms: int, answered_ms: int) -> list[T]:
        """Release everything that may go now, in order."""
        released: list[T] = []
        held = self._held
        while held and self._is_releasable(held[0][2], now_ms, answered_ms):
            key, _, lowest = heapq.heappop(held)
            self._record_released(key)
            released.append(lowest.item)
        return released

    def items(self) -> Iterator[T]:
        """Held changes, in no order."""
        return (held.item for _, _, held in self._held)

    def due_ms(self) -> int | None:
        """Monotonic milliseconds at which rule (c) releases the lowest held change; None when nothing is held."""
        return self._held[0][2].arrived_ms + self._max_hold_ms if self._held else None

    def _is_releasable(self, lowest: HeldChange[T], now_ms: int, answered_ms: int) -> bool:
        if answered_ms - lowest.answered_ms >= self._lateness_ms:
            return True
        if now_ms - lowest.arrived_ms >= self._max_hold_ms:
            return True
        if self._arrived - lowest.ordinal >= self._window and self._others_are_past(lowest):
            return True
        if self._strict:
            return False
        if len(self._greatest) > 1:
            return self._others_are_past(lowest)
        greatest = self._greatest.get(lowest.channel)
        return self._is_complete(lowest.key) or (greatest is not None and greatest > lowest.key)

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
