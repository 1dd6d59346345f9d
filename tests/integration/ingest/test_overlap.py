"""The next batch is interpreted while the commit before it is under way; nothing else is, and nobody can tell from the journal."""

import asyncio

import pytest

from consumer.domain.reconcile_task import window_task
from consumer.domain.row_diff import Row
from consumer.errors import CommitRefused
from consumer.ingest import pipeline
from consumer.ingest.reconcile import apply
from consumer.ingest.reconcile.fetch import FetchedPage
from consumer.ports.source import FetchedItem
from tests.support.builders.changes import (
    COMMIT_MS,
    RUN,
    RUN_1,
    RUN_2,
    RUN_CHANNEL,
    STEP,
    STEP_1,
    message,
)
from tests.support.rigs.ingest import tenure

pytestmark = pytest.mark.looptime

STATES = ("Paused", "Running", "Paused", "Running", "Paused")
EACH_BY_ITSELF = {"strict": False, "lateness_ms": 0, "window": 0, "max_events": 1}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cadence.db"


class Gate:
    """Stands before the store's commits; closed, it holds them."""

    def __init__(self, store):
        self.asked, self.refused, self.slow_s = [], False, 0
        self.under_way = False
        self.open = asyncio.Event()
        self.open.set()
        self._commit = store.commit
        store.commit = self

    async def __call__(self, commit):
        assert not self.under_way, "two at once"
        self.asked.append(commit)
        self.under_way = True
        try:
            await self.open.wait()
            await asyncio.sleep(self.slow_s)
            if self.refused:
                raise CommitRefused(commit.number, "another")
            return await self._commit(commit)
        finally:
            self.under_way = False


async def until(holds):
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.01)


async def begun(rig):
    """A run, its channels born; the gate is open."""
    gate = Gate(rig.store)
    await rig.open()
    await rig.answer(
        message("CREATE", RUN, RUN_1, {"State": "Running", "TargetId": "00Q"}, commit=1),
        message("CREATE", STEP, STEP_1, {"State": "Active", "ActionCadenceTrackerId": RUN_1}, commit=2),
    )
    await rig.buffer.wait_drained()
    gate.asked.clear()
    return gate


async def paused_and_resumed(rig):
    for commit, state in enumerate(STATES, 3):
        await rig.answer(message("UPDATE", RUN, RUN_1, {"State": state}, commit=commit))


@pytest.fixture
def decided(monkeypatch):
    """States of the run that were decided on, in order, whether they are committed or not."""
    states, interpret_changes = [], pipeline.interpret_changes

    def watched(*arguments):
        batch = interpret_changes(*arguments)
        states.append(batch.states[RUN_1].get("State"))
        return batch

    monkeypatch.setattr(pipeline, "interpret_changes", watched)
    return states


async def test_the_next_batch_is_interpreted_meanwhile_and_not_sent_before_the_commit_is_applied(
    path, decided
):
    async with tenure(path, **EACH_BY_ITSELF) as rig:
        gate = await begun(rig)
        gate.open.clear()
        await paused_and_resumed(rig)
        await until(lambda: gate.asked and decided[-1] == "Running")
        await asyncio.sleep(1)
        assert len(gate.asked) == 1
        assert decided[-2:] == ["Paused", "Running"], "and no further than the next"
        gate.open.set()
        await rig.buffer.wait_drained()
        assert [len(commit.journal) for commit in gate.asked] == [1] * 5
        assert (await rig.types())[-5:] == [
            "run.paused",
            "run.resumed",
            "run.paused",
            "run.resumed",
            "run.paused",
        ]


@pytest.mark.parametrize("cache_weight", [1, 100_000])
async def test_what_it_changes_is_remembered_until_it_is_applied_however_little_is_kept(path, cache_weight):
    async with tenure(path, **EACH_BY_ITSELF) as rig:
        gate = await begun(rig)
        rig.ingest.loop._states._cache._max_weight = cache_weight
        gate.slow_s = 0.5
        await paused_and_resumed(rig)
        await rig.buffer.wait_drained()
        told = [event for event in await rig.journal() if event["record_id"] == RUN_1][-len(STATES) :]
        assert [event["after"]["State"] for event in told] == list(STATES)
        assert [event["before"]["State"] for event in told] == ["Running", *STATES[:-1]]


async def test_a_refusal_ends_it_and_what_was_interpreted_on_top_is_not_sent(path, decided):
    with pytest.raises(CommitRefused):  # noqa: PT012 - as the tenure ends
        async with tenure(path, **EACH_BY_ITSELF) as rig:
            gate = await begun(rig)
            gate.open.clear()
            await paused_and_resumed(rig)
            await until(lambda: gate.asked and decided[-1] == "Running")
            gate.refused = True
            gate.open.set()
            await until(lambda: not gate.under_way)
    assert len(gate.asked) == 1


async def test_a_refusal_is_noticed_at_once_though_nothing_more_arrives(path):
    with pytest.raises(CommitRefused):  # noqa: PT012 - as the tenure ends
        async with tenure(path, **EACH_BY_ITSELF) as rig:
            gate = await begun(rig)
            gate.refused = True
            (loop,) = (task for task in asyncio.all_tasks() if task.get_coro().__qualname__ == "Ingest.run")
            await rig.answer(message("UPDATE", RUN, RUN_1, {"State": "Paused"}, commit=3))
            await until(loop.done)
            loop.result()


async def test_a_position_that_is_refused_meanwhile_is_forgotten_in_the_commit_that_announces_the_gap(path):
    async with tenure(path, on_expired="earliest", **EACH_BY_ITSELF) as rig:
        gate = await begun(rig)
        asked, answered, states = asyncio.Event(), asyncio.Event(), rig.store.states

        async def slow(record_ids):
            asked.set()
            await answered.wait()
            return await states(record_ids)

        rig.store.states = slow
        later_ms = COMMIT_MS + 660_000
        await rig.answer(server_ms=later_ms)  # it is time to write how far the channels were polled
        await rig.answer(message("CREATE", RUN, RUN_2, {"State": "Running"}, commit=3), server_ms=later_ms)
        await asked.wait()
        await rig.ingest.plan.refused(RUN_CHANNEL, "11", "invalid", COMMIT_MS + 7 * 24 * 3_600_000)
        answered.set()
        await rig.buffer.wait_drained()
        written = [commit for commit in gate.asked if RUN_CHANNEL in commit.channels]
        forgetting = next(commit for commit in written if commit.channels[RUN_CHANNEL].position is None)
        assert "system.gap" in {record.type for record in forgetting.journal}


@pytest.mark.parametrize("what", ["load_rows", "load_timers", "compare_rows", "fire_timers"])
async def test_rows_and_timers_wait_until_it_is_applied(path, what, monkeypatch):
    due_ms = COMMIT_MS + 3_600_000
    async with tenure(path, record_source=object(), **EACH_BY_ITSELF) as rig:
        gate = await begun(rig)
        seen = []

        def watched(owner, name):
            ask = getattr(owner, name)

            def asked(*arguments, **named):
                seen.append((name, gate.under_way))
                return ask(*arguments, **named)

            monkeypatch.setattr(owner, name, asked)

        watched(rig.ingest.loop._states, "load_rows")
        watched(rig.ingest.loop._states, "load_timers")
        watched(apply, "compare_rows")
        watched(pipeline, "fire_timers")
        await rig.answer(
            message("UPDATE", STEP, STEP_1, {"DueDateTime": "2026-01-01T11:00:00.000Z"}, commit=3)
        )
        await rig.buffer.wait_drained()
        gate.slow_s = 0.5
        row = Row(RUN, RUN_2, COMMIT_MS + 50_000, {"State": "Running"})
        task = window_task("repair", "test", RUN, COMMIT_MS, COMMIT_MS)
        later_ms = due_ms + 60_000
        await rig.answer(server_ms=later_ms)
        if what.endswith("rows"):
            await rig.buffer.put(
                FetchedItem(FetchedPage(task, (row,), COMMIT_MS + 60_000), rig.clock.monotonic_ms())
            )
        for commit, state in enumerate(STATES, 4):
            change = message("UPDATE", RUN, RUN_1, {"State": state}, commit=commit, commit_ms=later_ms)
            await rig.answer(change, server_ms=later_ms)
        await rig.buffer.wait_drained()
        await until(lambda: what in {name for name, _ in seen})
        assert not any(under_way for _, under_way in seen)
        assert [commit.number for commit in gate.asked] == sorted(commit.number for commit in gate.asked)
