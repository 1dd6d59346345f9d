"""The token endpoint: four flows, opaque tokens, expiry and revocation.

Responses have the documented shape: `issued_at` is a string of milliseconds, there is no `expires_in`, and only flows
that may refresh return a refresh token. Errors are the documented pairs of `error` and `error_description` with HTTP
400. JWT assertions are verified (RS256 against the app's public key), because a consumer that signs wrongly must fail
here and not in production.

Token lifetimes follow the event loop's clock in seconds; an assertion's `exp` is compared with real time, as its
signer set it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import random
import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final
from urllib.parse import unquote_plus

import jwt
import orjson
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from consumer.sandbox.broken_responses import json_response

JWT_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_OPAQUE_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._"
# An assertion may also name the host that it is sent to.
DOCUMENTED_AUDIENCES: Final = ("https://login.salesforce.com", "https://test.salesforce.com")
_ASSERTION_SECONDS: Final = 180
_CLOCK_SKEW_SECONDS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthOptions:
    """Lifetime and rotation of tokens, and approval of the app.

    Attributes:
        token_lifetime_ms: lifetime of an access token (commonly two hours).
        sliding: whether each use extends it, as with Salesforce sessions.
        rotate_refresh_tokens: whether a refresh invalidates the refresh token and returns a new one.
        approved: whether the app is pre-authorised for the user; if not, JWT assertions are refused.
    """

    token_lifetime_ms: int = 2 * 3_600_000
    sliding: bool = True
    rotate_refresh_tokens: bool = False
    approved: bool = True


class Credentials:
    """Credentials of every flow; the RSA key pair is generated on first use."""

    def __init__(self, *, seed: int, organization_id: str, user_id: str, username: str) -> None:
        generator = random.Random(f"credentials-{seed}")
        self.organization_id = organization_id
        self.user_id = user_id
        self.username = username
        self.password = generator.randbytes(12).hex()
        self.client_id = "3MVG9" + "".join(generator.choices(_OPAQUE_LETTERS, k=80))
        self.client_secret = generator.randbytes(32).hex().upper()
        self.refresh_token = "5Aep861" + "".join(generator.choices(_OPAQUE_LETTERS, k=80))

    @cached_property
    def _key(self) -> rsa.RSAPrivateKey:
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @cached_property
    def private_key(self) -> str:
        """Private key of the JWT bearer flow, PEM (PKCS 8, unencrypted)."""
        return self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()

    @cached_property
    def public_key(self) -> str:
        """Public key that verifies assertions, PEM."""
        return (
            self._key.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )


class OAuthRefusal(Exception):
    """An OAuth error in the words of Salesforce's token endpoint."""

    def __init__(self, error: str, description: str) -> None:
        self.error = error
        self.description = description
        super().__init__(f"{error}: {description}")


class Tokens:
    """Valid access tokens; `now` is the event loop's clock in seconds."""

    def __init__(self, *, seed: int, organization_id: str, options: OAuthOptions) -> None:
        self._random = random.Random(f"tokens-{seed}")
        self._organization_id = organization_id
        self._options = options
        self._lifetime = options.token_lifetime_ms / 1000
        self._tokens: dict[str, tuple[str, float]] = {}
        self.issued = 0

    def issue(self, user_id: str, now: float) -> str:
        """Issue an access token: organization id, `!AQ`, opaque characters."""
        self.issued += 1
        token = f"{self._organization_id[:15]}!AQ" + "".join(self._random.choices(_OPAQUE_LETTERS, k=94))
        self._tokens[token] = (user_id, now + self._lifetime)
        return token

    def user_of(self, authorization: str, now: float) -> str | None:
        """Return the user of an `Authorization` header (`Bearer` or `OAuth`).

        None if its token is not valid.
        """
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() not in {"bearer", "oauth"}:
            return None
        user_id, until = self._tokens.get(token.strip(), ("", now))
        if until <= now:
            return None
        if self._options.sliding:
            self._tokens[token.strip()] = (user_id, now + self._lifetime)
        return user_id

    def revoke(self, token: str | None = None) -> int:
        """Revoke one token, or all; returns the number that were valid."""
        if token is not None:
            return 1 if self._tokens.pop(token, None) else 0
        count = len(self._tokens)
        self._tokens.clear()
        return count


class OAuth:
    """Resources under `/services/oauth2/`, for one app in one org.

    URLs in answers have the host of the client's request.
    """

    def __init__(self, *, seed: int, credentials: Credentials, options: OAuthOptions) -> None:
        self.credentials = credentials
        self.options = options
        self.tokens = Tokens(seed=seed, organization_id=credentials.organization_id, options=options)
        self._random = random.Random(f"oauth-{seed}")
        self._refresh_tokens = {credentials.refresh_token}

    def user_of(self, authorization: str) -> str | None:
        """Return the user of an `Authorization` header, or None."""
        return self.tokens.user_of(authorization, asyncio.get_running_loop().time())

    def issue(self) -> str:
        """Issue an access token without any flow."""
        return self.tokens.issue(self.credentials.user_id, asyncio.get_running_loop().time())

    def revoke(self, token: str | None = None) -> int:
        """Revoke an access token (default: all); returns the number that were valid."""
        return self.tokens.revoke(token)

    async def token(self, request: web.Request) -> web.Response:
        """POST `/services/oauth2/token`."""
        form = {name: str(value) for name, value in (await request.post()).items()}
        _basic_credentials(request.headers.get("Authorization", ""), form)
        try:
            granted = self._grant(form, str(request.url.origin()))
        except OAuthRefusal as refusal:
            body = {"error": refusal.error, "error_description": refusal.description}
            return json_response(orjson.dumps(body), status=400)
        return json_response(orjson.dumps(granted))

    def _grant(self, form: dict[str, str], base: str) -> dict[str, str]:
        match form.get("grant_type"):
            case "client_credentials":
                self._check_client(form)
                return self._response(base)
            case "password":
                self._check_client(form)
                expected = (self.credentials.username, self.credentials.password)
                if (form.get("username"), form.get("password")) != expected:
                    raise OAuthRefusal("invalid_grant", "authentication failure")
                return self._response(base)
            case "refresh_token":
                self._check_client(form, secret=False)
                return {**self._response(base), **self._rotated(form.get("refresh_token", ""))}
            case str(grant) if grant == JWT_GRANT:
                self._check_assertion(form.get("assertion", ""), base)
                return {**self._response(base), "scope": "api refresh_token"}
            case _:
                raise OAuthRefusal("unsupported_grant_type", "grant type not supported")

    def _check_client(self, form: dict[str, str], *, secret: bool = True) -> None:
        if form.get("client_id") != self.credentials.client_id:
            raise OAuthRefusal("invalid_client_id", "client identifier invalid")
        client_secret = form.get("client_secret")
        if (secret or client_secret is not None) and client_secret != self.credentials.client_secret:
            raise OAuthRefusal("invalid_client", "invalid client credentials")

    def _rotated(self, token: str) -> dict[str, str]:
        if token not in self._refresh_tokens:
            raise OAuthRefusal("invalid_grant", "expired access/refresh token")
        if not self.options.rotate_refresh_tokens:
            return {}
        self._refresh_tokens.remove(token)
        rotated = "5Aep861" + "".join(self._random.choices(_OPAQUE_LETTERS, k=80))
        self._refresh_tokens.add(rotated)
        return {"refresh_token": rotated}

    def _check_assertion(self, assertion: str, base: str) -> None:
        """Verify signature, issuer, subject, audience and lifetime, in this order.

        Each has a refusal of its own.
        """
        try:
            claims: dict[str, Any] = jwt.decode(
                assertion,
                self.credentials.public_key,
                algorithms=["RS256"],
                options={"verify_aud": False, "verify_exp": False, "verify_iat": False, "verify_sub": False},
            )
        except jwt.InvalidTokenError as invalid:
            raise OAuthRefusal("invalid_grant", "invalid assertion") from invalid
        if claims.get("iss") != self.credentials.client_id:
            raise OAuthRefusal("invalid_client_id", "client identifier invalid")
        if claims.get("aud") not in {*DOCUMENTED_AUDIENCES, base}:
            raise OAuthRefusal("invalid_grant", "audience is invalid")
        expires = str(claims.get("exp", ""))
        remaining = int(expires) - time.time() if expires.isdigit() else -1.0
        if not 0 < remaining <= _ASSERTION_SECONDS + _CLOCK_SKEW_SECONDS:
            raise OAuthRefusal("invalid_grant", "expired authorization code")
        if claims.get("sub") != self.credentials.username or not self.options.approved:
            raise OAuthRefusal("invalid_grant", "user hasn't approved this consumer")

    def _response(self, base: str) -> dict[str, str]:
        identity = f"{base}/id/{self.credentials.organization_id}/{self.credentials.user_id}"
        issued_at = str(time.time_ns() // 1_000_000)
        key = self.credentials.client_secret.encode()
        signature = hmac.new(key, (identity + issued_at).encode(), hashlib.sha256).digest()
        return {
            "access_token": self.issue(),
            "signature": base64.b64encode(signature).decode(),
            "token_format": "opaque",
            "instance_url": base,
            "id": identity,
            "token_type": "Bearer",
            "issued_at": issued_at,
        }

    async def revoke_endpoint(self, request: web.Request) -> web.Response:
        """GET or POST `/services/oauth2/revoke` with an access or refresh token."""
        form = {**request.query, **{name: str(value) for name, value in (await request.post()).items()}}
        token = str(form.get("token", ""))
        if token in self._refresh_tokens:
            self._refresh_tokens.remove(token)
            self.revoke()
        elif not self.revoke(token):
            body = {"error": "invalid_token", "error_description": f"invalid token: {token[:4]}…"}
            return json_response(orjson.dumps(body), status=400)
        return web.Response(status=200)

    async def userinfo(self, request: web.Request) -> web.Response:
        """GET `/services/oauth2/userinfo`: the token's user."""
        user_id = self.user_of(request.headers.get("Authorization", ""))
        if user_id is None:
            return web.Response(status=403, text="Bad_OAuth_Token")
        base = str(request.url.origin())
        organization_id = self.credentials.organization_id
        body = {
            "sub": f"{base}/id/{organization_id}/{user_id}",
            "user_id": user_id,
            "organization_id": organization_id,
            "preferred_username": self.credentials.username,
            "name": "Integration User",
            "email": self.credentials.username,
            "urls": {
                "rest": f"{base}/services/data/v{{version}}/",
                "query": f"{base}/services/data/v{{version}}/query/",
            },
            "active": True,
            "user_type": "STANDARD",
        }
        return json_response(orjson.dumps(body))


def _basic_credentials(header: str, form: dict[str, str]) -> None:
    """Add client id and secret from a Basic header, unless the form has them."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return
    try:
        name, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError as invalid:
        form.setdefault("client_id", f"unreadable Basic header ({invalid})")
        return
    form.setdefault("client_id", unquote_plus(name))
    form.setdefault("client_secret", unquote_plus(secret))
