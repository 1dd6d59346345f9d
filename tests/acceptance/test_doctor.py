"""``doctor`` beside a running service: it looks, and the service notices nothing."""

import asyncio
import json
import signal
import sqlite3

from consumer.sandbox import Sandbox, SandboxOptions
from tests.support.processes.service_process import ServiceProcess, settings_for


def everything(path):
    """Every row of the store, but for when the lease ends, which the service itself prolongs."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        tables = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        content = {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in tables}
    content["lease"] = [row[:4] for row in content["lease"]]
    connection.close()
    return content


async def test_doctor_looks_beside_a_running_service_without_a_trace(tmp_path):
    async with Sandbox(SandboxOptions()) as sandbox:
        environment = settings_for(sandbox, tmp_path)
        async with ServiceProcess(environment, tmp_path) as service:
            await service.ready()
            (client,) = sandbox.status()["clients"]
            async with asyncio.timeout(20):  # ready comes before the birth of the channels is committed
                while not (before := everything(tmp_path / "cadence.db"))["channels"]:
                    await asyncio.sleep(0.05)
            async with ServiceProcess(environment, tmp_path, "doctor", "--json") as doctor:
                assert await doctor.ended() == 0, doctor.out.read_text()
            findings = [json.loads(line) for line in doctor.out.read_text().splitlines()]
            assert {each["verdict"] for each in findings} == {"fine"}, findings
            (store,) = [each["message"] for each in findings if each["check"] == "store"]
            assert f"/{service.process.pid}" in store, "it says who holds the lease"
            assert everything(tmp_path / "cadence.db") == before
            assert [each["clientId"] for each in sandbox.status()["clients"]] == [client["clientId"]]
            assert (await service.get("/readyz"))[0] == 200
            service.signal(signal.SIGTERM)
            assert await service.ended() == 0
        assert service.errors().count('"session_opened"') == 1
        assert service.errors().count('"tenure_began"') == 1
