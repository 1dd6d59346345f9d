"""The stories that cadence life is made of, each from the simulated org to the lines that a person reads.

What is printed is kept in ``tests/data/timelines``, read and approved by a person; ``python -m tests.support.builders.stories`` writes it anew.
"""

import pytest

from tests.support.builders.stories import (
    KEPT,
    STORIES,
    kept,
    printed,
)

ENDS = {
    "enrol_to_finish": ["run.ended.finished", "run.disposition_set"],
    "skip": ["step.ended.skipped", "step.created", "step.activated", "run.advanced"],
    "manual_complete": ["step.ended.completed", "step.created", "step.activated", "run.advanced"],
    "pause_and_resume": ["run.paused", "step.paused", "run.resumed", "step.resumed"],
    "scheduled_resume": ["run.paused", "step.paused", "run.resume_due", "run.resumed", "step.resumed"],
    "removal_with_disposition": ["step.ended.cancelled", "run.ended.removed"],
    "exit_rule": ["step.ended.exited", "run.ended.exited"],
    "lead_conversion": ["step.ended.cancelled", "run.ended.converted"],
    "daisy_chain": ["run.ended.chained", "run.enrolled", "run.started", "step.created", "step.scheduled"],
    "error_and_retry": ["step.ended.completed", "step.created", "step.activated", "run.advanced"],
    "reassign": ["run.reassigned"],
    "re_enrol": ["run.ended.removed", "run.enrolled", "run.started", "step.created", "step.activated"],
}


@pytest.mark.parametrize("name", STORIES)
def test_each_story_reads_as_it_is_kept(name):
    told = printed(STORIES[name])
    assert told == kept(name).read_text(), (
        "look at it; if it is right: python -m tests.support.builders.stories"
    )
    types = [words[1] for line in told.splitlines() if (words := line.split()) and line.startswith("20")]
    assert types[-len(ENDS[name]) :] == ENDS[name]


def test_all_twelve_are_kept_and_nothing_else():
    assert len(STORIES) == len(ENDS) == 12
    assert {path.stem for path in KEPT.iterdir()} == STORIES.keys()
