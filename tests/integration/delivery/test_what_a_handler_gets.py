"""Which events, from where on: types, origins, age, start, retention."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from consumer.delivery.cursor import Cursor
from consumer.domain.lifecycle_events import Origin
from consumer.ports.delivery import SavedCursor
from consumer.ports.observers.delivery_events import EventFiltered
from consumer.ports.observers.handler_events import CursorSaved, OffsetOutOfRange
from tests.support.rigs.delivery import (
    NOON,
    Log,
    loaded,
    record,
    until,
)

pytestmark = pytest.mark.looptime


async def test_types_that_are_not_wanted_are_passed_without_being_decoded(world):
    log = Log()
    unreadable = record(0, type_="step.created")
    await world.publish(
        type(unreadable)("e0", "step.created", "run-1", b"not json"),
        record(1),
        record(2, type_="step.failed"),
    )
    async with world.delivering(loaded(log, types="run.*")):
        await world.acknowledged_through(3)
    assert log.ids == ["e1"]
    assert world.store.dead_letters == []


async def test_origins_and_max_age_leave_events_out_and_say_so(world):
    log = Log()
    old = NOON - timedelta(hours=2)
    await world.publish(
        record(0, origin=Origin.SNAPSHOT), record(1, time=old), record(2, origin=Origin.TIMER), record(3)
    )
    async with world.delivering(loaded(log, max_age="1h")):
        await world.acknowledged_through(4)
    assert log.ids == ["e2", "e3"]
    assert world.observer.facts(EventFiltered) == [
        ("h", "run.advanced", "origin"),
        ("h", "run.advanced", "max_age"),
    ]


async def test_latest_begins_at_the_end_of_the_journal_at_first_sight_and_stays_there(world):
    log = Log()
    await world.publish(record(0), record(1))
    async with world.delivering(loaded(log, start="latest")):
        await until(lambda: world.store.saved)
        assert (await world.cursor()).offset == 2
    await world.publish(record(2))
    async with world.delivering(loaded(log, start="latest")):
        await world.acknowledged_through(3)
    assert log.ids == ["e2"]


async def test_earliest_begins_with_what_retention_left(world):
    log = Log()
    await world.publish(*(record(n) for n in range(5)))
    world.store.remove_through(2)
    async with world.delivering(loaded(log, start="earliest")):
        await world.acknowledged_through(5)
    assert log.ids == ["e2", "e3", "e4"]
    assert world.observer.facts(OffsetOutOfRange) == []


async def test_a_time_begins_with_the_first_event_that_happened_then_or_later(world):
    log, later = Log(), Log()
    await world.publish(*(record(n, time=NOON + timedelta(minutes=n)) for n in range(5)))
    async with world.delivering(
        loaded(log, "log", start="2026-03-01T12:02:30Z"), loaded(later, "later", start="2026-03-02")
    ):
        await world.acknowledged_through(5, "log")
        await world.acknowledged_through(5, "later")
        await world.publish(record(9))
        await world.acknowledged_through(6, "later")
    assert log.ids == ["e3", "e4", "e9"]
    assert later.ids == ["e9"]


async def test_start_has_no_effect_on_a_handler_that_has_a_cursor(world):
    log = Log()
    await world.publish(*(record(n) for n in range(4)))
    world.store.saved["h"] = SavedCursor(7, Cursor(1, [(3, 3)]).snapshot())
    async with world.delivering(loaded(log, start="latest")):
        await world.acknowledged_through(4)
    assert log.ids == ["e1", "e3"]


async def test_a_handler_that_retention_has_outrun_says_what_it_missed(world):
    log = Log()
    world.store.saved["h"] = SavedCursor(1, Cursor(2).snapshot())
    await world.publish(*(record(n) for n in range(8)))
    world.store.remove_through(5)
    async with world.delivering(loaded(log)):
        await world.acknowledged_through(8)
    assert log.ids == ["e5", "e6", "e7"]
    assert world.observer.facts(OffsetOutOfRange) == [("h", 2, 6)]


async def test_new_events_arrive_without_delay(world):
    times = []

    async def handle(event, ctx):
        times.append(asyncio.get_running_loop().time())

    async with world.delivering(loaded(handle)):
        await asyncio.sleep(100)
        began = asyncio.get_running_loop().time()
        await world.publish(record(0))
        await until(lambda: times)
    assert times[0] - began < 0.01


async def test_cursor_and_lag_are_reported_also_while_nothing_moves(world):
    async def handle(event, ctx):
        raise OSError("down")

    async with world.delivering(loaded(handle, max_attempts=99)):
        await world.publish(record(0), record(1))
        await asyncio.sleep(3)
        assert world.observer.facts(CursorSaved)[-1] == ("h", 2, 0, 1, 0)
        await world.publish(record(2))
        await asyncio.sleep(2)
        assert world.observer.facts(CursorSaved)[-1] == ("h", 3, 0, 1, 0)


async def test_the_context_tells_handler_and_attempt_and_logs_with_the_event(world):
    from structlog.testing import capture_logs

    async def handle(event, ctx):
        ctx.log.info("hello")
        assert (ctx.handler, ctx.replayed) == ("h", False)

    await world.publish(record(0))
    with capture_logs() as lines:
        async with world.delivering(loaded(handle)):
            await world.acknowledged_through(1)
    assert lines == [
        {
            "event": "hello",
            "log_level": "info",
            "handler": "h",
            "event_id": "e0",
            "run": "run-1",
            "attempt": 1,
        }
    ]
