"""Answers of REST and OAuth that lead elsewhere, are too large or never end: refused with a fault, and no token leaves the org's host."""

import asyncio
import contextlib
import gzip
import zlib

import aiohttp
import pytest
from aiohttp import web
from pydantic import SecretStr

from consumer.clock import SystemClock
from consumer.domain.record_ids import to_18
from consumer.errors import AuthenticationFailed
from consumer.salesforce.grants import ClientCredentials, StaticAccessToken
from consumer.salesforce.http_exchange import HttpFault, exchange
from consumer.salesforce.rest import RestClient, RestError
from consumer.salesforce.token_cache import TokenCache
from consumer.salesforce.token_endpoint import AccessToken, TokenEndpoint
from tests.support.servers.recording_server import RecordingServer, json_answer

ORG, USER = to_18("00Dd000000XXXXX"), to_18("005d000000XXXXX")
RUN_1 = "0qBWP0000001AbC2AU"


class Grant:
    def __init__(self, url):
        self.url = url

    async def obtain(self, endpoint):
        return AccessToken(SecretStr("00D!secret"), self.url, ORG, USER)


@pytest.fixture
async def evil():
    async with RecordingServer() as server:
        yield server


@pytest.fixture
async def org():
    async with RecordingServer() as server:
        yield server


@pytest.fixture
async def rest(org):
    client = RestClient(
        TokenCache(Grant(org.url), TokenEndpoint(SystemClock())), api_version="66.0", timeout_ms=10_000
    )
    yield client
    await client.aclose()


def answers(*values):
    queue = list(values)

    async def answer(request):
        return json_answer(queue.pop(0) if len(queue) > 1 else queue[0])

    return answer


# ---------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    "form",
    [
        "@{host}/x",
        "{url}/1/steal",
        "//{host}/x",
        "1/steal",
        "/\\{host}/x",
        "\\\\{host}",
        ":9/x",
        "x\r\nHost: {host}",
    ],
)
async def test_a_next_page_elsewhere_is_refused_and_gets_no_token(org, rest, evil, form):
    target = form.format(host=evil.url.removeprefix("http://"), url=evil.url)
    org.answer = answers({"records": [], "done": False, "nextRecordsUrl": target})
    with pytest.raises(RestError) as caught:
        await rest.query("SELECT Id FROM X")
    assert caught.value.code == "foreign_url"
    assert evil.headers == []
    assert len(org.headers) == 1


async def test_a_page_that_names_one_that_was_read_ends_the_reading(org, rest):
    first, second = "/services/data/v66.0/query/a", "/services/data/v66.0/query/b"
    org.answer = answers(
        {"records": [], "done": False, "nextRecordsUrl": first},
        {"records": [], "done": False, "nextRecordsUrl": second},
        {"records": [], "done": False, "nextRecordsUrl": first},
    )
    with pytest.raises(RestError) as caught:
        await rest.query("SELECT Id FROM X")
    assert caught.value.code == "no_progress"
    assert len(org.headers) == 3


async def test_pages_without_end_are_given_up(org, rest):
    numbers = iter(range(10**9))

    async def answer(request):
        return json_answer(
            {"records": [], "done": False, "nextRecordsUrl": f"/services/data/v66.0/query/{next(numbers)}"}
        )

    org.answer = answer
    with pytest.raises(RestError) as caught:
        await rest.query("SELECT Id FROM X")
    assert caught.value.code == "too_many_rows"
    assert len(org.headers) == 1_000


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(org, rest, evil, status):
    async def answer(request):
        return web.Response(status=status, headers={"Location": f"{evil.url}/x"})

    org.answer = answer
    with pytest.raises(RestError):
        await rest.limits()
    grant = ClientCredentials("app", SecretStr("hush"), org.url)
    with pytest.raises(AuthenticationFailed):
        await grant.obtain(TokenEndpoint(SystemClock()))
    with pytest.raises(AuthenticationFailed):
        await StaticAccessToken(SecretStr("00D!x"), org.url).obtain(TokenEndpoint(SystemClock()))
    assert evil.headers == []


@pytest.mark.parametrize(
    ("instance", "code"),
    [
        ("http://u@host", "bad_answer"),
        ("http://[bad", "bad_answer"),
        ("http://evil.example", "foreign_instance"),
        ("https://evil.example", "foreign_instance"),
        ("{evil}", "foreign_instance"),
        ("https://salesforce.com.evil.example", "foreign_instance"),
        ("https://mydomain.my.salesforce.com/path", "bad_answer"),
        ("https://mydomain.my.salesforce.com:444", "foreign_instance"),
    ],
)
async def test_an_instance_that_is_not_the_orgs_gets_no_token(org, evil, instance, code):
    org.answer = answers(
        {
            "access_token": "00D!a",
            "instance_url": instance.format(evil=evil.url),
            "id": f"{org.url}/id/{ORG}/{USER}",
        }
    )
    endpoint = TokenEndpoint(SystemClock())
    tokens = TokenCache(ClientCredentials("app", SecretStr("hush"), org.url), endpoint)
    client = RestClient(tokens, api_version="66.0")
    with pytest.raises(AuthenticationFailed) as caught:
        await client.limits()
    await client.aclose()
    assert caught.value.code == code
    assert evil.headers == []


async def test_an_instance_that_the_settings_name_is_the_orgs(org, evil):
    org.answer = answers(
        {"access_token": "00D!a", "instance_url": evil.url, "id": f"{org.url}/id/{ORG}/{USER}"}
    )
    endpoint = TokenEndpoint(SystemClock(), instance_url=evil.url + "/")
    token = await ClientCredentials("app", SecretStr("hush"), org.url).obtain(endpoint)
    assert (token.instance_url, str(token.origin)) == (evil.url, evil.url)


@pytest.mark.parametrize(
    "token", ["a b", "a\r\nX: y", "é", "", "x" * 9_000, 7, None, {"a": 1}, ["x"], "\ud83d"]
)
async def test_a_token_that_no_header_can_carry_is_no_token(org, token):
    body = {"access_token": token, "instance_url": org.url, "id": f"{org.url}/id/{ORG}/{USER}"}
    org.answer = answers(body)
    with pytest.raises(AuthenticationFailed) as caught:
        await ClientCredentials("app", SecretStr("hush"), org.url).obtain(TokenEndpoint(SystemClock()))
    assert caught.value.code == "bad_answer"


# ---------------------------------------------------------------- rows


async def test_a_row_that_is_no_object_or_another_records_is_isolated(org, rest):
    other = "0qBWP0000001AbD2AU"
    org.answer = answers([{"Id": RUN_1, "State": "Paused"}, 7])
    assert await rest.rows("X", [RUN_1, other], ["State"]) == {
        RUN_1: {"Id": RUN_1, "State": "Paused"},
        other: {},
    }
    org.answer = answers([{"Id": other}, {"Id": other, "State": "Paused"}])
    found, _ = await rest.rows_with_time("X", [RUN_1, other], ["State"])
    assert found == {RUN_1: {}, other: {"Id": other, "State": "Paused"}}
    org.answer = answers({"records": [{"Id": RUN_1}, 7, None, "x"], "done": True})
    page = await rest.page("SELECT Id FROM X")
    assert page.records == [{"Id": RUN_1}, {}, {}, {}]
    assert page.is_whole


async def test_a_page_that_has_a_next_one_is_not_whole(org, rest):
    org.answer = answers(
        {"records": [{"Id": RUN_1}], "done": False, "nextRecordsUrl": "/services/data/v66.0/query/a"}
    )
    assert not (await rest.page("SELECT Id FROM X")).is_whole


async def test_an_entry_of_the_delete_log_that_cannot_be_read_is_isolated(org, rest):
    org.answer = answers({
        "deletedRecords": [
            {"id": RUN_1, "deletedDate": "2026-07-01T09:30:00.000+0000"}, {"id": RUN_1, "deletedDate": "never"},
            {"id": "x' OR Id > '", "deletedDate": "2026-07-01T09:30:00.000+0000"}, 7, {},
            {"id": RUN_1, "deletedDate": "9999-12-31T23:59:59.000-2300"},
        ]
    })  # fmt: skip
    log = await rest.deleted("X", 0, 1)
    assert log.records == [(1_782_898_200_000, RUN_1)]
    assert len(log.unreadable) == 5


async def test_only_record_ids_are_asked_for(org, rest):
    org.answer = answers([None])
    assert await rest.rows("X", ["x' OR Name LIKE 'a%", RUN_1], ["Id"]) == {}
    assert b"LIKE" not in org.bodies[0]


@pytest.mark.parametrize(
    "date", ["Fri, 31 Dec 9999 23:59:59 GMT", "Wed, 01 Jan 1969 00:00:00 GMT", "soon", ""]
)
async def test_a_date_that_nothing_can_be_counted_from_is_no_date(org, rest, date):
    async def answer(request):
        return json_answer({"records": [], "done": True}, Date=date)

    org.answer = answer
    with pytest.raises(RestError) as caught:
        await rest.page("SELECT Id FROM X")
    assert caught.value.code == "no_date"


# ---------------------------------------------------------------- budgets


def packed(data):
    return gzip.compress(data, mtime=0)


def deflated(data, wbits):
    packer = zlib.compressobj(wbits=wbits)
    return packer.compress(data) + packer.flush()


BODY = b"[" + b"1," * 300_000 + b"1]"


@pytest.mark.parametrize(
    ("encoding", "wire"),
    [
        ("gzip", packed(BODY)),
        ("x-gzip", packed(BODY[:1_000]) + packed(BODY[1_000:]) + b"\0" * 16),
        ("deflate", deflated(BODY, zlib.MAX_WBITS)),
        ("deflate", deflated(BODY, -zlib.MAX_WBITS)),
        ("identity", BODY),
    ],
)
async def test_an_encoded_answer_is_read_to_its_last_byte(org, encoding, wire):
    async def answer(request):
        return web.Response(body=wire, headers={"Content-Encoding": encoding})

    org.answer = answer
    async with aiohttp.ClientSession() as http:
        assert (await exchange(http, "GET", f"{org.url}/x", max_bytes=len(BODY), headers={})).body == BODY
        with pytest.raises(HttpFault) as caught:
            await exchange(http, "GET", f"{org.url}/x", max_bytes=len(BODY) - 1, headers={})
    assert caught.value.code == "answer_too_large"
    assert caught.value.body == BODY[: 64 * 1024]


@pytest.mark.parametrize(
    ("encoding", "wire", "code"),
    [
        ("gzip", b"not compressed", "bad_encoding"),
        ("gzip", packed(BODY)[:-20], "truncated"),
        ("deflate", b"\xff\xff\xff", "bad_encoding"),
        ("br", b"x", "bad_encoding"),
        ("gzip, gzip", packed(packed(b"1")), "bad_encoding"),
        ("gzip", packed(b"") * 50_000, "answer_too_large"),
    ],
)
async def test_what_is_not_encoded_as_it_says_is_a_fault(org, encoding, wire, code):
    async def answer(request):
        return web.Response(body=wire, headers={"Content-Encoding": encoding})

    org.answer = answer
    async with aiohttp.ClientSession() as http:
        with pytest.raises(HttpFault) as caught:
            await exchange(http, "GET", f"{org.url}/x", max_bytes=700_000, headers={})
    assert caught.value.code == code


@pytest.mark.parametrize("asked", ["limits", "token"])
async def test_an_answer_without_end_is_an_error_that_names_its_size(org, rest, asked):
    async def answer(request):
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(b" " * 1_000_000)
        return response

    org.answer = answer
    grant = ClientCredentials("app", SecretStr("hush"), org.url)
    asking = rest.limits() if asked == "limits" else grant.obtain(TokenEndpoint(SystemClock()))
    with pytest.raises((RestError, AuthenticationFailed)) as caught:
        await asking
    assert caught.value.code == "answer_too_large"


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x00\x01\x02", b"HTTP/1.1 999999 x\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000 + b"\r\n", b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nSet-Cookie: \xff=\xff; Domain=\xff\r\nContent-Length: 2\r\n\r\n[]",
    ],
)  # fmt: skip
async def test_whatever_bytes_a_server_sends_the_port_has_one_fault(raw):
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    client = RestClient(
        TokenCache(Grant(url), TokenEndpoint(SystemClock())), api_version="66.0", timeout_ms=5_000
    )
    with pytest.raises(RestError):
        await client.versions()
    with pytest.raises(AuthenticationFailed):
        await ClientCredentials("app", SecretStr("hush"), url).obtain(TokenEndpoint(SystemClock()))
    await client.aclose()
    server.close()
    await server.wait_closed()
