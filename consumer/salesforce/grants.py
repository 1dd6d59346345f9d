"""Grants: the five ways to obtain an access token from Salesforce.

JWT bearer, client credentials, refresh token, username and password (legacy), and a configured token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from pydantic import SecretStr

from consumer.errors import AuthenticationFailed
from consumer.salesforce.origin import UrlOrigin
from consumer.salesforce.token_endpoint import (
    AccessToken,
    TokenEndpoint,
    is_header_value,
    parse_token,
    required_id,
)

__all__ = ["ClientCredentials", "Grant", "JwtBearer", "Password", "RefreshToken", "StaticAccessToken"]

_JWT_LIFETIME_S = 180


_CANCEL_GRACE_S = 5


class Grant(Protocol):
    """Way to obtain an access token."""

    async def obtain(self, endpoint: TokenEndpoint) -> AccessToken:
        """Obtain a new token.

        Raises:
            AuthenticationFailed: no token was issued; ``permanent`` when the settings must change first.
        """
        ...


@dataclass(frozen=True, slots=True)
class JwtBearer:
    """OAuth 2.0 JWT bearer: an assertion signed with the app's private key.

    The assertion (RS256) is valid for three minutes; no client secret is needed.

    Attributes:
        client_id: consumer key of the app.
        username: the integration user.
        private_key: PEM.
        login_url: host of the token endpoint, ``https://login.salesforce.com`` or the My Domain.
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
            detail = f"the private key cannot sign ({type(error).__name__}): set an RSA key in PEM format, without passphrase"
            raise AuthenticationFailed("bad_settings", detail, permanent=True) from None
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
        answer = await endpoint.token(self.login_url, form, [SecretStr(assertion)])
        return parse_token(answer, self.login_url, endpoint.instance_url)


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """OAuth 2.0 client credentials.

    Documented: only at the org's My Domain, and the app needs a run-as user.

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
        answer = await endpoint.token(self.login_url, form, [self.client_secret])
        return parse_token(answer, self.login_url, endpoint.instance_url)


class RefreshToken:
    """OAuth 2.0 refresh token, rotating or not.

    Where the app rotates refresh tokens, each is valid once: the next is passed to ``on_rotated`` to be stored.

    Args:
        client_id: consumer key.
        client_secret: consumer secret, where the app requires one.
        refresh_token: refresh token of the settings.
        login_url: host of the token endpoint.
        load_saved: returns the token stored last, by this or another process, or None; called before each exchange.
        on_rotated: stores the next refresh token; the access token is returned only after this has.
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
        """See :meth:`Grant.obtain`.

        Exceptions of ``on_rotated`` and ``load_saved`` propagate.

        An exchange that has begun is completed even if the caller is cancelled, because its answer may contain the only valid refresh
        token: a cancelled caller waits up to five seconds for it.
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
            # Storing the token was interrupted: the stored one is used up.
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
        if is_header_value(rotated) and rotated != self._refresh_token.get_secret_value():
            # Kept in memory first: even if it cannot be stored now, this process must not use the old one again.
            self._refresh_token = SecretStr(rotated)
            if self._on_rotated is not None:
                self._unsaved = True
                await self._on_rotated(self._refresh_token)
                self._unsaved = False
        return parse_token(answer, self._login_url, endpoint.instance_url)


@dataclass(frozen=True, slots=True)
class Password:
    """OAuth 2.0 username and password (legacy).

    Documented: blocked by default in newer orgs.

    Attributes:
        client_id: consumer key.
        client_secret: consumer secret.
        username: the integration user.
        password: the password, with the security token appended where the org requires one.
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
        answer = await endpoint.token(self.login_url, form, secrets)
        return parse_token(answer, self.login_url, endpoint.instance_url)


@dataclass(frozen=True, slots=True)
class StaticAccessToken:
    """Access token from the settings, as of a command-line session; cannot be renewed.

    Obtaining it queries its user, which yields the org's id and detects an invalid token before a session is opened with it.

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
            instance_url=str(UrlOrigin.parse(self.instance_url)),
            org_id=required_id(user.get("organization_id"), "organization_id"),
            user_id=required_id(user.get("user_id"), "user_id"),
        )
