"""Store of rotating refresh tokens: each is saved before its access token is used.

Where an app rotates refresh tokens, Salesforce answers an exchange with the next one and invalidates the old. From that moment the settings
contain an invalid token, and the only valid one is in an HTTP answer: a process that dies with it locks its user out until a person signs
in by hand. So the session does not begin until the store has the token, however long that takes; without the store it could not commit
anyway. What remains is the instant between Salesforce's answer and the store's, which no client can close.

Saved tokens are encrypted with a key derived from the token in the settings: the store alone, or a copy of it, does not allow anyone to
sign in. Their name contains the fingerprint of that token: after a person puts a new token into the settings, the saved successor of the
old one is not found, and the new one is used.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable

from cryptography.fernet import Fernet, InvalidToken
from pydantic import SecretStr

from consumer.errors import AuthenticationFailed, StoreUnavailable
from consumer.ports.store import SecretStore

__all__ = ["RefreshTokenStore"]

_RETRY_AFTER_S = 1.0


class RefreshTokenStore:
    """Valid successor of the refresh token in the settings.

    Args:
        store: store of the token; need not be open before the first use.
        configured_token: the refresh token of the settings.
        on_secret: receives every other refresh token, so that it can be kept out of logs.
        on_store_unavailable: receives the reason each time the store fails to save the token.
    """

    def __init__(
        self,
        store: SecretStore,
        configured_token: SecretStr,
        on_secret: Callable[[str], None],
        on_store_unavailable: Callable[[str], None],
    ) -> None:
        secret = configured_token.get_secret_value().encode()
        self._store = store
        self._on_secret = on_secret
        self._on_store_unavailable = on_store_unavailable
        self._name = f"refresh_token/{hashlib.sha256(b'name:' + secret).hexdigest()[:16]}"
        self._cipher = Fernet(base64.urlsafe_b64encode(hashlib.sha256(b"key:" + secret).digest()))

    async def load(self) -> SecretStr | None:
        """Load the token saved last; None when the configured one was never replaced.

        Any process may have saved it.

        Raises:
            AuthenticationFailed: the store does not answer, or the stored value cannot be decrypted.
        """
        try:
            saved = await self._store.secret(self._name)
        except StoreUnavailable as error:
            raise AuthenticationFailed("store_unavailable", str(error), permanent=False) from error
        if saved is None:
            return None
        try:
            token = self._cipher.decrypt(saved.encode()).decode()
        except InvalidToken:
            detail = (
                f"the token stored as {self._name} cannot be decrypted: set a new salesforce.refresh_token"
            )
            raise AuthenticationFailed("kept_token_unreadable", detail, permanent=True) from None
        self._on_secret(token)
        return SecretStr(token)

    async def save(self, token: SecretStr) -> None:
        """Save ``token``; returns once the store has it."""
        self._on_secret(token.get_secret_value())
        value = self._cipher.encrypt(token.get_secret_value().encode()).decode()
        while True:
            try:
                return await self._store.save_secret(self._name, value)
            except StoreUnavailable as error:
                self._on_store_unavailable(error.why)
                await asyncio.sleep(_RETRY_AFTER_S)
