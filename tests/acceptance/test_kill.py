"""kill -9 at random moments, while work is uncommitted: the journal is what an oracle computes from the sandbox's ledger."""

import asyncio
import json
import random
import signal

import pytest

from consumer.errors import StoreUnavailable
from consumer.sandbox import FaultOptions, Sandbox, SandboxOptions
from consumer.stores.sqlite.sqlite_store import SqliteStore
from tests.oracle import compare, expected
from tests.support.processes.service_process import ServiceProcess, settings_for

ROUNDS = 20


async def journal_of(path):
    store = SqliteStore(path, read_only=True)
    await store.open()
    try:
        return [json.loads(entry.data) for entry in await store.read(0, 1_000_000)]
    finally:
        await store.aclose()


async def length_of(path):
    store = SqliteStore(path, read_only=True)
    try:
        await store.open()
        return (await store.bounds())[1]
    except StoreUnavailable:
        return 0  # the service has created the file, not yet its tables
    finally:
        await store.aclose()


async def live(sandbox):
    """The world goes on, about 60 change events a second, whether the service is up or not."""
    while True:
        sandbox.world.advance(1)
        await asyncio.sleep(0.02)


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_twenty_kills_lose_nothing_and_repeat_nothing_on_sqlite(tmp_path):
    dice = random.Random(20)
    delivered = tmp_path / "delivered.jsonl"
    options = SandboxOptions(
        seed=20,
        faults=FaultOptions(reorder=0.08, swap=0.05, republish=0.03, duplicate=0.05),
    )
    async with Sandbox(options) as sandbox:
        environment = settings_for(
            sandbox,
            tmp_path,
            CADENCE_HANDLERS__FILE__USE="jsonl",
            CADENCE_HANDLERS__FILE__START="earliest",
            CADENCE_HANDLERS__FILE__SETTINGS__PATH=str(delivered),
        )
        path = tmp_path / "cadence.db"
        org_id = sandbox.org.organization_id
        world = asyncio.create_task(live(sandbox))
        uncommitted = []
        before = 0
        for round_ in range(ROUNDS):
            async with ServiceProcess(environment, tmp_path) as service:
                async with asyncio.timeout(30):
                    while not path.exists() or await length_of(path) <= before:
                        assert service.process.returncode is None, service.errors()[-3000:]
                        await asyncio.sleep(0.02)
                await asyncio.sleep(dice.uniform(0, 0.7))
                service.signal(signal.SIGKILL)
                await service.ended()
            published = expected(sandbox.ledger.messages(), org_id).ids
            known = {event["id"] for event in await journal_of(path)}
            before = len(known)
            uncommitted.append(len(published - known))
            assert uncommitted[-1] > 0, (
                f"round {round_}: nothing was uncommitted at the kill, so it proves nothing"
            )
        world.cancel()
        sandbox.settle()
        expectation = expected(sandbox.ledger.messages(), org_id)
        async with ServiceProcess(environment, tmp_path) as service:
            async with asyncio.timeout(60):
                while not expectation.ids <= {event["id"] for event in await journal_of(path)}:
                    assert service.process.returncode is None, service.errors()[-3000:]
                    await asyncio.sleep(0.2)
                while not expectation.ids <= {
                    json.loads(line)["id"]
                    for line in delivered.read_bytes().splitlines()
                    if line.endswith(b"}")
                }:
                    await asyncio.sleep(0.2)
            service.signal(signal.SIGTERM)
            assert await service.ended() == 0, service.errors()[-3000:]
        verdict = compare(expectation, await journal_of(path))
        assert verdict.ok, str(verdict)
        print(f"{ROUNDS} kills, {len(expectation.ids)} events, uncommitted at each kill: {uncommitted}")
