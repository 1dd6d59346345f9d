"""What the journal keeps, and for whom."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from consumer.delivery.cursor import Cursor
from consumer.delivery.journal_retention import GrowthRate, Retention
from consumer.errors import CommitRefused
from consumer.ports.delivery import HandlerCommand, SavedBlockedRun, SavedCursor
from consumer.ports.lease import Tenure
from consumer.ports.observers.retention_events import (
    JournalTrimBlocked,
    JournalTrimmed,
    JournalWithinLimits,
    StoreMeasured,
)
from tests.support.rigs.delivery import NOON, record
from tests.support.rigs.observing import Recorder

HOUR = 3_600_000


def retention(world, *handlers, max_age_ms=24 * HOUR, max_bytes=None, tenure=None):
    world.retention = Recorder()
    return Retention(
        world.store, tenure or world.tenure, handlers, clock=world.clock, observer=world.retention,
        max_age_ms=max_age_ms, max_bytes=max_bytes,
    )  # fmt: skip


@pytest.fixture
async def world(world):
    """Five thousand events, one a minute, the last one now."""
    await world.publish(
        *(record(n, f"run-{n % 7}", time=NOON - timedelta(minutes=4_999 - n)) for n in range(5_000))
    )
    return world


async def at(world, name, offset, *rows):
    await world.store.save_cursor(
        world.tenure,
        name,
        SavedCursor(1, Cursor(offset).snapshot()),
        (),
        {row.tracker_id: row for row in rows},
    )


async def test_what_is_too_old_goes_and_what_is_not_stays(world):
    await at(world, "h", 5_000)
    await retention(world, "h").enforce()
    assert await world.store.bounds() == (5_000 - 24 * 60, 5_000)
    assert world.retention.facts(JournalWithinLimits) == [()]
    assert sum(facts[1] for facts in world.retention.facts(JournalTrimmed)) == 4_999 - 24 * 60


async def test_more_than_the_bytes_allowed_goes_however_young(world):
    await at(world, "h", 5_000)
    await retention(world, "h", max_age_ms=10**12, max_bytes=100_000).enforce()
    first, last = await world.store.bounds()
    assert 990 <= last - first + 1 <= 1_000


@pytest.mark.parametrize("limits", [{}, {"max_age_ms": 10**12, "max_bytes": 100_000}])
async def test_nothing_goes_that_a_handler_a_blocked_run_or_a_replay_needs(world, limits):
    await at(world, "h", 5_000)
    await at(world, "slow", 1_500)
    await retention(world, "h", "slow", **limits).enforce()
    assert (await world.store.bounds())[0] == 1_501
    assert world.retention.facts(JournalTrimBlocked)[0][:2] == ("slow", 1_501)
    await world.store.forget_handler("slow")
    await at(world, "parked", 5_000, SavedBlockedRun("run-1", 2_000))
    await retention(world, "h", "parked", **limits).enforce()
    assert (await world.store.bounds())[0] == 2_000
    world.store.rows.clear()
    await world.store.put_command(HandlerCommand("r", "h", "replay", 1, after=2_499, through=5_000))
    await retention(world, "h", "parked", **limits).enforce()
    assert (await world.store.bounds())[0] == 2_500
    assert world.retention.facts(JournalTrimBlocked)[0][:2] == ("h", 2_500)


async def test_the_cursor_of_a_handler_that_is_not_configured_any_more_holds_nothing(world):
    await at(world, "h", 5_000)
    await at(world, "former", 10)
    await retention(world, "h").enforce()
    assert (await world.store.bounds())[0] > 3_000


async def test_an_old_event_behind_young_ones_stays(world):
    await at(world, "h", 5_001)
    await world.publish(record(5_000, time=NOON - timedelta(days=90)))
    await retention(world, "h").enforce()
    assert await world.store.bounds() == (5_000 - 24 * 60, 5_001)


async def test_who_lost_the_lease_removes_nothing(world):
    await at(world, "h", 5_000)
    with pytest.raises(CommitRefused):
        await retention(world, "h", tenure=Tenure("old", "x")).enforce()
    assert (await world.store.bounds())[0] == 1


async def test_a_journal_that_was_emptied_is_looked_at_without_harm(world):
    await at(world, "h", 5_000)
    await world.store.trim(world.tenure, 5_000)
    await retention(world, "h", max_bytes=1).enforce()
    assert await world.store.bounds() == (5_001, 5_000)


def test_growth_is_measured_over_a_day_and_tells_when_the_store_is_full():
    growth = GrowthRate()
    growth.add(0, 1_000)
    assert growth.bytes_per_day() is None
    growth.add(12 * HOUR, 2_000)
    assert growth.bytes_per_day() == 2_000
    assert growth.seconds_until_full(4_000) == 86_400
    assert growth.seconds_until_full(None) is None
    growth.add(36 * HOUR, 1_500)
    assert growth.bytes_per_day() == -500
    assert growth.seconds_until_full(4_000) is None


@pytest.mark.looptime
async def test_the_size_is_known_from_the_start_and_nothing_is_removed_before_every_handler_has_its_cursor(
    world,
):
    trimming = retention(world, "h")
    running = asyncio.create_task(trimming.run())
    await asyncio.sleep(1)
    assert [event.entries for event in world.retention.of(StoreMeasured)] == [5_000]
    assert world.store.entries[0].offset == 1
    running.cancel()


@pytest.mark.looptime
async def test_it_looks_every_minute_and_waits_out_a_store_that_is_down(world):
    await at(world, "h", 5_000)
    world.store.unavailable = True
    running = asyncio.create_task(retention(world, "h").run())
    await asyncio.sleep(100)
    assert world.store.entries[0].offset == 1
    world.store.unavailable = False
    await asyncio.sleep(61)
    assert world.store.entries[0].offset > 1
    running.cancel()
