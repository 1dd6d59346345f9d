"""The whole service on a CometD server that nobody here wrote, with restarts: nothing lost, nothing twice in the journal."""

import asyncio
import json
import signal

import pytest

from consumer.sandbox import Sandbox
from consumer.stores.sqlite.sqlite_store import SqliteStore
from tests.acceptance.test_source_interop import STEP, TRACKER, cometd_server
from tests.oracle import compare, expected
from tests.support.processes.service_process import ServiceProcess

ORG = "00Dd000000XXXXX"


async def journal_of(path):
    store = SqliteStore(path, read_only=True)
    await store.open()
    try:
        return [json.loads(entry.data) for entry in await store.read(0, 1_000_000)]
    finally:
        await store.aclose()


def stories():
    """Change events of a seeded world, as (channel, payload), in the order in which they happened; no server of ours is involved."""
    sandbox = Sandbox()
    while True:
        before = len(sandbox.ledger)
        sandbox.world.advance(1)
        for published in list(sandbox.ledger)[before:]:
            message = published.decoded()
            yield message["channel"], message["data"]["payload"]


@pytest.mark.long
async def test_both_channels_through_faults_and_restarts(tmp_path):
    told = stories()
    async with cometd_server(timeout=2000, maxInterval=10_000) as bus:
        environment = {
            "CADENCE_SALESFORCE__LOGIN_URL": bus.url,
            "CADENCE_SALESFORCE__CLIENT_ID": "client",
            "CADENCE_SALESFORCE__CLIENT_SECRET": "secret",
            "CADENCE_STORE__URL": f"sqlite:///{tmp_path / 'cadence.db'}",
            "CADENCE_REPLAY__START": "earliest",
            "CADENCE_LOG__FORMAT": "json",
        }
        for fault in (
            "disconnect",
            signal.SIGKILL,
            "cut",
            signal.SIGTERM,
            "forget",
            signal.SIGKILL,
            "revoke",
            None,
        ):
            async with ServiceProcess(environment, tmp_path) as service:
                for _ in range(60):
                    channel, payload = next(told)
                    await bus.do("publish", channel=channel, payloads=[payload])
                await service.ready()
                for number in range(60):
                    channel, payload = next(told)
                    await bus.do("publish", channel=channel, payloads=[payload])
                    if number == 30 and isinstance(fault, str):
                        await bus.do(fault)
                if fault is None:
                    break
                if isinstance(fault, signal.Signals):
                    service.signal(fault)
                    await service.ended()
                else:
                    service.signal(signal.SIGKILL)
                    await service.ended()
        ledger = await bus.do("ledger")
        messages = [
            {"channel": channel, "data": data} for channel in (TRACKER, STEP) for data in ledger[channel]
        ]
        async with ServiceProcess(environment, tmp_path) as service:
            await service.ready()
            org_id = None
            async with asyncio.timeout(60):
                while True:
                    journal = await journal_of(tmp_path / "cadence.db")
                    org_id = journal[0]["id"].split("/")[0] if journal else ""
                    if journal and expected(messages, org_id).ids <= {event["id"] for event in journal}:
                        break
                    await asyncio.sleep(0.2)
            service.signal(signal.SIGTERM)
            assert await service.ended() == 0, service.errors()[-3000:]
        assert org_id[:15] == ORG
        verdict = compare(expected(messages, org_id), await journal_of(tmp_path / "cadence.db"))
        assert verdict.ok, str(verdict)
