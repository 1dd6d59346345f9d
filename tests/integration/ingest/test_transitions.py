"""Every pair of states, legal or not, on the whole way from the socket's bytes to the journal of a real store.

What is expected stands in ``tests/data/transitions.py``, written by hand; which pairs are legal is said twice, there and in the code.
"""

import pytest

from consumer.clock import iso
from consumer.domain.record_ids import to_18
from consumer.domain.state_machines import NEW
from consumer.domain.state_machines import RUN as RUNS
from consumer.domain.state_machines import STEP as STEPS
from tests.data.transitions import RUN_ENDINGS, RUN_TABLE, STEP_ENDINGS, STEP_TABLE, cells
from tests.support.builders.changes import (
    COMMIT_MS,
    RUN,
    STEP,
    message,
)
from tests.support.rigs.ingest import tenure

pytestmark = pytest.mark.looptime

UNKNOWN = "?"
MACHINES = {"run": (RUN, RUNS, cells(RUN_TABLE)), "step": (STEP, STEPS, cells(STEP_TABLE))}
NAMES = {"run": "run.ended.{}", "step": "step.ended.{}"}


def way_to(machine, state):
    """Legal states from CREATE to ``state``, by the code's own table; a state that it does not have is reached at once."""
    ways = {NEW: ()}
    while state not in ways:
        longer = {
            to: (*way, to) for origin, way in ways.items() for one, to in machine.legal if one == origin
        }
        more = {to: way for to, way in longer.items() if to not in ways}
        if not more:
            return (state,)
        ways |= more
    return ways[state]


class Story:
    """Messages about records of one object, each change a commit of its own."""

    def __init__(self, noun):
        self.noun, self.entity = noun, MACHINES[noun][0]
        self.messages, self.commit = [], 0

    def record(self, number):
        return to_18(f"{'0qB' if self.noun == 'run' else '8HF'}WP{number:010d}")

    def emit(self, record, kind, fields):
        self.commit += 1
        if self.entity == STEP and kind == "CREATE":
            fields = {**fields, "ActionCadenceTrackerId": to_18(f"0qB{record[3:15]}")}
        self.messages.append(
            message(kind, self.entity, record, fields, commit=self.commit, commit_ms=COMMIT_MS)
        )
        return self.commit

    def walk(self, record, machine, before, fields):
        """Lead a new record to ``before``, then change it; returns the commit of that last change."""
        if before == UNKNOWN:
            return self.emit(record, "UPDATE", fields)
        kind = "CREATE"
        for state in way_to(machine, before) if before != NEW else ():
            self.emit(record, kind, {"State": state})
            kind = "UPDATE"
        return self.emit(record, kind, fields)


async def journal_of(path, story):
    async with tenure(path, max_events=100) as rig:
        await rig.open()
        for start in range(0, len(story.messages), 50):
            await rig.answer(*story.messages[start : start + 50])
        await rig.pass_time(2_000)
        assert rig.witness.dead_letters == []
        return await rig.journal()


def told(journal, commit):
    events = [event for event in journal if event["transaction"]["commit_number"] == commit]
    marks = {event.get("missed_transitions", False) for event in events}
    assert len(marks) <= 1, "events of one change disagree"
    return [event["type"] for event in events], marks == {True}


def expected(noun, kind, cell):
    """Types and mark of a cell; a CREATE is told as such before."""
    missed = cell.endswith("!")
    words = [] if cell == "-" else cell.rstrip("!").split("+")
    ended = {"E": "other" if noun == "run" else "completed", "cancelled": "cancelled"}
    types = [NAMES[noun].format(ended[word]) if word in ended else f"{noun}.{word}" for word in words]
    if kind == "CREATE":
        types.insert(0, "run.enrolled" if noun == "run" else "step.created")
    return types, missed


@pytest.mark.parametrize("noun", MACHINES)
async def test_every_pair_of_states_says_in_the_journal_what_the_table_says(tmp_path, noun):
    _, machine, table = MACHINES[noun]
    story = Story(noun)
    commits = {
        pair: story.walk(story.record(number), machine, pair[0], {"State": pair[1]})
        for number, pair in enumerate(table)
    }
    journal = await journal_of(tmp_path / "cadence.db", story)
    wrong = {
        pair: (found, wanted)
        for pair, commit in commits.items()
        if (found := told(journal, commit))
        != (wanted := expected(noun, "CREATE" if pair[0] == NEW else "UPDATE", table[pair]))
    }
    assert wrong == {}


@pytest.mark.parametrize(("noun", "legal", "others"), [("run", 13, 26), ("step", 38, 44)])
def test_the_code_and_the_hand_written_table_agree_on_what_is_legal(noun, legal, others):
    _, machine, table = MACHINES[noun]
    by_hand = {
        pair
        for pair, cell in table.items()
        if not cell.endswith("!")
        and pair[0] != UNKNOWN
        and cell != "updated"
        and "Hibernating" not in pair
        # A run that is prepared announces nothing, and yet is legal; Processing is no state to be in.
        and (cell != "-" or pair == (NEW, "Initializing"))
    }
    assert set(machine.legal) == by_hand
    assert len(machine.legal) == legal
    assert len(table) - legal >= max(others, legal), "at least as many illegal pairs are walked as legal ones"


@pytest.mark.parametrize(("noun", "endings"), [("run", RUN_ENDINGS), ("step", STEP_ENDINGS)])
async def test_every_way_to_end_is_named_by_its_reason(tmp_path, noun, endings):
    """From every state from which an ending is legal, with every reason there is, one that no document has, and none."""
    _, machine, _ = MACHINES[noun]
    last = "Complete" if noun == "run" else "Completed"
    origins = [origin for origin, to in machine.legal if to == last]
    assert len(origins) == (4 if noun == "run" else 6)
    story, commits = Story(noun), {}
    for origin in origins:
        for reason in endings:
            fields = {"State": last} | ({"CompletionReason": reason} if reason else {})
            record = story.record(len(commits))
            commits[origin, reason] = story.walk(record, machine, origin, fields)
    journal = await journal_of(tmp_path / "cadence.db", story)
    assert {key: told(journal, commit) for key, commit in commits.items()} == {
        (origin, reason): ([NAMES[noun].format(endings[reason])], False) for origin, reason in commits
    }
    reasons = {event["reason"] for event in journal if "reason" in event}
    assert reasons == {reason for reason in endings if reason}


async def test_after_processing_a_transition_counts_from_the_state_before_it(tmp_path):
    """Processing may or may not surface on the way; what is announced is the same."""
    _, machine, table = MACHINES["run"]
    pairs = [pair for pair in table if pair[0] not in {NEW, UNKNOWN} and pair[1] != "Processing"]
    story, commits = Story("run"), {}
    for number, (before, after) in enumerate(pairs):
        record = story.record(number)
        story.walk(record, machine, before, {"State": "Processing"})
        commits[before, after] = story.emit(record, "UPDATE", {"State": after})
    journal = await journal_of(tmp_path / "cadence.db", story)
    assert {pair: told(journal, commit) for pair, commit in commits.items()} == {
        pair: expected("run", "UPDATE", table[pair]) for pair in pairs
    }


async def test_the_events_of_one_change_stand_in_the_documented_order(tmp_path):
    run, step = Story("run"), Story("step")
    everything = {
        "RelatedToId": "006", "CompletionDisposition": "Success", "OwnerId": "005x", "CurrentStepId": step.record(1),
        "State": "Running", "ScheduledResumeDateTime": iso(COMMIT_MS + 3_600_000), "Mood__c": "fine",
    }  # fmt: skip
    commit = run.walk(run.record(1), RUNS, "Paused", everything)
    journal = await journal_of(tmp_path / "run.db", run)
    assert told(journal, commit)[0] == [
        "run.resumed",
        "run.advanced",
        "run.waiting",
        "run.reassigned",
        "run.attributed",
        "run.disposition_set",
    ]
    at = iso(COMMIT_MS)
    fields = {
        "ScheduledStartDateTime": at, "DueDateTime": at, "State": "InProgress", "ActionTakenDateTime": at, "StepTitle": "x",
    }  # fmt: skip
    commit = step.walk(step.record(1), STEPS, "Error", fields)
    journal = await journal_of(tmp_path / "step.db", step)
    assert told(journal, commit)[0] == [
        "step.action_taken",
        "step.recovered",
        "step.in_progress",
        "step.due_changed",
        "step.start_changed",
    ]
