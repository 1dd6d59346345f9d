import asyncio
import json
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
import pytest

from consumer.sandbox import (
    ALL_CHANGES,
    STEP_TRACKER,
    TRACKER,
    CometdOptions,
    ManualClock,
    OAuthOptions,
    Sandbox,
    SandboxOptions,
    entity_channel,
)
from tests.support.rigs.bayeux_client import BayeuxClient, replay_ids

UNKNOWN = "403::Unknown client"


async def test_the_handshake_reply_offers_replay_and_gives_no_advice(sandbox: Sandbox) -> None:
    async with BayeuxClient(sandbox) as client:
        reply = await client.handshake()
    client_id = reply.pop("clientId")
    assert 26 <= len(client_id) <= 30
    assert reply == {
        "ext": {"replay": True, "payload.format": True},
        "minimumVersion": "1.0",
        "supportedConnectionTypes": ["long-polling"],
        "channel": "/meta/handshake",
        "id": "1",
        "version": "1.0",
        "successful": True,
    }


async def test_only_the_first_connect_carries_advice_and_it_is_answered_at_once(sandbox: Sandbox) -> None:
    async with BayeuxClient(sandbox) as client:
        await client.handshake()
        (first,) = await client.connect()
        (second,) = await client.connect(0)
    assert first["advice"] == {"interval": 0, "timeout": 110_000, "reconnect": "retry"}
    assert second == {"clientId": client.client_id, "channel": "/meta/connect", "id": "3", "successful": True}


async def test_events_precede_the_acknowledgement_and_carry_the_subscribed_channel(sandbox: Sandbox) -> None:
    async with BayeuxClient(sandbox) as client:
        await client.open(ALL_CHANGES)
        sandbox.world.enrol("Event Follow-up")
        *events, acknowledgement = await client.connect()
    assert acknowledgement["channel"] == "/meta/connect"
    assert events == sandbox.ledger.messages(channel=ALL_CHANGES)


async def test_a_held_poll_is_answered_as_soon_as_events_come(sandbox: Sandbox) -> None:
    async with BayeuxClient(sandbox) as client:
        await client.open(ALL_CHANGES)
        await client.connect()
        poll = asyncio.create_task(client.connect())
        await polling(sandbox)
        assert not poll.done()
        sandbox.world.enrol("Event Follow-up")
        async with asyncio.timeout(5):
            assert replay_ids(await poll) == sandbox.ledger.replay_ids()


async def polling(sandbox: Sandbox) -> None:
    async with asyncio.timeout(5):
        while not any(session.polling for session in sandbox.cometd.sessions):
            await asyncio.sleep(0.001)


async def test_an_idle_poll_is_held_for_the_clients_own_time_and_then_acknowledged_alone(
    sandbox: Sandbox,
) -> None:
    loop = asyncio.get_running_loop()
    async with BayeuxClient(sandbox) as client:
        await client.open(ALL_CHANGES)
        await client.connect()
        began = loop.time()
        (reply,) = await client.connect(200)
    assert reply["successful"]
    assert loop.time() - began >= 0.2


@pytest.mark.parametrize("suffix", ["", "/", "/handshake"])
async def test_the_endpoint_accepts_slashes_and_message_suffixes(sandbox: Sandbox, suffix: str) -> None:
    message = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": ["long-polling"]}
    async with BayeuxClient(sandbox, scheme="OAuth") as client:
        (reply,) = await client.send(message, url=client.url + suffix)
    assert reply["successful"]
    assert "id" not in reply


async def test_a_single_object_is_as_good_as_an_array(sandbox: Sandbox) -> None:
    async with (
        BayeuxClient(sandbox) as client,
        client.http.post(client.url, json={"channel": "/meta/handshake"}) as response,
    ):
        assert (await response.json())[0]["successful"]


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/cometd", "400::API version in the URI is mandatory. URI format: '/cometd/66.0'"),
        ("/cometd/", "400::API version in the URI is mandatory. URI format: '/cometd/66.0'"),
        (
            "/cometd/36.0",
            "400::Unsupported API version. Only API versions '37.0' and later are supported. URI format: '/cometd/66.0'",
        ),
    ],
)
async def test_a_wrong_version_in_the_uri_is_refused(sandbox: Sandbox, path: str, error: str) -> None:
    async with (
        BayeuxClient(sandbox) as client,
        client.http.post(sandbox.url + path, json=[{"channel": "/meta/handshake"}]) as response,
    ):
        assert response.status == 400
        assert (await response.json()) == [
            {"channel": "/meta/handshake", "error": error, "successful": False}
        ]


async def test_a_body_over_32768_bytes_is_too_large(sandbox: Sandbox) -> None:
    async with BayeuxClient(sandbox) as client:
        async with client.http.post(client.url, data=b"[" + b" " * 32_767 + b"]") as response:
            assert (response.status, await response.text()) == (413, "Maximum Request Size Exceeded")
        async with client.http.post(client.url, data=b"[" + b" " * 32_766 + b"]") as response:
            assert response.status == 200


async def test_a_body_that_is_not_json_is_refused(sandbox: Sandbox) -> None:
    async with BayeuxClient(sandbox) as client, client.http.post(client.url, data=b"<html>") as response:
        assert response.status == 400


@pytest.mark.parametrize("replay", [None, -1])
async def test_minus_one_and_no_replay_id_mean_from_now_on(sandbox: Sandbox, replay: int | None) -> None:
    sandbox.world.advance(10)
    async with BayeuxClient(sandbox) as client:
        await client.open(ALL_CHANGES, replay)
        before = sandbox.ledger.replay_ids()[-1]
        sandbox.world.advance(10)
        assert replay_ids(await client.drain()) == sandbox.ledger.replay_ids(after=before)


async def test_minus_two_means_everything_stored(sandbox: Sandbox) -> None:
    sandbox.world.advance(50)
    async with BayeuxClient(sandbox) as client:
        await client.open(entity_channel(TRACKER), -2)
        assert await client.drain() == sandbox.ledger.messages(channel=entity_channel(TRACKER))


@pytest.mark.parametrize("as_text", [False, True])
async def test_a_replay_id_means_what_was_published_after_it(sandbox: Sandbox, as_text: bool) -> None:
    sandbox.world.advance(50)
    middle = sandbox.ledger.replay_ids()[30]
    async with BayeuxClient(sandbox) as client:
        await client.open(ALL_CHANGES, str(middle) if as_text else middle)
        assert replay_ids(await client.drain()) == sandbox.ledger.replay_ids(after=middle)


@pytest.mark.parametrize("replay", [1, 99_999_999_999, "abc"])
async def test_an_invalid_replay_id_is_refused_with_two_spaces_and_braces(
    sandbox: Sandbox, replay: object
) -> None:
    async with BayeuxClient(sandbox) as client:
        await client.handshake()
        reply = await client.subscribe(ALL_CHANGES, replay)
    assert reply == {
        "clientId": client.client_id,
        "channel": "/meta/subscribe",
        "id": "2",
        "subscription": ALL_CHANGES,
        "error": f"400::The replayId {{{replay}}} you provided was invalid.  "
        "Please provide a valid ID, -2 to replay all events, or -1 to replay only new events.",
        "successful": False,
    }


@pytest.mark.parametrize(
    ("channel", "error"),
    [
        (
            "/data/NonsenseChangeEvent",
            "400::The channel you requested to subscribe to doesn't exist {/data/NonsenseChangeEvent}",
        ),
        (
            "/data/changeevents",
            "400::The channel you requested to subscribe to doesn't exist {/data/changeevents}",
        ),
        ("data/ChangeEvents", "400::Channel subscriptions must start with a leading '/'"),
        ("", "400::Channel name not specified"),
    ],
)
async def test_a_wrong_channel_is_refused(sandbox: Sandbox, channel: str, error: str) -> None:
    async with BayeuxClient(sandbox) as client:
        await client.handshake()
        assert (await client.subscribe(channel))["error"] == error


async def test_several_messages_in_one_post_are_all_answered_and_a_connect_among_them_is_not_held(
    sandbox: Sandbox,
) -> None:
    async with BayeuxClient(sandbox) as client:
        await client.handshake()
        await client.connect()
        runs, steps = entity_channel(TRACKER), entity_channel(STEP_TRACKER)
        async with asyncio.timeout(5):
            replies = await client.send(
                client.subscribing(runs), client.subscribing(steps), client.connecting()
            )
    assert [each["channel"] for each in replies] == ["/meta/subscribe", "/meta/subscribe", "/meta/connect"]
    assert all(each["successful"] for each in replies)


async def test_two_channels_of_one_client_are_delivered_in_bus_order(sandbox: Sandbox) -> None:
    sandbox.world.advance(30)
    async with BayeuxClient(sandbox) as client:
        await client.open(entity_channel(TRACKER), -2)
        await client.subscribe(entity_channel(STEP_TRACKER), -2)
        assert replay_ids(await client.drain()) == sandbox.ledger.replay_ids()


async def test_overlapping_channels_deliver_an_event_twice(sandbox: Sandbox) -> None:
    run = sandbox.world.enrol("Event Follow-up")
    async with BayeuxClient(sandbox) as client:
        await client.open(ALL_CHANGES, -2)
        await client.subscribe(entity_channel(TRACKER), -2)
        events = await client.drain()
    channels = [
        each["channel"] for each in events if run in each["data"]["payload"]["ChangeEventHeader"]["recordIds"]
    ]
    assert sorted(channels) == [entity_channel(TRACKER), ALL_CHANGES]


async def test_a_custom_channel_carries_the_configured_entities() -> None:
    custom: dict[str, tuple[str, ...]] = {"/data/Steps__chn": (STEP_TRACKER,)}
    async with Sandbox(SandboxOptions(custom_channels=custom)) as sandbox, BayeuxClient(sandbox) as client:
        sandbox.world.advance(20)
        await client.open("/data/Steps__chn", -2)
        events = await client.drain()
    assert replay_ids(events) == sandbox.ledger.replay_ids(channel=entity_channel(STEP_TRACKER))


async def test_a_poll_answer_holds_no_more_events_than_configured() -> None:
    async with (
        Sandbox(SandboxOptions(cometd=CometdOptions(max_events_per_poll=7))) as sandbox,
        BayeuxClient(sandbox) as client,
    ):
        sandbox.world.advance(30)
        await client.open(ALL_CHANGES, -2)
        sizes, seen = [], []
        while batch := (await client.connect(0))[:-1]:
            sizes.append(len(batch))
            seen += replay_ids(batch)
    assert max(sizes) == 7
    assert seen == sandbox.ledger.replay_ids()


async def test_an_unsubscribed_channel_is_silent(sandbox: Sandbox) -> None:
    async with BayeuxClient(sandbox) as client:
        await client.open(ALL_CHANGES)
        message = {
            "channel": "/meta/unsubscribe",
            "clientId": client.client_id,
            "subscription": ALL_CHANGES,
            "id": "9",
        }
        (reply,) = await client.send(message)
        assert reply == {**message, "successful": True}
        sandbox.world.advance(5)
        assert await client.drain() == []


async def test_after_a_disconnect_the_client_is_unknown(sandbox: Sandbox) -> None:
    async with BayeuxClient(sandbox) as client:
        await client.open(ALL_CHANGES)
        (reply,) = await client.send({"channel": "/meta/disconnect", "clientId": client.client_id, "id": "8"})
        assert reply == {
            "channel": "/meta/disconnect",
            "clientId": client.client_id,
            "id": "8",
            "successful": True,
        }
        assert (await client.connect())[0]["error"] == UNKNOWN
    assert len(sandbox.cometd.sessions) == 0


async def test_an_unknown_client_is_told_to_shake_hands_is_not_named_and_is_routed_anew(
    sandbox: Sandbox,
) -> None:
    async with BayeuxClient(sandbox) as client:
        client.client_id = "nobody"
        async with client.http.post(client.url, json=[client.connecting()]) as response:
            (reply,) = await response.json()
            cookies = response.headers.getall("Set-Cookie")
    assert reply == {
        "advice": {"interval": 0, "reconnect": "handshake"},
        "channel": "/meta/connect",
        "id": "3",
        "error": UNKNOWN,
        "successful": False,
    }
    assert [each.partition("=")[0] for each in cookies] == ["sfdc-stream"]


async def test_subscribing_without_a_handshake_is_refused(sandbox: Sandbox) -> None:
    async with BayeuxClient(sandbox) as client:
        (reply,) = await client.send({"channel": "/meta/subscribe", "subscription": ALL_CHANGES})
    assert reply["error"] == "403::Client has not completed handshake"


@pytest.mark.parametrize("cookie", ["BAYEUX_BROWSER", "sfdc-stream"])
async def test_a_client_that_lost_a_cookie_is_told_which(sandbox: Sandbox, cookie: str) -> None:
    async with BayeuxClient(sandbox) as client:
        await client.open(ALL_CHANGES)
        client.drop_cookie(cookie)
        (reply,) = await client.connect()
    assert (
        reply["error"]
        == f"400::Client {client.client_id} has established a session, but no {cookie} cookie present"
    )


async def test_a_client_that_encodes_the_routing_cookie_anew_is_unknown(sandbox: Sandbox) -> None:
    async with BayeuxClient(sandbox) as client:
        await client.handshake()
        route = client.cookies()["sfdc-stream"]
        assert route.startswith("!")
        header = f'BAYEUX_BROWSER={client.cookies()["BAYEUX_BROWSER"]}; sfdc-stream="{route}"'
        client.jar.clear()
        async with client.http.post(
            client.url, json=[client.connecting()], headers={"Cookie": header}
        ) as response:
            (reply,) = await response.json()
    assert reply["error"] == UNKNOWN


async def test_a_client_that_stays_away_too_long_is_forgotten() -> None:
    options = SandboxOptions(cometd=CometdOptions(session_lifetime_ms=50))
    async with Sandbox(options) as sandbox, BayeuxClient(sandbox) as client:
        await client.open(ALL_CHANGES)
        await client.connect()
        assert (await client.connect(150))[-1]["successful"], "a held poll is not silence"
        async with asyncio.timeout(5):
            while sandbox.status()["clients"]:
                await asyncio.sleep(0.01)
        assert (await client.connect())[0]["error"] == UNKNOWN
        await client.open(ALL_CHANGES)
        assert (await client.connect())[0]["successful"]


async def test_a_session_ends_with_its_routing_cookie() -> None:
    options = SandboxOptions(cometd=CometdOptions(route_lifetime_ms=0))
    async with Sandbox(options) as sandbox, BayeuxClient(sandbox) as client:
        await client.handshake()
        assert (await client.connect())[0]["error"] == UNKNOWN


async def test_without_a_valid_token_a_handshake_is_denied_for_a_reason(sandbox: Sandbox) -> None:
    async with BayeuxClient(sandbox, token="expired") as client:
        reply = await client.handshake()
    assert reply["error"] == "403::Handshake denied"
    assert reply["ext"]["sfdc"]["failureReason"] == "401::Authentication invalid"
    assert reply["advice"] == {"reconnect": "none"}
    async with (
        aiohttp.ClientSession() as http,
        http.post(client.url, json=[{"channel": "/meta/handshake"}]) as response,
    ):
        (reply,) = await response.json()
    assert reply["ext"]["sfdc"]["failureReason"] == "401::Request requires authentication"


async def test_a_revoked_token_ends_a_held_poll(sandbox: Sandbox) -> None:
    async with BayeuxClient(sandbox) as client:
        await client.open(ALL_CHANGES)
        await client.connect()
        poll = asyncio.create_task(client.connect())
        await polling(sandbox)
        sandbox.faults.inject("revoke", token=client.token)
        async with asyncio.timeout(5):
            (reply,) = await poll
    assert reply == {
        "clientId": client.client_id,
        "advice": {"reconnect": "none", "interval": 0},
        "channel": "/meta/connect",
        "id": "3",
        "error": "401::Authentication invalid",
        "successful": False,
    }


async def test_an_expired_token_is_refused_on_the_next_request() -> None:
    options = SandboxOptions(oauth=OAuthOptions(token_lifetime_ms=100, sliding=False))
    async with Sandbox(options) as sandbox, BayeuxClient(sandbox) as client:
        await client.handshake()
        async with asyncio.timeout(5):
            while (await client.connect(0))[-1]["successful"]:
                await asyncio.sleep(0.02)
        assert (await client.connect())[0]["error"] == "401::Authentication invalid"


async def test_another_users_token_does_not_fit_the_session(sandbox: Sandbox) -> None:
    other = sandbox.oauth.tokens.issue(sandbox.world.users[0], asyncio.get_running_loop().time())
    async with BayeuxClient(sandbox) as client:
        await client.handshake()
        client.http.headers["Authorization"] = f"Bearer {other}"
        (reply,) = await client.connect()
    assert reply["error"] == "400::Authenticated user id does not match the session's user id"


async def test_any_connection_type_but_long_polling_is_refused(sandbox: Sandbox) -> None:
    async with BayeuxClient(sandbox) as client:
        await client.handshake()
        (reply,) = await client.send({**client.connecting(), "connectionType": "websocket"})
    assert reply["error"] == "400::Invalid connection type {websocket}"


async def test_a_second_poll_of_a_client_ends_the_first_without_events(sandbox: Sandbox) -> None:
    async with BayeuxClient(sandbox) as client:
        await client.open(ALL_CHANGES)
        await client.connect()
        first = asyncio.create_task(client.connect())
        await polling(sandbox)
        second = asyncio.create_task(client.connect())
        async with asyncio.timeout(5):
            assert [each["channel"] for each in await first] == ["/meta/connect"]
            sandbox.world.advance(1)
            assert replay_ids(await second) == sandbox.ledger.replay_ids()


async def test_clients_do_not_disturb_each_other(sandbox: Sandbox) -> None:
    sandbox.world.advance(20)
    async with BayeuxClient(sandbox) as one, BayeuxClient(sandbox) as other:
        await one.open(ALL_CHANGES, -2)
        await other.open(ALL_CHANGES, -2)
        assert await one.drain() == await other.drain() == sandbox.ledger.messages(channel=ALL_CHANGES)


async def test_a_client_that_vanishes_mid_poll_leaves_nothing_behind(sandbox: Sandbox) -> None:
    async with BayeuxClient(sandbox) as client:
        await client.open(ALL_CHANGES)
        await client.connect()
        cookies = "; ".join(f"{name}={value}" for name, value in client.cookies().items())
        body = json.dumps([client.connecting()])
        head = f"POST /cometd/66.0 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.token}\r\nCookie: {cookies}\r\n"
        _, writer = await asyncio.open_connection(*client.host)
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        await polling(sandbox)
        writer.transport.abort()
        async with asyncio.timeout(5):
            while any(session.polling for session in sandbox.cometd.sessions):
                await asyncio.sleep(0.001)
        sandbox.world.advance(3)
        assert replay_ids(await client.connect()) == sandbox.ledger.replay_ids()


async def test_closing_the_sandbox_answers_open_polls_at_once() -> None:
    loop = asyncio.get_running_loop()
    async with Sandbox() as sandbox:
        client = BayeuxClient(sandbox)
        await client.open(ALL_CHANGES)
        await client.connect()
        poll = asyncio.create_task(client.connect())
        await polling(sandbox)
        began = loop.time()
    assert loop.time() - began < 3
    assert (await poll)[-1]["successful"]
    await client.http.close()


async def test_the_date_header_is_org_time() -> None:
    noon = datetime(2030, 5, 17, 12, tzinfo=UTC)
    clock = ManualClock(int(noon.timestamp() * 1000))
    async with (
        Sandbox(SandboxOptions(clock=clock)) as sandbox,
        BayeuxClient(sandbox) as client,
        client.http.post(client.url, json=[]) as response,
    ):
        assert parsedate_to_datetime(response.headers["Date"]) == noon


async def test_any_client_reaches_the_sandbox_by_the_name_localhost(sandbox: Sandbox) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", sandbox.port)
    writer.close()
    await writer.wait_closed()
    del reader
    assert sandbox.url == f"http://localhost:{sandbox.port}"
