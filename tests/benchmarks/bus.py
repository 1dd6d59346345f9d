"""The server of a measurement: ``python -m tests.benchmarks.bus '{"batch": 500}'``.

As little as every client needs and as fast as Python serves: OAuth is a token that everybody has, REST knows the cadence's name, CometD
answers each poll with up to ``batch`` events that are due. With a ``rate`` events come due one after the other, beginning when every
channel is subscribed; without, all are due at once. Events are made as they are asked for, so that the server's memory is that of one
answer. Prints one line of JSON when it listens; ``GET /figures`` tells when data began to flow.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import orjson
from aiohttp import web

from tests.benchmarks import stream


@dataclass
class Client:
    """One CometD client.

    Attributes:
        channels: subscribed.
        at: the next event, counting from 0.
        connected: whether its first connect has been answered.
        polled: whether it has asked for events.
    """

    channels: set[str] = field(default_factory=set)
    at: int = 0
    connected: bool = False
    polled: bool = False


class Bus:
    """Serves ``total`` events over ``channels``: of a world; or what comes ``before`` in one life; or what happens then in as many ``lives``."""

    def __init__(
        self,
        *,
        total: int,
        batch: int = 500,
        rate: float = 0.0,
        channels: list[str] | None = None,
        holes: float = 0.0,
        timeout_ms: int = 110_000,
        lives: int = 0,
        before: bool = False,
    ) -> None:
        self.total, self.batch, self.rate, self.timeout_ms = total, batch, rate, timeout_ms
        self.channels = tuple(channels or [stream.CUSTOM])
        now_ms = time.time_ns() // 1_000_000
        self._order: list[int] | None = None
        if before:
            self.block = stream.life(now_ms).before
        elif lives:
            self.block = stream.life(now_ms).then
            self._order = stream.visits(lives, -(-total // len(self.block.templates)))
        else:
            self.block = stream.record(now_ms, holes=holes)
        self.clients: dict[str, Client] = {}
        self.began_ns: int | None = None
        self.polled_ns: int | None = None
        self.first: int | None = None
        self.polls = 0
        self._messages = self._from(0)
        self._made_at = 0
        self._ahead: list[bytes] = []

    # ------------------------------------------------------------ events

    def _from(self, first: int) -> Iterator[bytes]:
        return stream.messages(self.block, first, self.channels, self._order)

    def due(self) -> int:
        """How many events have come due by now."""
        if self.began_ns is None:
            return 0
        if not self.rate:
            return self.total
        return min(self.total, int((time.monotonic_ns() - self.began_ns) / 1e9 * self.rate))

    def take(self, first: int, count: int) -> list[bytes]:
        """Events ``first`` to ``first + count``."""
        if first != self._made_at:
            self._messages = self._from(first)
            self._made_at, self._ahead = first, []
        made = self._ahead[:count]
        made += islice(self._messages, count - len(made))
        self._ahead = self._ahead[count:]
        self._made_at += count
        return made

    def prepare(self) -> None:
        """Make the next answer while the client is busy with this one."""
        if not self._ahead and not self.rate:
            self._ahead = list(islice(self._messages, min(self.batch, self.total - self._made_at)))

    # ------------------------------------------------------------ CometD

    async def cometd(self, request: web.Request) -> web.Response:
        """One Bayeux request."""
        answers: list[bytes] = []
        for message in orjson.loads(await request.read()):
            answers += await self._answer(message)
        asyncio.get_running_loop().call_soon(self.prepare)
        return web.Response(body=b"[" + b",".join(answers) + b"]", content_type="application/json")

    async def _answer(self, message: dict[str, Any]) -> list[bytes]:
        channel = message["channel"]
        reply: dict[str, Any] = {"channel": channel, "successful": True, "id": message.get("id")}
        events: list[bytes] = []
        if channel == "/meta/handshake":
            client_id = f"client{len(self.clients) + 1}"
            self.clients[client_id] = Client()
            reply |= {
                "clientId": client_id,
                "version": "1.0",
                "minimumVersion": "1.0",
                "supportedConnectionTypes": ["long-polling"],
                "ext": {"replay": True},
            }
        elif channel == "/meta/subscribe":
            client = self.clients[message["clientId"]]
            wanted = message["subscription"]
            names = [wanted] if isinstance(wanted, str) else wanted
            client.channels.update(names)
            after = int((message.get("ext") or {}).get("replay", {}).get(names[0], -2))
            if after > 0:
                client.at = max(client.at, after - stream.FIRST_REPLAY_ID + 1)
            reply["subscription"] = wanted
            if client.channels >= set(self.channels) and self.began_ns is None:
                self.began_ns = time.monotonic_ns()
                self.first = client.at
        elif channel == "/meta/connect":
            client = self.clients[message["clientId"]]
            events = await self._poll(client, (message.get("advice") or {}).get("timeout"))
        reply["advice"] = {"reconnect": "retry", "interval": 0, "timeout": self.timeout_ms}
        return [*events, orjson.dumps(reply)]

    async def _poll(self, client: Client, wanted_ms: int | None) -> list[bytes]:
        self.polls += 1
        if not client.connected or not client.channels:
            client.connected = True
            return []
        if not client.polled:
            client.polled, self.polled_ns = True, time.monotonic_ns()
        hold_s = (self.timeout_ms if wanted_ms is None else wanted_ms) / 1000
        until = time.monotonic() + hold_s
        while not (count := min(self.due() - client.at, self.batch)):
            left_s = until - time.monotonic()
            if left_s <= 0:
                return []
            await asyncio.sleep(min(left_s, self._next_s(client)))
        events = self.take(client.at, count)
        client.at += count
        return events

    def _next_s(self, client: Client) -> float:
        if client.at >= self.total or not self.rate or self.began_ns is None:
            return 1.0
        due_s = (client.at + 1) / self.rate - (time.monotonic_ns() - self.began_ns) / 1e9
        return max(due_s, 0.0002)

    # ------------------------------------------------------------ the rest of an org

    async def query(self, _: web.Request) -> web.Response:
        """The one query is for the org's instance."""
        records = [{"InstanceName": "WP1S"}]
        return web.json_response({"totalSize": 1, "done": True, "records": records})

    async def rows(self, request: web.Request) -> web.Response:
        """Every cadence has a name; of runs and steps nothing is known."""
        named = request.match_info["entity"] == "ActionCadence"
        ids = orjson.loads(await request.read())["ids"]
        return web.json_response(
            [{"Id": one, "Name": "Outbound Prospecting"} if named else None for one in ids]
        )

    async def identity(self, _: web.Request) -> web.Response:
        """Who the token belongs to."""
        return web.json_response({"organization_id": "00DWP000000132G2AQ", "user_id": "005WP000000132GYAQ"})

    async def figures(self, _: web.Request) -> web.Response:
        """When data began to flow, with which event, and when a client last began to poll."""
        return web.json_response(
            {
                "began_ns": self.began_ns,
                "first": self.first,
                "polled_ns": self.polled_ns,
                "polls": self.polls,
                "bytes_per_event": self.block.bytes_per_event,
            }
        )


async def serve(options: dict[str, Any]) -> None:
    """Until standard input ends."""
    bus = Bus(**options)
    app = web.Application(client_max_size=2**20)
    app.router.add_post("/cometd/{version}", bus.cometd)
    app.router.add_post("/cometd/{version}/{rest:.*}", bus.cometd)
    app.router.add_get("/figures", bus.figures)
    app.router.add_get("/services/oauth2/userinfo", bus.identity)
    app.router.add_get("/services/data/{version}/query", bus.query)
    app.router.add_post("/services/data/{version}/composite/sobjects/{entity}", bus.rows)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    print(json.dumps({"url": f"http://localhost:{port}"}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    os._exit(0)  # nobody waits for the polls that are held


if __name__ == "__main__":
    asyncio.run(serve(json.loads(sys.argv[1])))
