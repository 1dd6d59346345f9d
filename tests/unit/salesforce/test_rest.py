"""What REST says of the org's allowances, over real sockets."""

import pytest
from pydantic import SecretStr

from consumer.clock import SystemClock
from consumer.salesforce.grants import ClientCredentials
from consumer.salesforce.rest import RestClient, RestError
from consumer.salesforce.token_cache import TokenCache
from consumer.salesforce.token_endpoint import TokenEndpoint
from consumer.sandbox import Sandbox, SandboxOptions


@pytest.fixture
async def sandbox():
    async with Sandbox(SandboxOptions()) as sandbox:
        yield sandbox


@pytest.fixture
async def rest(sandbox):
    known = sandbox.credentials
    grant = ClientCredentials(known.client_id, SecretStr(known.client_secret), sandbox.url)
    rest = RestClient(TokenCache(grant, TokenEndpoint(SystemClock())), api_version="66.0")
    yield rest
    await rest.aclose()


async def test_allocations_are_what_is_allowed_and_what_is_left(sandbox, rest):
    limits = await rest.limits()
    allowed, left = limits["DailyDeliveredPlatformEvents"]
    assert 0 < left <= allowed
    _, requests = limits["DailyApiRequests"]
    assert (await rest.limits())["DailyApiRequests"][1] == requests - 1, "it is one request"


async def test_active_runs_are_counted_in_one_request_without_fetching_them(sandbox, rest):
    runs = [sandbox.world.enrol("Inbound Demo Request") for _ in range(3)]
    assert await rest.active_runs() == 3
    sandbox.world.finish(runs[0])
    assert await rest.active_runs() == 2
    allowed, left = (await rest.limits())["DailyApiRequests"]
    await rest.active_runs()
    assert (await rest.limits())["DailyApiRequests"] == (allowed, left - 2)


ASKED = {
    "query": lambda rest: rest.query("SELECT Id FROM Organization"),
    "page": lambda rest: rest.page("SELECT Id FROM Organization"),
    "rows": lambda rest: rest.rows("ActionCadence", ["0qBWP0000001AbC2AU"], ["Id"]),
    "deleted": lambda rest: rest.deleted("ActionCadenceTracker", 0, 1),
}


@pytest.mark.parametrize(
    ("asked", "body"),
    [
        *((asked, body) for asked in ASKED for body in ("{}", "[]", "[" * 900 + "]" * 900)),
        ("query", '{"records": [], "done": false}'),
        ("query", '{"records": [1], "done": true}'),
        ("page", '{"records": {}}'),
        ("rows", "[null, null]"),
        ("rows", "[7]"),
        ("deleted", '{"deletedRecords": [{"id": "a", "deletedDate": "yesterday"}]}'),
    ],
)
async def test_an_answer_of_another_shape_is_an_error_of_rest(sandbox, rest, asked, body):
    sandbox.faults.inject("http_status", status=200, scope="rest", body=body, content_type="application/json")
    with pytest.raises(RestError):
        await ASKED[asked](rest)


async def test_an_answer_that_is_none_of_salesforces_is_an_error_of_rest(sandbox, rest):
    sandbox.faults.inject(
        "http_status", status=200, scope="rest", body='{"hello": 1}', content_type="application/json"
    )
    with pytest.raises(RestError):
        await rest.active_runs()
