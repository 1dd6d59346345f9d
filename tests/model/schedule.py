"""One schedule: a seed is a world, a list of misfortunes, and a verdict."""

import json
import random
from typing import Any

from consumer.errors import CommitRefused
from consumer.state import RecordState
from tests.changes import ORG
from tests.model.rig import Clock, Crash, FaultyStore, Replica, Settled
from tests.model.world import in_one_sequence, make_world
from tests.oracle import compare, differing_states, expected

FAULTS = (
    "crash_before",
    "crash_after",
    "crash_after_load",
    "lost_reply",
    "not_applied",
    "executed_late",
    "unloadable",
)


async def run_schedule(seed: int, stores: Any) -> dict[str, int]:
    """Play a seed on a fresh store of ``stores``; figures of what happened.

    Raises:
        AssertionError: a guarantee was violated.
    """
    dice = random.Random(seed)
    world = make_world(dice)
    clock, settled = Clock(), Settled()
    real = await stores.fresh()
    store = FaultyStore(real, settled, world)
    figures = dict.fromkeys(("crash", "session", "lease", "rollback", "replay", *FAULTS), 0)
    snapshot = None
    try:
        replica = Replica(store, world, clock, dice)
        await replica.begin("one")
        await replica.open(replay=False)
        for _ in range(dice.randrange(5, 30)):
            clock.now += dice.choice((0, 50, 200, 400, 1_100, 5_100))
            happening = dice.random()
            try:
                if happening < 0.55:
                    await replica.answer(dice.choice((0, 1, 2, 4, 8)))
                elif happening < 0.70:
                    store.next_fault = dice.choice(FAULTS)
                    figures[store.next_fault] += 1
                elif happening < 0.80:
                    figures["session"] += 1
                    await replica.lose()
                    clock.now += dice.choice((0, 300, 6_000))
                    await replica.open()
                elif happening < 0.84:
                    figures["replay"] += 1
                    await replica.lose()
                    await replica.open(replay=True)
                elif happening < 0.90:
                    figures["crash"] += 1
                    raise Crash  # noqa: TRY301 - from outside, between two steps
                elif happening < 0.95:
                    figures["lease"] += 1
                    replica = await _lose_lease(replica, store, world, clock, dice)
                elif snapshot is None:
                    snapshot = (await stores.save(real), settled.copy())
                else:
                    figures["rollback"] += 1
                    await stores.restore(real, snapshot[0])
                    forgotten = (
                        settled.checkpoints != snapshot[1].checkpoints or settled.seen != snapshot[1].seen
                    )
                    store.settled = settled = snapshot[1].copy()
                    snapshot = None
                    store.given_up = None
                    if forgotten:
                        assert not await replica.still_writes(), (
                            "a store that went back in time still takes its old tenure's commits"
                        )
                    raise CommitRefused(0, None)  # noqa: TRY301 - what the running tenure is told at its next commit
            except (Crash, CommitRefused):
                store.next_fault = store.given_up = None
                await stores.expire(real)
                replica = Replica(store, world, clock, dice)
                await replica.begin("one")
                await replica.open()
        store.next_fault = store.given_up = None
        await _drain(replica, clock)
        await _judge(real, world, settled)
    finally:
        await stores.drop(real)
    figures["commits"] = store.commits
    return figures


async def _lose_lease(
    replica: Replica, store: FaultyStore, world: Any, clock: Clock, dice: random.Random
) -> Replica:
    """Another replica takes over while the old one still believes; then the old one tries to write."""
    await store.real.move({})
    other = Replica(store, world, clock, dice)
    await other.begin("two")
    before = await store.real.bounds()
    assert not await replica.still_writes(), "an old holder prolonged a lease that it had lost"
    commit = replica.committer.draft(ORG)
    commit.number = replica.committer.number + 1
    commit.states = {"0qB000000000000AAA": b"stale"}
    try:
        await store.real.commit(commit)
    except CommitRefused:
        pass
    else:
        raise AssertionError("an old holder's commit was taken")
    assert await store.real.bounds() == before
    await other.open()
    return other


async def _drain(replica: Replica, clock: Clock) -> None:
    """No more faults: everything is delivered, and time passes."""
    while await replica.answer(8):
        clock.now += 300
    for _ in range(4):
        clock.now += 1_100
        await replica.answer(0)
    clock.now += 6_000
    await replica.answer(0)


async def _judge(real: Any, world: Any, settled: Settled) -> None:
    journal = [json.loads(entry.data) for entry in await real.read(0, 100_000)]
    journal = in_one_sequence(world, journal)
    expectation = expected(in_one_sequence(world, world.ledger()), ORG)
    verdict = compare(expectation, journal)
    assert verdict.ok, str(verdict)
    if not world.late:
        assert len(verdict.excused) == 0 or verdict.late, str(verdict)
    states = {}
    for record, data in (await real.states(list(settled.seen))).items():
        state = RecordState.decode(data)
        if state.exists:
            states[record] = state.values()
    found = differing_states(expectation, states)
    assert found == [], found[:3]
    kept = {
        json.dumps(json.loads(letter.raw), sort_keys=True) for letter in await real.ingest_dead_letters(1_000)
    }
    bad = {
        json.dumps(one, sort_keys=True)
        for one in world.ledger()
        if "ChangeEventHeader" not in one["data"]["payload"]
    }
    assert kept == bad, "bad events are kept, each once, with their bytes"
