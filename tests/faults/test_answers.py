"""Answers that are not whole, and connections that do not bring any: nothing of them is handed over, and the reason is said."""

import asyncio
import contextlib
import json
import socket
import struct

import pytest
from aiohttp import web

from consumer.errors import Remedy, SessionFault
from consumer.salesforce.bayeux import BadBody
from consumer.salesforce.cometd_client import RequestLimits
from tests.support.servers.scripted_org import (
    BOTH,
    TRACKER,
    cut,
    event,
    never,
    ok,
    raw,
    refuses,
    replies,
)


async def fault_of(awaitable):
    with pytest.raises(SessionFault) as caught:
        await awaitable
    return caught.value


async def after_poll(org, sessions, *steps):
    """What the first poll raises when the server answers it with ``steps``."""
    org.script["poll"].extend(steps)
    session = sessions()
    await session.open(BOTH)
    fault = await fault_of(session.next_answer())
    assert await fault_of(session.next_answer()) is fault
    return fault


WHOLE = json.dumps([event(TRACKER, 1), event(TRACKER, 2)]).encode()


@pytest.mark.parametrize("reset", [False, True])
async def test_a_body_cut_in_the_middle_is_not_consumed(org, sessions, reset):
    fault = await after_poll(org, sessions, cut(WHOLE, len(WHOLE) + 500, reset=reset))
    assert fault.reason.code in ({"truncated", "connection_lost"} if reset else {"truncated"})
    assert fault.reason.remedy is Remedy.RETRY


async def test_a_truncated_body_that_pretends_to_be_complete_is_not_consumed(org, sessions):
    body = WHOLE[:-20]
    fault = await after_poll(org, sessions, raw(body))
    assert fault.reason.code == "bad_body"
    assert isinstance(fault, BadBody)
    assert fault.body == body


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda good, _reply: [*good], id="no reply to the poll"),
        pytest.param(lambda good, reply: [*good, reply, reply], id="two replies to the poll"),
        pytest.param(lambda good, reply: [*good, {**reply, "id": "other"}], id="the reply to another poll"),
        pytest.param(
            lambda good, reply: [*good, {**reply, "successful": "yes"}],
            id="a reply that does not say how it went",
        ),
        pytest.param(lambda good, reply: {"messages": good, "reply": reply}, id="an object"),
        pytest.param(lambda _good, _reply: None, id="null"),
    ],
)
async def test_an_answer_without_exactly_one_reply_is_void(org, sessions, spoil):
    good = [event(TRACKER, number) for number in range(10)]
    fault = await after_poll(org, sessions, replies(lambda sent: spoil(good, ok(sent[0]))))
    assert isinstance(fault, BadBody)
    assert fault.reason.code == "bad_body"
    assert fault.body


DEEP = "[" * 5_000 + "]" * 5_000


@pytest.mark.parametrize(
    ("spoilt", "reason"),
    [
        pytest.param('"text"', "no_channel", id="an element that is no object"),
        pytest.param("7", "no_channel", id="a number"),
        pytest.param('{"data":{}}', "no_channel", id="an event without a channel"),
        pytest.param('{"channel":7,"data":{}}', "no_channel", id="a channel that is no text"),
        pytest.param('{"channel":"data","data":{}}', "no_channel", id="a channel that is none"),
        pytest.param(f'{{"channel":"{TRACKER}"}}', "no_data", id="an event without data"),
        pytest.param(
            f'{{"channel":"{TRACKER}","data":{{"payload":{{"A":{DEEP}}},"event":{{"replayId":77}}}}}}',
            "too_deep",
            id="an event that is too deep for any parser",
        ),
        pytest.param(DEEP, "too_deep", id="an array that is too deep for any parser"),
    ],
)
async def test_a_message_that_cannot_be_used_takes_no_other_with_it_and_keeps_its_bytes(
    org, sessions, spoilt, reason
):
    good = [json.dumps(event(TRACKER, number)) for number in range(4)]

    async def answers(_org, _request, sent):
        return web.Response(text=f"[{good[0]}, {spoilt} ,{', '.join(good[1:])},{json.dumps(ok(sent[0]))}]")

    org.script["poll"].append(answers)
    session = sessions()
    await session.open(BOTH)
    answer = await session.next_answer()
    assert [one["data"]["event"]["replayId"] for index, one in enumerate(answer.messages) if index != 1] == [
        0,
        1,
        2,
        3,
    ]
    assert {index: error.reason for index, error in answer.unusable.items()} == {1: reason}
    begin, end = answer.spans[1]
    assert answer.body[begin:end] == spoilt.encode()
    if spoilt.startswith("{") and reason == "too_deep":
        assert answer.messages[1]["data"] == {"event": {"replayId": 77}}


async def test_half_of_a_surrogate_pair_is_replaced_and_marked_and_the_stream_goes_on(org, sessions):
    async def answers(_org, _request, sent):
        messages = [
            event(TRACKER, 1, A="good"),
            event(TRACKER, 2, StepTitle="bad \ud83d name"),
            event(TRACKER, 3),
        ]
        return web.Response(text=json.dumps([*messages, ok(sent[0])]))

    org.script["poll"].append(answers)
    session = sessions()
    await session.open(BOTH)
    answer = await session.next_answer()
    assert [one["data"]["event"]["replayId"] for one in answer.messages] == [1, 2, 3]
    assert answer.messages[1]["data"]["payload"] == {"StepTitle": "bad \ufffd name"}
    assert answer.repaired == {1: ("StepTitle",)}
    assert not answer.unusable


@pytest.mark.parametrize(
    "spoilt", ["NaN", '{"channel":"/data/X","data":{"a":Infinity}}', '"\x01"', "{]", "{'a':1}"]
)
async def test_what_is_not_json_by_its_grammar_makes_the_body_unreadable(org, sessions, spoilt):
    async def answers(_org, _request, sent):
        return web.Response(text=f"[{json.dumps(event(TRACKER, 1))},{spoilt},{json.dumps(ok(sent[0]))}]")

    fault = await after_poll(org, sessions, answers)
    assert fault.reason.code == "bad_body"


async def test_an_answer_larger_than_what_is_parsed_at_once_is_whole_and_holds_the_loop_only_for_moments(
    org, sessions
):
    async def answers(_org, _request, sent):
        messages = [event(TRACKER, number, Text="x" * 1_000) for number in range(8_000)]
        return web.Response(text=json.dumps([*messages, ok(sent[0])]))

    org.script["poll"].append(answers)
    session = sessions()
    await session.open(BOTH)
    answer = await session.next_answer()
    assert [one["data"]["event"]["replayId"] for one in answer.messages] == list(range(8_000))
    assert len(answer.spans) == 8_000


async def test_a_server_that_answers_polls_at_once_and_empty_is_asked_a_few_times_a_second(org, sessions):
    org.script["poll"].extend([replies(lambda sent: [ok(sent[0])])] * 1_000)
    session = sessions()
    await session.open(BOTH)
    before = len(org.of("poll"))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(2.5):
            while True:
                assert not (await session.next_answer()).messages
    assert 3 <= len(org.of("poll")) - before <= 12
    org.script["poll"].clear()
    await org.publish(event(TRACKER, 1))
    async with asyncio.timeout(5):
        while not (await session.next_answer()).messages:
            pass


@pytest.mark.parametrize(
    "advice", [{"timeout": 1e300, "interval": 1e300}, {"timeout": 10**18, "interval": 10**18}]
)
async def test_advice_that_nobody_could_wait_for_is_bounded(org, sessions, advice):
    org.advice.update(advice)
    session = sessions()
    opened = await session.open(BOTH)
    assert opened.poll_limit_ms < 700_000


@pytest.mark.parametrize(
    "body", [b"", b"<html>Maintenance</html>", b'[{"channel":"/meta/connect"', b"\xff\xfe"]
)
async def test_a_200_that_is_not_json_ends_the_session_with_its_bytes(org, sessions, body):
    fault = await after_poll(org, sessions, raw(body, content_type="text/html"))
    assert fault.reason.code == "bad_body"
    assert isinstance(fault, BadBody)
    assert fault.body == body


@pytest.mark.parametrize(
    ("status", "code", "remedy"),
    [
        (302, "http_redirect", Remedy.REAUTHENTICATE),
        (401, "http_401", Remedy.REAUTHENTICATE),
        (403, "http_403", Remedy.REAUTHENTICATE),
        (404, "http_404", Remedy.RETRY),
        (410, "api_version", Remedy.STOP),
        (413, "request_too_large", Remedy.RETRY),
        (418, "http_4xx", Remedy.RETRY),
        (429, "http_429", Remedy.RETRY),
        (500, "http_500", Remedy.RETRY),
        (502, "http_502", Remedy.RETRY),
        (503, "server_busy", Remedy.RETRY),
        (507, "http_5xx", Remedy.RETRY),
    ],
)
async def test_an_http_status_with_html_is_classified(org, sessions, status, code, remedy):
    fault = await after_poll(org, sessions, raw(b"<html>\n  <b>No</b></html>", status, "text/html"))
    assert (fault.reason.code, fault.reason.remedy) == (code, remedy)
    assert f"HTTP {status}" in fault.reason.detail
    assert "<b>No</b>" in fault.reason.detail
    assert "\n" not in fault.reason.detail


async def test_an_http_error_with_a_known_text_is_what_the_text_says(org, sessions):
    body = b'[{"message":"Session expired or invalid","errorCode":"INVALID_SESSION_ID"}]'
    fault = await after_poll(org, sessions, raw(body, 403))
    assert (fault.reason.code, fault.reason.remedy) == ("authentication_invalid", Remedy.REAUTHENTICATE)


async def test_the_token_is_struck_out_of_what_a_server_echoes(org, sessions):
    fault = await after_poll(org, sessions, raw(b"you sent Bearer 00D!secret-1", 500, "text/plain"))
    assert "***" in str(fault)
    assert "secret" not in str(fault)


async def test_a_short_form_of_unknown_client_without_channel_is_understood(org, sessions):
    short = {
        "error": "403::Unknown client",
        "successful": False,
        "advice": {"interval": 0, "reconnect": "handshake"},
    }
    fault = await after_poll(org, sessions, replies(lambda _sent: [short]))
    assert fault.reason.code == "unknown_client"


async def test_a_refusal_with_a_numeric_or_no_id_is_understood(org, sessions):
    org.script["handshake"].append(
        replies(
            lambda _sent: [
                {"channel": "/meta/handshake", "successful": False, "error": "403::Unknown client"}
            ]
        )
    )
    assert (await fault_of(sessions().open(BOTH))).reason.code == "unknown_client"
    org.script["handshake"].append(
        replies(lambda _s: [{"channel": "/meta/handshake", "id": 0, "successful": False, "error": "401::x"}])
    )
    assert (await fault_of(sessions().open(BOTH))).reason.code == "authentication_invalid"


async def test_an_answer_above_the_limit_is_not_read_to_its_end(org, sessions):
    sessions.limits = RequestLimits(answer_bytes=100_000)
    fault = await after_poll(org, sessions, raw(b"[" + b" " * 5_000_000 + b"]"))
    assert fault.reason.code == "answer_too_large"


async def test_an_unasked_meta_message_ends_the_session_after_the_events(org, sessions):
    unasked = {"channel": "/meta/unsubscribe", "subscription": TRACKER, "successful": True}
    org.script["poll"].append(replies(lambda sent: [event(TRACKER, 1), unasked, ok(sent[0])]))
    session = sessions()
    await session.open(BOTH)
    assert len((await session.next_answer()).messages) == 1
    assert (await fault_of(session.next_answer())).reason.code == "unexpected_message"


async def test_a_refused_connection_is_noticed_at_once(org, sessions):
    session = sessions()
    token = await sessions.tokens.token()
    await org.stop()
    assert token.instance_url == org.url
    fault = await fault_of(session.open(BOTH))
    assert fault.reason.code == "connect_failed"
    await org.start()


async def raw_server(reaction):
    """A TCP server without HTTP; ``reaction(reader, writer)`` is all it does."""

    async def serve(reader, writer):
        try:
            await reaction(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


@pytest.mark.parametrize(
    ("answer", "codes"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", {"connection_lost"}),
        (b"", {"connection_lost"}),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n[{", {"truncated"}),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[{", {"truncated"}),
    ],
)
async def test_a_server_that_speaks_something_else_ends_the_session(org, sessions, answer, codes):
    async def reaction(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    server = await raw_server(reaction)
    org.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    fault = await fault_of(sessions().open(BOTH))
    assert fault.reason.code in codes
    server.close()
    await server.wait_closed()


async def test_a_connection_reset_ends_the_session(org, sessions):
    async def reaction(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        raw_socket = writer.get_extra_info("socket")
        raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    server = await raw_server(reaction)
    org.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    fault = await fault_of(sessions().open(BOTH))
    assert fault.reason.code == "connection_lost"
    server.close()
    await server.wait_closed()


async def test_a_body_that_stops_coming_is_noticed_within_the_margin(org, sessions):
    sessions.limits = RequestLimits(poll_ms=100, poll_margin_ms=200, disconnect_ms=100)
    org.advice["timeout"] = 100

    async def stalls(scripted, request, _messages):
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(WHOLE[:50])
        await scripted.stopping.wait()
        return response

    fault = await after_poll(org, sessions, stalls)
    assert fault.reason.code == "poll_timeout"


async def test_an_unreachable_address_does_not_hang(org, sessions):
    sessions.limits = RequestLimits(handshake_ms=200, disconnect_ms=100)
    org.script["handshake"].append(never())
    fault = await fault_of(sessions().open(BOTH))
    assert fault.reason.code == "handshake_timeout"
    assert org.of("disconnect") == []


async def test_a_handshake_without_client_id_is_refused(org, sessions):
    org.script["handshake"].append(
        replies(lambda sent: [ok(sent[0], clientId=None, supportedConnectionTypes=["long-polling"])])
    )
    assert (await fault_of(sessions().open(BOTH))).reason.code == "handshake_incomplete"


async def test_a_subscription_refused_by_a_policy_is_tried_again_and_visible(org, sessions):
    org.script["subscribe"].append(refuses("403:denied_by_security_policy:subscribe_denied"))
    reason = (await fault_of(sessions().open(BOTH))).reason
    assert (reason.code, reason.remedy) == ("subscribe_denied", Remedy.RETRY)
