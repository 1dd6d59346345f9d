"""``run`` from outside: wrong settings, an org that cannot be reached, signals."""

import asyncio
import json
import signal

import pytest

from consumer.sandbox import Sandbox, SandboxOptions, WorldOptions
from tests.support.processes.service_process import ServiceProcess, free_port, settings_for

GOOD = {
    "CADENCE_SALESFORCE__LOGIN_URL": "http://localhost:1",
    "CADENCE_SALESFORCE__CLIENT_ID": "id",
    "CADENCE_SALESFORCE__CLIENT_SECRET": "the-secret-value",
}


@pytest.mark.parametrize(
    ("environment", "lines"),
    [
        ({"CADENCE_ORDERING__LATNESS": "1s"}, ["CADENCE_ORDERING__LATNESS: is not a setting; did you mean CADENCE_ORDERING__LATENESS?"]),
        ({"CADENCE_SALESFORCE__LOGIN_URL": "ftp://x"}, ["salesforce.login_url: "]),
        ({"CADENCE_SALESFORCE__CLIENT_SECRET": ""}, ["salesforce.client_secret: "]),
        ({"CADENCE_SALESFORCE__AUTH": "jwt", "CADENCE_SALESFORCE__USERNAME": "u", "CADENCE_SALESFORCE__PRIVATE_KEY_FILE": "/no/such/key"},
         ["salesforce.private_key"]),
        ({"CADENCE_HANDLERS__X__USE": "jsnol"}, ["handlers.x.use: "]),
        ({"CADENCE_HANDLERS__X__USE": "log", "CADENCE_HANDLERS__X__ON": "run.endet.*"}, ["handlers.x.on"]),
        ({"CADENCE_HANDLERS__X__USE": "jsonl"}, ["handlers.x.settings.path"]),
        ({"CADENCE_STORE__URL": "nosql://x", "CADENCE_COMMIT__MAX_EVENTS": "none", "CADENCE_SALESFORCE__CLIENT_ID": ""},
         ["store.url: ", "commit.max_events: ", "salesforce.client_id: "]),
    ],
)  # fmt: skip
async def test_wrong_settings_end_with_2_and_one_line_for_each_problem(tmp_path, environment, lines):
    async with ServiceProcess({**GOOD, **environment}, tmp_path) as service:
        assert await service.ended() == 2
    told = service.errors().splitlines()
    assert len(told) == len(lines), service.errors()
    for start in lines:
        assert any(line.startswith(start) for line in told), service.errors()
    assert "Traceback" not in service.errors()
    assert "the-secret-value" not in service.errors()


async def test_an_unreachable_org_is_retried_with_a_clear_line_and_not_ready(tmp_path):
    environment = {
        **GOOD, "CADENCE_SALESFORCE__LOGIN_URL": f"http://localhost:{free_port()}",
        "CADENCE_STORE__URL": f"sqlite:///{tmp_path / 'cadence.db'}", "CADENCE_LOG__FORMAT": "json",
    }  # fmt: skip
    async with ServiceProcess(environment, tmp_path) as service:
        async with asyncio.timeout(30):
            while service.errors().count('"session_ended"') < 2:
                await asyncio.sleep(0.1)
        body = await service.ready(wanted=False)
        assert any("no access token" in reason for reason in body["reasons"]), body
        service.signal(signal.SIGTERM)
        assert await service.ended() == 0
    assert "Traceback" not in service.errors()
    assert "the-secret-value" not in service.errors()
    failure = next(
        json.loads(line) for line in service.errors().splitlines() if "authentication_failed" in line
    )
    assert failure["code"] == "unreachable"


async def test_an_org_that_comes_up_later_is_found(tmp_path):
    port = free_port()
    async with Sandbox(SandboxOptions(port=port)) as sandbox:
        environment = settings_for(sandbox, tmp_path)
    async with ServiceProcess(environment, tmp_path) as service:
        await service.ready(wanted=False)
        async with Sandbox(SandboxOptions(port=port)):
            await service.ready()
            service.signal(signal.SIGTERM)
            assert await service.ended() == 0


async def test_sigterm_stops_in_order_while_events_flow(tmp_path):
    async with Sandbox(SandboxOptions(world=WorldOptions(events_per_second=50))) as sandbox:
        async with ServiceProcess(settings_for(sandbox, tmp_path), tmp_path) as service:
            await service.ready()
            async with asyncio.timeout(20):
                while '"run.enrolled"' not in service.errors() + service.out.read_text():
                    await asyncio.sleep(0.1)
            service.signal(signal.SIGTERM)
            assert await service.ended(within_s=10) == 0
        assert sandbox.status()["clients"] == [], "it said /meta/disconnect"
    assert '"stopped"' in service.errors()
    assert "Traceback" not in service.errors()


async def test_a_replica_waits_beside_the_holder_and_takes_over(tmp_path):
    async with Sandbox(SandboxOptions(world=WorldOptions(events_per_second=20))) as sandbox:
        environment = settings_for(sandbox, tmp_path)
        async with ServiceProcess(environment, tmp_path) as holder:
            await holder.ready()
            async with ServiceProcess(environment, tmp_path) as standby:
                body = await standby.ready(wanted=False)
                async with asyncio.timeout(10):
                    while "Standby" not in " ".join(body["reasons"]):
                        body = (await standby.get("/readyz"))[1]
                        await asyncio.sleep(0.05)
                assert (await standby.get("/healthz"))[0] == 200
                holder.signal(signal.SIGKILL)
                await standby.ready(within_s=10)
