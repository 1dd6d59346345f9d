"""Generated answers: some at the boundary, drawn by hypothesis, and some over sockets to the running service in a process of its own."""

import random
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzzing.answers import KINDS, broken
from tests.fuzzing.seeds import SEEDS
from tests.fuzzing.targets import TARGETS


@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_broken_answer_of_any_kind_is_read_or_refused_and_nothing_else(kind, data):
    sample = data.draw(st.sampled_from(SEEDS[kind]))
    dice = data.draw(st.randoms(use_true_random=False))
    TARGETS[kind](broken(sample, random.Random(dice.getrandbits(64))))


@pytest.mark.long
def test_the_service_lives_on_broken_answers_loses_nothing_and_gives_no_token_away():
    command = [
        sys.executable,
        "-m",
        "tests.fuzzing.answers",
        "--count",
        "120",
        "--service",
        "120",
        "--minutes",
        "0.5",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=115, check=False)
    assert done.returncode == 0, done.stderr[-3_000:]
    assert "it lives, is ready, and lost nothing" in done.stdout
