"""What a failing event goes through, and where it ends. Time is virtual, chance is zero."""

from __future__ import annotations

import asyncio
import itertools
from datetime import timedelta

import pytest

from consumer.clock import SystemClock
from consumer.delivery.cursor import Cursor
from consumer.plugin import Disable, Failed, Reject, Retry
from consumer.ports.observers.delivery_events import AttemptFailed, DeadLettered, EventSkipped, RunBlocked
from consumer.ports.observers.handler_events import HandlerDisabled, HandlerStoreUnreachable
from tests.support.rigs.delivery import (
    Batches,
    Log,
    loaded,
    record,
    until,
)

pytestmark = pytest.mark.looptime


async def test_attempts_are_counted_from_one_and_spaced_by_doubling_delays(world):
    times, attempts = [], []

    async def handle(event, ctx):
        times.append(asyncio.get_running_loop().time())
        attempts.append(ctx.attempt)
        raise OSError("down")

    await world.publish(record(0))
    async with world.delivering(loaded(handle, max_attempts=5)):
        await world.acknowledged_through(1)
    assert attempts == [1, 2, 3, 4, 5]
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert gaps == pytest.approx([0.5, 1, 2, 4], abs=0.01)


async def test_after_the_last_attempt_the_dead_letter_is_written_in_the_save_that_passes_the_event(world):
    async def handle(event, ctx):
        if event.id == "e1":
            raise OSError("down\nwith a second line")

    await world.publish(record(0), record(1), record(2))
    async with world.delivering(loaded(handle, max_attempts=3)):
        await world.acknowledged_through(3)
    (dead_letter,) = world.store.dead_letters
    assert (dead_letter.handler, dead_letter.event_id, dead_letter.offset, dead_letter.attempts) == (
        "h",
        "e1",
        2,
        3,
    )
    assert dead_letter.error == "OSError: down"
    assert dead_letter.data == world.store.entries[1].data
    assert dead_letter.at_ms == world.clock.wall_ms()
    firsts: dict[int, int] = {}
    row = None
    for (_, cursor, dead_letters), (revision, rows) in zip(
        world.store.saves, world.store.row_saves, strict=True
    ):
        row = rows.get("run-1", row)
        firsts[revision] = Cursor.load(cursor.data, blocked_runs=[row] if row else []).lowest_needed_offset
        assert dead_letters == (
            (dead_letter,) if firsts[revision] > 2 and firsts.get(revision - 1, 0) <= 2 else ()
        )
    assert 2 in firsts.values()


async def test_a_run_in_trouble_costs_a_row_and_does_not_hold_the_offset_back(world):
    log, healed = Log(), asyncio.Event()

    async def handle(event, ctx):
        if event.tracker_id == "bad" and not healed.is_set():
            raise OSError("down")
        log.note(event, ctx)

    await world.publish(record(0, "bad"), record(1, "good"))
    async with world.delivering(loaded(handle, max_attempts=99), window=20):
        await until(lambda: world.observer.count(AttemptFailed) == 3)
        for n in range(2, 102):
            await world.publish(record(n, f"good-{n}"))
        await world.publish(record(102, "bad"))
        await until(lambda: len(log.ids) == 101)
        await asyncio.sleep(1)
        cursor = await world.cursor()
        assert (cursor.offset, cursor.lowest_needed_offset) == (103, 1), (
            "although the window is a fifth of what has passed"
        )
        healed.set()
        await world.acknowledged_through(103)
    assert log.ids[-2:] == ["e0", "e102"]
    assert world.store.rows == {}


async def test_runs_beyond_the_most_that_may_be_blocked_hold_the_offset_back(world):
    async def handle(event, ctx):
        raise OSError("down")

    await world.publish(*(record(n, f"run-{n}") for n in range(1_500)))
    async with world.delivering(loaded(handle, max_attempts=99)):
        await until(lambda: world.observer.count(AttemptFailed) >= 1_500)
        await asyncio.sleep(1)
        cursor = await world.cursor()
        assert cursor.blocked_runs == 1_000
        assert cursor.offset < 1_500


async def test_with_everything_failing_no_more_is_taken_than_the_window_holds(world):
    async def handle(event, ctx):
        raise OSError("down")

    await world.publish(*(record(n, f"run-{n % 10}") for n in range(1_000)))
    async with world.delivering(loaded(handle, max_attempts=99), window=100):
        await asyncio.sleep(600)
        assert (await world.cursor()).offset == 100
        assert world.observer.count(DeadLettered) == 0


class VirtualWall(SystemClock):
    def wall_ms(self):
        return self.monotonic_ms() + 1_800_000_000_000


async def test_attempts_go_on_counting_after_a_restart_and_the_wait_is_kept(world):
    attempts, times = [], []

    async def handle(event, ctx):
        attempts.append(ctx.attempt)
        times.append(asyncio.get_running_loop().time())
        raise Retry(after=100)

    world.clock = VirtualWall()
    await world.publish(record(0), record(1))
    for _ in range(2):
        async with world.delivering(loaded(handle, max_attempts=4)):
            await asyncio.sleep(150)
    async with world.delivering(loaded(handle, max_attempts=4)):
        await until(lambda: len(world.store.dead_letters) == 1)
    assert attempts[:4] == [1, 2, 3, 4]
    assert all(b - a == pytest.approx(100, abs=0.1) for a, b in itertools.pairwise(times[:4]))
    assert (world.store.dead_letters[0].event_id, world.store.dead_letters[0].attempts) == ("e0", 4)


async def test_the_wait_of_a_run_beyond_the_offset_ends_after_a_restart_though_nothing_else_happens(
    world, monkeypatch
):
    log, crashed = Log(), asyncio.Event()

    async def handle(event, ctx):
        if event.id == "e0" and not crashed.is_set():
            await asyncio.sleep(3_600)
        if event.id == "e1" and not crashed.is_set():
            raise OSError
        log.note(event, ctx)

    await world.publish(record(0, "a"), record(1, "b"))
    first = asyncio.create_task(world.dispatcher(loaded(handle, timeout=10_000)).run())
    await until(lambda: world.observer.count(AttemptFailed) == 1)
    await asyncio.sleep(0.3)
    first.cancel()
    await asyncio.wait([first])
    (row,) = await world.store.blocked_runs("h")
    read = world.store.read

    async def as_stores_answer(after, limit):
        await asyncio.sleep(0.01)  # not in the turn of the loop in which delivery begins
        return await read(after, limit)

    monkeypatch.setattr(world.store, "read", as_stores_answer)
    assert row.first > (await world.cursor()).offset + 1, (
        "the first event holds the offset before the blocked one"
    )
    crashed.set()
    async with world.delivering(loaded(handle)):
        await world.acknowledged_through(2, limit_s=10)
    assert log.ids == ["e0", "e1"]
    assert log.attempts == [1, 2]


async def test_what_follows_a_failed_event_of_a_batch_and_succeeded_does_not_come_again_after_a_restart(
    world,
):
    healed = False

    def act(events):
        bad = [event.id for event in events if event.id == "e1" and not healed]
        if bad:
            sink.done += [event.id for event in events if event.id not in bad]
            raise Failed(dict.fromkeys(bad, "not yet"))

    sink = Batches(act)
    await world.publish(*(record(n, "run") for n in range(4)))
    for _ in range(2):
        async with world.delivering(loaded(sink, max_attempts=99)):
            await until(lambda: world.observer.count(AttemptFailed) >= 1)
        assert [(row.first, row.done) for row in await world.store.blocked_runs("h")] == [(2, (3, 4))]
        await world.publish(record(len(world.store.entries), "run"))
    healed = True
    async with world.delivering(loaded(sink)):
        await world.acknowledged_through(6)
    assert sorted(sink.done) == [f"e{n}" for n in range(6)]


async def test_events_of_no_run_are_blocked_as_well(world):
    log, healed = Log(), False

    async def handle(event, ctx):
        if event.type == "system.gap" and not healed:
            raise OSError("down")
        log.note(event)

    await world.publish(record(0, None, "system.gap"), record(1), record(2, None, "system.gap"), record(3))
    for _ in range(2):
        async with world.delivering(loaded(handle, max_attempts=99)):
            await until(lambda: world.observer.count(AttemptFailed) > 2)
            await until(lambda: world.store.rows)
        assert (await world.cursor()).offset == 4
    healed = True
    async with world.delivering(loaded(handle)):
        await world.acknowledged_through(4)
    assert log.ids == ["e1", "e3", "e0", "e2"]


async def test_a_dead_letter_survives_a_store_that_is_down_when_it_is_due(world):
    async def handle(event, ctx):
        world.store.unavailable = True
        raise Reject("never")

    await world.publish(record(0), record(1))
    async with world.delivering(loaded(handle)):
        await until(lambda: world.observer.count(DeadLettered) == 2)
        await asyncio.sleep(60)
        assert world.store.dead_letters == []
        world.store.unavailable = False
        await world.acknowledged_through(2)
    assert [dead_letter.event_id for dead_letter in world.store.dead_letters] == ["e0", "e1"]


async def test_a_save_whose_reply_was_lost_is_repeated_and_counts_once(world):
    async def handle(event, ctx):
        raise Reject("never")

    world.store.lose_replies = 3
    await world.publish(record(0), record(1))
    async with world.delivering(loaded(handle)):
        await world.acknowledged_through(2)
    assert [dead_letter.event_id for dead_letter in world.store.dead_letters] == ["e0", "e1"]
    assert world.observer.count(HandlerStoreUnreachable) == 3


async def test_reject_is_a_dead_letter_at_once_whatever_on_failure_says(world):
    for number, policy in enumerate(("dead_letter", "block", "skip")):

        async def handle(event, ctx):
            raise Reject("not a lead")

        await world.publish(record(number))
        async with world.delivering(loaded(handle, policy, on_failure=policy)):
            await world.acknowledged_through(number + 1, policy)
        dead_letter = next(
            dead_letter for dead_letter in world.store.dead_letters if dead_letter.handler == policy
        )
        assert (dead_letter.attempts, dead_letter.error) == (1, "not a lead")


async def test_block_goes_on_trying_and_holds_only_its_run(world):
    log, healed = Log(), asyncio.Event()

    async def handle(event, ctx):
        if event.tracker_id == "bad" and not healed.is_set():
            raise OSError("down")
        log.note(event, ctx)

    await world.publish(record(0, "bad"), record(1, "bad"), record(2, "good"))
    async with world.delivering(loaded(handle, max_attempts=2, on_failure="block")):
        await until(lambda: world.observer.count(RunBlocked) == 30, 30 * 300)
        assert log.ids == ["e2"]
        cursor = await world.cursor()
        assert (cursor.offset, cursor.lowest_needed_offset) == (3, 1), (
            "the offset goes on, the run's row says where it stands"
        )
        healed.set()
        await world.acknowledged_through(3)
    assert log.ids == ["e2", "e0", "e1"]
    assert world.store.dead_letters == []


async def test_skip_goes_on_without_the_event_and_says_so(world):
    log = Log()

    async def handle(event, ctx):
        if event.id == "e0":
            raise OSError("down")
        log.note(event)

    await world.publish(record(0), record(1))
    async with world.delivering(loaded(handle, max_attempts=2, on_failure="skip")):
        await world.acknowledged_through(2)
    assert log.ids == ["e1"]
    assert world.store.dead_letters == []
    assert [facts[:4] for facts in world.observer.facts(EventSkipped)] == [("h", "e0", 2, "OSError: down")]


async def test_a_call_that_takes_too_long_is_cancelled_and_counts_as_a_failure(world):
    cancelled = []

    async def handle(event, ctx):
        try:
            await asyncio.sleep(3_600)
        except asyncio.CancelledError:
            cancelled.append(ctx.attempt)
            raise

    await world.publish(record(0))
    async with world.delivering(loaded(handle, timeout=10, max_attempts=2)):
        await world.acknowledged_through(1)
    assert cancelled == [1, 2]
    assert world.store.dead_letters[0].error == "TimedOut: not done after 10 s, and cancelled"


async def test_a_cancellation_inside_the_handler_is_a_failure_and_ends_nothing(world):
    log = Log()

    async def handle(event, ctx):
        if ctx.attempt == 1:
            inner = asyncio.create_task(asyncio.sleep(10))
            inner.cancel()
            await inner
        log.note(event, ctx)

    await world.publish(record(0))
    async with world.delivering(loaded(handle)):
        await world.acknowledged_through(1)
    assert log.attempts == [2]


async def test_retry_counts_as_an_attempt(world):
    async def handle(event, ctx):
        raise Retry(after=timedelta(minutes=1), reason="rate limited")

    await world.publish(record(0))
    async with world.delivering(loaded(handle, max_attempts=3)):
        await world.acknowledged_through(1)
    assert (world.store.dead_letters[0].attempts, world.store.dead_letters[0].error) == (3, "rate limited")


async def test_an_entry_that_cannot_be_read_is_a_dead_letter_and_stops_nobody(world):
    log = Log()
    broken = record(0)
    await world.publish(type(broken)(broken.id, broken.type, broken.tracker_id, b'{"v": 99}'), record(1))
    async with world.delivering(loaded(log)):
        await world.acknowledged_through(2)
    assert log.ids == ["e1"]
    assert world.store.dead_letters[0].error.startswith("the journal entry cannot be read: ")


# ---------------------------------------------------------------- batches


async def test_a_batch_holds_events_in_journal_order_up_to_batch_max(world):
    sink = Batches(batch_max=50)
    await world.publish(*(record(n, f"run-{n % 3}") for n in range(120)))
    async with world.delivering(loaded(sink)):
        await world.acknowledged_through(120)
    assert [len(call) for call in sink.calls] == [50, 50, 20]
    for call in sink.calls:
        assert call == sorted(call, key=lambda id_: int(id_[1:]))
    for run in range(3):
        assert [id_ for id_ in sink.done if int(id_[1:]) % 3 == run] == [f"e{n}" for n in range(run, 120, 3)]


async def test_a_poison_event_fails_alone_and_each_other_is_tried_again_at_most_once(world):
    def act(events):
        if any(event.id == "e7" for event in events):
            raise ValueError("poison")

    sink = Batches(act)
    await world.publish(*(record(n, f"run-{n}") for n in range(20)))
    async with world.delivering(loaded(sink, max_attempts=4)):
        await world.acknowledged_through(20)
    tried = [id_ for call in sink.calls for id_ in call]
    assert sorted(sink.done) == sorted(f"e{n}" for n in range(20) if n != 7)
    assert [(dead_letter.event_id, dead_letter.attempts) for dead_letter in world.store.dead_letters] == [
        ("e7", 4)
    ]
    assert all(tried.count(f"e{n}") == 2 for n in range(20) if n != 7)
    assert all(len(call) == 1 for call in sink.calls[1:])


@pytest.mark.parametrize("blamed", [False, True])
async def test_of_five_hundred_with_one_poison_499_are_delivered_and_one_is_a_dead_letter(world, blamed):
    def act(events):
        if any(event.id == "e250" for event in events):
            if blamed:
                sink.done += [event.id for event in events if event.id != "e250"]
                raise Failed({"e250": "poison"})
            raise ValueError("poison")

    sink = Batches(act)
    sink.batch_wait = 50
    await world.publish(*(record(n, f"run-{n % 100}") for n in range(500)))
    async with world.delivering(loaded(sink)):
        await world.acknowledged_through(500)
    assert len(sink.calls[0]) == 500
    assert sorted(sink.done) == sorted(f"e{n}" for n in range(500) if n != 250)
    assert [dead_letter.event_id for dead_letter in world.store.dead_letters] == ["e250"]
    tried = [id_ for call in sink.calls for id_ in call]
    assert all(tried.count(f"e{n}") == (1 if blamed else 2) for n in range(500) if n != 250)


async def test_failing_in_company_is_never_the_last_attempt(world):
    def act(events):
        if any(event.id == "e1" for event in events):
            raise ValueError("poison")

    sink = Batches(act)
    await world.publish(*(record(n, f"run-{n}") for n in range(3)))
    async with world.delivering(loaded(sink, max_attempts=1)):
        await world.acknowledged_through(3)
    assert sorted(sink.done) == ["e0", "e2"]
    assert [dead_letter.event_id for dead_letter in world.store.dead_letters] == ["e1"]


async def test_a_batch_that_fails_keeps_the_order_of_each_run(world):
    broken = True

    def act(events):
        nonlocal broken
        if broken:
            broken = False
            raise OSError("down")

    sink = Batches(act)
    await world.publish(*(record(n, f"run-{n % 2}") for n in range(10)))
    async with world.delivering(loaded(sink)):
        await world.acknowledged_through(10)
    for run in range(2):
        assert [id_ for id_ in sink.done if int(id_[1:]) % 2 == run] == [f"e{n}" for n in range(run, 10, 2)]


async def test_failed_names_the_events_that_failed_and_the_rest_is_done(world):
    first = True

    def act(events):
        nonlocal first
        if first:
            first = False
            raise Failed({"e1": "no such lead", "e2": Reject("too large")})

    sink = Batches(act)
    await world.publish(*(record(n, f"run-{n}") for n in range(4)))
    async with world.delivering(loaded(sink)):
        await world.acknowledged_through(4)
    assert sink.calls == [["e0", "e1", "e2", "e3"], ["e1"]]
    assert [(dead_letter.event_id, dead_letter.error) for dead_letter in world.store.dead_letters] == [
        ("e2", "too large")
    ]
    assert world.observer.facts(AttemptFailed)[0][:4] == ("h", "e1", 1, "no such lead")


async def test_a_failed_that_names_a_stranger_does_not_settle_the_batch(world):
    def act(events):
        if len(events) > 1:
            raise Failed({"somebody": "else"})

    sink = Batches(act)
    await world.publish(record(0, "a"), record(1, "b"))
    async with world.delivering(loaded(sink)):
        await world.acknowledged_through(2)
    assert sorted(sink.done) == ["e0", "e1"]
    assert (
        world.observer.facts(AttemptFailed)[0][3]
        == "ValueError: Failed names an event that is not in the batch: somebody"
    )


async def test_a_batch_waits_for_company_no_longer_than_batch_wait(world):
    class Waiting(Batches):
        batch_wait = 2_000

    sink = Waiting(batch_max=10)
    times = []
    sink._act = lambda events: times.append((len(events), asyncio.get_running_loop().time()))
    async with world.delivering(loaded(sink)):
        await asyncio.sleep(1)
        began = asyncio.get_running_loop().time()
        await world.publish(record(0))
        await asyncio.sleep(0.5)
        await world.publish(record(1))
        await world.acknowledged_through(2)
        await world.publish(*(record(n) for n in range(2, 12)))
        await world.acknowledged_through(12)
    assert times[0] == (2, pytest.approx(began + 2, abs=0.05))
    assert times[1][0] == 10
    assert times[1][1] - times[0][1] < 1, "a full batch does not wait"


@pytest.mark.parametrize("batch", [False, True])
async def test_disable_stops_the_handler_alone_and_its_events_come_after_the_next_start(world, batch):
    gone, seen, others = [True], [], Log()

    async def handle(event, ctx):
        if gone and event.id == "e1":
            raise Disable("the receiver is gone")
        seen.append(event.id)

    class Gone(Batches):
        async def handle_batch(self, events, ctx):
            for event in events:
                await handle(event, ctx)

    def mine():
        return loaded(Gone() if batch else handle, name="mine", concurrency=1)

    await world.publish(*(record(n, run=f"run-{n}") for n in range(4)))
    async with world.delivering(mine(), loaded(others, name="other")):
        await world.acknowledged_through(4, "other")
        await until(lambda: world.observer.count(HandlerDisabled))
        await world.publish(record(4, run="run-0"))
        await world.acknowledged_through(5, "other")
        await asyncio.sleep(60)  # virtual: no retry is waiting
    assert world.observer.count(HandlerDisabled) == 1
    assert world.observer.facts(HandlerDisabled)[0][:3] == (
        "mine",
        "e0" if batch else "e1",
        "the receiver is gone",
    )
    assert seen == ["e0"]
    assert world.store.dead_letters == []
    gone.clear()
    async with world.delivering(mine()):
        await world.acknowledged_through(5, "mine")
    assert sorted(seen) == ["e0", *(["e0"] if batch else []), "e1", "e2", "e3", "e4"]
    assert seen.index("e4") > seen.index("e0")
