"""What fuzzing knows, without a fuzzer: every known input keeps its promise, and large ones take no more than their share."""

import json
import subprocess
import sys

import pytest

from tests.fuzzing.corpus import known
from tests.fuzzing.found import FOUND
from tests.fuzzing.large import LARGE
from tests.fuzzing.mutator import mutated
from tests.fuzzing.seeds import SEEDS
from tests.fuzzing.targets import TARGETS

MOST_S = 2.5
"""Of processor time for a megabyte. What once took the square of its size took more than that, and what does not takes half a second."""
MOST_MB = 200


def test_every_target_has_samples_and_something_broke_only_known_ones():
    assert SEEDS.keys() == TARGETS.keys() == LARGE.keys()
    assert {one.target for one in FOUND} <= TARGETS.keys()


@pytest.mark.parametrize("one", FOUND, ids=lambda one: f"{one.target}: {one.why}"[:60])
def test_what_broke_a_promise_once_keeps_it(one):
    TARGETS[one.target](one.data)


@pytest.mark.parametrize("target", TARGETS)
def test_every_known_input_keeps_the_promise(target):
    for data in known(target):
        TARGETS[target](data)


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_cut_anywhere_keeps_the_promise(target):
    for data in SEEDS[target]:
        for length in range(0, len(data), 1 + len(data) // 200):
            TARGETS[target](data[:length])


@pytest.mark.parametrize("target", TARGETS)
def test_neighbours_of_the_samples_keep_the_promise(target):
    for seed in range(40):
        for data in SEEDS[target]:
            TARGETS[target](mutated(data, seed, 20_000, lambda one, most: one[:most]))


@pytest.fixture(scope="module")
def measured():
    """Each large input, in a process of their own whose peak of memory is theirs."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzzing.large"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_large_inputs_keep_the_promise_and_take_no_more_than_their_share_of_time(measured):
    assert {one["target"] for one in measured} == TARGETS.keys()
    assert [one for one in measured if one["seconds"] > MOST_S] == []


def test_large_inputs_take_no_more_than_their_share_of_memory(measured):
    assert max(measured, key=lambda one: one["grew_mb"])["grew_mb"] < MOST_MB


def test_the_mutator_makes_the_same_of_the_same():
    (data, *_) = SEEDS["event"]
    one, again = (mutated(data, 7, 20_000, lambda bytes_, _: bytes_) for _ in range(2))
    assert one == again != data
