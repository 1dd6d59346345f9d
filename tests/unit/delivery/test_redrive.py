"""Dead letters that are asked for once more: which are fetched, when, and what is written down of them. Time is virtual."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from consumer.delivery.redrive import FETCH_LIMIT, DeadLetterRedrive
from consumer.errors import StoreUnavailable
from consumer.ports.delivery import HandlerDeadLetter, PendingCommands
from consumer.ports.observers.handler_events import HandlerStoreUnreachable
from tests.support.rigs.observing import Recorder

pytestmark = pytest.mark.looptime


def dead_letter(number: int) -> HandlerDeadLetter:
    return HandlerDeadLetter("h", f"e{number}", number, f"run-{number}", "run.updated", 3, "boom", 7, b"{}")


class StoredDeadLetters:
    """The part of a store that is asked, with what it was asked."""

    def __init__(self, *marked: HandlerDeadLetter):
        self.marked = list(marked)
        self.fetched = []
        self.acknowledged = []
        self.fails = 0

    async def redrives(self, handler, limit):
        self.fetched.append((handler, limit))
        if self.fails:
            self.fails -= 1
            raise StoreUnavailable("redis://x", "timed out")
        return self.marked[:limit]

    async def resolve_dead_letters(self, handler, removed, failed_again):
        self.acknowledged.append((handler, removed, failed_again))
        self.marked = [
            one
            for one in self.marked
            if one.event_id not in removed and one.event_id not in {b.event_id for b in failed_again}
        ]


def apply_commands(number: int) -> PendingCommands:
    return PendingCommands((), number, number)


@contextlib.asynccontextmanager
async def running(store, observer=None):
    added = []
    retried = DeadLetterRedrive(
        "h",
        store,
        added.append,
        random=lambda: 0.5,
        observer=observer if observer is not None else Recorder(),
    )
    task = asyncio.create_task(retried.run())
    await asyncio.sleep(1)
    yield retried, added
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])


def ids(added):
    return [[one.entry.id for one in each] for each in added]


async def test_dead_letters_are_fetched_when_more_are_asked_for_than_are_under_way():
    store = StoredDeadLetters(dead_letter(1), dead_letter(2))
    async with running(store) as (retried, added):
        assert store.fetched == []
        retried.apply_commands(apply_commands(0))
        await asyncio.sleep(1)
        assert store.fetched == []
        retried.apply_commands(apply_commands(2))
        await asyncio.sleep(1)
        assert store.fetched == [("h", FETCH_LIMIT)]
        assert ids(added) == [["e1", "e2"]]
        retried.apply_commands(apply_commands(2))
        await asyncio.sleep(1)
        assert len(store.fetched) == 1, "both are under way"
        store.marked.append(dead_letter(3))
        retried.apply_commands(apply_commands(3))
        await asyncio.sleep(1)
        assert ids(added) == [["e1", "e2"], ["e3"]]


async def test_a_dead_letter_is_delivered_as_the_event_that_it_was():
    async with running(StoredDeadLetters(dead_letter(1))) as (retried, added):
        retried.apply_commands(apply_commands(1))
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


async def test_what_became_of_dead_letters_is_written_down_once_and_they_may_be_asked_for_again():
    store = StoredDeadLetters(dead_letter(1), dead_letter(2), dead_letter(3))
    async with running(store) as (retried, added):
        retried.apply_commands(apply_commands(3))
        await asyncio.sleep(1)
        one, two, _ = added[0]
        retried.acknowledged(one)
        retried.acknowledged(two, dead_letter(2))
        await asyncio.sleep(1)
        assert store.acknowledged == [("h", ("e1",), (dead_letter(2),))]
        await retried.save()
        assert len(store.acknowledged) == 1
        assert len(store.fetched) == 1, "what was settled asks for nothing"
        for again in (dead_letter(2), dead_letter(1)):
            store.marked.append(again)
        retried.apply_commands(apply_commands(3))
        await asyncio.sleep(1)
        assert ids(added)[1:] == [["e2", "e1"]]


async def test_no_more_are_under_way_than_may_be_and_the_rest_follow():
    store = StoredDeadLetters(*(dead_letter(number) for number in range(FETCH_LIMIT + 1)))
    async with running(store) as (retried, added):
        retried.apply_commands(apply_commands(FETCH_LIMIT + 1))
        await asyncio.sleep(1)
        assert len(added[0]) == FETCH_LIMIT
        retried.apply_commands(apply_commands(FETCH_LIMIT + 1))
        await asyncio.sleep(1)
        assert len(store.fetched) == 1
        retried.acknowledged(added[0][0])
        await asyncio.sleep(1)
        assert [one.entry.id for each in added[1:] for one in each] == [f"e{FETCH_LIMIT}"]


async def test_a_store_that_does_not_answer_is_asked_again_and_told_of():
    store, observer = StoredDeadLetters(dead_letter(1)), Recorder()
    store.fails = 2
    async with running(store, observer) as (retried, added):
        retried.apply_commands(apply_commands(1))
        await asyncio.sleep(5)
        assert ids(added) == [["e1"]]
    assert [
        (event.handler, event.exception.why, event.retry_after_ms)
        for event in observer.of(HandlerStoreUnreachable)
    ] == [("h", "timed out", 75), ("h", "timed out", 150)]
