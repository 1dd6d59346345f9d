"""What people ask of a handler that runs: pause, retry, replay; and the limit at which it stops by itself. Time is virtual."""

from __future__ import annotations

import asyncio

import pytest

from consumer.plugin import Disable, Reject
from consumer.ports.delivery import HandlerCommand
from consumer.ports.observers.delivery_events import EventFiltered
from consumer.ports.observers.handler_events import (
    HandlerDisabled,
    HandlerHalted,
    HandlerPaused,
    HandlerResumed,
    ReplayEnded,
    ReplayStarted,
)
from tests.support.rigs.delivery import (
    Batches,
    Log,
    loaded,
    record,
    until,
)

pytestmark = pytest.mark.looptime


def pause(handler="h"):
    return HandlerCommand("p1", handler, "pause", 1)


def replay(after, through, number=1, handler="h"):
    return HandlerCommand(f"r{number}", handler, "replay", number, after, through)


async def test_at_its_dead_letter_limit_a_handler_stops_exactly_and_loses_nothing(world):
    log, healed = Log(), asyncio.Event()

    async def handle(event, ctx):
        if not healed.is_set():
            raise Reject("bad deploy")
        log.note(event)

    await world.publish(*(record(n, f"run-{n}") for n in range(50)))
    other = Log()
    async with world.delivering(loaded(handle, dead_letter_limit=7), loaded(other, "other")):
        await world.settled_through(50, "other")
        await asyncio.sleep(600)
        assert len(world.store.dead_letters) == 7
        assert world.observer.facts(HandlerHalted) == [("h", 7, 7)]
        healed.set()
        await world.store.resolve_dead_letters(
            "h", [dead_letter.event_id for dead_letter in world.store.dead_letters[:3]]
        )
        await world.settled_through(50)
    assert world.observer.facts(HandlerResumed) == [("h",)]
    assert len(log.ids) == 43
    assert len(world.store.dead_letters) == 4


async def test_the_limit_counts_what_was_there_before_a_restart(world):
    async def handle(event, ctx):
        raise Reject("bad deploy")

    await world.publish(*(record(n, f"run-{n}") for n in range(50)))
    for _ in range(3):
        async with world.delivering(loaded(handle, dead_letter_limit=7)):
            await asyncio.sleep(30)
    assert len(world.store.dead_letters) == 7


async def test_a_batch_stops_at_the_limit_as_well(world):
    def act(events):
        raise OSError("bad deploy")

    await world.publish(*(record(n, f"run-{n}") for n in range(300)))
    async with world.delivering(loaded(Batches(act), max_attempts=2, dead_letter_limit=5)):
        await asyncio.sleep(3_600)
    assert len(world.store.dead_letters) == 5


async def test_dead_letters_are_retried_in_journal_order_behind_what_waits_in_their_run(world):
    log, healed, gate = Log(), False, asyncio.Event()

    async def handle(event, ctx):
        if event.id in ("e0", "e1", "e2") and not healed:
            raise Reject("not yet")
        if event.id == "e3":
            await gate.wait()
        log.note(event, ctx)

    await world.publish(*(record(n, "run") for n in range(5)))
    async with world.delivering(loaded(handle, timeout=100_000)):
        await until(lambda: len(world.store.dead_letters) == 3)
        healed = True
        await world.store.redrive_dead_letters("h", ["e2", "e0"])
        await asyncio.sleep(5)
        gate.set()
        await until(lambda: len(world.store.dead_letters) == 1)
    assert log.ids == ["e3", "e4", "e0", "e2"]
    assert [dead_letter.event_id for dead_letter in world.store.dead_letters] == ["e1"]
    assert world.store.marked == set()


async def test_a_retried_letter_that_fails_again_stays_with_its_new_error(world):
    errors = iter(["first", "second"])

    async def handle(event, ctx):
        raise Reject(next(errors))

    await world.publish(record(0))
    async with world.delivering(loaded(handle)):
        await until(lambda: world.store.dead_letters)
        await world.store.redrive_dead_letters("h", ["e0"])
        await until(lambda: not world.store.marked)
        await asyncio.sleep(60)
    assert [dead_letter.error for dead_letter in world.store.dead_letters] == ["second"]


async def test_letters_can_be_retried_while_the_limit_holds_the_handler(world):
    healed = False

    async def handle(event, ctx):
        if not healed:
            raise Reject("bad deploy")

    await world.publish(*(record(n, f"run-{n}") for n in range(20)))
    async with world.delivering(loaded(handle, dead_letter_limit=3)):
        await until(lambda: world.observer.count(HandlerHalted))
        healed = True
        await world.store.redrive_dead_letters(
            "h", [dead_letter.event_id for dead_letter in world.store.dead_letters]
        )
        await world.settled_through(20)
        await until(lambda: not world.store.dead_letters)


async def test_a_letter_that_was_asked_for_survives_the_process_that_was_asked(world):
    log, healed = Log(), False

    async def handle(event, ctx):
        if not healed:
            raise Reject("no")
        log.note(event)

    await world.publish(record(0))
    async with world.delivering(loaded(handle)):
        await until(lambda: world.store.dead_letters)
    await world.store.redrive_dead_letters("h", ["e0"])
    healed = True
    async with world.delivering(loaded(handle)):
        await until(lambda: not world.store.dead_letters)
    assert log.ids == ["e0"]


async def test_a_paused_handler_makes_no_attempts_and_the_others_go_on(world):
    log, other = Log(), Log()
    await world.store.put_command(pause())
    await world.publish(record(0), record(1))
    async with world.delivering(loaded(log), loaded(other, "other")):
        await world.settled_through(2, "other")
        await asyncio.sleep(60)
        assert log.ids == []
        await world.store.remove_command(pause())
        await world.settled_through(2)
        await world.store.put_command(pause())
        await asyncio.sleep(5)
        await world.publish(record(2))
        await world.settled_through(3, "other")
    assert log.ids == ["e0", "e1"]
    assert world.observer.facts(HandlerPaused) == [("h",), ("h",)]


async def test_a_handler_that_is_paused_and_halted_runs_again_when_both_have_ended(world):
    log, healed = Log(), asyncio.Event()

    async def handle(event, ctx):
        if not healed.is_set():
            raise Reject("bad deploy")
        log.note(event)

    await world.publish(*(record(n, f"run-{n}") for n in range(10)))
    async with world.delivering(loaded(handle, dead_letter_limit=2)):
        await until(lambda: world.observer.count(HandlerHalted))
        healed.set()
        await world.store.put_command(pause())
        await until(lambda: world.observer.count(HandlerPaused))
        letters = [dead_letter.event_id for dead_letter in world.store.dead_letters]
        await world.store.resolve_dead_letters("h", letters)
        await until(lambda: world.observer.count(HandlerResumed))
        await asyncio.sleep(120)
        assert log.ids == []
        await world.store.remove_command(pause())
        await world.settled_through(10)
    assert len(log.ids) == 8
    changes = (HandlerPaused, HandlerHalted, HandlerResumed)
    assert [event for event in world.observer.seen if isinstance(event, changes)] == [
        HandlerHalted("h", 2, 2),
        HandlerPaused("h"),
        HandlerHalted("h", 2, 2),
        HandlerResumed("h"),
        HandlerPaused("h"),
        HandlerResumed("h"),
    ]


async def test_a_disabled_handler_that_is_halted_as_well_is_let_go_on_by_resuming_and_by_fewer_dead_letters(
    world,
):
    log, healed = Log(), asyncio.Event()

    async def handle(event, ctx):
        if not healed.is_set():
            raise Disable("no licence") if event.id == "e1" else Reject("bad deploy")
        log.note(event)

    await world.publish(*(record(n, f"run-{n}") for n in range(3)))
    async with world.delivering(loaded(handle, dead_letter_limit=1, concurrency=1)):
        await until(lambda: world.observer.count(HandlerDisabled) or world.observer.count(HandlerHalted))
        await until(lambda: world.observer.count(HandlerHalted))
        healed.set()
        await world.store.put_command(pause())
        await until(lambda: world.observer.count(HandlerPaused))
        await world.store.remove_command(pause())
        await asyncio.sleep(120)
        assert log.ids == [], "it is halted still"
        await world.store.resolve_dead_letters("h", ["e0"])
        await world.settled_through(3)
    assert log.ids == ["e1", "e2"]


async def test_a_replay_delivers_a_stretch_again_beside_what_is_new_and_says_so(world):
    seen = []

    async def handle(event, ctx):
        seen.append((event.id, ctx.replayed))
        await asyncio.sleep(0.01)

    await world.publish(*(record(n, f"run-{n % 3}") for n in range(100)))
    async with world.delivering(loaded(handle)):
        await world.settled_through(100)
        seen.clear()
        await world.store.put_command(replay(10, 60))
        await until(lambda: world.observer.count(ReplayStarted))
        await world.publish(*(record(n, f"run-{n % 3}") for n in range(100, 120)))
        await until(lambda: not world.store.commands)
        await world.settled_through(120)
    again = [id_ for id_, replayed in seen if replayed]
    assert sorted(again) == sorted(f"e{n}" for n in range(10, 60))
    for run in range(3):
        assert [id_ for id_ in again if int(id_[1:]) % 3 == run] == [
            f"e{n}" for n in range(10, 60) if n % 3 == run
        ]
    assert sorted(id_ for id_, replayed in seen if not replayed) == sorted(f"e{n}" for n in range(100, 120))
    assert set(world.store.saved) == {"h"}, "its progress is forgotten with it"


async def test_two_calls_of_one_run_never_overlap_during_a_replay(world):
    at_once = set()

    async def handle(event, ctx):
        assert event.tracker_id not in at_once
        at_once.add(event.tracker_id)
        await asyncio.sleep(0.1)
        at_once.discard(event.tracker_id)

    await world.publish(*(record(n, "run") for n in range(20)))
    async with world.delivering(loaded(handle, max_attempts=1)):
        await world.settled_through(20)
        await world.store.put_command(replay(0, 20))
        for n in range(20, 40):
            await world.publish(record(n, "run"))
            await asyncio.sleep(0.1)
        await until(lambda: not world.store.commands)
    assert world.store.dead_letters == []


async def test_a_replay_goes_on_after_a_crash_where_it_was_and_after_its_end_never_again(world):
    log = Log()

    async def handle(event, ctx):
        if ctx.replayed:
            log.note(event)
            if event.id == "e30" and len(log.ids) < 80:
                raise OSError("down")
        await asyncio.sleep(0.02)

    await world.publish(*(record(n, f"run-{n}") for n in range(100)))
    async with world.delivering(loaded(handle)):
        await world.settled_through(100)
    await world.store.put_command(replay(0, 100))
    for _ in range(3):
        running = asyncio.create_task(world.dispatcher(loaded(handle, concurrency=1)).run())
        await asyncio.sleep(0.7)
        running.cancel()
        await asyncio.wait([running])
    async with world.delivering(loaded(handle)):
        await until(lambda: not world.store.commands)
        await asyncio.sleep(60)
    assert set(log.ids) == {f"e{n}" for n in range(100)}
    assert len(log.ids) < 150
    assert world.observer.count(ReplayEnded) == 1


async def test_a_replay_that_is_taken_back_delivers_nothing_more(world):
    log = Log()

    async def handle(event, ctx):
        if ctx.replayed:
            log.note(event)
            await asyncio.sleep(1)

    await world.publish(*(record(n, "run") for n in range(100)))
    async with world.delivering(loaded(handle)):
        await world.settled_through(100)
        await world.store.put_command(replay(0, 100))
        await until(lambda: len(log.ids) == 3)
        await world.store.remove_command(replay(0, 100), progress=False)
        await until(lambda: world.observer.count(ReplayEnded))
        await asyncio.sleep(60)
        assert len(log.ids) < 8
    assert set(world.store.saved) == {"h"}


async def test_a_replay_ignores_the_age_of_events_and_puts_failures_aside_under_the_handlers_name(world):
    async def handle(event, ctx):
        if ctx.replayed and event.id == "e1":
            raise Reject("again")

    await world.publish(record(0), record(1))
    async with world.delivering(loaded(handle)):
        await world.settled_through(2)
    world.clock._wall_ms += 10**9
    async with world.delivering(loaded(handle, max_age="1h")):
        await world.store.put_command(replay(0, 2))
        await until(lambda: not world.store.commands)
    assert [(dead_letter.handler, dead_letter.event_id) for dead_letter in world.store.dead_letters] == [
        ("h", "e1")
    ]
    assert world.observer.count(EventFiltered) == 0


async def test_a_batch_holds_either_replayed_events_or_others(world):
    class Seeing(Batches):
        async def handle_batch(self, events, ctx):
            self.calls.append([event.id for event in events])
            self.flags.append(ctx.replayed)
            await asyncio.sleep(0.5)

    sink = Seeing(batch_max=10)
    sink.flags = []
    await world.publish(*(record(n, f"run-{n % 3}") for n in range(60)))
    async with world.delivering(loaded(sink)):
        await world.settled_through(60)
        del sink.calls[:], sink.flags[:]
        await world.store.put_command(replay(0, 60))
        for n in range(60, 120):
            await world.publish(record(n, f"run-{n % 3}"))
            await asyncio.sleep(0.1)
        await until(lambda: not world.store.commands)
        await world.settled_through(120)
    for call, replayed in zip(sink.calls, sink.flags, strict=True):
        assert all((int(id_[1:]) < 60) is replayed for id_ in call)
    assert {True, False} == set(sink.flags)


async def test_a_replay_of_what_retention_has_removed_ends(world):
    await world.publish(*(record(n, "run") for n in range(10)))
    async with world.delivering(loaded(Log())):
        await world.settled_through(10)
        world.store.remove_through(10)
        await world.store.put_command(replay(2, 10))
        await until(lambda: not world.store.commands, 60)


async def test_a_handler_that_asked_to_be_stopped_tries_again_after_a_pause(world):
    gone, log = [True], Log()

    async def handle(event, ctx):
        if gone:
            raise Disable("the receiver is gone")
        log.note(event)

    await world.publish(*(record(n) for n in range(3)))
    async with world.delivering(loaded(handle)):
        await until(lambda: world.observer.count(HandlerDisabled))
        await asyncio.sleep(600)
        assert log.ids == []
        gone.clear()
        await world.store.put_command(pause())
        await until(lambda: world.observer.count(HandlerPaused))
        await world.store.remove_command(pause())
        await world.settled_through(3)
    assert log.ids == ["e0", "e1", "e2"]
    assert world.store.dead_letters == []
