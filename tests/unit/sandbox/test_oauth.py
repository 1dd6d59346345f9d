import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import jwt
import pytest

from consumer.sandbox import Credentials, OAuthOptions, Sandbox, SandboxOptions

JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def asked(http: aiohttp.ClientSession, sandbox: Sandbox, **form: Any) -> tuple[int, dict[str, Any]]:
    async with http.post(f"{sandbox.url}/services/oauth2/token", data=form) as response:
        return response.status, await response.json()


def client_form(credentials: Credentials) -> dict[str, str]:
    return {"client_id": credentials.client_id, "client_secret": credentials.client_secret}


async def admitted(http: aiohttp.ClientSession, sandbox: Sandbox, token: str) -> bool:
    headers = {"Authorization": f"Bearer {token}"}
    async with http.get(f"{sandbox.url}/services/oauth2/userinfo", headers=headers) as response:
        assert response.status == 200 or await response.text() == "Bad_OAuth_Token"
        return response.status == 200


async def test_client_credentials_yield_a_token_in_the_documented_shape(
    http: aiohttp.ClientSession, sandbox: Sandbox
) -> None:
    status, granted = await asked(
        http, sandbox, grant_type="client_credentials", **client_form(sandbox.credentials)
    )
    assert status == 200
    assert set(granted) == {
        "access_token",
        "signature",
        "token_format",
        "instance_url",
        "id",
        "token_type",
        "issued_at",
    }
    assert (granted["instance_url"], granted["token_type"], granted["token_format"]) == (
        sandbox.url,
        "Bearer",
        "opaque",
    )
    assert granted["issued_at"].isdigit()
    assert len(granted["issued_at"]) == 13
    assert granted["access_token"].startswith(sandbox.credentials.organization_id[:15] + "!AQ")
    assert (
        granted["id"]
        == f"{sandbox.url}/id/{sandbox.credentials.organization_id}/{sandbox.credentials.user_id}"
    )
    assert await admitted(http, sandbox, granted["access_token"])


async def test_client_credentials_may_come_in_a_basic_header(
    http: aiohttp.ClientSession, sandbox: Sandbox
) -> None:
    known = sandbox.credentials
    auth = aiohttp.encode_basic_auth(known.client_id, known.client_secret)
    async with http.post(
        f"{sandbox.url}/services/oauth2/token",
        data={"grant_type": "client_credentials"},
        headers={"Authorization": auth},
    ) as response:
        assert response.status == 200


async def test_wrong_clients_users_and_grants_are_refused_as_documented(
    http: aiohttp.ClientSession, sandbox: Sandbox
) -> None:
    known = client_form(sandbox.credentials)
    wrong_secret = {**known, "client_secret": "wrong"}
    wrong_client = {**known, "client_id": "wrong"}
    cases = [
        (
            {"grant_type": "client_credentials", **wrong_secret},
            ("invalid_client", "invalid client credentials"),
        ),
        (
            {"grant_type": "client_credentials", **wrong_client},
            ("invalid_client_id", "client identifier invalid"),
        ),
        (
            {"grant_type": "password", "username": "x", "password": "y", **known},
            ("invalid_grant", "authentication failure"),
        ),
        (
            {"grant_type": "refresh_token", "refresh_token": "x", **known},
            ("invalid_grant", "expired access/refresh token"),
        ),
        ({"grant_type": "magic"}, ("unsupported_grant_type", "grant type not supported")),
    ]
    for form, (error, description) in cases:
        assert await asked(http, sandbox, **form) == (400, {"error": error, "error_description": description})


async def test_username_and_password_yield_a_token(http: aiohttp.ClientSession, sandbox: Sandbox) -> None:
    known = sandbox.credentials
    user = {"username": known.username, "password": known.password}
    status, _ = await asked(http, sandbox, grant_type="password", **user, **client_form(known))
    assert status == 200


def assertion(sandbox: Sandbox, *, key: str = "", **changes: Any) -> str:
    claims = {
        "iss": sandbox.credentials.client_id,
        "sub": sandbox.credentials.username,
        "aud": "https://login.salesforce.com",
        "exp": int(time.time()) + 170,
        **changes,
    }
    return jwt.encode(claims, key or sandbox.credentials.private_key, algorithm="RS256")


@pytest.mark.parametrize("audience", ["https://login.salesforce.com", "https://test.salesforce.com", "own"])
async def test_a_signed_assertion_yields_a_token(
    http: aiohttp.ClientSession, sandbox: Sandbox, audience: str
) -> None:
    signed = assertion(
        sandbox, aud=sandbox.url if audience == "own" else audience, exp=str(int(time.time()) + 60)
    )
    status, granted = await asked(http, sandbox, grant_type=JWT_GRANT, assertion=signed)
    assert status == 200
    assert "refresh_token" not in granted


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"aud": "https://example.com"}, ("invalid_grant", "audience is invalid")),
        ({"exp": 1}, ("invalid_grant", "expired authorization code")),
        ({"exp": 99_999_999_999}, ("invalid_grant", "expired authorization code")),
        ({"iss": "someone"}, ("invalid_client_id", "client identifier invalid")),
        ({"sub": "someone@example.com"}, ("invalid_grant", "user hasn't approved this consumer")),
    ],
)
async def test_an_assertion_with_a_wrong_claim_is_refused_for_it(
    http: aiohttp.ClientSession, sandbox: Sandbox, changes: dict[str, Any], refusal: tuple[str, str]
) -> None:
    answer = await asked(http, sandbox, grant_type=JWT_GRANT, assertion=assertion(sandbox, **changes))
    assert answer == (400, {"error": refusal[0], "error_description": refusal[1]})


async def test_an_assertion_signed_with_another_key_or_not_at_all_is_refused(
    http: aiohttp.ClientSession, sandbox: Sandbox
) -> None:
    stranger = Credentials(seed=1, organization_id="", user_id="", username="")
    unsigned = jwt.encode({"iss": sandbox.credentials.client_id}, "", algorithm="none")
    for forged in (assertion(sandbox, key=stranger.private_key), unsigned, "no JWT"):
        answer = await asked(http, sandbox, grant_type=JWT_GRANT, assertion=forged)
        assert answer == (400, {"error": "invalid_grant", "error_description": "invalid assertion"})


async def test_an_app_that_is_not_approved_is_refused(http: aiohttp.ClientSession) -> None:
    async with Sandbox(SandboxOptions(oauth=OAuthOptions(approved=False))) as sandbox:
        answer = await asked(http, sandbox, grant_type=JWT_GRANT, assertion=assertion(sandbox))
    assert answer[1]["error_description"] == "user hasn't approved this consumer"


@pytest.mark.parametrize("rotating", [False, True])
async def test_a_refresh_token_works_once_when_rotating_and_always_otherwise(
    http: aiohttp.ClientSession, rotating: bool
) -> None:
    async with Sandbox(SandboxOptions(oauth=OAuthOptions(rotate_refresh_tokens=rotating))) as sandbox:
        form = {"grant_type": "refresh_token", "client_id": sandbox.credentials.client_id}
        first = await asked(http, sandbox, refresh_token=sandbox.credentials.refresh_token, **form)
        again = await asked(http, sandbox, refresh_token=sandbox.credentials.refresh_token, **form)
        assert (first[0], again[0]) == (200, 400 if rotating else 200)
        assert ("refresh_token" in first[1]) == rotating
        if rotating:
            assert (await asked(http, sandbox, refresh_token=first[1]["refresh_token"], **form))[0] == 200


def test_a_sliding_token_lives_as_long_as_it_is_used_and_a_fixed_one_does_not() -> None:
    def lives(*, sliding: bool) -> list[bool]:
        options = SandboxOptions(oauth=OAuthOptions(token_lifetime_ms=1000, sliding=sliding))
        tokens = Sandbox(options).oauth.tokens
        token = tokens.issue("user", 0.0)
        return [tokens.user_of(f"Bearer {token}", now) is not None for now in (0.9, 1.8, 2.7, 4.0)]

    assert lives(sliding=True) == [True, True, True, False]
    assert lives(sliding=False) == [True, False, False, False]


async def test_a_revoked_token_opens_nothing(http: aiohttp.ClientSession, sandbox: Sandbox) -> None:
    token = sandbox.access_token()
    assert await admitted(http, sandbox, token)
    async with http.post(f"{sandbox.url}/services/oauth2/revoke", data={"token": token}) as response:
        assert response.status == 200
    assert not await admitted(http, sandbox, token)
    async with http.post(f"{sandbox.url}/services/oauth2/revoke", data={"token": token}) as response:
        assert (response.status, (await response.json())["error"]) == (400, "invalid_token")


async def test_revoking_the_refresh_token_ends_its_access_tokens_too(
    http: aiohttp.ClientSession, sandbox: Sandbox
) -> None:
    token = sandbox.access_token()
    revoked = {"token": sandbox.credentials.refresh_token}
    async with http.get(f"{sandbox.url}/services/oauth2/revoke", params=revoked) as response:
        assert response.status == 200
    assert not await admitted(http, sandbox, token)


async def test_userinfo_names_organization_and_user(http: aiohttp.ClientSession, sandbox: Sandbox) -> None:
    headers = {"Authorization": f"Bearer {sandbox.access_token()}"}
    async with http.get(f"{sandbox.url}/services/oauth2/userinfo", headers=headers) as response:
        info = await response.json()
    assert info["organization_id"] == sandbox.org.organization_id
    assert info["user_id"] == sandbox.org.integration_user_id
