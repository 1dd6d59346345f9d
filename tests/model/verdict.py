"""The end of a schedule: what the store finally holds, against the oracle's reading of the bus."""

import json
from collections import Counter
from typing import Any

from consumer.domain.record_state import RecordState
from consumer.domain.timers import timers_of
from tests.model.model import Model, canonical
from tests.model.world import World, in_one_sequence, is_bad
from tests.oracle import compare, differing_states, expected
from tests.support.builders.changes import ORG

FAR_MS = 2**53


async def judge(real: Any, world: World, model: Model) -> Counter[str]:
    """Compare; how much there was to compare.

    Raises:
        AssertionError: a guarantee was violated.
    """
    entries = await real.read(0, 100_000)
    assert {entry.id for entry in entries} == model.journal, "the journal is not what the commits appended"
    journal = [json.loads(entry.data) for entry in entries]
    expectation = expected(in_one_sequence(world, world.ledger()), ORG)
    verdict = compare(expectation, in_one_sequence(world, journal))
    assert verdict.ok, str(verdict)
    stored = await real.states(sorted({record for record, _ in model.told}))
    states = {record: RecordState.decode(data) for record, data in stored.items()}
    for (record, identity), told in model.told.items():
        state = states.get(record)
        assert state is not None, f"nothing is known of {record}"
        assert identity in state.seen, f"{record} does not know {identity}"
        assert told.run in model.high
    found = differing_states(
        expectation, {record: state.values() for record, state in states.items() if state.exists}
    )
    assert found == [], found[:3]
    deleted = {record for record, state in states.items() if state.is_deleted}
    assert deleted == expectation.deleted, "what is deleted is not what was deleted"
    due = {record: timers_of(state) for record, state in states.items() if timers_of(state)}
    assert due == {}, f"past due and never fired: {due}"
    assert await real.timers(FAR_MS, 10) == []
    for channel, bus in world.bus.items():
        last = [position for position, _ in bus if position is not None][-1:]
        assert [one for one in (model.checkpoints.get(channel),) if one] == last, (
            f"{channel}: all is settled, and the checkpoint is {model.checkpoints.get(channel)}, not {last}"
        )
    kept = sorted(
        canonical(json.loads(dead_letter.raw)) for dead_letter in await real.ingest_dead_letters(1_000)
    )
    bad = sorted(canonical(one) for one in world.ledger() if is_bad(one))
    assert kept == bad, "bad events are kept, each once, with their bytes"
    return Counter(
        {
            "changes": len(model.told),
            "events": len(journal),
            "events marked late": len(verdict.late),
            "events of timers": sum(event.get("origin") == "timer" for event in journal),
            "dead letters": len(kept),
        }
    )
