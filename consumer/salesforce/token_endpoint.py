"""OAuth endpoint of Salesforce: requests for tokens, and access tokens.

A Salesforce token response has no ``expires_in``: a token is valid until it is refused (documented: its lifetime is the session timeout,
and use prolongs it). So nothing here guesses an expiry; a refusal invalidates.

Secrets are ``SecretStr`` from the settings to the request and appear in no message: Salesforce's description of a failure is quoted with
every secret of the request replaced.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any, TypeGuard

import aiohttp
from pydantic import SecretStr

from consumer.clock import Clock
from consumer.domain.record_ids import to_18
from consumer.errors import AuthenticationFailed
from consumer.salesforce.error_catalogue import one_line
from consumer.salesforce.http_exchange import HttpFault, exchange, parse_json
from consumer.salesforce.origin import UrlOrigin, instance_origin

__all__ = ["AccessToken", "TokenEndpoint", "is_header_value", "parse_token", "required_id"]

_MAX_BYTES = 1024 * 1024
"""Maximum size of an answer; Salesforce's have one or two kilobytes."""
_HEADER_VALUE = re.compile(r"[!-~]{1,8000}")

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
        instance_url: base URL of the org's API, without a trailing slash; the token is sent to this origin only.
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

    @property
    def origin(self) -> UrlOrigin:
        """UrlOrigin that the token may be sent to."""
        return UrlOrigin.parse(self.instance_url)


class TokenEndpoint:
    """Client of the two OAuth resources that grants use.

    Every request has a connection of its own and a timeout.

    Attributes:
        clock: clock for assertions.
        instance_url: ``salesforce.instance_url``, accepted as the org's besides the login URL and Salesforce's domains; None if unset.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        timeout_ms: int = 30_000,
        ssl: SSLContext | bool = True,
        instance_url: str | None = None,
    ) -> None:
        self.clock = clock
        self.instance_url = instance_url
        self._timeout_s = timeout_ms / 1000
        self._ssl = ssl

    async def token(
        self, login_url: str, form: Mapping[str, str], secrets: Iterable[SecretStr]
    ) -> dict[str, Any]:
        """POST ``form`` to ``/services/oauth2/token`` and return the answer's JSON object.

        Raises:
            AuthenticationFailed: Salesforce refused, cannot be reached, or the answer is not Salesforce's.
        """
        return await self._request_json(
            "POST", login_url, "/services/oauth2/token", secrets=secrets, data=dict(form)
        )

    async def userinfo(self, instance_url: str, token: SecretStr) -> dict[str, Any]:
        """GET ``/services/oauth2/userinfo`` with ``token`` and return its JSON object.

        Raises:
            AuthenticationFailed: the token was refused (permanent), or Salesforce cannot be reached.
        """
        headers = {"Authorization": f"Bearer {token.get_secret_value()}"}
        path = "/services/oauth2/userinfo"
        try:
            return await self._request_json("GET", instance_url, path, secrets=(token,), headers=headers)
        except AuthenticationFailed as failure:
            if failure.code not in ("http_401", "http_403"):
                raise
            # The body varies (JSON, or the bare word Bad_OAuth_Token); the status is the same.
            host = UrlOrigin.parse(instance_url).host
            detail = f"{host} refused the access token: it has expired, was revoked, or lacks the scope to identify its user"
            raise AuthenticationFailed("access_token_refused", detail, permanent=True) from failure

    async def _request_json(
        self,
        method: str,
        base_url: str,
        path: str,
        *,
        secrets: Iterable[SecretStr],
        headers: Mapping[str, str] | None = None,
        data: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        try:
            origin = UrlOrigin.parse(base_url)
        except ValueError as error:
            raise AuthenticationFailed("bad_settings", str(error), permanent=True) from error
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
            ):
                answer = await exchange(
                    http,
                    method,
                    origin.join(path),
                    max_bytes=_MAX_BYTES,
                    headers=headers or {},
                    data=data,
                    ssl=self._ssl,
                )
        except TimeoutError as error:
            detail = f"{origin.host} did not answer within {self._timeout_s:g} s"
            raise AuthenticationFailed("unreachable", detail, permanent=False) from error
        except HttpFault as fault:
            code = fault.code if fault.code in ("answer_too_large", "bad_encoding") else "unreachable"
            detail = one_line(f"{origin.host}: {fault.detail}")
            raise AuthenticationFailed(code, detail, permanent=False) from fault
        content = await parse_json(answer.body)
        if answer.status == 200 and isinstance(content, dict):
            return content
        raise _error_from_response(answer.status, content, [secret.get_secret_value() for secret in secrets])


def parse_token(
    answer: Mapping[str, Any], login_url: str, configured_instance_url: str | None = None
) -> AccessToken:
    """Read a token response, completely before any of it is used.

    Args:
        answer: the response.
        login_url: URL that issued it.
        configured_instance_url: ``salesforce.instance_url``, where it is set.

    Raises:
        AuthenticationFailed: the response lacks the token, its instance, or its org and user; or the instance is not the org's.
    """
    value, instance_url = answer.get("access_token"), answer.get("instance_url")
    if not is_header_value(value) or not isinstance(instance_url, str):
        raise AuthenticationFailed(
            "bad_answer", "the token response lacks access_token or instance_url", permanent=False
        )
    # The identity URL ends in /id/<org>/<user>.
    identity_url = answer.get("id")
    identity = identity_url.rstrip("/").split("/")[-2:] if isinstance(identity_url, str) else []
    org_id = required_id(identity[0] if len(identity) == 2 else None, "id")
    user_id = required_id(identity[-1], "id")
    try:
        origin = UrlOrigin.parse(instance_url)
    except ValueError as error:
        raise AuthenticationFailed("bad_answer", f"instance_url: {error}", permanent=False) from error
    try:
        origin = instance_origin(origin, login_url, configured_instance_url)
    except ValueError as error:
        raise AuthenticationFailed("foreign_instance", f"instance_url: {error}", permanent=True) from error
    return AccessToken(value=SecretStr(value), instance_url=str(origin), org_id=org_id, user_id=user_id)


def is_header_value(value: object) -> TypeGuard[str]:
    """Report whether a secret can be sent.

    It must be visible ASCII of a length that headers allow.
    """
    return isinstance(value, str) and _HEADER_VALUE.fullmatch(value) is not None


def required_id(value: object, field: str) -> str:
    """Convert the id in ``field`` of an answer to 18 characters.

    Raises:
        AuthenticationFailed: the value is not a record id.
    """
    try:
        return to_18(value if isinstance(value, str) else "")
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
