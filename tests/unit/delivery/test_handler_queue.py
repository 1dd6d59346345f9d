"""Who is woken when the lanes of a handler change. Time is virtual."""

from __future__ import annotations

import asyncio

import pytest

from consumer.delivery.cursor import Cursor
from consumer.delivery.handler_queue import MIN_READY_LANES, HandlerQueue
from consumer.delivery.lanes import Delivery
from consumer.ports.journal import JournalEntry
from tests.support.rigs.delivery import Batches, Log, loaded

pytestmark = pytest.mark.looptime


class Nowhere:
    replayed = redriven = cancelled = False

    def acknowledged(self, delivery, dead_letter=None): ...

    def blocked_runs(self, row, offsets): ...


def deliveries(number, attempts=0):
    return [
        Delivery(JournalEntry(n, f"e{n}", "run.updated", f"run-{n}", b"{}"), Nowhere(), attempts)
        for n in range(1, number + 1)
    ]


def full():
    cursor = Cursor(window=1)
    cursor.tracked(1)
    return cursor


async def waiting(queue, cursor):
    task = asyncio.create_task(queue.wait_for_demand(cursor))
    await asyncio.sleep(1)
    return task


async def test_a_reader_waits_while_enough_lanes_are_ready():
    queue = HandlerQueue(loaded(Log()), lambda: None)
    queue.add(deliveries(MIN_READY_LANES))
    reader = await waiting(queue, Cursor())
    queue.wake_readers_on_demand()
    await asyncio.sleep(1)
    assert not reader.done()
    queue.lanes.take(0)
    queue.wake_readers_on_demand()
    await asyncio.sleep(1)
    assert reader.done()


async def test_a_reader_waits_while_its_cursor_is_full_and_holds_back_no_other():
    queue, cursor = HandlerQueue(loaded(Log()), lambda: None), full()
    reader = await waiting(queue, cursor)
    other = await waiting(queue, Cursor())
    assert (reader.done(), other.done()) == (False, True)
    queue.wake_readers_on_demand()
    await asyncio.sleep(1)
    assert not reader.done()
    cursor.acknowledged(1)
    queue.wake_readers_on_demand()
    await asyncio.sleep(1)
    assert reader.done()


async def test_a_reader_that_was_cancelled_is_waited_for_no_longer():
    queue, cursor = HandlerQueue(loaded(Log()), lambda: None), full()
    gone, reader = await waiting(queue, full()), await waiting(queue, cursor)
    gone.cancel()
    await asyncio.wait([gone])
    cursor.acknowledged(1)
    queue.wake_readers_on_demand()
    await asyncio.wait_for(reader, 1)


async def test_workers_are_started_a_full_batch_is_announced_and_so_is_a_retry_from_before_a_restart():
    started = []
    queue = HandlerQueue(loaded(Batches(batch_max=3)), lambda: started.append(queue.lanes.ready))
    queue.add(deliveries(2))
    assert not queue.batch_full.is_set()
    assert not queue.blocked.is_set()
    queue.add(deliveries(3)[2:])
    assert queue.batch_full.is_set()
    assert started == [2, 3]
    (delivery,) = deliveries(1, attempts=1)
    queue = HandlerQueue(loaded(Log()), lambda: None)
    queue.add([delivery])
    assert queue.blocked.is_set()
