"""Reconcile tasks as values: where they go on is kept whole, in the form of an older release too."""

from dataclasses import asdict, replace

import orjson
import pytest

from consumer.errors import StoreDamaged, StoreForeign
from consumer.state import RecordState
from consumer.stores.encoding import decode_channel, decode_channels, decode_parked
from consumer.targets import TargetRuns
from consumer.tasks import OVERLAP_MS, Task, of_fresh, of_gap, of_window, snapshot_of, sweep_of
from tests.changes import RUN, RUN_1

NOW_MS = 1_750_000_000_000

TASKS = [
    of_gap("/data/x", "7", RUN, (RUN_1,)),
    replace(of_window("overflow", "x/7", RUN, NOW_MS, NOW_MS), until_ms=NOW_MS + 1, after=(NOW_MS, RUN_1)),
    replace(sweep_of(RUN, NOW_MS, 3_600_000), phase="deleted", after=(NOW_MS, RUN_1), fetched=7),
    replace(snapshot_of(RUN, "initial", verify=True), phase="known", cursor="17", total=9),
    of_fresh(snapshot_of(RUN, "initial", verify=False), (RUN_1,)),
]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.id)
def test_a_task_is_read_as_it_was_written(task):
    assert Task.decode(task.encode()) == task


def test_a_task_of_an_older_release_goes_on():
    fields = ("id", "reason", "entity", "ids", "since_ms", "until_ms", "after", "due_ms", "fetched", "changed",
              "events", "tries")  # fmt: skip
    for task in TASKS[:2]:
        old = {name: value for name, value in asdict(task).items() if name in fields}
        assert Task.decode(orjson.dumps({"v": 1, **old})) == task


@pytest.mark.parametrize(
    "decode",
    [RecordState.decode, TargetRuns.decode, Task.decode, decode_channel, decode_channels, decode_parked],
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
        Task.decode(orjson.dumps({"v": 99, **asdict(TASKS[0])}))


def test_how_much_is_done_is_counted_in_rows_or_else_in_time():
    assert replace(TASKS[3], fetched=3).done == pytest.approx(1 / 3)
    assert replace(TASKS[3], fetched=30).done == 1
    window = of_window("repair", "1", RUN, NOW_MS, 0)
    assert window.done is None
    half = window.since_ms + (OVERLAP_MS + 1_000) // 2
    assert replace(window, until_ms=NOW_MS + 1_000, after=(half, RUN_1)).done == pytest.approx(0.5)
    assert replace(window, until_ms=NOW_MS + 1_000, after=(half, RUN_1), phase="deleted").done is None


def test_the_sweep_after_a_sweep_begins_where_it_ended_and_overlaps():
    done = replace(sweep_of(RUN, NOW_MS, 3_600_000), until_ms=NOW_MS + 3_600_000, phase="deleted", fetched=5)
    assert done.again(3_600_000) == sweep_of(RUN, NOW_MS + 3_600_000 - OVERLAP_MS, 3_600_000 + OVERLAP_MS)
    assert done.again(3_600_000).is_waiting
