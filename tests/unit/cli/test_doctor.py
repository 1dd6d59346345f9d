"""``doctor`` against the simulated org over real sockets, with one thing wrong at a time."""

import asyncio
import json
import time
from contextlib import asynccontextmanager

import aiohttp
import pytest
import redis
from typer.testing import CliRunner

from consumer.cli import app
from consumer.errors import AuthenticationFailed, EndReason
from consumer.inspection.remedies import session_remedy, sign_in_remedy
from consumer.ports.commit import ChannelState, Commit
from consumer.salesforce import error_catalogue, token_endpoint
from consumer.sandbox import TRACKER, OAuthOptions, OrgOptions, Sandbox, SandboxOptions
from consumer.stores.sqlite.sqlite_store import SqliteStore
from tests.support.processes.service_process import free_port, settings_for
from tests.support.servers.redis_server import RedisServer

RUNS = "/data/ActionCadenceTrackerChangeEvent"
STEPS = "/data/ActionCadenceStepTrackerChangeEvent"
HOUR = 3_600_000


@asynccontextmanager
async def org(**options):
    async with Sandbox(SandboxOptions(**options)) as sandbox:
        yield sandbox
        async with asyncio.timeout(5):
            while sandbox.status()["clients"]:
                await asyncio.sleep(0.01)  # every session said good-bye, whatever it met


async def doctor(environment, *words):
    """Exit code, findings, and everything that was printed."""

    def run():
        return CliRunner().invoke(app, ["doctor", "--json", *words], env=environment)

    result = await asyncio.to_thread(run)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, [json.loads(line) for line in result.stdout.splitlines()], result.output


async def inject_fault(sandbox, **order):
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{sandbox.url}/sandbox/trouble", json=order) as answer,
    ):
        assert answer.status == 200, await answer.text()


def failures(findings):
    return [
        (each["check"], each["message"], each["action"]) for each in findings if each["verdict"] == "failed"
    ]


def checks(findings, verdict):
    return [each["check"] for each in findings if each["verdict"] == verdict]


async def test_a_healthy_org_and_a_new_store_are_fine_and_nothing_is_written(tmp_path):
    async with org() as sandbox:
        code, findings, output = await doctor(settings_for(sandbox, tmp_path))
        assert code == 0, output
        assert {each["verdict"] for each in findings} == {"fine"}
        assert [each["check"] for each in findings] == [
            "settings", "handlers", "store", "durability", "checkpoint", "checkpoint", "org", "api version", "objects", "objects",
            "clock", "limits", "limits", "channel", "channel", "store's org",
        ]  # fmt: skip
        assert sandbox.status()["handshakes"] == 2, "one session for each channel"
        assert list(tmp_path.iterdir()) == []
        assert sandbox.credentials.client_secret not in output


async def test_channels_are_asked_for_new_events_only_and_none_is_delivered(tmp_path, monkeypatch):
    asked = []
    async with org() as sandbox:
        sandbox.world.enrol()
        resume_after = sandbox.bus.resume_after
        monkeypatch.setattr(
            sandbox.bus, "resume_after", lambda wanted: asked.append(wanted) or resume_after(wanted)
        )
        code, _, output = await doctor(settings_for(sandbox, tmp_path))
        assert code == 0, output
        assert asked == [-1, -1]
        assert sandbox.delivery_quota.remaining == sandbox.delivery_quota.limit


async def test_for_people_it_is_one_line_each_and_the_verdict_comes_first(tmp_path):
    async with org(org=OrgOptions(selected=(TRACKER,))) as sandbox:
        result = await asyncio.to_thread(
            CliRunner().invoke, app, ["doctor"], env=settings_for(sandbox, tmp_path)
        )
    lines = result.stdout.splitlines()
    assert len(lines) == 16
    assert {line.split()[0] for line in lines} == {"ok", "FAIL"}
    (wrong,) = [line for line in lines if line.startswith("FAIL")]
    assert wrong.startswith(f"FAIL  channel      {STEPS}: channel_missing: ")
    assert result.stderr == "1 of 16 checks failed\n"


async def test_settings_that_are_wrong_do_not_keep_it_from_looking_at_the_store(tmp_path):
    async with org() as sandbox:
        environment = settings_for(sandbox, tmp_path, CADENCE_SALESFORCE__CLIENT_SECRET="")
        code, findings, _ = await doctor(environment)
        assert code == 2
        ((check, message, _),) = failures(findings)
        assert (check, message.split(":")[0]) == ("settings", "salesforce.client_secret")
        assert checks(findings, "fine") == ["handlers", "store", "durability", "checkpoint", "checkpoint"]
        assert "org" in checks(findings, "skipped")
        assert sandbox.status()["tokensIssued"] == 0


async def test_a_handler_that_cannot_be_loaded_is_a_matter_of_settings(tmp_path):
    async with org() as sandbox:
        code, findings, _ = await doctor(settings_for(sandbox, tmp_path, CADENCE_HANDLERS__CRM__USE="lgo"))
    assert code == 2
    ((check, message, _),) = failures(findings)
    assert check == "handlers"
    assert message.startswith("handlers.crm.use: no handler is called 'lgo'; did you mean 'log'?")


async def test_a_wrong_secret_is_not_permitted_and_what_needs_a_token_is_left_out(tmp_path):
    async with org() as sandbox:
        environment = settings_for(sandbox, tmp_path, CADENCE_SALESFORCE__CLIENT_SECRET="geheim-geheim")
        code, findings, output = await doctor(environment)
    assert code == 77
    assert failures(findings) == [
        (
            "org",
            "Salesforce issued no access token (invalid_client): invalid client credentials",
            "Check salesforce.client_secret, and that the app is in this org.",
        )
    ]
    assert checks(findings, "skipped") == [
        "api version",
        "objects",
        "clock",
        "limits",
        "channel",
        "store's org",
    ]
    assert "geheim" not in output


async def test_an_org_that_cannot_be_reached_is_unavailable(tmp_path):
    async with org() as sandbox:
        environment = settings_for(sandbox, tmp_path)
    code, findings, _ = await doctor(environment)
    assert code == 69
    ((check, message, action),) = failures(findings)
    assert check == "org"
    assert "unreachable" in message
    assert "salesforce.login_url" in action


async def test_whoever_never_answers_is_given_up_and_told(tmp_path, monkeypatch):
    monkeypatch.setattr("consumer.wiring._TIMEOUT_MS", 300)
    async with org() as sandbox:
        environment = settings_for(sandbox, tmp_path)
        await inject_fault(sandbox, kind="stall", times=2)
        code, findings, _ = await doctor(environment)
        assert code == 69
        assert [check for check, _, _ in failures(findings)] == ["channel", "channel"]
        assert all(
            "no complete answer within 0.3 s" in message and action
            for _, message, action in failures(findings)
        )

    async def silent(reader, writer):
        await reader.read()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        code, findings, _ = await doctor({**environment, "CADENCE_SALESFORCE__LOGIN_URL": address})
        assert code == 69
        assert "did not answer within 0.3 s" in failures(findings)[0][1]


async def test_each_channel_that_is_not_enabled_is_named_and_the_others_are_tried_all_the_same(tmp_path):
    async with org(org=OrgOptions(selected=(TRACKER,))) as sandbox:
        code, findings, _ = await doctor(settings_for(sandbox, tmp_path, CADENCE_CHANNELS=f"{STEPS},{RUNS}"))
    assert code == 1
    ((check, message, action),) = failures(findings)
    assert check == "channel"
    assert message.startswith(f"{STEPS}: ")
    assert action.startswith(
        "Change Data Capture is not enabled for ActionCadenceStepTracker: select it in Setup"
    )
    assert {
        "check": "channel",
        "verdict": "fine",
        "message": f"{RUNS} is acknowledged",
        "action": None,
        "fault": None,
    } in findings


async def test_a_missing_permission_is_told_with_its_name(tmp_path):
    async with org() as sandbox:
        await inject_fault(
            sandbox,
            kind="refuse_subscribe",
            channel=RUNS,
            error="403:denied_by_security_policy:create_denied",
            failure_reason="The user is subscribing to a channel without View All Data permission",
        )
        code, findings, _ = await doctor(settings_for(sandbox, tmp_path))
    assert code == 77
    ((check, message, action),) = failures(findings)
    assert check == "channel"
    assert message.startswith(f"{RUNS}: permission_denied: ")
    assert action.startswith("Give the integration user 'View All Records' on ActionCadenceTracker")


async def test_a_busy_streaming_server_is_unavailable_and_rest_is_looked_at_all_the_same(tmp_path):
    async with org() as sandbox:
        await inject_fault(
            sandbox, kind="http_status", status=503, body="<html>busy</html>", scope="cometd", times=2
        )
        code, findings, _ = await doctor(settings_for(sandbox, tmp_path))
    assert code == 69
    assert [check for check, _, _ in failures(findings)] == ["channel", "channel"]
    assert checks(findings, "fine").count("objects") == 2


async def test_rest_that_fails_is_told_and_the_channels_are_tried_all_the_same(tmp_path):
    async with org() as sandbox:
        body = '[{"errorCode": "INVALID_TYPE", "message": "sObject type \'ActionCadenceTracker\' is not supported."}]'
        # The first request asks for the instance's name, the second for the versions.
        await inject_fault(
            sandbox,
            kind="http_status",
            status=400,
            body=body,
            content_type="application/json",
            scope="rest",
            times=4,
        )
        code, findings, _ = await doctor(settings_for(sandbox, tmp_path))
    assert code == 77
    assert [(check, action) for check, _, action in failures(findings)] == [
        (
            check,
            "Enable Sales Engagement in the org, and give the integration user read access to the object.",
        )
        for check in ("api version", "objects", "objects")
    ]
    assert checks(findings, "skipped") == ["clock"]
    assert checks(findings, "fine").count("channel") == 2


async def test_a_version_that_the_org_does_not_speak_names_the_newest_that_it_does(tmp_path):
    async with org() as sandbox:
        code, findings, _ = await doctor(
            settings_for(sandbox, tmp_path, CADENCE_SALESFORCE__API_VERSION="99.0")
        )
    assert code == 1
    assert (
        "api version",
        "the org supports 45.0 to 67.0, not 99.0",
        "Set salesforce.api_version to 67.0.",
    ) in failures(findings)


async def test_an_allocation_that_is_used_up_fails_and_one_that_runs_low_warns(tmp_path):
    async with org(daily_requests=20, daily_deliveries=0) as sandbox:
        for _ in range(15):
            async with aiohttp.ClientSession(
                headers={"Authorization": f"Bearer {sandbox.access_token()}"}
            ) as http:
                await http.get(f"{sandbox.url}/services/data/v66.0/limits")
        code, findings, _ = await doctor(settings_for(sandbox, tmp_path))
    assert code == 69
    assert (
        "limits",
        "DailyDeliveredPlatformEvents: 0 of 0 are left today",
        "Wait until the rolling 24 h have room again, or buy more.",
    ) in failures(findings)
    (low,) = [each for each in findings if each["verdict"] == "warning"]
    assert low["message"] == "DailyApiRequests: 1 of 20 are left today"


@pytest.mark.parametrize(
    ("behind_s", "code", "verdict"), [(0, 0, "fine"), (30, 0, "warning"), (600, 1, "failed")]
)
async def test_a_clock_that_differs_is_told_by_how_much(tmp_path, behind_s, code, verdict):
    start = time.time_ns() // 1_000_000 - behind_s * 1_000
    async with org(start=start) as sandbox:
        got, findings, _ = await doctor(settings_for(sandbox, tmp_path))
    (clock,) = [each for each in findings if each["check"] == "clock"]
    assert (got, clock["verdict"]) == (code, verdict)
    if behind_s == 600:
        assert clock["message"] in (
            "this machine is 10 min ahead of Salesforce",
            "this machine is 9 min 59 s ahead of Salesforce",
        )


async def store_of(path, org_id, **channels):
    store = SqliteStore(path)
    await store.open()
    tenure = await store.acquire("pod-1/17", 60_000)
    await store.commit(Commit(tenure.token, 1, org_id, channels=channels))
    await store.aclose()


async def test_a_store_of_another_org_is_told_with_both_orgs(tmp_path):
    async with org() as sandbox:
        await store_of(tmp_path / "cadence.db", "00DWP0000009999MAA")
        code, findings, _ = await doctor(settings_for(sandbox, tmp_path))
    assert code == 1
    ((check, message, action),) = failures(findings)
    assert check == "store's org"
    assert "00DWP0000009999MAA" in message
    assert sandbox.credentials.organization_id in message
    assert "another store.url or store.prefix" in action


@pytest.mark.parametrize(
    ("hours", "code", "verdict"), [(1, 0, "fine"), (60, 0, "warning"), (73, 1, "failed")]
)
async def test_the_age_of_a_checkpoint_is_judged_by_what_salesforce_keeps(tmp_path, hours, code, verdict):
    at_ms = time.time_ns() // 1_000_000 - hours * HOUR
    async with org() as sandbox:
        await store_of(
            tmp_path / "cadence.db",
            sandbox.credentials.organization_id,
            **{RUNS: ChannelState(at_ms, "7", at_ms)},
        )
        got, findings, _ = await doctor(settings_for(sandbox, tmp_path))
    about = {each["message"].split()[0]: each for each in findings if each["check"] == "checkpoint"}
    assert (got, about[RUNS]["verdict"], about[STEPS]["verdict"]) == (code, verdict, "fine")
    assert "held by pod-1/17" in next(each["message"] for each in findings if each["check"] == "store")


async def test_a_redis_that_forgets_is_told_and_one_that_is_gone_is_unavailable(tmp_path):
    server = RedisServer(tmp_path / "redis", None, "--appendonly", "no", "--maxmemory-policy", "allkeys-lru")
    server.start()
    async with org() as sandbox:
        environment = settings_for(sandbox, tmp_path, CADENCE_STORE__URL=server.url)
        try:
            code, findings, _ = await doctor(environment)
            with redis.Redis(port=server.port) as client:
                assert client.dbsize() == 0, "it wrote nothing"
        finally:
            server.stop()
        assert code == 1
        assert [message.partition(" has ")[2] for _, message, _ in failures(findings)] == [
            "maxmemory-policy allkeys-lru: it may evict checkpoints; set noeviction",
            "appendonly no: a restart loses commits; set appendonly yes",
        ]
        code, findings, _ = await doctor(environment)
        assert code == 69
        ((check, _, action),) = failures(findings)
        assert check == "store"
        assert "store.url" in action
        assert checks(findings, "fine").count("channel") == 2
        assert checks(findings, "skipped") == ["durability", "checkpoint", "store's org"]


async def test_the_first_kind_of_failure_in_the_documented_order_is_the_exit_code(tmp_path):
    async with org(org=OrgOptions(selected=(TRACKER,))) as sandbox:
        environment = settings_for(sandbox, tmp_path, CADENCE_STORE__URL=f"redis://127.0.0.1:{free_port()}/0")
        assert (await doctor(environment))[0] == 69
        assert (await doctor({**environment, "CADENCE_HANDLERS__CRM__USE": "lgo"}))[0] == 2


async def test_a_refresh_token_that_is_replaced_while_it_looks_is_kept_for_the_service(tmp_path):
    async with org(oauth=OAuthOptions(rotate_refresh_tokens=True)) as sandbox:
        environment = settings_for(
            sandbox,
            tmp_path,
            CADENCE_SALESFORCE__AUTH="refresh_token",
            CADENCE_SALESFORCE__REFRESH_TOKEN=sandbox.credentials.refresh_token,
        )
        for _ in range(3):
            code, _, output = await doctor(environment)
            assert code == 0, output


async def test_every_refusal_that_is_known_says_what_to_do():
    assert len(error_catalogue._CATALOGUE) > 15
    for row in error_catalogue._CATALOGUE:
        action, _ = session_remedy(EndReason(row.code, "subscribe: …", row.remedy, row.action))
        assert action, row.code
    for code in {*token_endpoint._PERMANENT_ERRORS, "http_404", "http_503", "unreachable"}:
        action, _ = sign_in_remedy(
            AuthenticationFailed(code, "…", permanent=code in token_endpoint._PERMANENT_ERRORS), "jwt"
        )
        assert action, code
