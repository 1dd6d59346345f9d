"""A plain Bayeux client: one POST a call, no cleverness, so that tests see the wire."""

from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp

from consumer.sandbox import Sandbox

Messages = list[dict[str, Any]]


class BayeuxClient:
    """Speaks to a sandbox's streaming endpoint and keeps its client id."""

    def __init__(self, sandbox: Sandbox, *, token: str | None = None, scheme: str = "Bearer") -> None:
        self.sandbox = sandbox
        self.url = f"{sandbox.url}/cometd/66.0"
        self.token = token or sandbox.access_token()
        self.jar = aiohttp.CookieJar(quote_cookie=False)
        self.http = aiohttp.ClientSession(
            cookie_jar=self.jar, headers={"Authorization": f"{scheme} {self.token}"}
        )
        self.client_id = ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.close()

    async def send(self, *messages: dict[str, Any], url: str = "") -> Messages:
        async with self.http.post(url or self.url, json=list(messages)) as response:
            replies: Messages = await response.json()
            return replies

    async def handshake(self) -> dict[str, Any]:
        message = {
            "channel": "/meta/handshake",
            "version": "1.0",
            "supportedConnectionTypes": ["long-polling"],
            "id": "1",
        }
        (reply,) = await self.send(message)
        self.client_id = reply.get("clientId", "")
        return reply

    def subscribing(self, channel: str, replay: Any = None) -> dict[str, Any]:
        message = {
            "channel": "/meta/subscribe",
            "clientId": self.client_id,
            "subscription": channel,
            "id": "2",
        }
        return (
            message if replay is None else {**message, "ext": {"replay": {channel: replay, "/data/Other": 5}}}
        )

    async def subscribe(self, channel: str, replay: Any = None) -> dict[str, Any]:
        (reply,) = await self.send(self.subscribing(channel, replay))
        return reply

    def connecting(self, wait_ms: int | None = None) -> dict[str, Any]:
        message = {
            "channel": "/meta/connect",
            "clientId": self.client_id,
            "connectionType": "long-polling",
            "id": "3",
        }
        return message if wait_ms is None else {**message, "advice": {"timeout": wait_ms}}

    async def connect(self, wait_ms: int | None = None) -> Messages:
        return await self.send(self.connecting(wait_ms))

    async def open(self, channel: str, replay: Any = None) -> None:
        """Handshake, subscribe, and the first connect, which is answered at once."""
        await self.handshake()
        assert (await self.subscribe(channel, replay))["successful"]

    async def drain(self) -> Messages:
        """All events there are now."""
        events: Messages = []
        while batch := (await self.connect(0))[:-1]:
            events += batch
        return events

    def cookies(self) -> dict[str, str]:
        return {cookie.key: cookie.value for cookie in self.jar}

    def drop_cookie(self, name: str) -> None:
        self.jar.clear(lambda cookie: cookie.key == name)

    @property
    def host(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port


def replay_ids(messages: Messages) -> list[int]:
    return [each["data"]["event"]["replayId"] for each in messages if "data" in each]
