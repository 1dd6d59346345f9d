import asyncio
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from consumer.clock import SystemClock
from consumer.salesforce.cometd_client import RequestLimits
from consumer.salesforce.cometd_session import CometdSession, CometdSource
from consumer.salesforce.token_cache import TokenCache
from consumer.salesforce.token_endpoint import AccessToken, TokenEndpoint
from tests.support.servers.scripted_org import ScriptedOrg


class CountingGrant:
    """Hands out a new token with every request."""

    def __init__(self, org: ScriptedOrg) -> None:
        self.org = org
        self.handed_out = 0

    async def obtain(self, endpoint: TokenEndpoint) -> AccessToken:
        del endpoint
        self.handed_out += 1
        value = SecretStr(f"00D!secret-{self.handed_out}")
        return AccessToken(value, self.org.url, "00Dd000000XXXXXEAA", "005d000000XXXXXEAA")


class Sessions:
    """Opens sessions on a scripted org and closes what a test left open."""

    def __init__(self, org: ScriptedOrg) -> None:
        self.org = org
        self.grant = CountingGrant(org)
        self.tokens = TokenCache(self.grant, TokenEndpoint(SystemClock()))
        self.limits = RequestLimits()
        self.poll_timeout: int | None = None
        self._source: CometdSource | None = None
        self._made: list[CometdSession] = []

    def __call__(self) -> CometdSession:
        if self._source is None:
            self._source = CometdSource(self.tokens, SystemClock(), api_version="66.0", limits=self.limits)
        session = self._source.session(len(self._made) + 1, lambda: self.poll_timeout)
        self._made.append(session)
        return session

    async def aclose(self) -> None:
        for session in self._made:
            await session.aclose()
            assert session._http is None


@pytest.fixture(autouse=True)
async def nothing_left_behind() -> AsyncIterator[None]:
    """After every test: no task but this one."""
    yield
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"left behind: {left}"


@pytest.fixture
async def org(nothing_left_behind: None) -> AsyncIterator[ScriptedOrg]:
    del nothing_left_behind
    org = ScriptedOrg()
    await org.start()
    yield org
    await org.stop()


@pytest.fixture
async def sessions(org: ScriptedOrg) -> AsyncIterator[Sessions]:
    sessions = Sessions(org)
    yield sessions
    await sessions.aclose()
