"""A small CometD server on a real socket that does exactly what a test tells it.

Requests are told apart by what they are for: ``handshake``, ``connect`` (the first, which asks to be answered at once), ``poll``,
``subscribe`` and ``disconnect``. A test appends steps to ``script[kind]``; each request takes one, and without a step the server
behaves as Salesforce does. It knows nothing of the code under test.
"""

import asyncio
import json
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

TRACKER = "/data/ActionCadenceTrackerChangeEvent"
STEP = "/data/ActionCadenceStepTrackerChangeEvent"
BOTH = {TRACKER: "-1", STEP: "-2"}
DATE = "Wed, 01 Jul 2026 09:30:15 GMT"

Messages = list[dict[str, Any]]
Step = Callable[["ScriptedOrg", web.Request, Messages], Awaitable[web.StreamResponse]]


def event(channel: str, replay_id: Any, **fields: Any) -> dict[str, Any]:
    return {"channel": channel, "data": {"schema": "s", "payload": fields, "event": {"replayId": replay_id}}}


def ok(message: dict[str, Any], **more: Any) -> dict[str, Any]:
    reply = {"channel": message["channel"], "id": message["id"], "successful": True, "clientId": "client1"}
    if "subscription" in message:
        reply["subscription"] = message["subscription"]
    return {**reply, **more}


def failed(message: dict[str, Any], error: str | None, **more: Any) -> dict[str, Any]:
    reply = ok(message, successful=False, **more)
    if error is not None:
        reply["error"] = error
    return reply


def as_json(messages: Any, **headers: str) -> web.Response:
    return web.Response(
        body=json.dumps(messages).encode(), content_type="application/json", headers={"Date": DATE, **headers}
    )


# ---------------------------------------------------------------- steps


def replies(make: Callable[[Messages], Any], **headers: str) -> Step:
    """Answer with what ``make`` makes of the request."""

    async def step(_org: "ScriptedOrg", _request: web.Request, messages: Messages) -> web.StreamResponse:
        return as_json(make(messages), **headers)

    return step


def refuses(error: str | None, **more: Any) -> Step:
    return replies(lambda messages: [failed(message, error, **more) for message in messages])


def raw(body: bytes, status: int = 200, content_type: str = "application/json") -> Step:
    async def step(_org: "ScriptedOrg", _request: web.Request, _messages: Messages) -> web.StreamResponse:
        return web.Response(body=body, status=status, content_type=content_type)

    return step


def never() -> Step:
    """Take the request and say nothing, as a half-open connection does."""

    async def step(org: "ScriptedOrg", _request: web.Request, _messages: Messages) -> web.StreamResponse:
        await org.stopping.wait()
        return web.Response()

    return step


def cut(body: bytes, promised: int, *, reset: bool = False) -> Step:
    """Promise more bytes than are sent, then end the connection (with a reset: RST instead of FIN)."""

    async def step(_org: "ScriptedOrg", request: web.Request, _messages: Messages) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"Content-Type": "application/json", "Content-Length": str(promised)}
        )
        await response.prepare(request)
        await response.write(body)
        assert request.transport is not None
        if reset:
            request.transport.abort()
        else:
            request.transport.close()
        return response

    return step


@dataclass
class Seen:
    """One request: what it was for, its messages and its headers."""

    kind: str
    messages: Messages
    headers: dict[str, str]
    path: str
    at: float


@dataclass
class ScriptedOrg:
    """Salesforce as the test wants it."""

    host: str = "localhost"
    advice: dict[str, Any] = field(
        default_factory=lambda: {"interval": 0, "timeout": 110_000, "reconnect": "retry"}
    )
    script: defaultdict[str, deque[Step]] = field(default_factory=lambda: defaultdict(deque))
    seen: list[Seen] = field(default_factory=list)
    cookies: dict[str, str] = field(default_factory=dict)
    url: str = ""

    def __post_init__(self) -> None:
        self.stopping = asyncio.Event()
        self.changed = asyncio.Condition()
        self.queue: list[dict[str, Any]] = []
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application(client_max_size=2**20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host if self.host != 'localhost' else 'localhost'}:{port}"

    async def stop(self) -> None:
        self.stopping.set()
        async with self.changed:
            self.changed.notify_all()
        assert self._runner is not None
        await self._runner.cleanup()

    async def publish(self, *events: dict[str, Any]) -> None:
        async with self.changed:
            self.queue.extend(events)
            self.changed.notify_all()

    async def until(self, kind: str, count: int = 1) -> list[Seen]:
        """Wait until that many requests of a kind have come."""
        async with asyncio.timeout(10), self.changed:
            await self.changed.wait_for(lambda: len(self.of(kind)) >= count)
        return self.of(kind)

    def of(self, kind: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.kind == kind]

    @property
    def kinds(self) -> list[str]:
        return [seen.kind for seen in self.seen]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        messages = json.loads(await request.read())
        kind = messages[0]["channel"].removeprefix("/meta/")
        if kind == "connect" and messages[0].get("advice") != {"timeout": 0}:
            kind = "poll"
        now = asyncio.get_running_loop().time()
        async with self.changed:
            self.seen.append(Seen(kind, messages, dict(request.headers), request.path, now))
            self.changed.notify_all()
        steps = self.script[kind]
        response = await (steps.popleft() if steps else self._usual)(self, request, messages)
        if not response.prepared:
            for name, value in self.cookies.items():
                response.headers.add("Set-Cookie", f"{name}={value}; Path=/")
        return response

    async def _usual(
        self, _org: "ScriptedOrg", _request: web.Request, messages: Messages
    ) -> web.StreamResponse:
        first = messages[0]
        match first["channel"]:
            case "/meta/handshake":
                more = {
                    "supportedConnectionTypes": ["long-polling"],
                    "version": "1.0",
                    "ext": {"replay": True},
                }
                return as_json([ok(first, **more)])
            case "/meta/connect" if first.get("advice") == {"timeout": 0}:
                return as_json([ok(first, advice=self.advice)])
            case "/meta/connect":
                held = first.get("advice", {}).get("timeout", self.advice["timeout"]) / 1000
                async with self.changed:
                    try:
                        async with asyncio.timeout(held):
                            await self.changed.wait_for(lambda: self.queue or self.stopping.is_set())
                    except TimeoutError:
                        pass
                    events, self.queue = self.queue, []
                return as_json([*events, ok(first)])
            case _:
                return as_json([ok(message) for message in messages])
