import asyncio
import contextlib
from typing import Any

import aiohttp
import pytest

from consumer.sandbox import ALL_CHANGES, CometdOptions, FaultOptions, Sandbox, SandboxOptions, WorldOptions
from tests.support.rigs.bayeux_client import BayeuxClient, Messages, replay_ids


async def opened(sandbox: Sandbox, replay: int = -1) -> BayeuxClient:
    client = BayeuxClient(sandbox)
    await client.open(ALL_CHANGES, replay)
    await client.connect()
    return client


async def holding(sandbox: Sandbox, client: BayeuxClient) -> asyncio.Task[Messages]:
    """A poll that the server holds."""
    poll = asyncio.create_task(client.connect())
    async with asyncio.timeout(5):
        while not any(session.polling for session in sandbox.cometd.sessions):
            await asyncio.sleep(0.001)
    return poll


async def test_a_dropped_session_ends_the_held_poll_and_takes_no_events_with_it(sandbox: Sandbox) -> None:
    async with await opened(sandbox) as client:
        poll = await holding(sandbox, client)
        sandbox.faults.inject("drop_session")
        (reply,) = await poll
        assert reply["error"] == "403::Unknown client"
        assert "clientId" not in reply
        assert (await client.connect())[0]["error"] == "403::Unknown client"
        await client.open(ALL_CHANGES)
        assert (await client.connect())[0]["successful"]
    assert sandbox.faults.counters == {"drop_session": 1}


async def test_a_session_can_be_dropped_with_the_older_402(sandbox: Sandbox) -> None:
    sandbox.faults.inject("drop_session", error="402::Unknown client")
    async with BayeuxClient(sandbox) as client:
        await client.open(ALL_CHANGES)
        assert (await client.connect())[0]["error"] == "402::Unknown client"


async def test_a_stalled_poll_is_not_answered_even_when_events_come_and_loses_none(sandbox: Sandbox) -> None:
    async with await opened(sandbox) as client:
        sandbox.faults.inject("stall")
        poll = await holding(sandbox, client)
        sandbox.world.advance(1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await poll
        assert sandbox.faults.counters == {"stall": 1}
        assert replay_ids(await client.connect()) == sandbox.ledger.replay_ids()


async def test_a_delayed_poll_is_answered_late_and_whole(sandbox: Sandbox) -> None:
    loop = asyncio.get_running_loop()
    async with await opened(sandbox) as client:
        sandbox.world.advance(1)
        sandbox.faults.inject("delay", ms=150)
        began = loop.time()
        assert replay_ids(await client.connect()) == sandbox.ledger.replay_ids()
    assert loop.time() - began >= 0.15
    assert sandbox.faults.counters == {"delay": 1}


async def test_a_cut_answer_ends_in_the_middle_and_its_events_come_again_only_from_an_older_id(
    sandbox: Sandbox,
) -> None:
    sandbox.world.advance(3)
    oldest = sandbox.ledger.replay_ids()[0]
    async with await opened(sandbox) as client:
        sandbox.world.advance(3)
        sandbox.faults.inject("cut")
        with pytest.raises(aiohttp.ClientPayloadError):
            await client.connect()
        assert await client.drain() == []
        await client.subscribe(ALL_CHANGES, oldest)
        assert replay_ids(await client.drain()) == sandbox.ledger.replay_ids(after=oldest)
    assert sandbox.faults.counters == {"cut": 1}


async def test_a_malformed_answer_is_whole_http_and_broken_json(sandbox: Sandbox) -> None:
    async with await opened(sandbox) as client:
        sandbox.faults.inject("malformed")
        with pytest.raises(ValueError, match=r"decode|delimiter|Unterminated"):
            await client.connect()
    assert sandbox.faults.counters == {"malformed": 1}


async def test_a_closed_socket_gives_no_answer(sandbox: Sandbox) -> None:
    async with await opened(sandbox) as client:
        poll = await holding(sandbox, client)
        sandbox.faults.inject("close_socket")
        with pytest.raises(aiohttp.ClientError):
            await poll
    assert sandbox.faults.counters == {"close_socket": 1}


async def test_a_server_side_disconnect_comes_unasked_and_ends_the_session(sandbox: Sandbox) -> None:
    async with await opened(sandbox) as client:
        poll = await holding(sandbox, client)
        sandbox.faults.inject("server_disconnect")
        disconnect, acknowledgement = await poll
        assert disconnect == {"channel": "/meta/disconnect", "successful": True}
        assert acknowledgement["channel"] == "/meta/connect"
        assert (await client.connect())[0]["error"] == "403::Unknown client"


async def test_a_connect_can_be_refused_for_the_daily_limit(sandbox: Sandbox) -> None:
    async with await opened(sandbox) as client:
        sandbox.faults.inject("refuse_connect")
        (reply,) = await client.connect()
        assert reply["error"] == "403::Organization total events daily limit exceeded"
        assert reply["clientId"] == client.client_id


async def test_a_refused_connect_can_hide_its_cause_in_the_failure_reason(sandbox: Sandbox) -> None:
    busy = "503::Server is too busy.  Please try your request again later."
    details: dict[str, Any] = {
        "error": "401::Authentication invalid",
        "failure_reason": busy,
        "advice": {"reconnect": "none", "interval": 0},
    }
    async with await opened(sandbox) as client:
        sandbox.faults.inject("refuse_connect", **details)
        (reply,) = await client.connect()
    assert reply["ext"]["sfdc"]["failureReason"] == busy
    assert (reply["error"], reply["advice"]) == (details["error"], details["advice"])


async def test_subscribes_are_refused_as_ordered_for_one_channel_alone(sandbox: Sandbox) -> None:
    other = "/data/ActionCadenceTrackerChangeEvent"
    sandbox.faults.inject("refuse_subscribe", channel=other, error="403::Restricted channel")
    async with BayeuxClient(sandbox) as client:
        await client.handshake()
        assert (await client.subscribe(ALL_CHANGES))["successful"]
        assert (await client.subscribe(other))["error"] == "403::Restricted channel"
        assert (await client.subscribe(other))["successful"]
    assert sandbox.faults.counters == {"refuse_subscribe": 1}


async def test_a_handshake_is_refused_with_the_reason_ordered(sandbox: Sandbox) -> None:
    sandbox.faults.inject("refuse_handshake", reason="403::Organization concurrent user limit exceeded")
    async with BayeuxClient(sandbox) as client:
        reply = await client.handshake()
        assert reply["ext"]["sfdc"]["failureReason"] == "403::Organization concurrent user limit exceeded"
        assert (await client.handshake())["successful"]


@pytest.mark.parametrize("status", [401, 403, 413, 429, 500, 502, 503])
async def test_the_next_requests_get_an_http_status_and_html(sandbox: Sandbox, status: int) -> None:
    sandbox.faults.inject("http_status", times=2, status=status, headers={"Retry-After": "7"})
    async with BayeuxClient(sandbox) as client:
        for _ in range(2):
            async with client.http.post(client.url, json=[]) as response:
                assert (response.status, response.content_type) == (status, "text/html")
                assert response.headers["Retry-After"] == "7"
        assert (await client.handshake())["successful"]
    assert sandbox.faults.counters == {"http_status": 2}


async def test_a_status_meant_for_rest_leaves_streaming_alone(sandbox: Sandbox) -> None:
    body = '[{"message":"TotalRequests Limit exceeded.","errorCode":"REQUEST_LIMIT_EXCEEDED"}]'
    sandbox.faults.inject("http_status", status=403, scope="rest", body=body, content_type="application/json")
    async with BayeuxClient(sandbox) as client:
        assert (await client.handshake())["successful"]
        async with client.http.get(f"{sandbox.url}/services/data/") as response:
            assert (response.status, (await response.json())[0]["errorCode"]) == (
                403,
                "REQUEST_LIMIT_EXCEEDED",
            )


async def test_a_duplicate_comes_in_a_later_poll_with_the_same_replay_id(sandbox: Sandbox) -> None:
    async with await opened(sandbox) as client:
        sandbox.faults.inject("duplicate")
        sandbox.world.advance(1)
        first = replay_ids(await client.connect())
        assert sandbox.faults.counters == {}
        second = replay_ids(await client.connect())
    assert first == sandbox.ledger.replay_ids()
    assert second == first[:1]
    assert sandbox.faults.counters == {"duplicate": 1}


async def test_reordered_events_cross_polls_and_resuming_by_position_loses_nothing() -> None:
    faults = FaultOptions(reorder=0.3, reorder_ms=(20, 60))
    world = WorldOptions(events_per_second=800)
    async with Sandbox(SandboxOptions(faults=faults, world=world)) as sandbox:
        seen: list[int] = []
        while sandbox.bus.counters["late"] < 20 or len(seen) < 200:
            async with BayeuxClient(sandbox) as client:
                await client.open(ALL_CHANGES, seen[-1] if seen else -2)
                seen += replay_ids(await client.connect())
                seen += replay_ids(await client.connect(100))
        assert seen == sandbox.ledger.replay_ids()[: len(seen)]
        assert sandbox.faults.counters["reorder"] >= 20


async def test_settling_publishes_what_is_held_back() -> None:
    faults = FaultOptions(reorder=1.0, reorder_ms=(60_000, 60_000))
    async with Sandbox(SandboxOptions(faults=faults)) as sandbox:
        sandbox.world.enrol("Event Follow-up")
        assert (len(sandbox.ledger), sandbox.bus.held) == (0, 2)
        sandbox.settle()
        assert (len(sandbox.ledger), sandbox.bus.held) == (2, 0)


async def test_what_is_held_back_at_closing_time_still_reaches_the_ledger() -> None:
    faults = FaultOptions(reorder=1.0, reorder_ms=(60_000, 60_000))
    async with Sandbox(SandboxOptions(faults=faults)) as sandbox:
        sandbox.world.enrol("Event Follow-up")
    assert len(sandbox.ledger) == 2


async def test_expired_events_make_stored_positions_invalid_and_are_not_replayed(sandbox: Sandbox) -> None:
    sandbox.world.advance(10)
    count = len(sandbox.ledger)
    position = sandbox.ledger.replay_ids()[-1]
    sandbox.faults.inject("expire")
    async with BayeuxClient(sandbox) as client:
        await client.handshake()
        assert "provided was invalid." in (await client.subscribe(ALL_CHANGES, position))["error"]
        assert (await client.subscribe(ALL_CHANGES, -2))["successful"]
        assert await client.drain() == []
    assert sandbox.faults.counters == {"expire": count}


async def test_bad_events_reach_the_client_as_they_were_injected(sandbox: Sandbox) -> None:
    big = {
        "payload": {
            "ChangeEventHeader": {"recordIds": ["0qBWP0000001AbC2AU"] * 5000},
            "Blob": "x" * 1_000_000,
        }
    }
    bad = [{"payload": {}}, {"payload": {"ChangeEventHeader": "text"}}, 7, None, big]
    async with await opened(sandbox) as client:
        for each in bad:
            sandbox.bus.inject(each)
        events = await client.drain()
    seen = [each["data"] for each in events]
    assert [{"payload": each["payload"]} if isinstance(each, dict) else each for each in seen] == bad


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_in_any_weather_a_client_that_resumes_by_position_sees_every_event_in_bus_order(
    seed: int,
) -> None:
    faults = FaultOptions(
        reorder=0.1,
        swap=0.1,
        republish=0.05,
        duplicate=0.1,
        drop_session=0.1,
        cut=0.1,
        malformed=0.1,
        server_disconnect=0.1,
        close_socket=0.1,
        delay=0.1,
        reorder_ms=(5, 40),
        delay_ms=(1, 5),
    )
    # Small answers, so that there are polls enough for every kind of trouble.
    options = SandboxOptions(
        seed=seed,
        faults=faults,
        cometd=CometdOptions(max_events_per_poll=10),
        world=WorldOptions(events_per_second=2000),
    )
    seen: list[int] = []
    async with Sandbox(options) as sandbox:
        kinds = (
            "drop_session",
            "cut",
            "malformed",
            "server_disconnect",
            "close_socket",
            "delay",
            "duplicate",
        )
        while not all(sandbox.faults.counters[kind] for kind in kinds) or len(seen) < 500:
            async with BayeuxClient(sandbox) as client:
                await client.open(ALL_CHANGES, max(seen) if seen else -2)
                with contextlib.suppress(aiohttp.ClientError, ValueError):
                    while (answer := await client.connect(20))[-1]["successful"]:
                        seen += replay_ids(answer)
        ledger = sandbox.ledger.replay_ids()
    fresh = list(dict.fromkeys(seen))
    assert fresh == ledger[: len(fresh)]
    assert len(seen) > len(fresh)
