"""OAuth endpoint of Salesforce: requests for tokens, and access tokens.

A Salesforce token response has no ``expires_in``: a token is valid until it is refused (documented: its lifetime is the session timeout,
and use prolongs it). So nothing here guesses an expiry; a refusal invalidates.

Secrets are ``SecretStr`` from the settings to the request and appear in no message: Salesforce's description of a failure is quoted with
every secret of the request replaced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from pydantic import SecretStr

from consumer.clock import Clock
from consumer.domain.record_ids import to_18
from consumer.errors import AuthenticationFailed
from consumer.safe_json import parse
from consumer.salesforce.error_catalogue import one_line

__all__ = ["AccessToken", "TokenEndpoint", "parse_token", "required_id"]


_PERMANENT_ERRORS = frozenset(
    {
        "invalid_grant",
        "invalid_client",
        "invalid_client_id",
        "invalid_client_credentials",
        "invalid_app_access",
        "invalid_assertion_type",
        "invalid_request",
        "invalid_scope",
        "inactive_user",
        "inactive_org",
        "unauthorized_client",
        "unsupported_grant_type",
    }
)


@dataclass(frozen=True, slots=True)
class AccessToken:
    """Access token, with the org and user it belongs to.

    Attributes:
        value: the secret; hidden from ``repr`` and ``str``.
        instance_url: base URL of the org's API, without a trailing slash.
        org_id: 18 characters.
        user_id: 18 characters.
    """

    value: SecretStr
    instance_url: str
    org_id: str
    user_id: str

    @property
    def authorization(self) -> str:
        """Value of the ``Authorization`` header."""
        return f"Bearer {self.value.get_secret_value()}"


class TokenEndpoint:
    """Client of the two OAuth resources that grants use.

    Every request has a connection of its own and a timeout.
    """

    def __init__(self, clock: Clock, *, timeout_ms: int = 30_000, ssl: SSLContext | bool = True) -> None:
        self.clock = clock
        self._timeout_s = timeout_ms / 1000
        self._ssl = ssl

    async def token(
        self, login_url: str, form: Mapping[str, str], secrets: Iterable[SecretStr]
    ) -> dict[str, Any]:
        """POST ``form`` to ``/services/oauth2/token`` and return the answer's JSON object.

        Raises:
            AuthenticationFailed: Salesforce refused, cannot be reached, or the answer is not Salesforce's.
        """
        url = login_url.rstrip("/") + "/services/oauth2/token"
        return await self._request_json("POST", url, secrets=secrets, data=dict(form))

    async def userinfo(self, instance_url: str, token: SecretStr) -> dict[str, Any]:
        """GET ``/services/oauth2/userinfo`` with ``token`` and return its JSON object.

        Raises:
            AuthenticationFailed: the token was refused (permanent), or Salesforce cannot be reached.
        """
        url = instance_url.rstrip("/") + "/services/oauth2/userinfo"
        headers = {"Authorization": f"Bearer {token.get_secret_value()}"}
        try:
            return await self._request_json("GET", url, secrets=(token,), headers=headers)
        except AuthenticationFailed as failure:
            if failure.code not in ("http_401", "http_403"):
                raise
            # The body varies (JSON, or the bare word Bad_OAuth_Token); the status is the same.
            detail = f"{_host(url)} refused the access token: it has expired, was revoked, or lacks the scope to identify its user"
            raise AuthenticationFailed("access_token_refused", detail, permanent=True) from failure

    async def _request_json(
        self, method: str, url: str, *, secrets: Iterable[SecretStr], **options: Any
    ) -> dict[str, Any]:
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
                http.request(method, url, ssl=self._ssl, allow_redirects=False, **options) as response,
            ):
                body = await response.read()
                status = response.status
        except TimeoutError as error:
            detail = f"{_host(url)} did not answer within {self._timeout_s:g} s"
            raise AuthenticationFailed("unreachable", detail, permanent=False) from error
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise AuthenticationFailed(
                "bad_settings", f"{one_line(url, 80)!r} is not an HTTP URL", permanent=True
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            detail = one_line(f"{_host(url)}: {str(error) or type(error).__name__}")
            raise AuthenticationFailed("unreachable", detail, permanent=False) from error
        answer = parse(body)
        if status == 200 and isinstance(answer, dict):
            return answer
        raise _error_from_response(status, answer, [secret.get_secret_value() for secret in secrets])


def parse_token(answer: Mapping[str, Any]) -> AccessToken:
    """Read a token response.

    Raises:
        AuthenticationFailed: the response lacks the token, its instance, or its org and user.
    """
    value, instance = answer.get("access_token"), answer.get("instance_url")
    if not isinstance(value, str) or not value or not isinstance(instance, str) or not _host(instance):
        raise AuthenticationFailed(
            "bad_answer", "the token response lacks access_token or instance_url", permanent=False
        )
    # The identity URL ends in /id/<org>/<user>.
    identity = str(answer.get("id", "")).rstrip("/").split("/")
    return AccessToken(
        value=SecretStr(value),
        instance_url=instance.rstrip("/"),
        org_id=required_id(identity[-2] if len(identity) > 1 else None, "id"),
        user_id=required_id(identity[-1], "id"),
    )


def required_id(value: object, field: str) -> str:
    """Convert the id in ``field`` of an answer to 18 characters.

    Raises:
        AuthenticationFailed: the value is not a record id.
    """
    try:
        return to_18(str(value))
    except ValueError as error:
        raise AuthenticationFailed(
            "bad_answer",
            f"the answer's {field} identifies no org and user: {one_line(str(error))}",
            permanent=False,
        ) from error


def _error_from_response(status: int, answer: Any, secrets: Iterable[str]) -> AuthenticationFailed:
    error = answer.get("error") if isinstance(answer, Mapping) else None
    if not isinstance(error, str):
        return AuthenticationFailed(
            f"http_{status}", "the answer is not from Salesforce's OAuth service", permanent=False
        )
    description = str(answer.get("error_description") or "no description")
    for secret in secrets:
        if secret:
            description = description.replace(secret, "***")
    # "login rate exceeded" is sent as invalid_grant and resolves by itself.
    permanent = (
        status < 500 and status != 429 and error in _PERMANENT_ERRORS and "rate exceeded" not in description
    )
    return AuthenticationFailed(one_line(error, 60), one_line(description), permanent=permanent)


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
