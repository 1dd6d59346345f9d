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
from consumer.ports import SecretStore

__all__ = ["KeptRefreshToken"]

_AGAIN_S = 1.0


class KeptRefreshToken:
    """The living descendant of the refresh token in the settings.

    Args:
        store: where it is kept; need not be open before the first use.
        given: the refresh token of the settings.
        learned: told every other refresh token, so that it can be kept out of logs.
        failing: told why, each time the store does not take it.
    """

    def __init__(
        self,
        store: SecretStore,
        given: SecretStr,
        learned: Callable[[str], None],
        failing: Callable[[str], None],
    ) -> None:
        secret = given.get_secret_value().encode()
        self._store = store
        self._learned = learned
        self._failing = failing
        self._name = f"refresh_token/{hashlib.sha256(b'name:' + secret).hexdigest()[:16]}"
        self._cipher = Fernet(base64.urlsafe_b64encode(hashlib.sha256(b"key:" + secret).digest()))

    async def recall(self) -> SecretStr | None:
        """What was kept last, by whichever process; None when the one in the settings was never replaced.

        Raises:
            AuthenticationFailed: the store does not answer, or holds something else under this name.
        """
        try:
            kept = await self._store.secret(self._name)
        except StoreUnavailable as error:
            raise AuthenticationFailed("store_unavailable", str(error), permanent=False) from error
        if kept is None:
            return None
        try:
            token = self._cipher.decrypt(kept.encode()).decode()
        except InvalidToken:
            detail = f"what the store keeps as {self._name} cannot be read: put a new refresh token into the settings"
            raise AuthenticationFailed("kept_token_unreadable", detail, permanent=True) from None
        self._learned(token)
        return SecretStr(token)

    async def keep(self, token: SecretStr) -> None:
        """Keep ``token``; returns when the store has it."""
        self._learned(token.get_secret_value())
        value = self._cipher.encrypt(token.get_secret_value().encode()).decode()
        while True:
            try:
                return await self._store.save_secret(self._name, value)
            except StoreUnavailable as error:
                self._failing(error.why)
                await asyncio.sleep(_AGAIN_S)
