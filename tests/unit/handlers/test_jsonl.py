from __future__ import annotations

import asyncio
import os
import resource
import signal
from datetime import UTC, datetime

import orjson
import pytest
import structlog
from pydantic import ValidationError
from structlog.testing import capture_logs

from consumer import Context, LifecycleEvent
from handlers import jsonl
from handlers.jsonl import Jsonl


def no_http():
    raise AssertionError("the jsonl handler needs no network")


def context() -> Context:
    return Context(handler="jsonl", log=structlog.get_logger(), http=no_http)


def events(*numbers: int) -> list[LifecycleEvent]:
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    return [LifecycleEvent(id=f"e{n}", type="run.started", time=noon, tracker_id="r") for n in numbers]


def ids(path) -> list[str]:
    return [orjson.loads(line)["id"] for line in path.read_bytes().splitlines()]


@pytest.fixture
async def opened(tmp_path):
    made = []

    async def open_(**settings) -> Jsonl:
        one = Jsonl()
        await one.open(Jsonl.Settings(path=tmp_path / "new" / "events.jsonl", **settings), context())
        made.append(one)
        return one

    yield open_
    for one in made:
        await one.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "events.jsonl"


async def test_each_event_is_a_line_that_reads_back_as_the_event(opened, path):
    sink = await opened()
    await sink.handle_batch(events(1, 2), context())
    await sink.handle_batch(events(3), context())
    assert [LifecycleEvent.from_json(line) for line in path.read_bytes().splitlines()] == events(1, 2, 3)
    assert path.read_bytes().endswith(b"\n")


async def test_a_batch_is_synced_before_it_counts_as_delivered(opened, path, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.fstat(fd).st_size), real(fd)))
    sink = await opened()
    await sink.handle_batch(events(1, 2), context())
    assert synced == [path.stat().st_size]


async def test_a_torn_last_line_is_ended_so_that_no_event_is_glued_to_it(opened, path):
    path.parent.mkdir()
    path.write_bytes(b'{"id":"e1"}\n{"id":"e2","typ')
    with capture_logs() as lines:
        sink = await opened()
        await sink.handle_batch(events(3), context())
    torn, good = path.read_bytes().splitlines()[1:]
    assert torn == b'{"id":"e2","typ'
    assert LifecycleEvent.from_json(good) == events(3)[0]
    assert [line["log_level"] for line in lines] == ["warning"]


async def test_a_whole_last_line_is_left_alone(opened, path):
    path.parent.mkdir()
    path.write_bytes(b'{"id":"e1"}\n')
    with capture_logs() as lines:
        sink = await opened()
        await sink.handle_batch(events(2), context())
    assert ids(path) == ["e1", "e2"]
    assert lines == []


async def test_full_files_are_turned_over_and_the_oldest_go(opened, path):
    line = len(events(1)[0].to_json()) + 1
    sink = await opened(max_bytes=2 * line, keep=2)
    for number in range(1, 10):
        await sink.handle_batch(events(number), context())
    assert ids(path) == ["e9"]
    assert ids(path.with_name("events.jsonl.1")) == ["e7", "e8"]
    assert ids(path.with_name("events.jsonl.2")) == ["e5", "e6"]
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "events.jsonl",
        "events.jsonl.1",
        "events.jsonl.2",
    ]


async def test_with_keep_zero_a_full_file_is_begun_anew(opened, path):
    sink = await opened(max_bytes=1, keep=0)
    for number in (1, 2, 3):
        await sink.handle_batch(events(number), context())
    assert ids(path) == ["e3"]
    assert [p.name for p in path.parent.iterdir()] == ["events.jsonl"]


async def test_a_batch_is_never_divided(opened, path):
    sink = await opened(max_bytes=10)
    await sink.handle_batch(events(1, 2, 3), context())
    assert ids(path) == ["e1", "e2", "e3"]


@pytest.mark.parametrize("how", ["removed", "renamed"])
async def test_a_file_that_somebody_removed_or_renamed_is_begun_anew_under_its_name(opened, path, how):
    sink = await opened()
    await sink.handle_batch(events(1), context())
    if how == "removed":
        path.unlink()
    else:
        path.rename(path.with_name("archive"))
    await sink.handle_batch(events(2), context())
    assert ids(path) == ["e2"]


async def test_a_write_that_fails_half_way_leaves_whole_lines_and_the_next_one_works(opened, path):
    sink = await opened()
    await sink.handle_batch(events(1), context())
    size = path.stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, hard))  # a disk with 50 bytes left
    try:
        with pytest.raises(OSError, match="File too large"):
            await sink.handle_batch(events(2, 3), context())
        assert path.stat().st_size == size
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    await sink.handle_batch(events(2, 3), context())
    assert ids(path) == ["e1", "e2", "e3"]


async def test_a_call_that_was_cancelled_while_its_thread_writes_does_not_mix_with_the_next(
    opened, path, monkeypatch
):
    import threading

    sink = await opened()
    entered, release = threading.Event(), threading.Event()
    real = jsonl._write

    def slow(fd, data):
        entered.set()
        assert release.wait(10)
        real(fd, data)

    monkeypatch.setattr(jsonl, "_write", slow)
    first = asyncio.create_task(sink.handle_batch(events(1), context()))
    await asyncio.to_thread(entered.wait, 10)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.create_task(sink.handle_batch(events(1, 2), context()))
    release.set()
    await second
    assert ids(path) == ["e1", "e1", "e2"]


def test_settings_take_sizes_as_people_write_them(tmp_path):
    assert Jsonl.Settings(path=tmp_path, max_bytes="1.5 MB").max_bytes == 1_500_000
    assert (Jsonl.Settings(path=tmp_path).max_bytes, Jsonl.Settings(path=tmp_path).keep) == (100_000_000, 5)
    for wrong in ({"max_bytes": 0}, {"keep": -1}, {"pth": "x"}):
        with pytest.raises(ValidationError):
            Jsonl.Settings(path=tmp_path, **wrong)
