"""Dead letters that somebody asked to be delivered once more.

The wish stands beside the letter in the store, so it survives whoever was asked. The letter's event joins the lane of its run behind what
waits there, the oldest letters first. When the handler is done with it the letter goes; when it gives up again the letter stays, with the
new error, and the wish goes. A crash in between delivers it once more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from consumer.delivery.lanes import Delivery
from consumer.delivery.observer import DeliveryEvents
from consumer.delivery.patience import patiently
from consumer.ports import HandlerDeadLetter, HandlerRequests, JournalEntry, ParkedRun, PlaceStore

__all__ = ["RetriedLetters"]

T = TypeVar("T")

AT_ONCE = 500
"""Letters fetched at a time."""


class RetriedLetters:
    """The dead letters of one handler that are delivered again; its events come from here as from a feed.

    Args:
        handler: its name in the settings.
        store: where letters are.
        add: takes a delivery into the lanes.
        random: chance in [0, 1), for back-off.
        observer: told when the store is unavailable.
    """

    replayed = False
    cancelled = False

    def __init__(
        self,
        handler: str,
        store: PlaceStore,
        add: Callable[[Sequence[Delivery]], None],
        *,
        random: Callable[[], float],
        observer: DeliveryEvents,
    ) -> None:
        self._handler = handler
        self._store = store
        self._add = add
        self._random = random
        self._observer = observer
        self._under_way: set[str] = set()
        self._gone: list[str] = []
        self._back: list[HandlerDeadLetter] = []
        self._something = asyncio.Event()
        self._asked = False

    def asked(self, requests: HandlerRequests) -> None:
        """What the store says is wanted."""
        if requests.retries > len(self._under_way):
            self._asked = True
            self._something.set()

    def settled(self, delivery: Delivery, dead_letter: HandlerDeadLetter | None = None) -> None:
        """The handler is done with it, or has given up again."""
        if dead_letter is None:
            self._gone.append(delivery.entry.id)
        else:
            self._back.append(dead_letter)
        self._something.set()

    def parked(self, row: ParkedRun, offsets: Sequence[int]) -> None:
        """Nothing is to be kept: the letters themselves stay until they are settled."""

    async def run(self) -> None:
        """Fetch what is asked for and write down what became of it, for ever."""
        while True:
            await self._something.wait()
            self._something.clear()
            await self.save()
            if self._asked and len(self._under_way) < AT_ONCE:
                self._asked = False
                letters = await self._patiently(lambda: self._store.retries(self._handler, AT_ONCE))
                fresh = [letter for letter in letters if letter.event_id not in self._under_way]
                self._under_way.update(letter.event_id for letter in fresh)
                self._add([Delivery(_entry(letter), self) for letter in fresh])

    async def save(self) -> None:
        """Write down what became of letters, if anything did."""
        gone, back = tuple(self._gone), tuple(self._back)
        if gone or back:
            await self._patiently(lambda: self._store.settle_dead_letters(self._handler, gone, back))
            del self._gone[: len(gone)], self._back[: len(back)]
            self._under_way.difference_update(gone, (letter.event_id for letter in back))

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        return await patiently(ask, handler=self._handler, observer=self._observer, random=self._random)


def _entry(letter: HandlerDeadLetter) -> JournalEntry:
    return JournalEntry(letter.offset, letter.event_id, letter.type, letter.tracker_id, letter.data)
