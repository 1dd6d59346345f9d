"""A real store with a short story in it, and ways to call the commands: in this process, or as a process of their own."""

import asyncio
import json
import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from consumer.cli import app
from consumer.delivery.cursor import Cursor
from consumer.domain.change_events import Change, Header
from consumer.domain.lifecycle_events import LifecycleEvent
from consumer.domain.objects import RUN, STEP
from consumer.domain.record_ids import to_18
from consumer.domain.record_state import RecordState
from consumer.ports.commit import (
    ChannelState,
    Commit,
    IngestDeadLetter,
    JournalRecord,
)
from consumer.ports.delivery import HandlerDeadLetter, SavedCursor
from consumer.stores.sqlite.sqlite_store import SqliteStore

RUN_ID = to_18("0qBxx0000004C92")
OTHER_RUN = to_18("0qBxx0000004C93")
STEP_ID = to_18("8HFxx0000004C92")
CHANNEL = "/data/ChangeEvents"
ORG = to_18("00Dxx0000001gPF")


def event(number, event_type, run=RUN_ID, **facts):
    record = facts.pop("record_id", run)
    entity = STEP if event_type.startswith("step.") else RUN
    return LifecycleEvent(
        id=f"event-{number}",
        type=event_type,
        time=datetime(2026, 1, 31, 9, 30, number, tzinfo=UTC),
        tracker_id=run,
        entity=entity,
        record_id=record,
        **facts,
    )


STORY = [
    event(1, "run.enrolled", cadence_name="Outbound", target_id=to_18("00Qxx0000004C92"), after={"State": "Running"}),
    event(2, "step.created", record_id=STEP_ID, step_tracker_id=STEP_ID, step_title="First Touch", after={"State": "Active"}),
    event(3, "run.enrolled", run=OTHER_RUN, cadence_id=to_18("77Cxx0000004C92"), origin="repair"),
    event(4, "step.ended.completed", record_id=STEP_ID, step_tracker_id=STEP_ID, step_title="First Touch", before={"State": "Active"}, after={"State": "Completed"}, late=True),
    event(5, "run.ended.finished", before={"State": "Running"}, after={"State": "Completed"}, actor_id=to_18("005xx0000004C92")),
]  # fmt: skip


def state(entity, record_id, body, kind="CREATE"):
    raw = {
        "entityName": entity, "recordIds": [record_id], "changeType": kind, "transactionKey": "t", "sequenceNumber": 1,
        "commitTimestamp": 1_700_000_000_000, "commitNumber": 1,
    }  # fmt: skip
    change = Change(Header(raw, body), record_id, body, CHANNEL, "opaque-7")
    return RecordState(entity, record_id).with_change(change, (0, 1, 1)).encode()


async def _fill(path):
    store = SqliteStore(path)
    await store.open()
    try:
        tenure = await store.acquire("pod-1/17", 3_600_000)
        assert tenure is not None
        commit = Commit(tenure.token, 1, ORG)
        commit.states = {
            RUN_ID: state(RUN, RUN_ID, {"State": "Completed", "ErrorMessage": None, "OwnerId": "005x"}),
            STEP_ID: state(STEP, STEP_ID, {"State": "Completed", "ActionCadenceTrackerId": RUN_ID}),
        }
        commit.journal = [
            JournalRecord(each.id, each.type, each.tracker_id, each.to_json()) for each in STORY
        ]
        commit.channels = {CHANNEL: ChannelState(1_700_000_000_000, "opaque-7", 1_700_000_060_000, None)}
        commit.dead_letters = [
            IngestDeadLetter("bad-1", CHANNEL, "opaque-6", "no_header", "no ChangeEventHeader", b'{"x": "\xc3\xa9"}\n', 1_700_000_000_000)
        ]  # fmt: skip
        assert await store.commit(commit)
        cursor = Cursor(4)
        await store.save_cursor(
            tenure,
            "notify",
            SavedCursor(1, cursor.snapshot()),
            [HandlerDeadLetter("notify", "event-3", 3, OTHER_RUN, "run.enrolled", 10, "ValueError: no", 1_700_000_000_000, STORY[2].to_json())],
        )  # fmt: skip
    finally:
        await store.aclose()


@pytest.fixture(scope="session")
def store_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "cadence.db"
    asyncio.run(_fill(path))
    return path


@pytest.fixture
def environ(store_file):
    return {
        "CADENCE_STORE__URL": f"sqlite:///{store_file}",
        "CADENCE_HANDLERS__NOTIFY__USE": "log",
        "CADENCE_HANDLERS__NOTIFY__ON": "run.*",
        "NO_COLOR": "1",
    }


@pytest.fixture
def call(environ):
    """Run a command in this process; ``call(*arguments, **more_environment)``."""

    def run(*arguments, **more):
        return CliRunner().invoke(app, list(arguments), env={**environ, **more})

    return run


@pytest.fixture
def lines(call):
    """The objects that a command prints with ``--json``."""

    def run(*arguments, **more):
        result = call(*arguments, "--json", **more)
        assert result.exit_code == 0, result.output
        return [json.loads(line) for line in result.stdout.splitlines()]

    return run


@pytest.fixture
def process():
    """Run the real command to its end."""

    def run(*arguments, **environ):
        clean = {key: value for key, value in os.environ.items() if not key.startswith("CADENCE_")}
        return subprocess.run(
            [sys.executable, "-m", "consumer", *arguments],
            capture_output=True, text=True, timeout=60, check=False, env={**clean, "NO_COLOR": "1", **environ},
        )  # fmt: skip

    return run
