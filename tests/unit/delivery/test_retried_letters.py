"""Dead letters that are asked for once more: which are fetched, when, and what is written down of them. Time is virtual."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from consumer.delivery.retrying import AT_ONCE, RetriedLetters
from consumer.errors import StoreUnavailable
from consumer.ports import HandlerDeadLetter, HandlerRequests

pytestmark = pytest.mark.looptime


def letter(number: int) -> HandlerDeadLetter:
    return HandlerDeadLetter("h", f"e{number}", number, f"run-{number}", "run.updated", 3, "boom", 7, b"{}")


class Letters:
    """The part of a store that is asked, with what it was asked."""

    def __init__(self, *marked: HandlerDeadLetter):
        self.marked = list(marked)
        self.fetched = []
        self.settled = []
        self.fails = 0

    async def retries(self, handler, limit):
        self.fetched.append((handler, limit))
        if self.fails:
            self.fails -= 1
            raise StoreUnavailable("redis://x", "timed out")
        return self.marked[:limit]

    async def settle_dead_letters(self, handler, gone, back):
        self.settled.append((handler, gone, back))
        self.marked = [
            one
            for one in self.marked
            if one.event_id not in gone and one.event_id not in {b.event_id for b in back}
        ]


class Observer:
    def __init__(self):
        self.told = []

    def store_unavailable(self, handler, error, again_ms):
        self.told.append((handler, error.why, again_ms))


def asked(number: int) -> HandlerRequests:
    return HandlerRequests((), number, number)


@contextlib.asynccontextmanager
async def running(store, observer=None):
    added = []
    retried = RetriedLetters(
        "h",
        store,
        added.append,
        random=lambda: 0.5,
        observer=observer if observer is not None else Observer(),
    )
    task = asyncio.create_task(retried.run())
    await asyncio.sleep(1)
    yield retried, added
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])


def ids(added):
    return [[one.entry.id for one in each] for each in added]


async def test_letters_are_fetched_when_more_are_asked_for_than_are_under_way():
    store = Letters(letter(1), letter(2))
    async with running(store) as (retried, added):
        assert store.fetched == []
        retried.asked(asked(0))
        await asyncio.sleep(1)
        assert store.fetched == []
        retried.asked(asked(2))
        await asyncio.sleep(1)
        assert store.fetched == [("h", AT_ONCE)]
        assert ids(added) == [["e1", "e2"]]
        retried.asked(asked(2))
        await asyncio.sleep(1)
        assert len(store.fetched) == 1, "both are under way"
        store.marked.append(letter(3))
        retried.asked(asked(3))
        await asyncio.sleep(1)
        assert ids(added) == [["e1", "e2"], ["e3"]]


async def test_a_letter_is_delivered_as_the_event_that_it_was():
    async with running(Letters(letter(1))) as (retried, added):
        retried.asked(asked(1))
        await asyncio.sleep(1)
    ((delivery,),) = added
    entry = delivery.entry
    assert (entry.offset, entry.id, entry.type, entry.tracker_id, entry.data) == (
        1,
        "e1",
        "run.updated",
        "run-1",
        b"{}",
    )
    assert delivery.source is retried
    assert (delivery.attempts, retried.replayed, retried.cancelled) == (0, False, False)


async def test_what_became_of_letters_is_written_down_once_and_they_may_be_asked_for_again():
    store = Letters(letter(1), letter(2), letter(3))
    async with running(store) as (retried, added):
        retried.asked(asked(3))
        await asyncio.sleep(1)
        one, two, _ = added[0]
        retried.settled(one)
        retried.settled(two, letter(2))
        await asyncio.sleep(1)
        assert store.settled == [("h", ("e1",), (letter(2),))]
        await retried.save()
        assert len(store.settled) == 1
        assert len(store.fetched) == 1, "what was settled asks for nothing"
        for again in (letter(2), letter(1)):
            store.marked.append(again)
        retried.asked(asked(3))
        await asyncio.sleep(1)
        assert ids(added)[1:] == [["e2", "e1"]]


async def test_no_more_are_under_way_than_may_be_and_the_rest_follow():
    store = Letters(*(letter(number) for number in range(AT_ONCE + 1)))
    async with running(store) as (retried, added):
        retried.asked(asked(AT_ONCE + 1))
        await asyncio.sleep(1)
        assert len(added[0]) == AT_ONCE
        retried.asked(asked(AT_ONCE + 1))
        await asyncio.sleep(1)
        assert len(store.fetched) == 1
        retried.settled(added[0][0])
        await asyncio.sleep(1)
        assert [one.entry.id for each in added[1:] for one in each] == [f"e{AT_ONCE}"]


async def test_a_store_that_does_not_answer_is_asked_again_and_told_of():
    store, observer = Letters(letter(1)), Observer()
    store.fails = 2
    async with running(store, observer) as (retried, added):
        retried.asked(asked(1))
        await asyncio.sleep(5)
        assert ids(added) == [["e1"]]
    assert observer.told == [("h", "timed out", 75), ("h", "timed out", 150)]
