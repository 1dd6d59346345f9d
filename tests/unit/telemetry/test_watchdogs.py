"""Who watches when nothing fails and nothing moves: a loop that really stands still, positions that really age."""

import asyncio
import time

import pytest
import structlog
from prometheus_client import generate_latest
from structlog.testing import capture_logs

from consumer.domain.bus_retention import headroom_ms
from consumer.errors import StoreUnavailable
from consumer.ports.commit import ChannelState
from consumer.telemetry.metrics import Metrics
from consumer.telemetry.watchdogs import LoopWatch, RetentionWatch

A = "/data/ActionCadenceTrackerChangeEvent"
B = "/data/ActionCadenceStepTrackerChangeEvent"
HOUR = 3_600_000
NOW = 1_800_000_000_000


@pytest.fixture(autouse=True)
def fresh_logging():
    structlog.reset_defaults()


def text_of(metrics):
    return generate_latest(metrics.registry).decode()


# ---------------------------------------------------------------- the loop


def a_call_that_keeps_the_loop_busy(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        sum(range(1_000))


async def seen(lines, event, within_s=5):
    async with asyncio.timeout(within_s):
        while not any(line["event"] == event for line in lines):
            await asyncio.sleep(0.01)
    return [line for line in lines if line["event"] == event]


async def test_a_loop_that_stands_still_is_said_once_with_the_place_and_again_when_it_turns():
    metrics = Metrics()
    with capture_logs() as lines:
        async with LoopWatch(metrics, limit_ms=200):
            a_call_that_keeps_the_loop_busy(1.0)
            stalled = [line for line in lines if line["event"] == "event_loop_stalled"]
            assert len(stalled) == 1, "it was said while the loop stood still"
            assert 200 <= stalled[0]["for_ms"] < 1_000
            assert stalled[0]["where"][-1].endswith("a_call_that_keeps_the_loop_busy")
            (again,) = await seen(lines, "event_loop_recovered")
    assert again["after_ms"] >= 800
    assert "cadence_loop_stalls_total 1.0" in text_of(metrics)


async def test_a_loop_that_turns_is_left_in_peace():
    metrics = Metrics()
    with capture_logs() as lines:
        async with LoopWatch(metrics, limit_ms=400):
            for _ in range(20):
                a_call_that_keeps_the_loop_busy(0.02)
                await asyncio.sleep(0.01)
    assert lines == []
    assert "cadence_loop_stalls_total 0.0" in text_of(metrics)


# ---------------------------------------------------------------- retention


class Clock:
    now = NOW

    def monotonic_ms(self):
        return 0

    def wall_ms(self):
        return self.now


class Positions:
    def __init__(self, **channels):
        self.known = channels
        self.away = False

    async def channels(self):
        if self.away:
            raise StoreUnavailable("x", "away")
        return self.known


@pytest.mark.parametrize(
    ("known", "hours"),
    [
        (ChannelState(NOW - 80 * HOUR, "7", NOW - 2 * HOUR, NOW - 50 * HOUR), 70),
        (ChannelState(NOW - 80 * HOUR, "7", NOW - 50 * HOUR, NOW - 2 * HOUR), 70),
        (ChannelState(NOW - 80 * HOUR, "7", NOW - 75 * HOUR), -3),
        (ChannelState(NOW - 10 * HOUR), 62),
    ],
    ids=["position", "polled through", "nothing for long", "only born"],
)
def test_the_headroom_counts_from_the_newest_proof_that_nothing_was_missed(known, hours):
    assert headroom_ms(known, NOW) == hours * HOUR


async def test_the_headroom_goes_on_shrinking_while_the_store_is_away():
    clock, metrics = Clock(), Metrics()
    positions = Positions()
    watch = RetentionWatch(positions, metrics, clock, (A, B))
    name = "cadence_retention_headroom_seconds"
    assert f'{name}{{channel="{A}"}} NaN' in text_of(metrics)
    positions.known = {A: ChannelState(1, "7", NOW - HOUR, NOW - 2 * HOUR)}
    await watch.refresh()
    assert f'{name}{{channel="{A}"}} {71 * 3600.0}' in text_of(metrics)
    assert f'{name}{{channel="{B}"}} NaN' in text_of(metrics)
    assert f'cadence_checkpoint_age_seconds{{channel="{A}"}} 3600.0' in text_of(metrics)
    assert f'cadence_checkpoint_age_seconds{{channel="{B}"}} NaN' in text_of(metrics)
    through = f'cadence_polled_through_timestamp_seconds{{channel="{A}"}} '
    (line,) = [line for line in text_of(metrics).splitlines() if line.startswith(through)]
    assert float(line.removeprefix(through)) == (NOW - 2 * HOUR) / 1000
    positions.away = True
    clock.now += HOUR
    await watch.refresh()
    assert f'{name}{{channel="{A}"}} {70 * 3600.0}' in text_of(metrics)


async def test_time_that_runs_out_is_said_at_each_mark_and_not_between():
    clock = Clock()
    watch = RetentionWatch(Positions(**{A: ChannelState(1, "7", NOW)}), Metrics(), clock, (A,))
    with capture_logs() as lines:
        for hours in (0, 47, 49, 50, 65, 67, 71.5, 73, 74):
            clock.now = NOW + int(hours * HOUR)
            await watch.refresh()
    said = [(line["event"], line.get("left") or line["since"]) for line in lines]
    assert said == [
        ("retention_headroom_low", "23 h"),
        ("retention_headroom_low", "5 h"),
        ("retention_headroom_low", "30 min"),
        ("retention_exceeded", "1 h"),
    ]
    assert all(line["log_level"] == "error" and line["channel"] == A for line in lines)


async def test_a_position_that_moves_again_is_watched_anew():
    clock = Clock()
    positions = Positions(**{A: ChannelState(1, "7", NOW - 60 * HOUR)})
    watch = RetentionWatch(positions, Metrics(), clock, (A,))
    with capture_logs() as lines:
        await watch.refresh()
        positions.known = {A: ChannelState(1, "8", NOW)}
        await watch.refresh()
        clock.now += 60 * HOUR
        await watch.refresh()
    assert [line["left"] for line in lines] == ["12 h", "12 h"]


async def test_the_watch_looks_by_itself_and_ends_with_its_block():
    clock, metrics = Clock(), Metrics()
    positions = Positions(**{A: ChannelState(1, "7", NOW)})
    async with RetentionWatch(positions, metrics, clock, (A,), every_ms=10):
        async with asyncio.timeout(5):
            while "headroom_seconds{" not in text_of(metrics) or "NaN" in [
                line.split()[-1] for line in text_of(metrics).splitlines() if "headroom_seconds{" in line
            ]:
                await asyncio.sleep(0.01)
    assert asyncio.all_tasks() == {asyncio.current_task()}
