"""Half a minute (two where CI says so) of what ``make replicas`` does for ten; and that its witnesses see what they are there for.

Rounds are the command itself, in a process of its own, so that one that comes to no end takes nobody along.
"""

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes.fleet import Answer, Replica, overlaps
from tests.support.processes.lease_watch import Held, LeaseWatch
from tests.support.processes.seen import Sight, repeats

SECONDS = 120 if os.environ.get("CI") else 30


def played(folder: Path, seconds: float, *more: str) -> str:
    """What the command says of a round, which holds."""
    command = [sys.executable, "-m", "tests.rounds.replicas", "--minutes", str(seconds / 60), *more]
    with (folder / "round.txt").open("w+") as told:
        round_ = subprocess.Popen(
            [*command, "--folder", str(folder / "round")],
            cwd=Path(__file__).parents[2],
            stdout=told,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = round_.wait(seconds + 150)
        except subprocess.TimeoutExpired:
            os.killpg(round_.pid, signal.SIGKILL)
            round_.wait()
            code = None
        told.seek(0)
        output = told.read()
    print(f"\n{output}")
    assert code == 0, output[-5_000:]
    return output


@pytest.mark.long
@pytest.mark.timeout(SECONDS + 180)
def test_three_replicas_under_kills_and_freezes_hand_over_in_time_and_lose_nothing(tmp_path: Path) -> None:
    repeated = re.search(r"(\d+) repeated to the handler", played(tmp_path, SECONDS, "--seed", "1"))
    assert repeated is not None
    assert int(repeated[1]) > 0, "work was under way when a holder was hit"


@pytest.mark.long
@pytest.mark.timeout(180)
def test_so_do_three_on_one_sqlite_file(tmp_path: Path) -> None:
    played(tmp_path, 0, "--seed", "2", "--store", "sqlite")


def replica(name: str, *answers: tuple[float, bool]) -> Replica:
    made = Replica.__new__(Replica)
    made.name = name
    made.answers = [Answer(1, at, at + 0.01, ready, not ready) for at, ready in answers]
    return made


def test_two_that_are_ready_in_turn_do_not_overlap() -> None:
    one = replica("one", (0, True), (0.1, True), (0.2, False), (0.3, False))
    two = replica("two", (0, False), (0.1, False), (0.22, True), (0.3, True))
    assert overlaps([one, two]) == []


def test_two_that_are_ready_at_the_same_time_are_found() -> None:
    one = replica("one", (0, True), (0.1, True), (0.2, True), (0.3, False))
    two = replica("two", (0, False), (0.1, True), (0.15, True), (0.3, True))
    assert overlaps([one, two]) == ["two from 0.110 on, one until 0.200"] * 2


def test_what_a_frozen_replica_says_late_is_not_taken_for_now() -> None:
    one = replica("one", (0, True), (0.1, True))
    one.answers += [Answer(1, 0.2, 5.0, True, False), Answer(1, 5.1, 5.11, False, False)]
    two = replica("two", (2.9, True), (3, True), (3.1, True), (5, True))
    assert overlaps([one, two]) == []


@pytest.mark.parametrize(
    "held",
    [
        [Held("a", 7, "one"), Held("b", 0, "two"), Held("a", 8, "one")],
        [Held("a", 7, "one"), Held("a", 6, "one")],
    ],
)
async def test_a_commit_that_should_have_been_refused_is_found(held: list[Held]) -> None:
    looks = iter(held)

    async def look() -> Held:
        return next(looks, held[-1])

    async with LeaseWatch(look) as watch:
        async with asyncio.timeout(5):
            while len(watch.looks) <= len(held):
                await asyncio.sleep(0.01)
    assert watch.usurped()


async def test_a_watch_that_ended_is_waited_for_by_nobody() -> None:
    async def look() -> Held:
        raise ValueError("no lease at all")

    async with LeaseWatch(look) as watch:
        await asyncio.wait({watch._task})  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="no lease"):
            watch.check()


async def test_a_look_that_swallows_its_cancellation_keeps_nobody_waiting() -> None:
    swallowed = []

    async def look() -> Held:
        try:
            await asyncio.sleep(0.2)
        except asyncio.CancelledError:
            if swallowed:
                raise
            swallowed.append(1)
        return Held("a", 7, "one")

    async with asyncio.timeout(5):
        async with LeaseWatch(look) as watch:
            await asyncio.sleep(0.05)
    assert swallowed
    assert watch._task is not None
    assert watch._task.done()


JOURNAL = [{"id": id_, "tracker_id": run} for id_, run in (("1", "r"), ("2", "s"), ("3", "r"), ("4", "r"))]


def seen(*sights: str) -> list[Sight]:
    return [Sight(tenure, id_) for tenure, id_ in map(str.split, sights)]


def test_a_stretch_that_a_second_tenure_repeats_is_in_order() -> None:
    assert repeats(JOURNAL, seen("a 2", "a 1", "a 3", "b 1", "b 3", "a 4", "b 4")) == 3


@pytest.mark.parametrize(
    ("sights", "why"),
    [
        (("a 1", "a 2", "a 4", "b 3"), "first seen in the order"),
        (("a 1", "a 2", "a 3", "a 4", "b 4", "b 3"), "tenure b saw"),
        (("a 1", "a 2", "a 3", "a 3", "a 4"), "tenure a saw"),
        (("a 1", "a 2", "a 3"), "were not seen"),
        (("a 1", "a 2", "a 3", "a 4", "a 5"), "not in the journal"),
    ],
)
def test_what_was_seen_otherwise_is_found(sights: tuple[str, ...], why: str) -> None:
    with pytest.raises(AssertionError, match=why):
        repeats(JOURNAL, seen(*sights))
