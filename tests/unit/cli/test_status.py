"""``status`` and ``top``: the same figures, from a real store."""

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from consumer.cli.render.status import rates_between, tables
from consumer.delivery.cursor import Cursor
from consumer.domain.objects import RUN, STEP
from consumer.domain.reconcile_task import gap_task, sweep_task, window_task
from consumer.inspection.status import read_status
from consumer.ports.commit import ChannelState, Commit, JournalRecord
from consumer.ports.delivery import (
    HandlerCommand,
    HandlerDeadLetter,
    SavedBlockedRun,
    SavedCursor,
)
from consumer.stores.redis.redis_store import RedisStore
from consumer.stores.sqlite.sqlite_store import SqliteStore
from tests.support.processes.interruptible import interruptible
from tests.support.servers.redis_server import RedisServer
from tests.unit.cli.conftest import CHANNEL, ORG, OTHER_RUN, RUN_ID, STORY

HOUR = 3_600_000
NOW = int(STORY[-1].time.timestamp() * 1000) + 60_000
OTHER = "/data/Old__chn"


async def fill(store):
    """A tenure with everything that can be shown in it."""
    tenure = await store.acquire("pod-1/17", HOUR)
    commit = Commit(tenure.token, 1, ORG)
    commit.states = {RUN_ID: b"x", OTHER_RUN: b"y"}
    commit.journal = [JournalRecord(each.id, each.type, each.tracker_id, each.to_json()) for each in STORY]
    commit.channels = {
        CHANNEL: ChannelState(NOW - 100 * HOUR, "opaque-7", NOW - HOUR, NOW - 600_000),
        OTHER: ChannelState(NOW - 100 * HOUR, "opaque-1", NOW - 90 * HOUR),
    }
    window = window_task("expired", "c", RUN, NOW - 5 * HOUR, NOW)
    tasks = [gap_task(CHANNEL, "9", STEP, ("a", "b", "c")), window, sweep_task(RUN, NOW, HOUR)]
    commit.reconcile_tasks = {task.id: task.encode() for task in tasks}
    assert await store.commit(commit)
    dead_letter = HandlerDeadLetter(
        "notify", "event-1", 1, RUN_ID, "run.enrolled", 10, "ValueError: no", NOW, STORY[0].to_json()
    )
    row = SavedBlockedRun(OTHER_RUN, 3, 4, NOW + HOUR, "TimeoutError: too slow")
    await store.save_cursor(
        tenure, "notify", SavedCursor(1, Cursor(3).snapshot()), [dead_letter], {OTHER_RUN: row}
    )
    await store.save_cursor(tenure, "former", SavedCursor(1, Cursor(5).snapshot()))
    await store.put_command(HandlerCommand("pause-notify", "notify", "pause", NOW))
    await store.redrive_dead_letters("notify", ["event-1"])
    return tenure


@pytest.fixture(params=["sqlite", "redis"])
async def store(request, tmp_path):
    server = None
    if request.param == "redis":
        server = RedisServer(tmp_path / "redis")
        server.start()
        store = RedisStore(server.url, shown_url=server.url)
    else:
        store = SqliteStore(tmp_path / "cadence.db")
    await store.open()
    yield store
    await store.aclose()
    if server is not None:
        server.stop()


async def test_everything_that_the_store_knows_is_told_whichever_store_it_is(store):
    await fill(store)
    now = await read_status(store, [CHANNEL, "/data/New__chn"], ["notify", "new"], NOW)
    assert (now.org_id, now.holder, now.commits, now.records, now.ingest_dead_letters) == (
        ORG,
        "pod-1/17",
        1,
        2,
        0,
    )
    known, new, old = now.channels
    assert (known.channel, known.configured, known.position, known.headroom_ms) == (
        CHANNEL,
        True,
        "opaque-7",
        72 * HOUR - 600_000,
    )
    assert (new.channel, new.configured, new.birth_ms) == ("/data/New__chn", True, None)
    assert (old.channel, old.configured, old.headroom_ms) == (OTHER, False, -18 * HOUR)
    assert (now.journal.first, now.journal.last, now.journal.entries) == (1, 5, 5)
    assert (now.journal.first_ms, now.journal.last_ms) == (NOW - 64_000, NOW - 60_000)
    notify, unborn, former = now.handlers
    assert (notify.handler, notify.offset, notify.lag, notify.behind_ms) == ("notify", 3, 2, 61_000)
    assert (notify.blocked_runs, notify.attempts, notify.error) == (1, 4, "TimeoutError: too slow")
    assert (notify.dead_letters, notify.redrives, notify.commands) == (1, 1, ("paused",))
    assert (unborn.handler, unborn.offset, unborn.lag) == ("new", None, None)
    assert (former.handler, former.configured, former.lag, former.behind_ms) == ("former", False, 0, None)
    assert [(one.reason, one.waiting) for one in now.tasks] == [
        ("expired", False),
        ("gap", False),
        ("sweep", True),
    ]
    assert [one.records for one in now.tasks] == [0, 3, 0]
    assert json.loads(json.dumps(now.document()))["tasks"][1]["task"] == f"gap/{CHANNEL}/9"


async def test_a_new_store_is_told_without_figures(store):
    now = await read_status(store, [CHANNEL], ["log"], NOW)
    assert (now.org_id, now.holder, now.journal.entries, now.journal.first_ms, now.tasks) == (
        None,
        None,
        0,
        None,
        (),
    )


async def test_how_far_a_task_is_moves_with_its_pages(store):
    tenure = await fill(store)
    task = window_task("expired", "c", RUN, NOW - 5 * HOUR, NOW)
    half = replace(task, until_ms=NOW, after=(task.since_ms + (NOW - task.since_ms) // 2, "x"), fetched=40)
    await store.commit(Commit(tenure.token, 2, ORG, reconcile_tasks={half.id: half.encode()}))
    now = await read_status(store, [CHANNEL], ["notify"], NOW)
    assert (now.tasks[0].done, now.tasks[0].fetched) == (0.5, 40)
    *_, (columns, rows) = tables(now)
    assert dict(zip(columns, rows[0], strict=True))["done"] == "50%"


async def test_sweeps_that_only_wait_for_their_time_come_last(store):
    tenure = await fill(store)
    running = replace(sweep_task(RUN, NOW - HOUR, HOUR), until_ms=NOW)
    waiting = sweep_task(STEP, NOW, HOUR)
    await store.commit(
        Commit(tenure.token, 2, ORG, reconcile_tasks={one.id: one.encode() for one in (waiting, running)})
    )
    now = await read_status(store, [CHANNEL], ["notify"], NOW)
    assert [(one.entity, one.waiting) for one in now.tasks[-2:]] == [(RUN, False), (STEP, True)]


async def test_rates_come_from_two_looks_and_not_from_a_store_that_went_back(store):
    tenure = await fill(store)
    before = await read_status(store, [CHANNEL], ["notify"], NOW)
    more = [JournalRecord(f"more-{number}", "run.updated", RUN_ID, STORY[0].to_json()) for number in range(6)]
    await store.commit(Commit(tenure.token, 2, ORG, journal=more))
    await store.save_cursor(tenure, "notify", SavedCursor(2, Cursor(9).snapshot()))
    now = await read_status(store, [CHANNEL], ["notify"], NOW + 2_000)
    rates = rates_between(before, now)
    assert (rates.journaled, rates.handled) == (3.0, {"notify": 3.0, "former": 0.0})
    assert rates_between(now, before) is None
    assert rates_between(now, now) is None


# ---------------------------------------------------------------- commands


@pytest.fixture
def filled(tmp_path):
    async def make():
        store = SqliteStore(tmp_path / "cadence.db")
        await store.open()
        await fill(store)
        await store.aclose()

    asyncio.run(make())
    return {
        "CADENCE_STORE__URL": f"sqlite:///{tmp_path}/cadence.db",
        "CADENCE_CHANNELS": CHANNEL,
    }


def test_status_is_one_line_about_the_store_and_a_table_of_each_kind(call, filled):
    result = call("status", **filled)
    assert result.exit_code == 0, result.output
    assert f"org {ORG}: lease held by pod-1/17 for " in result.stderr
    assert "1 commits in this tenure" in result.stderr
    assert "journal 1 to 5, 2026-01-31T09:30:01.000Z to 2026-01-31T09:30:05.000Z" in result.stderr
    rows = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert any(row.startswith("/data/ChangeEvents opaque-7 ") for row in rows)
    assert any(row.startswith("/data/Old__chn (not configured) opaque-1 ") for row in rows)
    assert any(
        row.startswith("notify 3 2 ")
        and "1 1 (1 redriving) paused" in row
        and "4 attempts: TimeoutError" in row
        for row in rows
    )
    assert any(row.startswith("former 5 0 ") and row.endswith("not configured, or off") for row in rows)
    assert any(row.startswith("gap ActionCadenceStepTracker named 0 0 0 3 records left") for row in rows)
    assert any(row.startswith("sweep ActionCadenceTracker waits ") for row in rows)


def test_status_for_programs_is_one_document(lines, filled):
    (told,) = lines("status", **filled)
    assert told["holder"] == "pod-1/17"
    assert [one["handler"] for one in told["handlers"]] == ["notify", "former"]
    assert {one["reason"] for one in told["tasks"]} == {"gap", "expired", "sweep"}


def test_top_without_a_terminal_or_with_once_is_one_look_as_status_prints_it(call, lines, filled):
    def shape(text):
        return [line.split()[0] for line in text.splitlines() if line]

    wanted = shape(call("status", **filled).stdout)
    assert shape(call("top", **filled).stdout) == wanted
    assert shape(call("top", "--once", **filled).stdout) == wanted
    (told,) = lines("top", **filled)
    assert told["journal"]["last"] == 5


def test_a_store_that_was_never_written_is_unavailable(call, tmp_path):
    for command in ("status", "top"):
        result = call(command, CADENCE_STORE__URL=f"sqlite:///{tmp_path}/none.db")
        assert result.exit_code == 69
        assert "when it first runs" in result.stderr


def test_top_on_a_terminal_goes_on_looking_until_ctrl_c_which_is_no_failure(filled, tmp_path):
    """A real terminal: what is committed while it runs appears, and rates with it."""
    main, side = pty.openpty()
    environ = {key: value for key, value in os.environ.items() if not key.startswith("CADENCE_")}
    environ |= {**filled, "COLUMNS": "160", "LINES": "40", "TERM": "xterm"}
    with interruptible():
        process = subprocess.Popen(
            [sys.executable, "-m", "consumer", "top", "--every", "0.2"], stdin=side, stdout=side, stderr=side, env=environ, start_new_session=True
        )  # fmt: skip
    os.close(side)
    seen = b""

    def until(text, within_s=30):
        nonlocal seen
        deadline = time.monotonic() + within_s
        while text not in seen:
            assert time.monotonic() < deadline, seen[-2_000:]
            seen += os.read(main, 65_536)

    async def commit():
        store = SqliteStore(tmp_path / "cadence.db")
        await store.open()
        tenure = await store.acquire("pod-2/18", HOUR)
        more = [
            JournalRecord(f"more-{number}", "run.updated", RUN_ID, STORY[0].to_json()) for number in range(6)
        ]
        await store.commit(Commit(tenure.token, 1, ORG, journal=more))
        await store.aclose()

    try:
        until(b"events/s")
        assert b"pod-1/17" in seen
        asyncio.run(commit())
        until(b"pod-2/18")
        until(b"journal 1 to 11")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        os.close(main)
