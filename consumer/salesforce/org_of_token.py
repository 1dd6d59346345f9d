"""Org that issued the current access token."""

from __future__ import annotations

from consumer.domain.lifecycle import OrgInfo
from consumer.salesforce.token_cache import TokenCache

__all__ = ["OrgOfToken"]


class OrgOfToken:
    """Org of the sessions; kept while the token is being renewed."""

    def __init__(self, tokens: TokenCache) -> None:
        self._tokens = tokens
        self._org: OrgInfo | None = None

    def __call__(self) -> OrgInfo:
        """Return the org; a session must have authenticated."""
        token = self._tokens.current
        if token is not None:
            self._org = OrgInfo(token.org_id, token.instance_url)
        assert self._org is not None, "nothing is committed before a session has authenticated"
        return self._org
