"""Cache of the access token, requested once however many callers need it.

The cache asks its grant when there is no token, lets concurrent callers wait for that one request, and discards the token when a caller
reports that Salesforce refused it. A caller that was refused with an older token does not affect the current one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pydantic import SecretStr

from consumer.errors import AuthenticationFailed
from consumer.salesforce.grants import Grant
from consumer.salesforce.token_endpoint import AccessToken, TokenEndpoint

__all__ = ["TokenCache"]


class TokenCache:
    """Cache of the current token, shared by streaming and REST.

    Only one request runs at a time; callers that arrive meanwhile share its outcome, a token or a failure.

    Args:
        grant: obtains tokens.
        endpoint: the token endpoint.
        on_token: receives every token obtained, so that it can be kept out of logs.
    """

    def __init__(
        self, grant: Grant, endpoint: TokenEndpoint, on_token: Callable[[SecretStr], None] | None = None
    ) -> None:
        self._on_token = on_token
        self._grant = grant
        self._endpoint = endpoint
        self._lock = asyncio.Lock()
        self._current: AccessToken | None = None
        self._failures = 0
        self._failure: AuthenticationFailed | None = None

    @property
    def current(self) -> AccessToken | None:
        """Current token; None while there is none."""
        return self._current

    async def token(self) -> AccessToken:
        """Return the current token, obtaining one if there is none.

        Raises:
            AuthenticationFailed: no token could be obtained.
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
                # The request this caller waited for has failed; another request per waiting caller would get the account locked.
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
        """Discard ``token``, which Salesforce refused, unless another is current by now."""
        if self._current is token:
            self._current = None
