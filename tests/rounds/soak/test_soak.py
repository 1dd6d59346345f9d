"""A quarter of a minute of the soak, and that its checksum finds what it is there to find."""

import dataclasses
import json

import pytest

from tests.rounds.soak.checksum import KEPT, Checksum, Sum
from tests.rounds.soak.soaking import SoakOptions, soak, verdict
from tests.rounds.soak.world import COMMIT_SPAN, World, slot_of
from tests.support.processes.memory import Memory

STORY = [("a", "enrolled"), ("a", "started"), ("b", "enrolled"), ("a", "ended"), ("b", "ended")]
QUICK = SoakOptions(
    rate=300,
    changes=20,
    day_s=0.5,
    cut_s=4,
    expire_s=2,
    page_ms=10,
    trim_s=2,
    sample_s=1,
    journal_bytes=1_000_000,
    backoff={"first_ms": 100, "max_ms": 300, "min_interval_ms": 100, "healthy_ms": 1_000},
)


def summed(*stories) -> list[Sum]:
    checksum = Checksum()
    for repetition, story in enumerate(stories):
        for run, what in story:
            checksum.add(repetition, run, what)
    return checksum.sums()


(WANTED,) = summed(STORY)


def test_a_repetition_in_which_everything_came_once_and_in_order_is_right_in_whatever_order_the_runs_came():
    side_by_side = sorted(STORY, key=lambda event: event[0])
    assert verdict(summed(STORY, side_by_side), 2, WANTED) == []


@pytest.mark.parametrize(
    ("story", "why"),
    [
        (STORY[:1] + STORY[2:], "4 events instead of 5"),
        (STORY[:2] + STORY[1:], "6 events instead of 5"),
        (STORY[1::-1] + STORY[2:], "another order"),
        ([("b", "started") if event == ("a", "started") else event for event in STORY], "another order"),
    ],
    ids=["lost", "doubled", "swapped", "of another run"],
)
def test_a_lost_a_doubled_a_swapped_and_a_strayed_event_are_found(story, why):
    (wrong,) = verdict(summed(STORY, story, STORY), 3, WANTED)
    assert wrong.startswith("repetition 1: ")
    assert why in wrong


def test_a_repetition_that_is_over_is_forgotten_and_what_comes_of_it_then_is_found():
    checksum = Checksum()
    for repetition in range(KEPT + 2):
        for run, what in STORY:
            checksum.add(repetition, run, what)
    over = checksum.fold()
    assert over == [WANTED]
    assert checksum.fold() == []
    checksum.add(0, "a", "ended")
    assert verdict([*over, *checksum.fold(), *checksum.sums()], KEPT + 2, WANTED) == [
        "repetition 0: 1 events came when it was over"
    ]


def test_a_repetition_of_which_nothing_came_is_found():
    assert verdict(summed(STORY), 2, WANTED) == ["repetition 1: nothing of it"]


def test_every_repetition_of_the_world_means_the_same_under_other_names():
    world = World(20, 1_767_261_600_000, 60_000)
    size = len(world)
    first, fourth = (
        [json.loads(world.message(index, 7)) for index in range(at, at + size)] for at in (0, 3 * size)
    )
    headers = [
        [message["data"]["payload"]["ChangeEventHeader"] for message in messages]
        for messages in (first, fourth)
    ]
    for one, other in zip(*headers, strict=True):
        assert other["commitNumber"] - one["commitNumber"] == 3 * COMMIT_SPAN
        assert other["commitTimestamp"] - one["commitTimestamp"] == 3 * size * 60_000
        assert other["transactionKey"] != one["transactionKey"]
        for was, now in zip(one["recordIds"], other["recordIds"], strict=True):
            assert slot_of(was, was) == dataclasses.replace(slot_of(now, now), repetition=0)
            assert slot_of(now, now).repetition == 3
    times = [header["commitTimestamp"] for header in headers[0]]
    assert times == sorted(times)
    assert headers[1][0]["commitTimestamp"] >= times[-1]


def test_the_slope_is_that_of_what_comes_after_the_warm_up():
    memory = Memory([(at_s, 80_000_000 + at_s * 100_000) for at_s in range(0, 600, 10)])
    memory.samples += [(at_s, 140_000_000 + (at_s - 600) * 500) for at_s in range(600, 3_600, 10)]
    assert memory.slope_mb_h() == pytest.approx(1.8)
    assert memory.grows
    assert not Memory(memory.samples[:100]).grows, "over less than twenty minutes nobody knows"
    assert not Memory([(at_s, 80_000_000) for at_s in range(0, 3_600, 10)]).grows


@pytest.mark.long
async def test_a_quarter_of_a_minute_of_the_soak_loses_doubles_and_swaps_nothing(tmp_path):
    outcome = await soak(tmp_path, "redis", 12, QUICK, print)
    print(outcome)
    assert outcome.wrong == []
    assert outcome.repetitions > KEPT, "so that some are folded"
    assert outcome.cuts > 0
    assert outcome.trimmed > 0, "the journal lets go"
    assert outcome.records < outcome.most_records + 1_000, "what ended is forgotten"
    assert outcome.memory.samples
