"""Refresh tokens that are good once: each is kept before the session that it was exchanged for may begin.

Where an app rotates refresh tokens, Salesforce answers an exchange with the next one and forgets the old. From that moment the settings
name a dead token, and the only living one is in an HTTP answer: a process that dies with it locks its user out until somebody signs in by
hand. So nothing goes on until the store has it, however long that takes; a session could not commit without the store anyway. What remains
is the instant between Salesforce's answer and the store's, which no client can close.

Kept tokens are encrypted with a key made from the one in the settings: the store alone, or a copy of it, signs nobody in. They also carry
the fingerprint of that one in their name. When a person puts a new token into the settings, what was kept for the old one is not found,
and the new one is used.
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
    """The living descendant of the refresh token in the settings.

    Args:
        store: where it is kept; need not be open before the first use.
        configured_token: the refresh token of the settings.
        on_secret: told every other refresh token, so that it can be kept out of logs.
        on_store_unavailable: told why, each time the store does not take it.
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
        """What was kept last, by whichever process; None when the one in the settings was never replaced.

        Raises:
            AuthenticationFailed: the store does not answer, or holds something else under this name.
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
            detail = f"what the store keeps as {self._name} cannot be read: put a new refresh token into the settings"
            raise AuthenticationFailed("kept_token_unreadable", detail, permanent=True) from None
        self._on_secret(token)
        return SecretStr(token)

    async def save(self, token: SecretStr) -> None:
        """Keep ``token``; returns when the store has it."""
        self._on_secret(token.get_secret_value())
        value = self._cipher.encrypt(token.get_secret_value().encode()).decode()
        while True:
            try:
                return await self._store.save_secret(self._name, value)
            except StoreUnavailable as error:
                self._on_store_unavailable(error.why)
                await asyncio.sleep(_RETRY_AFTER_S)
