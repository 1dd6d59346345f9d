"""Signing in: one access token, shared by the stream and by REST, asked for once however many need it.

A *grant* is one of the five ways Salesforce hands out tokens: JWT bearer, client credentials, refresh token, username and password
(legacy) and a token that somebody gives. The :class:`TokenCache` holds the current token; it asks its grant when there is none, lets
concurrent callers wait for that one request, and forgets the token when a caller says that Salesforce refused it. Who was refused
with an older token changes nothing: the current one stays.

A Salesforce token response has no ``expires_in``: a token is good until it is refused (documented: its life is the session time-out,
and use prolongs it). So nothing here guesses; a refusal invalidates.

Secrets are ``SecretStr`` from the settings to the request and appear in no message: what Salesforce says about a failure is quoted
with every secret of the request struck out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any, Protocol
from urllib.parse import urlsplit

import aiohttp
from pydantic import SecretStr

from consumer.clock import Clock
from consumer.domain.record_ids import to_18
from consumer.errors import AuthenticationFailed
from consumer.safe_json import parse
from consumer.salesforce.error_catalogue import one_line

__all__ = [
    "AccessToken",
    "ClientCredentials",
    "Grant",
    "JwtBearer",
    "Password",
    "RefreshToken",
    "StaticAccessToken",
    "TokenCache",
    "TokenEndpoint",
]

_JWT_LIFETIME_S = 180

_CANCEL_GRACE_S = 5

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
    """A token and where it is good.

    Attributes:
        value: the secret; hidden from ``repr`` and ``str``.
        instance_url: base URL of the org's API, without a slash at the end.
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
    """The two OAuth resources that grants ask. Every request has a connection of its own and a time-out."""

    def __init__(self, clock: Clock, *, timeout_ms: int = 30_000, ssl: SSLContext | bool = True) -> None:
        self.clock = clock
        self._timeout_s = timeout_ms / 1000
        self._ssl = ssl

    async def token(
        self, login_url: str, form: Mapping[str, str], secrets: Iterable[SecretStr]
    ) -> dict[str, Any]:
        """POST ``form`` to ``/services/oauth2/token`` and return the answer's JSON object.

        Raises:
            AuthenticationFailed: refused, unreachable, or not an answer of Salesforce.
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
            # Salesforce says this in several ways (JSON, or the bare word Bad_OAuth_Token); the status is the same.
            detail = f"{_host(url)} refused the access token: it has expired, was revoked, or lacks the scope to say whose it is"
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
                "bad_settings", f"{one_line(url, 80)!r} is not an HTTP address", permanent=True
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            detail = one_line(f"{_host(url)}: {str(error) or type(error).__name__}")
            raise AuthenticationFailed("unreachable", detail, permanent=False) from error
        answer = parse(body)
        if status == 200 and isinstance(answer, dict):
            return answer
        raise _error_from_response(status, answer, [secret.get_secret_value() for secret in secrets])


class Grant(Protocol):
    """One way to come by a token."""

    async def obtain(self, endpoint: TokenEndpoint) -> AccessToken:
        """A fresh token.

        Raises:
            AuthenticationFailed: there is none; ``permanent`` when the settings must change first.
        """
        ...


@dataclass(frozen=True, slots=True)
class JwtBearer:
    """OAuth 2.0 JWT bearer: an assertion signed with the app's private key (RS256), good for three minutes, no client secret.

    Attributes:
        client_id: consumer key of the app.
        username: the integration user.
        private_key: PEM.
        login_url: where to ask, ``https://login.salesforce.com`` or the My Domain.
        audience: ``aud`` of the assertion; ``login_url`` when None (documented: the login, test or site URL).
    """

    client_id: str
    username: str
    private_key: SecretStr
    login_url: str
    audience: str | None = None

    async def obtain(self, endpoint: TokenEndpoint) -> AccessToken:
        """See :meth:`Grant.obtain`."""
        import jwt  # with cryptography, 10 MB that no other flow needs

        claims = {
            "iss": self.client_id,
            "sub": self.username,
            "aud": self.audience or self.login_url.rstrip("/"),
            "exp": endpoint.clock.wall_ms() // 1000 + _JWT_LIFETIME_S,
        }
        try:
            assertion = jwt.encode(claims, self.private_key.get_secret_value(), algorithm="RS256")
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            # The error's text may quote the key.
            detail = f"the private key cannot sign ({type(error).__name__}): give an RSA key in PEM form, without passphrase"
            raise AuthenticationFailed("bad_settings", detail, permanent=True) from None
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
        return _parse_token(await endpoint.token(self.login_url, form, [SecretStr(assertion)]))


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """OAuth 2.0 client credentials; documented: only at the org's My Domain, and the app needs a run-as user.

    Attributes:
        client_id: consumer key.
        client_secret: consumer secret.
        login_url: the My Domain.
    """

    client_id: str
    client_secret: SecretStr
    login_url: str

    async def obtain(self, endpoint: TokenEndpoint) -> AccessToken:
        """See :meth:`Grant.obtain`."""
        form = {
            "grant_type": "client_credentials",
            "client_id": self.client_id,
            "client_secret": self.client_secret.get_secret_value(),
        }
        return _parse_token(await endpoint.token(self.login_url, form, [self.client_secret]))


class RefreshToken:
    """OAuth 2.0 refresh token. Where the app rotates them, each is good once: the next is handed to ``on_rotated`` to be stored.

    Args:
        client_id: consumer key.
        client_secret: consumer secret, where the app wants one.
        refresh_token: of the settings.
        login_url: where to ask.
        load_saved: asked before each exchange for the token that was stored last, here or by another process; None when there is none.
        on_rotated: stores the next one; a token is handed out once it has returned.
    """

    def __init__(
        self,
        client_id: str,
        client_secret: SecretStr | None,
        refresh_token: SecretStr,
        login_url: str,
        on_rotated: Callable[[SecretStr], Awaitable[None]] | None = None,
        load_saved: Callable[[], Awaitable[SecretStr | None]] | None = None,
    ) -> None:
        self._client_id = client_id
        self._client_secret = client_secret
        self._refresh_token = refresh_token
        self._login_url = login_url
        self._on_rotated = on_rotated
        self._load_saved = load_saved
        self._unsaved = False

    async def obtain(self, endpoint: TokenEndpoint) -> AccessToken:
        """See :meth:`Grant.obtain`; what ``on_rotated`` and ``load_saved`` raise passes through.

        An exchange that has begun is brought to its end even if nobody waits for it any more, because its answer may hold the only refresh
        token that is still good: for up to five seconds a cancelled caller waits for that.
        """
        exchange = asyncio.create_task(self._exchange(endpoint))
        try:
            await asyncio.wait({exchange})
        except asyncio.CancelledError:
            await asyncio.wait({exchange}, timeout=_CANCEL_GRACE_S)
            exchange.cancel()
            await asyncio.gather(exchange, return_exceptions=True)
            raise
        return await exchange

    async def _exchange(self, endpoint: TokenEndpoint) -> AccessToken:
        if self._unsaved and self._on_rotated is not None:
            # Cut short while storing it: what is stored is spent.
            await self._on_rotated(self._refresh_token)
            self._unsaved = False
        elif self._load_saved is not None and (saved := await self._load_saved()) is not None:
            self._refresh_token = saved
        secrets = [self._refresh_token]
        form = {
            "grant_type": "refresh_token",
            "client_id": self._client_id,
            "refresh_token": self._refresh_token.get_secret_value(),
        }
        if self._client_secret is not None:
            form["client_secret"] = self._client_secret.get_secret_value()
            secrets.append(self._client_secret)
        answer = await endpoint.token(self._login_url, form, secrets)
        rotated = answer.get("refresh_token")
        if isinstance(rotated, str) and rotated not in ("", self._refresh_token.get_secret_value()):
            # First here: even if it cannot be stored now, this process must not use the spent one again.
            self._refresh_token = SecretStr(rotated)
            if self._on_rotated is not None:
                self._unsaved = True
                await self._on_rotated(self._refresh_token)
                self._unsaved = False
        return _parse_token(answer)


@dataclass(frozen=True, slots=True)
class Password:
    """OAuth 2.0 username and password (legacy; documented: blocked by default in newer orgs).

    Attributes:
        client_id: consumer key.
        client_secret: consumer secret.
        username: the integration user.
        password: with the security token appended where the org wants one.
        login_url: ``https://login.salesforce.com``, ``https://test.salesforce.com`` or the My Domain.
    """

    client_id: str
    client_secret: SecretStr
    username: str
    password: SecretStr
    login_url: str

    async def obtain(self, endpoint: TokenEndpoint) -> AccessToken:
        """See :meth:`Grant.obtain`."""
        form = {
            "grant_type": "password",
            "client_id": self.client_id,
            "client_secret": self.client_secret.get_secret_value(),
            "username": self.username,
            "password": self.password.get_secret_value(),
        }
        secrets = [self.client_secret, self.password]
        return _parse_token(await endpoint.token(self.login_url, form, secrets))


@dataclass(frozen=True, slots=True)
class StaticAccessToken:
    """A token that somebody gives, as from a command-line session. It cannot be renewed.

    Obtaining it asks Salesforce whose it is, which yields the org's id and notices a dead token before a session is tried with it.

    Attributes:
        access_token: the token.
        instance_url: base URL of the org.
    """

    access_token: SecretStr
    instance_url: str

    async def obtain(self, endpoint: TokenEndpoint) -> AccessToken:
        """See :meth:`Grant.obtain`."""
        user = await endpoint.userinfo(self.instance_url, self.access_token)
        return AccessToken(
            value=self.access_token,
            instance_url=self.instance_url.rstrip("/"),
            org_id=_required_id(user.get("organization_id"), "organization_id"),
            user_id=_required_id(user.get("user_id"), "user_id"),
        )


class TokenCache:
    """The current token. One request at a time; who comes while it runs shares its outcome, be it a token or a failure."""

    def __init__(
        self, grant: Grant, endpoint: TokenEndpoint, on_token: Callable[[SecretStr], None] | None = None
    ) -> None:
        """``on_token`` is told every token that is obtained, so that it can be kept out of logs."""
        self._on_token = on_token
        self._grant = grant
        self._endpoint = endpoint
        self._lock = asyncio.Lock()
        self._current: AccessToken | None = None
        self._failures = 0
        self._failure: AuthenticationFailed | None = None

    @property
    def current(self) -> AccessToken | None:
        """The token that would be used now, without asking for one."""
        return self._current

    async def token(self) -> AccessToken:
        """The current token, obtained if there is none.

        Raises:
            AuthenticationFailed: there is none to be had.
        """
        token = self._current
        if token is not None:
            return token
        failures = self._failures
        async with self._lock:
            token = self._current
            if token is not None:
                return token
            if self._failure is not None and self._failures != failures:
                # The request this caller waited for has failed; once more per waiting caller is how accounts get locked.
                raise AuthenticationFailed(
                    self._failure.code, self._failure.detail, permanent=self._failure.permanent
                )
            try:
                token = await self._grant.obtain(self._endpoint)
            except AuthenticationFailed as failure:
                self._failures += 1
                self._failure = failure
                raise
            self._current = token
            if self._on_token is not None:
                self._on_token(token.value)
            return token

    def invalidate(self, token: AccessToken) -> None:
        """Forget ``token``, which Salesforce refused; does nothing if another one is current by now."""
        if self._current is token:
            self._current = None


def _parse_token(answer: Mapping[str, Any]) -> AccessToken:
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
        org_id=_required_id(identity[-2] if len(identity) > 1 else None, "id"),
        user_id=_required_id(identity[-1], "id"),
    )


def _required_id(value: object, where: str) -> str:
    try:
        return to_18(str(value))
    except ValueError as error:
        raise AuthenticationFailed(
            "bad_answer",
            f"the answer's {where} names no org and user: {one_line(str(error))}",
            permanent=False,
        ) from error


def _error_from_response(status: int, answer: Any, secrets: Iterable[str]) -> AuthenticationFailed:
    error = answer.get("error") if isinstance(answer, Mapping) else None
    if not isinstance(error, str):
        return AuthenticationFailed(
            f"http_{status}", "the answer is not one of Salesforce's OAuth service", permanent=False
        )
    description = str(answer.get("error_description") or "no description")
    for secret in secrets:
        if secret:
            description = description.replace(secret, "***")
    # "login rate exceeded" comes as invalid_grant and passes by itself.
    permanent = (
        status < 500 and status != 429 and error in _PERMANENT_ERRORS and "rate exceeded" not in description
    )
    return AuthenticationFailed(one_line(error, 60), one_line(description), permanent=permanent)


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
