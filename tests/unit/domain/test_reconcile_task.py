"""Reconcile tasks as values: where they go on is kept whole, in the form of an older release too."""

from dataclasses import asdict, replace

import orjson
import pytest

from consumer.domain.reconcile_task import (
    OVERLAP_MS,
    ReconcileTask,
    fresh_rows_task,
    gap_task,
    snapshot_task,
    sweep_task,
    window_task,
)
from consumer.domain.record_state import RecordState
from consumer.domain.target_runs import TargetRuns
from consumer.errors import StoreDamaged, StoreForeign
from consumer.stores.encoding import decode_blocked_run, decode_channel, decode_channels
from tests.support.builders.changes import RUN, RUN_1

NOW_MS = 1_750_000_000_000

TASKS = [
    gap_task("/data/x", "7", RUN, (RUN_1,)),
    replace(window_task("overflow", "x/7", RUN, NOW_MS, NOW_MS), until_ms=NOW_MS + 1, after=(NOW_MS, RUN_1)),
    replace(sweep_task(RUN, NOW_MS, 3_600_000), phase="deleted", after=(NOW_MS, RUN_1), fetched=7),
    replace(snapshot_task(RUN, "initial", verify=True), phase="known", cursor="17", total=9),
    fresh_rows_task(snapshot_task(RUN, "initial", verify=False), (RUN_1,)),
]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.id)
def test_a_task_is_read_as_it_was_written(task):
    assert ReconcileTask.decode(task.encode()) == task


def test_a_task_of_an_older_release_goes_on():
    fields = ("id", "reason", "entity", "ids", "since_ms", "until_ms", "after", "due_ms", "fetched", "changed",
              "events", "tries")  # fmt: skip
    for task in TASKS[:2]:
        old = {name: value for name, value in asdict(task).items() if name in fields}
        assert ReconcileTask.decode(orjson.dumps({"v": 1, **old})) == task


@pytest.mark.parametrize(
    "decode",
    [
        RecordState.decode,
        TargetRuns.decode,
        ReconcileTask.decode,
        decode_channel,
        decode_channels,
        decode_blocked_run,
    ],
)
@pytest.mark.parametrize(
    "data", [b"", b"[]", b"7", b'{"v":1}', b'{"v":"1"}', b'{"v":2,"birth_ms":"1"}', b"\x00"]
)
def test_what_no_release_wrote_is_told_as_damage_with_how_it_begins_and_what_to_do(decode, data):
    with pytest.raises(StoreDamaged, match="restore it from a backup") as caught:
        decode(data)
    assert repr(data) in str(caught.value)


def test_a_task_of_a_newer_release_is_refused():
    with pytest.raises(StoreForeign, match="newer release"):
        ReconcileTask.decode(orjson.dumps({"v": 99, **asdict(TASKS[0])}))


def test_how_much_is_done_is_counted_in_rows_or_else_in_time():
    assert replace(TASKS[3], fetched=3).done == pytest.approx(1 / 3)
    assert replace(TASKS[3], fetched=30).done == 1
    window = window_task("repair", "1", RUN, NOW_MS, 0)
    assert window.done is None
    half = window.since_ms + (OVERLAP_MS + 1_000) // 2
    assert replace(window, until_ms=NOW_MS + 1_000, after=(half, RUN_1)).done == pytest.approx(0.5)
    assert replace(window, until_ms=NOW_MS + 1_000, after=(half, RUN_1), phase="deleted").done is None


def test_the_sweep_after_a_sweep_begins_where_it_ended_and_overlaps():
    done = replace(
        sweep_task(RUN, NOW_MS, 3_600_000), until_ms=NOW_MS + 3_600_000, phase="deleted", fetched=5
    )
    assert done.next_sweep(3_600_000) == sweep_task(
        RUN, NOW_MS + 3_600_000 - OVERLAP_MS, 3_600_000 + OVERLAP_MS
    )
    assert done.next_sweep(3_600_000).is_waiting
