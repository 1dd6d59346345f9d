"""One session against a server on a real socket: every behaviour of the stock client that lost events, and what ours does instead."""

import asyncio
import json
import time

import pytest

from consumer.errors import Remedy, SessionFault
from consumer.salesforce.cometd_client import RequestLimits
from tests.faults.conftest import Sessions
from tests.support.servers.scripted_org import (
    BOTH,
    STEP,
    TRACKER,
    ScriptedOrg,
    as_json,
    event,
    failed,
    never,
    ok,
    refuses,
    replies,
)


def kinds_in_order(org):
    return [kind for kind in org.kinds if kind != "disconnect"]


async def fault_of(awaitable):
    with pytest.raises(SessionFault) as caught:
        await awaitable
    return caught.value.reason


# ---------------------------------------------------------------- the line of a session


async def test_a_session_shakes_hands_connects_subscribes_and_only_then_polls(org, sessions):
    session = sessions()
    opened = await session.open(BOTH)
    await org.publish(event(TRACKER, 7))
    answer = await session.next_answer()
    assert kinds_in_order(org) == ["handshake", "connect", "subscribe", "poll"]
    assert dict(opened.resumed) == BOTH
    assert opened.session == answer.session == 1
    assert opened.server_ms == answer.server_ms == 1_782_898_215_000
    assert [message["data"]["event"]["replayId"] for message in answer.messages] == [7]
    assert json.loads(answer.body)[0] == answer.messages[0]


async def test_the_requests_are_those_that_salesforce_documents(org, sessions):
    session = sessions()
    await session.open(BOTH)
    shake, connect, subscribe = org.seen
    assert shake.path == "/cometd/66.0"
    assert shake.headers["Authorization"] == "Bearer 00D!secret-1"
    assert shake.headers["Content-Type"] == "application/json"
    assert shake.messages == [
        {
            "channel": "/meta/handshake",
            "version": "1.0",
            "minimumVersion": "1.0",
            "supportedConnectionTypes": ["long-polling"],
            "ext": {"replay": True},
            "id": "0",
        }
    ]
    assert connect.messages[0]["clientId"] == "client1"
    assert [(message["subscription"], message["ext"]) for message in subscribe.messages] == [
        (TRACKER, {"replay": {TRACKER: -1}}),
        (STEP, {"replay": {STEP: -2}}),
    ]


@pytest.mark.parametrize(
    ("option", "sent"),
    [("37904280", 37904280), ("-2", -2), ("0", 0), ("007", "007"), ("abc=", "abc="), ("9" * 30, "9" * 30)],
)
async def test_a_position_is_sent_as_salesforce_gave_it_also_zero_and_text(org, sessions, option, sent):
    await sessions().open({TRACKER: option})
    assert org.of("subscribe")[0].messages[0]["ext"] == {"replay": {TRACKER: sent}}


async def test_many_channels_are_subscribed_in_requests_of_at_most_32768_bytes(org, sessions):
    channels = {f"/data/{'Long' * 12}{number}__ChangeEvent": str(10**15 + number) for number in range(200)}
    opened = await sessions().open(channels)
    subscribes = org.of("subscribe")
    assert len(subscribes) > 1
    assert all(int(seen.headers["Content-Length"]) <= 32_768 for seen in subscribes)
    assert [message["subscription"] for seen in subscribes for message in seen.messages] == list(channels)
    assert len(opened.resumed) == 200


async def test_the_first_long_poll_waits_for_the_subscription_of_every_channel(org, sessions):
    gate = asyncio.Event()

    async def slowly(_org, _request, messages):
        await gate.wait()
        return as_json([ok(message) for message in messages])

    org.script["subscribe"].append(slowly)
    session = sessions()
    async with asyncio.TaskGroup() as group:
        opening = group.create_task(session.open(BOTH))
        await org.until("subscribe")
        await org.publish(event(TRACKER, 99))
        assert "poll" not in org.kinds
        gate.set()
        await opening
    assert "poll" not in org.kinds
    assert len((await session.next_answer()).messages) == 1


async def test_events_that_come_with_the_acknowledgement_are_handed_over_first(org, sessions):
    replayed = [event(TRACKER, number) for number in range(3_000)]
    org.script["subscribe"].append(replies(lambda messages: [*replayed, *map(ok, messages)]))
    session = sessions()
    await session.open(BOTH)
    await org.publish(event(TRACKER, 3_000))
    first, second = await session.next_answer(), await session.next_answer()
    assert [message["data"]["event"]["replayId"] for message in (*first.messages, *second.messages)] == list(
        range(3_001)
    )


async def test_an_answer_of_5000_events_is_one_answer(org, sessions):
    session = sessions()
    await session.open(BOTH)
    await org.publish(*(event(TRACKER, number) for number in range(5_000)))
    assert len((await session.next_answer()).messages) == 5_000


async def test_an_event_of_a_megabyte_is_taken(org, sessions):
    session = sessions()
    await session.open(BOTH)
    await org.publish(event(TRACKER, 1, Text="x" * 1_000_000))
    assert len((await session.next_answer()).messages[0]["data"]["payload"]["Text"]) == 1_000_000


async def test_an_idle_channel_is_no_alarm_but_an_empty_answer(org, sessions):
    org.advice["timeout"] = 50
    session = sessions()
    await session.open(BOTH)
    assert [list((await session.next_answer()).messages) for _ in range(3)] == [[], [], []]


async def test_a_cancelled_reader_takes_nothing_with_it(org, sessions):
    org.script["subscribe"].append(replies(lambda sent: [event(TRACKER, 1), *map(ok, sent)]))
    org.script["poll"].extend([never(), replies(lambda sent: [event(TRACKER, 2), ok(sent[0])])])
    session = sessions()
    await session.open(BOTH)
    for number in (1, 2):
        reading = asyncio.create_task(session.next_answer())
        if number == 2:
            await org.until("poll")
        reading.cancel()
        await asyncio.wait({reading})
        assert reading.cancelled()
        (message,) = (await session.next_answer()).messages
        assert message["data"]["event"]["replayId"] == number


# ---------------------------------------------------------------- subscriptions


async def test_a_refused_channel_ends_the_session_although_the_other_was_acknowledged(org, sessions):
    org.script["subscribe"].append(
        replies(lambda sent: [ok(sent[0]), failed(sent[1], "403::Restricted channel")]),
    )
    reason = await fault_of(sessions().open(BOTH))
    assert (reason.code, reason.remedy, reason.channel) == ("permission_denied", Remedy.STOP, STEP)


async def test_a_channel_missing_from_the_acknowledgements_ends_the_session(org, sessions):
    org.script["subscribe"].append(replies(lambda sent: [ok(sent[0])]))
    reason = await fault_of(sessions().open(BOTH))
    assert reason.code == "bad_body"
    assert "no reply" in reason.detail


async def test_an_acknowledgement_of_another_channel_ends_the_session(org, sessions):
    org.script["subscribe"].append(replies(lambda sent: [ok(sent[0], subscription="/data/OtherChangeEvent")]))
    reason = await fault_of(sessions().open({TRACKER: "-1"}))
    assert (reason.code, reason.channel) == ("not_acknowledged", TRACKER)


async def test_a_refused_position_is_reported_and_never_replaced(org, sessions):
    text = "400::The replayId {41} you provided was invalid.  Please provide a valid ID, -2 to replay all events, or -1 to replay only new events."
    org.script["subscribe"].append(replies(lambda sent: [ok(sent[0]), failed(sent[1], text)]))
    reason = await fault_of(sessions().open({TRACKER: "-1", STEP: "41"}))
    assert (reason.code, reason.remedy) == ("replay_invalid", Remedy.RECONCILE)
    assert (reason.channel, reason.position) == (STEP, "41")
    assert len(org.of("subscribe")) == 1


# ---------------------------------------------------------------- ends


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("403::Unknown client", "unknown_client"),
        ("402::Unknown client", "unknown_client"),
        ("402::session_unknown", "unknown_client"),
        ("something that nobody has seen before", "unknown_error"),
    ],
)
async def test_a_failed_connect_ends_the_session_without_another_try(org, sessions, error, code):
    org.script["poll"].append(refuses(error, advice={"reconnect": "handshake", "interval": 0}))
    session = sessions()
    await session.open(BOTH)
    reason = await fault_of(session.next_answer())
    assert (reason.code, reason.remedy) == (code, Remedy.RETRY)
    assert await fault_of(session.next_answer()) is reason
    assert len(org.of("poll")) == 1
    assert len(org.of("handshake")) == 1


async def test_the_next_session_has_new_connections_and_no_cookie_of_the_last(org, sessions):
    org.cookies = {"BAYEUX_BROWSER": "b1"}
    org.script["poll"].append(refuses("403::Unknown client"))
    first = sessions()
    await first.open(BOTH)
    await fault_of(first.next_answer())
    await first.aclose()
    org.seen.clear()
    await sessions().open(BOTH)
    shake, connect, _subscribe = org.seen
    assert "Cookie" not in shake.headers
    assert connect.headers["Cookie"] == "BAYEUX_BROWSER=b1"


async def test_events_before_a_failed_connect_are_handed_over_before_the_fault(org, sessions):
    org.script["poll"].append(
        replies(lambda sent: [event(TRACKER, 1), event(TRACKER, 2), failed(sent[0], "403::Unknown client")])
    )
    session = sessions()
    await session.open(BOTH)
    assert len((await session.next_answer()).messages) == 2
    assert (await fault_of(session.next_answer())).code == "unknown_client"


async def test_a_disconnect_of_the_server_ends_the_session_after_its_events(org, sessions):
    org.script["poll"].append(
        replies(
            lambda sent: [event(TRACKER, 1), {"channel": "/meta/disconnect", "successful": True}, ok(sent[0])]
        )
    )
    session = sessions()
    await session.open(BOTH)
    assert len((await session.next_answer()).messages) == 1
    assert (await fault_of(session.next_answer())).code == "server_disconnect"
    assert len(org.of("poll")) == 1


@pytest.mark.parametrize(
    ("advised", "code"), [("handshake", "rehandshake_advised"), ("none", "reconnect_refused")]
)
async def test_advice_not_to_go_on_ends_the_session_although_the_poll_was_successful(
    org, sessions, advised, code
):
    org.script["poll"].append(
        replies(lambda sent: [ok(sent[0], advice={"reconnect": advised, "interval": 0})])
    )
    session = sessions()
    await session.open(BOTH)
    assert (await fault_of(session.next_answer())).code == code


async def test_the_daily_limit_on_the_first_connect_asks_to_wait(org, sessions):
    org.script["connect"].append(refuses("403::Organization total events daily limit exceeded"))
    reason = await fault_of(sessions().open(BOTH))
    assert (reason.code, reason.remedy) == ("daily_limit", Remedy.WAIT_QUOTA)


# ---------------------------------------------------------------- authentication


async def test_a_401_is_not_resent_and_gives_up_the_token(org, sessions):
    org.script["poll"].append(
        refuses("401::Authentication invalid", advice={"reconnect": "none", "interval": 0})
    )
    session = sessions()
    await session.open(BOTH)
    reason = await fault_of(session.next_answer())
    assert (reason.code, reason.remedy) == ("authentication_invalid", Remedy.REAUTHENTICATE)
    assert sessions.tokens.current is None
    assert org.kinds == ["handshake", "connect", "subscribe", "poll"]
    await sessions().open(BOTH)
    assert org.of("handshake")[1].headers["Authorization"] == "Bearer 00D!secret-2"


async def test_a_refused_old_token_does_not_cost_the_newer_one(org, sessions):
    org.script["poll"].append(refuses("401::Authentication invalid"))
    session = sessions()
    await session.open(BOTH)
    sessions.tokens.invalidate(sessions.tokens.current)
    newer = await sessions.tokens.token()
    await fault_of(session.next_answer())
    assert sessions.tokens.current is newer


async def test_a_busy_server_that_says_401_is_not_an_authentication_failure(org, sessions):
    org.script["poll"].append(
        refuses(
            "401::Authentication invalid",
            ext={"sfdc": {"failureReason": "503::Server is too busy.  Please try your request again later."}},
            advice={"reconnect": "none", "interval": 0},
        )
    )
    session = sessions()
    await session.open(BOTH)
    reason = await fault_of(session.next_answer())
    assert (reason.code, reason.remedy) == ("server_busy", Remedy.RETRY)
    assert sessions.tokens.current is not None


async def test_a_denied_handshake_is_sent_once(org, sessions):
    org.script["handshake"].append(
        refuses("403::Handshake denied", ext={"sfdc": {"failureReason": "401::Authentication invalid"}})
    )
    reason = await fault_of(sessions().open(BOTH))
    assert reason.remedy is Remedy.REAUTHENTICATE
    assert org.kinds == ["handshake"]
    assert sessions.grant.handed_out == 1


# ---------------------------------------------------------------- time


FAST = RequestLimits(handshake_ms=200, subscribe_ms=200, poll_ms=200, poll_margin_ms=200, disconnect_ms=200)


@pytest.mark.parametrize(
    ("kind", "code"),
    [("handshake", "handshake_timeout"), ("connect", "poll_timeout"), ("subscribe", "subscribe_timeout")],
)
async def test_a_server_that_does_not_answer_while_opening_is_noticed(org, sessions, kind, code):
    sessions.limits = FAST
    org.script[kind].append(never())
    assert (await fault_of(sessions().open(BOTH))).code == code


async def test_a_poll_that_is_not_answered_in_the_advised_time_and_a_margin_ends_the_session(org, sessions):
    sessions.limits = FAST
    org.advice["timeout"] = 300
    org.script["poll"].append(never())
    session = sessions()
    await session.open(BOTH)
    started = time.monotonic()
    assert (await fault_of(session.next_answer())).code == "poll_timeout"
    assert 0.45 < time.monotonic() - started < 3


async def test_an_interval_of_the_advice_is_in_milliseconds(org, sessions):
    org.advice.update(interval=300, timeout=20)
    session = sessions()
    await session.open(BOTH)
    subscribed = org.of("subscribe")[0].at
    await session.next_answer()
    assert 0.25 < org.of("poll")[0].at - subscribed < 3


async def test_a_short_poll_is_asked_for_and_answered(org, sessions):
    sessions.poll_timeout = 40
    session = sessions()
    await session.open(BOTH)
    assert list((await session.next_answer()).messages) == []
    assert org.of("poll")[0].messages[0]["advice"] == {"timeout": 40}


@pytest.mark.parametrize("asked_ms", [600, 601, 3_600_000, 30 * 86_400_000])
async def test_a_poll_never_asks_for_a_later_answer_than_the_server_gives_by_itself(org, sessions, asked_ms):
    org.advice["timeout"] = 600
    sessions.poll_timeout = asked_ms
    session = sessions()
    await session.open(BOTH)
    await session.next_answer()
    assert "timeout" not in org.of("poll")[0].messages[0].get("advice", {})


async def test_the_answer_to_a_short_poll_does_not_change_the_servers_own_timeout(org, sessions):
    org.advice["timeout"] = 900
    sessions.poll_timeout = 40
    session = sessions()
    await session.open(BOTH)

    async def repeats_what_was_asked(_org, _request, messages):
        return as_json([{**ok(messages[0]), "advice": {"timeout": 40, "interval": 0}}])

    org.script["poll"].append(repeats_what_was_asked)
    await session.next_answer()
    sessions.poll_timeout = 500
    await session.next_answer()
    assert org.of("poll")[1].messages[0]["advice"] == {"timeout": 500}, (
        "900 ms is still what the server does by itself"
    )


async def test_a_server_that_ignores_short_polls_costs_one_session_and_not_every_one(org, sessions):
    sessions.limits = RequestLimits(poll_ms=600, poll_margin_ms=100, disconnect_ms=100)
    org.advice["timeout"] = 600
    sessions.poll_timeout = 10

    async def at_its_leisure(_org, _request, messages):
        await asyncio.sleep(0.6)
        return as_json([ok(messages[0])])

    org.script["poll"].extend([at_its_leisure, at_its_leisure])
    first = sessions()
    await first.open(BOTH)
    assert (await fault_of(first.next_answer())).code == "poll_timeout"
    second = sessions()
    await second.open(BOTH)
    assert list((await second.next_answer()).messages) == []


# ---------------------------------------------------------------- closing


async def test_closing_says_goodbye_once(org, sessions):
    session = sessions()
    await session.open(BOTH)
    await session.aclose()
    await session.aclose()
    (goodbye,) = org.of("disconnect")
    assert goodbye.messages[0]["clientId"] == "client1"


async def test_closing_is_bounded_when_the_server_does_not_answer(org, sessions):
    sessions.limits = RequestLimits(disconnect_ms=200)
    org.script["disconnect"].append(never())
    session = sessions()
    await session.open(BOTH)
    started = time.monotonic()
    await session.aclose()
    assert time.monotonic() - started < 2


async def test_closing_a_session_that_could_not_open_stops_everything(org, sessions):
    org.script["subscribe"].append(refuses("403::Restricted channel"))
    session = sessions()
    await fault_of(session.open(BOTH))
    await session.aclose()
    seen = len(org.seen)
    await sessions().open(BOTH)
    assert org.kinds[seen:] == ["handshake", "connect", "subscribe"]


async def test_a_client_that_the_server_has_forgotten_is_not_disconnected(org, sessions):
    org.script["poll"].append(refuses("403::Unknown client"))
    session = sessions()
    await session.open(BOTH)
    await fault_of(session.next_answer())
    await session.aclose()
    assert org.of("disconnect") == []


async def test_closing_works_while_being_cancelled(org, sessions):
    session = sessions()
    await session.open(BOTH)

    async def live():
        try:
            await session.next_answer()
        finally:
            await session.aclose()

    task = asyncio.create_task(live())
    await org.until("poll")
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert len(org.of("disconnect")) == 1


# ---------------------------------------------------------------- cookies


async def test_cookies_are_sent_back_byte_for_byte(org, sessions):
    value = "!//QiKCtgRz/8Ow+NBSWBTDZ6st4SZ0zgy/W9DuaUlImW4TVx0EbyUQxwr1yj6cye4+kYtTUiqXtxw="
    org.cookies = {"sfdc-stream": value}
    await sessions().open(BOTH)
    assert org.of("subscribe")[0].headers["Cookie"] == f"sfdc-stream={value}"


async def test_cookies_of_an_ip_address_are_kept_too(nothing_left_behind):
    del nothing_left_behind
    org = ScriptedOrg(host="127.0.0.1", cookies={"BAYEUX_BROWSER": "b1"})
    await org.start()
    sessions = Sessions(org)
    try:
        await sessions().open(BOTH)
        assert org.of("subscribe")[0].headers["Cookie"] == "BAYEUX_BROWSER=b1"
    finally:
        await sessions.aclose()
        await org.stop()


async def test_a_session_needs_a_channel(sessions):
    with pytest.raises(ValueError, match="at least one channel"):
        await sessions().open({})


async def test_without_a_date_the_server_time_is_unknown(org, sessions):
    org.script["poll"].append(replies(lambda sent: [ok(sent[0])], Date="not a date"))
    session = sessions()
    await session.open(BOTH)
    assert (await session.next_answer()).server_ms is None
