"""kill -9 in the middle of writes: the jsonl files and the Kafka topic hold every event, whole, each run in order; repeats are allowed."""

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import time
from collections import defaultdict

import pytest

from consumer.sandbox import FaultOptions, Sandbox, SandboxOptions
from tests.acceptance.test_kill import journal_of
from tests.oracle import compare, expected
from tests.support.processes.service_process import ServiceProcess, settings_for
from tests.support.servers.kafka_cluster import KafkaCluster, header

ROUNDS = int(os.environ.get("FILE_KILLS", "5"))


def files_of(path):
    """From the oldest to the one that is written to."""
    full = sorted(path.parent.glob(f"{path.name}.*"), key=lambda one: -int(one.suffix[1:]))
    return [*full, path]


def lines_of(path):
    """The events in the order in which they stand in the files, and the lines that are none."""
    events, torn = [], []
    for file in files_of(path):
        text = file.read_bytes()
        assert text.endswith(b"\n") or file == path, f"{file.name} was left in the middle of a line"
        for line in text.splitlines(keepends=True):
            try:
                events.append(json.loads(line))
            except ValueError:
                torn.append(line)
    return events, torn


def assert_in_order(told, journal):
    """Of each run every event is there, and none before those that come before it: repeats go back, never ahead."""
    wanted, at = defaultdict(list), defaultdict(int)
    for event in journal:
        wanted[event.get("tracker_id")].append(event["id"])
    for run, event_id in told:
        index = wanted[run].index(event_id)
        assert index <= at[run], f"{event_id} stands before what comes before it"
        at[run] = max(at[run], index + 1)
    assert all(at[run] == len(ids) for run, ids in wanted.items()), "something is missing"


KILLER = """
import os, signal, sys, time
pid, path, over, deadline = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), time.monotonic() + 10
least = os.stat(path).st_size
while time.monotonic() < deadline:
    try:
        size = os.stat(path).st_size
    except FileNotFoundError:
        continue  # it is being turned over
    least = min(least, size)
    if size - least >= over:
        break
os.kill(pid, signal.SIGKILL)
"""
"""Kills a process as soon as a file has grown by so much: large batches are written page by page, so some of these kills tear a line."""


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_kills_in_the_middle_of_writes_tear_no_event_out_of_the_files_or_the_topic(tmp_path):
    dice = random.Random(5)
    path, store = tmp_path / "out.jsonl", tmp_path / "cadence.db"
    path.touch()
    torn_by_us, torn_by_kills = 0, 0
    events: set[str] = set()
    options = SandboxOptions(seed=5, faults=FaultOptions(reorder=0.08, swap=0.05, duplicate=0.05))
    with KafkaCluster() as cluster:
        async with Sandbox(options) as sandbox:
            environment = settings_for(
                sandbox,
                tmp_path,
                CADENCE_HANDLERS__FILE__USE="jsonl",
                CADENCE_HANDLERS__FILE__START="earliest",
                CADENCE_HANDLERS__FILE__SETTINGS__PATH=str(path),
                CADENCE_HANDLERS__FILE__SETTINGS__MAX_BYTES="300 kB",
                CADENCE_HANDLERS__FILE__SETTINGS__KEEP="1000",
                CADENCE_HANDLERS__LAKE__USE="kafka",
                CADENCE_HANDLERS__LAKE__START="earliest",
                CADENCE_HANDLERS__LAKE__SETTINGS__SERVERS=cluster.servers,
            )
            for round_ in range(ROUNDS):
                sandbox.world.advance(120)  # a backlog makes large batches
                async with ServiceProcess(environment, tmp_path) as service:
                    over = dice.choice((1, 30_000, 90_000))
                    arguments = (str(service.process.pid), str(path), str(over))
                    killer = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLER, *arguments)
                    await service.ended(within_s=60)
                    assert await killer.wait() == 0
                assert service.process.returncode == -signal.SIGKILL, service.errors()[-3000:]
                last = path.read_bytes() if path.exists() else b""
                if last and not last.endswith(b"\n"):
                    torn_by_kills += 1
                elif round_ % 2:
                    # What a power failure leaves: the beginning of a line.
                    with path.open("ab") as file:
                        file.write(b'{"v":1,"id":"torn')
                    torn_by_us += 1
            sandbox.world.advance(50)
            sandbox.settle()
            expectation = expected(sandbox.ledger.messages(), sandbox.org.organization_id)
            async with ServiceProcess(environment, tmp_path) as service:
                deadline = time.monotonic() + 90
                while True:
                    with contextlib.suppress(FileNotFoundError):  # it is being turned over
                        events = {event["id"] for event in lines_of(path)[0]}
                    topic = {header(one, "ce_id") for one in await asyncio.to_thread(cluster.records)}
                    if expectation.ids <= events & topic:
                        break
                    assert service.process.returncode is None, service.errors()[-3000:]
                    if time.monotonic() > deadline:
                        journaled = {event["id"] for event in await journal_of(store)}
                        missing = {
                            name: (len(lacking), sorted(lacking)[:3])
                            for name, had in (("journal", journaled), ("file", events), ("topic", topic))
                            if (lacking := expectation.ids - had)
                        }
                        raise AssertionError(f"not within 90 s: {missing}\n{service.errors()[-3000:]}")
                    await asyncio.sleep(0.1)
                service.signal(signal.SIGTERM)
                assert await service.ended() == 0, service.errors()[-3000:]
        records = cluster.records()
    journal = await journal_of(store)
    assert compare(expectation, journal).ok
    written, torn = lines_of(path)
    assert path.read_bytes().endswith(b"\n")
    assert len(files_of(path)) > 2, "no file was full, so turning over was not killed"
    assert len(torn) == torn_by_us + torn_by_kills, (
        "a torn line is one line that is no JSON, and nothing is glued to it"
    )
    assert_in_order([(event.get("tracker_id"), event["id"]) for event in written], journal)
    read_run = {event["id"]: event.get("tracker_id") for event in journal}
    assert_in_order([(read_run[header(one, "ce_id")], header(one, "ce_id")) for one in records], journal)
    print(
        f"{ROUNDS} kills, {torn_by_kills} in the middle of a line; {len(journal)} events, "
        f"{len(written) - len(journal)} repeated in {len(files_of(path))} files, {len(records) - len(journal)} in the topic"
    )
