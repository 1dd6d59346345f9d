"""What a handler may say and ask: predicates, ``ctx.latest``, ``ctx.once``, and event types that a type checker knows."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

import pytest

from consumer import ActionCadenceTracker
from consumer.delivery.handler_settings import HandlerSpec
from consumer.delivery.loading import LoadedHandler
from consumer.domain.objects import RUN
from consumer.domain.record_ids import to_18
from consumer.event_types import (
    ALL_TYPES,
    EventPattern,
    EventType,
    matching_types,
)
from consumer.plugin import Context, Handler, NoSettings, handler
from consumer.ports.observers.delivery_events import EventFiltered
from tests.support.rigs.delivery import (
    Log,
    loaded,
    record,
    until,
)
from tests.unit.cli.conftest import state

RUN_ID = to_18("0qBxx0000004C92")


def of(made, types="*"):
    return LoadedHandler(
        "h", HandlerSpec(use="x", start="earliest"), matching_types(types), made, NoSettings()
    )


@pytest.mark.looptime
async def test_a_predicate_narrows_what_a_function_or_a_class_gets(world):
    log, mine = Log(), Log()
    chosen = handler(on="run.*", when=lambda event: event.owner_id == "me")(log)

    class Mine(Handler):
        def wants(self, event):
            return event.owner_id == "me"

        async def handle(self, event, ctx):
            mine.note(event)

    await world.publish(record(0, owner_id="me"), record(1, owner_id="you"), record(2, owner_id="me"))
    async with world.delivering(of(chosen)):
        await world.acknowledged_through(3)
    assert log.ids == ["e0", "e2"]
    assert world.observer.facts(EventFiltered) == [("h", "run.advanced", "predicate")]
    async with world.delivering(loaded(Mine(), "class")):
        await world.acknowledged_through(3, "class")
    assert mine.ids == ["e0", "e2"]


@pytest.mark.looptime
async def test_a_predicate_that_raises_is_a_failed_attempt_of_that_event_alone(world):
    log = Log()
    chosen = handler(when=lambda event: event.owner_id[0] == "m")(log)
    await world.publish(record(0, "a"), record(1, "b", owner_id="me"))
    async with world.delivering(of(chosen)):
        await world.acknowledged_through(2)
    assert log.ids == ["e1"]
    assert [(dead_letter.event_id, dead_letter.attempts) for dead_letter in world.store.dead_letters] == [
        ("e0", 10)
    ]
    assert world.store.dead_letters[0].error.startswith("TypeError")


@pytest.mark.looptime
async def test_once_is_recorded_after_the_block_has_succeeded(world):
    firsts = []

    async def handle(event, ctx):
        async with ctx.once("mail/" + event.id) as first:
            firsts.append(first)
            if ctx.attempt == 1:
                raise OSError("inside the block")
        if ctx.attempt == 2:
            raise OSError("after the block")

    await world.publish(record(0))
    async with world.delivering(loaded(handle)):
        await world.acknowledged_through(1)
    assert firsts == [True, True, False]
    async with world.delivering(loaded(handle, "another")):
        await until(lambda: len(firsts) == 4)
    assert firsts[3] is True, "keys are of one handler"


@pytest.mark.looptime
async def test_latest_is_what_the_store_knows_now(world):
    found = []
    world.store.known[RUN_ID] = state(RUN, RUN_ID, {"State": "Completed", "OwnerId": "005x"})

    async def handle(event, ctx):
        found.extend([await ctx.latest(RUN_ID[:15]), await ctx.latest(to_18("0qBxx0000004C93"))])

    await world.publish(record(0))
    async with world.delivering(loaded(handle)):
        await world.acknowledged_through(1)
    run, unknown = found
    assert isinstance(run, ActionCadenceTracker)
    assert (run.state, run.owner_id, unknown) == ("Completed", "005x", None)


async def test_without_a_store_the_context_says_so():
    context = Context(handler="h", log=None, http=None)
    with pytest.raises(RuntimeError, match="there is no store here"):
        await context.latest(RUN_ID)


def test_the_types_that_a_checker_knows_are_the_vocabulary():
    assert get_args(EventType) == ALL_TYPES
    patterns = [each for part in get_args(EventPattern) for each in get_args(part) or [part]]
    assert all(matching_types(pattern) for pattern in patterns)


GOOD = """
from consumer import Context, Handler, LifecycleEvent, handler
from consumer.event_types import RUN_ENROLLED


@handler(on=["run.ended.*", RUN_ENROLLED], when=lambda event: event.late)
async def one(event: LifecycleEvent, ctx: Context) -> None:
    async with ctx.once(event.id) as first:
        ctx.log.info("one", first=first, now=await ctx.latest(event.record_id or ""))


class Two(Handler):
    on = ("run.*", "step.failed")

    async def handle(self, event: LifecycleEvent, ctx: Context) -> None: ...
"""


def test_a_wrong_event_type_is_rejected_by_mypy(tmp_path):
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "bad.py").write_text(
        GOOD.replace("run.ended.*", "run.endd.*")
        .replace("step.failed", "step.faild")
        .replace("RUN_ENROLLED", "RUN_ENROLED")
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "good.py", "bad.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    complaints = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert all(line.startswith("bad.py") for line in complaints), done.stdout
    assert any("run.endd.*" in line for line in complaints), done.stdout
    assert any("RUN_ENROLED" in line for line in complaints), done.stdout
    assert any("Two" in line or "step.faild" in line for line in complaints), done.stdout
