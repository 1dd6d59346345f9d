"""Signing in against a token endpoint on a real socket."""

import asyncio
import json

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr

from consumer.clock import SystemClock
from consumer.errors import AuthenticationFailed, StoreUnavailable
from consumer.salesforce.grants import ClientCredentials, JwtBearer, Password, RefreshToken, StaticAccessToken
from consumer.salesforce.refresh_token_store import RefreshTokenStore
from consumer.salesforce.token_cache import TokenCache
from consumer.salesforce.token_endpoint import TokenEndpoint

WALL_MS = 1_800_000_000_000


class Login:
    """A token endpoint that records forms and answers as told."""

    def __init__(self):
        self.forms = []
        self.headers = []
        self.steps = []
        self.gate = None
        self.url = ""

    def answer(self, **more):
        number = len(self.forms)
        return {
            "access_token": f"00D!token{number}",
            "instance_url": "https://mydomain.my.salesforce.com/",
            "id": "https://login.salesforce.com/id/00Dd000000XXXXXXXX/005d000000XXXXX".replace(
                "XXXXXXXX", "XXXXX"
            ),
            "token_type": "Bearer",
            "issued_at": "1678833535086",
            "signature": "s",
            **more,
        }

    async def handle(self, request):
        self.forms.append(dict(await request.post()))
        self.headers.append(dict(request.headers))
        if self.gate is not None:
            await self.gate.wait()
        if self.steps:
            status, body = self.steps.pop(0)
            if isinstance(body, str):
                return web.Response(status=status, text=body, content_type="text/html")
            return web.json_response(body, status=status)
        if request.path.endswith("userinfo"):
            return web.json_response({"organization_id": "00Dd000000XXXXX", "user_id": "005d000000XXXXX"})
        return web.json_response(self.answer())


class FixedClock(SystemClock):
    def wall_ms(self):
        return WALL_MS


@pytest.fixture
async def login():
    login = Login()
    app = web.Application()
    app.router.add_route("*", "/services/oauth2/{what}", login.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "localhost", 0).start()
    login.url = f"http://localhost:{runner.addresses[0][1]}"
    yield login
    if login.gate is not None:
        login.gate.set()
    await runner.cleanup()


@pytest.fixture(scope="module")
def key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="module")
def pem(key):
    kinds = serialization
    return key.private_bytes(kinds.Encoding.PEM, kinds.PrivateFormat.PKCS8, kinds.NoEncryption()).decode()


ENDPOINT = TokenEndpoint(FixedClock(), timeout_ms=2_000)


def credentials(login):
    return ClientCredentials("app", SecretStr("hush"), login.url)


async def failure_of(awaitable):
    with pytest.raises(AuthenticationFailed) as caught:
        await awaitable
    return caught.value


# ---------------------------------------------------------------- grants


async def test_a_token_carries_org_user_and_instance_and_hides_its_value(login):
    token = await credentials(login).obtain(ENDPOINT)
    assert token.value.get_secret_value() == "00D!token1"
    assert token.authorization == "Bearer 00D!token1"
    assert token.instance_url == "https://mydomain.my.salesforce.com"
    assert (token.org_id[:15], len(token.org_id)) == ("00Dd000000XXXXX", 18)
    assert (token.user_id[:15], len(token.user_id)) == ("005d000000XXXXX", 18)
    assert "token1" not in f"{token!r} {token}"


async def test_client_credentials_send_id_and_secret(login):
    await credentials(login).obtain(ENDPOINT)
    assert login.forms == [{"grant_type": "client_credentials", "client_id": "app", "client_secret": "hush"}]


async def test_username_and_password_send_all_four(login):
    await Password("app", SecretStr("hush"), "u@x", SecretStr("pw+token"), login.url + "/").obtain(ENDPOINT)
    assert login.forms == [
        {
            "grant_type": "password",
            "client_id": "app",
            "client_secret": "hush",
            "username": "u@x",
            "password": "pw+token",
        }
    ]


@pytest.mark.parametrize("audience", [None, "https://test.salesforce.com"])
async def test_a_jwt_assertion_is_signed_and_good_for_three_minutes(login, key, pem, audience):
    await JwtBearer("app", "u@x", SecretStr(pem), login.url, audience).obtain(ENDPOINT)
    (form,) = login.forms
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    claims = jwt.decode(
        form["assertion"],
        key.public_key(),
        algorithms=["RS256"],
        audience=audience or login.url,
        options={"verify_exp": False},
    )
    assert claims == {"iss": "app", "sub": "u@x", "aud": audience or login.url, "exp": WALL_MS // 1000 + 180}


@pytest.mark.parametrize(
    "text", ["not a key", "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n", ""]
)
async def test_a_key_that_cannot_sign_is_a_matter_of_settings_and_is_not_quoted(login, text):
    failure = await failure_of(JwtBearer("app", "u@x", SecretStr(text), login.url).obtain(ENDPOINT))
    assert (failure.code, failure.permanent) == ("bad_settings", True)
    assert "c2VjcmV0" not in str(failure)
    assert login.forms == []


async def test_a_rotated_refresh_token_is_used_next_and_given_away_to_be_stored(login):
    stored = []

    async def store(token):
        stored.append(token.get_secret_value())

    grant = RefreshToken("app", None, SecretStr("first"), login.url, store)
    login.steps = [(200, login.answer(refresh_token="second")), (200, login.answer(refresh_token="second"))]
    await grant.obtain(ENDPOINT)
    await grant.obtain(ENDPOINT)
    assert [form["refresh_token"] for form in login.forms] == ["first", "second"]
    assert stored == ["second"]
    assert "client_secret" not in login.forms[0]


async def test_a_rotated_refresh_token_survives_a_store_that_cannot_take_it(login):
    stored = []
    errors = [RuntimeError("the store is gone")]

    async def store(token):
        if errors:
            raise errors.pop()
        stored.append(token.get_secret_value())

    async def load():
        return SecretStr("first")

    grant = RefreshToken("app", SecretStr("hush"), SecretStr("first"), login.url, store, load)
    login.steps = [(200, login.answer(refresh_token="second"))]
    with pytest.raises(RuntimeError):
        await grant.obtain(ENDPOINT)
    await grant.obtain(ENDPOINT)
    assert login.forms[1]["refresh_token"] == "second", "not the spent one, which is all that the store has"
    assert login.forms[1]["client_secret"] == "hush"
    assert stored == ["second"]


async def test_a_caller_that_goes_away_does_not_take_the_only_valid_refresh_token_with_it(login):
    stored = []

    async def store(token):
        stored.append(token.get_secret_value())

    grant = RefreshToken("app", None, SecretStr("first"), login.url, store)
    login.steps = [(200, login.answer(refresh_token="second"))]
    login.gate = asyncio.Event()
    caller = asyncio.create_task(grant.obtain(ENDPOINT))
    async with asyncio.timeout(5):
        while not login.forms:
            await asyncio.sleep(0.001)
    caller.cancel()
    await asyncio.sleep(0)
    login.gate.set()
    await asyncio.wait({caller})
    assert caller.cancelled()
    assert stored == ["second"]


class Vault:
    """A store of secrets that may be away."""

    def __init__(self):
        self.kept = {}
        self.away = 0

    async def secret(self, name):
        if self.away:
            raise StoreUnavailable("vault", "away")
        return self.kept.get(name)

    async def save_secret(self, name, value):
        if self.away:
            self.away -= 1
            raise StoreUnavailable("vault", "away")
        self.kept[name] = value


def kept_in(vault, given="first"):
    heard = {"learned": [], "failing": []}
    kept = RefreshTokenStore(vault, SecretStr(given), heard["learned"].append, heard["failing"].append)
    return kept, heard


async def test_a_rotated_refresh_token_is_found_by_the_next_process_and_nowhere_in_the_clear(login):
    vault = Vault()
    for _ in range(3):
        kept, heard = kept_in(vault)
        grant = RefreshToken("app", None, SecretStr("first"), login.url, kept.save, kept.load)
        login.steps = [(200, login.answer(refresh_token=f"rotated-{len(login.forms)}"))]
        await grant.obtain(ENDPOINT)
        assert heard["learned"][-1] == f"rotated-{len(login.forms) - 1}", "kept out of the logs too"
    assert [form["refresh_token"] for form in login.forms] == ["first", "rotated-0", "rotated-1"]
    assert len(vault.kept) == 1
    assert "rotated" not in str(vault.kept)
    assert "first" not in str(vault.kept)


async def test_a_new_refresh_token_in_the_settings_wins_over_what_was_kept_for_the_old_one():
    vault = Vault()
    await kept_in(vault, "old")[0].save(SecretStr("descendant"))
    assert await kept_in(vault, "new")[0].load() is None
    assert (await kept_in(vault, "old")[0].load()).get_secret_value() == "descendant"


@pytest.mark.looptime
async def test_no_token_is_handed_out_before_the_store_has_the_next_refresh_token():
    vault = Vault()
    vault.away = 3
    kept, heard = kept_in(vault)
    await kept.save(SecretStr("second"))
    assert heard["failing"] == ["away"] * 3
    assert asyncio.get_running_loop().time() == 3
    assert (await kept.load()).get_secret_value() == "second"


async def test_a_store_that_is_away_is_a_failed_sign_in_that_is_tried_again():
    vault = Vault()
    vault.away = 1
    failure = await failure_of(kept_in(vault)[0].load())
    assert (failure.code, failure.permanent) == ("store_unavailable", False)


async def test_a_kept_token_that_cannot_be_read_is_a_matter_for_a_person():
    vault = Vault()
    kept, _ = kept_in(vault)
    await kept.save(SecretStr("second"))
    vault.kept = dict.fromkeys(vault.kept, "rubbish")
    failure = await failure_of(kept.load())
    assert (failure.code, failure.permanent) == ("kept_token_unreadable", True)


async def test_a_given_token_asks_whose_it_is(login):
    token = await StaticAccessToken(SecretStr("00D!given"), login.url).obtain(ENDPOINT)
    assert token.org_id[:15] == "00Dd000000XXXXX"
    assert login.headers[0]["Authorization"] == "Bearer 00D!given"
    assert token.instance_url == login.url


@pytest.mark.parametrize("status", [401, 403])
async def test_a_given_token_that_is_dead_cannot_be_renewed(login, status):
    login.steps = [(status, "Bad_OAuth_Token")]
    failure = await failure_of(StaticAccessToken(SecretStr("00D!given"), login.url).obtain(ENDPOINT))
    assert (failure.code, failure.permanent) == ("access_token_refused", True)
    assert "given" not in str(failure)


# ---------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("status", "body", "code", "permanent"),
    [
        (400, {"error": "invalid_grant", "error_description": "audience is invalid"}, "invalid_grant", True),
        (400, {"error": "invalid_grant", "error_description": "login rate exceeded"}, "invalid_grant", False),
        (
            400,
            {"error": "invalid_client_id", "error_description": "client identifier invalid"},
            "invalid_client_id",
            True,
        ),
        (
            401,
            {"error": "invalid_client", "error_description": "invalid client credentials"},
            "invalid_client",
            True,
        ),
        (400, {"error": "unknown_error", "error_description": "retry your request"}, "unknown_error", False),
        (429, {"error": "invalid_grant"}, "invalid_grant", False),
        (503, {"error": "invalid_client"}, "invalid_client", False),
        (500, "<html>oops</html>", "http_500", False),
        (400, "<html>oops</html>", "http_400", False),
        (429, "slow down", "http_429", False),
        (302, "moved", "http_302", False),
        (200, "<html>login</html>", "http_200", False),
        (200, ["x"], "http_200", False),
        (200, {"access_token": "a"}, "bad_answer", False),
        (
            200,
            {"access_token": "a", "instance_url": "https://x.example", "id": "nonsense"},
            "bad_answer",
            False,
        ),
        (200, {"access_token": "a", "instance_url": "http://[bad"}, "bad_answer", False),
    ],
)
async def test_a_refusal_is_permanent_only_when_the_settings_are_wrong(login, status, body, code, permanent):
    login.steps = [(status, body)]
    failure = await failure_of(credentials(login).obtain(ENDPOINT))
    assert (failure.code, failure.permanent) == (code, permanent)


async def test_secrets_that_salesforce_echoes_are_struck_out(login):
    login.steps = [(400, {"error": "invalid_grant", "error_description": "secret hush\nis wrong"})]
    failure = await failure_of(credentials(login).obtain(ENDPOINT))
    assert "secret *** is wrong" in str(failure)
    assert "hush" not in json.dumps([str(failure), repr(failure), repr(credentials(login))])


async def test_a_login_that_is_not_there_is_unreachable_and_may_come_back():
    server = await asyncio.start_server(lambda _r, w: w.close(), "localhost", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    grant = ClientCredentials("app", SecretStr("hush"), f"http://localhost:{port}")
    failure = await failure_of(grant.obtain(ENDPOINT))
    assert (failure.code, failure.permanent) == ("unreachable", False)
    assert "localhost" in failure.detail


async def test_a_login_that_does_not_answer_is_given_up_in_time(login):
    login.gate = asyncio.Event()
    endpoint = TokenEndpoint(SystemClock(), timeout_ms=100)
    failure = await failure_of(credentials(login).obtain(endpoint))
    assert (failure.code, failure.permanent) == ("unreachable", False)
    assert "0.1 s" in failure.detail


@pytest.mark.parametrize("url", ["ftp://x", "login.salesforce.com", "http://"])
async def test_an_address_that_is_none_is_a_matter_of_settings(url):
    failure = await failure_of(ClientCredentials("app", SecretStr("hush"), url).obtain(ENDPOINT))
    assert (failure.code, failure.permanent) == ("bad_settings", True)


# ---------------------------------------------------------------- one token for all


async def test_concurrent_callers_share_one_request(login):
    cache = TokenCache(credentials(login), ENDPOINT)
    tokens = await asyncio.gather(*(cache.token() for _ in range(20)))
    assert len(login.forms) == 1
    assert len({id(token) for token in tokens}) == 1
    assert cache.current is tokens[0]


async def test_concurrent_callers_share_one_failure_and_the_next_asks_again(login):
    login.steps = [(400, {"error": "invalid_grant", "error_description": "expired"})]
    cache = TokenCache(credentials(login), ENDPOINT)
    results = await asyncio.gather(*(cache.token() for _ in range(20)), return_exceptions=True)
    assert {type(result) for result in results} == {AuthenticationFailed}
    assert len(login.forms) == 1
    await cache.token()
    assert len(login.forms) == 2


async def test_a_cancelled_caller_does_not_cancel_the_others(login):
    login.gate = asyncio.Event()
    cache = TokenCache(credentials(login), ENDPOINT)
    first = asyncio.create_task(cache.token())
    async with asyncio.timeout(5):
        while not login.forms:
            await asyncio.sleep(0.001)
    second = asyncio.create_task(cache.token())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait({first})
    login.gate.set()
    assert (await second).value.get_secret_value()


async def test_only_the_current_token_can_be_invalidated(login):
    cache = TokenCache(credentials(login), ENDPOINT)
    old = await cache.token()
    cache.invalidate(old)
    assert cache.current is None
    new = await cache.token()
    assert new is not old
    cache.invalidate(old)
    assert cache.current is new
    assert len(login.forms) == 2
