import json
from collections import Counter

import pytest

from consumer.sandbox import TRACKER, ManualClock, Sandbox, SandboxOptions
from consumer.sandbox.world import WORLD_METHODS, UnknownCall, World


def ledger_of(seed: int, steps: int) -> list[bytes]:
    sandbox = Sandbox(SandboxOptions(seed=seed, clock=ManualClock()))
    sandbox.world.advance(steps)
    return [entry.data for entry in sandbox.ledger]


def test_the_same_seed_and_the_same_calls_give_the_same_ledger() -> None:
    assert ledger_of(3, 400) == ledger_of(3, 400)


def test_another_seed_gives_another_ledger() -> None:
    assert ledger_of(3, 50) != ledger_of(4, 50)


@pytest.mark.parametrize("seed", range(5))
def test_every_run_can_reach_an_ending(seed: int) -> None:
    sandbox = Sandbox(SandboxOptions(seed=seed, clock=ManualClock()))
    sandbox.world.advance(1500)
    sandbox.world.finish_all()
    states = Counter(record["State"] for record in sandbox.org.records[TRACKER].values())
    assert set(states) == {"Complete"}
    assert sandbox.world.open_runs == ()


def test_a_world_left_alone_shows_every_ending_and_change_type() -> None:
    sandbox = Sandbox(SandboxOptions(seed=1, clock=ManualClock()))
    sandbox.world.advance(8000)
    reasons = {record.get("CompletionReason") for record in sandbox.org.records[TRACKER].values()}
    assert reasons >= {
        "NoMoreSteps",
        "DaisyChained",
        "ManuallyRemoved",
        "AutomaticallyExited",
        "LeadConverted",
    }
    headers = [json.loads(entry.data)["payload"]["ChangeEventHeader"] for entry in sandbox.ledger]
    assert {each["changeType"] for each in headers} == {"CREATE", "UPDATE", "DELETE", "UNDELETE"}
    assert any(len(each["recordIds"]) > 1 for each in headers)


def test_every_story_call_is_a_method(world: World) -> None:
    assert all(callable(getattr(world, call)) for call in WORLD_METHODS)


def test_an_unknown_story_call_is_refused_by_name(world: World) -> None:
    with pytest.raises(UnknownCall, match="org"):
        world.invoke("org")
