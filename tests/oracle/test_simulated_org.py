"""The oracle against the simulated org: two programs that share nothing but the documentation."""

import random
from typing import Any

import pytest

from consumer.sandbox import STEP_TRACKER, TRACKER, ManualClock, Sandbox, SandboxOptions
from consumer.sandbox.schema import ENTITIES, event_value
from tests.oracle import Expectation, compare, differing_states, expected

ENDINGS = {
    "NoMoreSteps": "run.ended.finished",
    "DaisyChained": "run.ended.chained",
    "LeadConverted": "run.ended.converted",
    "ManuallyRemoved": "run.ended.removed",
    "AutomaticallyExited": "run.ended.exited",
}


class Org:
    """A world that has lived for a while, and what the oracle makes of its ledger."""

    def __init__(self, seed: int, steps: int) -> None:
        clock = ManualClock()
        sandbox = Sandbox(SandboxOptions(seed=seed, clock=clock))
        for _ in range(steps):
            sandbox.world.advance()
            clock.advance(1000)
        self.messages = sandbox.ledger.messages()
        self.records = {name: sandbox.org.records[name] for name in (TRACKER, STEP_TRACKER)}
        self.expectation: Expectation = expected(self.messages, sandbox.org.organization_id)

    def travelling(self) -> dict[str, dict[str, Any]]:
        """The fields of every record that change events carry, as they write them."""
        return {
            record_id: {
                name: event_value(entity, name, record[name])
                for name in fields
                if record.get(name) is not None
            }
            for entity, records in self.records.items()
            for fields in ([name for name, field in ENTITIES[entity].fields.items() if field.in_events],)
            for record_id, record in records.items()
        }


@pytest.fixture(scope="module")
def org() -> Org:
    return Org(seed=11, steps=4000)


def test_the_final_states_are_those_of_the_orgs_records(org: Org) -> None:
    deleted = {
        record_id
        for records in org.records.values()
        for record_id, record in records.items()
        if record["IsDeleted"]
    }
    assert org.expectation.deleted == deleted
    assert deleted
    assert org.expectation.bad == []
    told = {name for fields in org.expectation.states.values() for name in fields}
    actual = {
        # Deleted records keep what was last told; the org stamps the deletion itself, and no event carries that.
        record_id: fields | ({} if record_id not in deleted else _stamps(org, record_id))
        for record_id, fields in org.travelling().items()
    }
    actual = {
        record_id: {name: value for name, value in fields.items() if name in told}
        for record_id, fields in actual.items()
    }
    assert actual.keys() == org.expectation.states.keys()
    assert differing_states(org.expectation, actual) == []


def _stamps(org: Org, record_id: str) -> dict[str, Any]:
    fields = org.expectation.states[record_id]
    return {name: fields.get(name) for name in ("LastModifiedDate", "LastModifiedById")}


def test_every_run_that_ended_has_the_ending_of_its_reason_once(org: Org) -> None:
    ended = {
        run: [e.type for e in events if e.type.startswith("run.ended.")]
        for run, events in org.expectation.runs.items()
    }
    complete = {
        run: [ENDINGS[record["CompletionReason"]]]
        for run, record in org.records[TRACKER].items()
        if record["State"] == "Complete"
    }
    assert {run: types for run, types in ended.items() if types} == complete
    assert set(ENDINGS.values()) == {types[0] for types in complete.values()}


def test_every_run_begins_with_its_enrolment_and_every_step_belongs_to_a_run(org: Org) -> None:
    assert org.expectation.runs.keys() == org.records[TRACKER].keys()
    assert {events[0].type for events in org.expectation.runs.values()} == {"run.enrolled"}
    for event in org.expectation.events:
        if event.type.startswith("step."):
            step = org.records[STEP_TRACKER][event.record_id]
            assert event.tracker_id == step["ActionCadenceTrackerId"]


def test_only_steps_that_are_created_and_completed_in_one_transaction_miss_transitions(org: Org) -> None:
    missed = {(event.change_id, event.record_id) for event in org.expectation.events if event.missed}
    events = [event for event in org.expectation.events if event.change_id in {id_ for id_, _ in missed}]
    assert {event.type for event in events} == {"step.created", "step.ended.completed"}
    chaining = {id_ for id_, step in org.records[STEP_TRACKER].items() if step["StepType"] == "DaisyChain"}
    assert {record_id for _, record_id in missed} == chaining


def test_a_shuffled_ledger_with_repetitions_means_the_same(org: Org) -> None:
    dice = random.Random(7)
    # Changes of equal order share a message, so shuffling messages cannot reorder them.
    messages = [*org.messages, *dice.sample(org.messages, 200)]
    dice.shuffle(messages)
    shuffled = expected(messages, org.expectation.events[0].id.split("/")[0])
    assert shuffled.runs == org.expectation.runs
    assert shuffled.states == org.expectation.states


def test_its_own_expectation_as_a_journal_passes_and_every_single_loss_is_noticed(org: Org) -> None:
    journal = [
        {
            "id": e.id,
            "type": e.type,
            "tracker_id": e.tracker_id,
            "record_id": e.record_id,
            "missed_transitions": e.missed,
        }
        for e in sorted(org.expectation.events, key=lambda e: (e.commit_number, e.sequence_number))
    ]
    verdict = compare(org.expectation, journal)
    assert verdict.ok, verdict
    for index in random.Random(3).sample(range(len(journal)), 10):
        assert compare(org.expectation, journal[:index] + journal[index + 1 :]).missing == [
            journal[index]["id"]
        ]
