"""The endless bus: ``python -m tests.rounds.soak.bus '{"rate": 500}'``, the server of the benchmarks with a world that repeats.

Every so often it knows its client no longer, as Salesforce does, and the session has to begin anew. The ``Date`` of its answers is that of the
world. Prints one line of JSON when it listens; ``GET /figures`` tells what was published, ``POST /end`` lets the repetition under way be the last.
"""

import asyncio
import json
import os
import sys
import time
from email.utils import formatdate
from typing import Any

import orjson
from aiohttp import web

from tests.benchmarks.bus import Bus
from tests.benchmarks.stream import FIRST_REPLAY_ID
from tests.rounds.soak.world import CHANNEL, World

ENDLESS = 2**60
UNKNOWN = "403::Unknown client"


class EndlessBus(Bus):
    """Serves a world over and over.

    Args:
        rate: change events a second.
        changes: of one repetition, about.
        day_s: how long a day of the world takes, in seconds.
        cut_s: between two sessions that are cut.
    """

    def __init__(self, *, rate: float, changes: int, day_s: float, cut_s: float) -> None:
        super().__init__(total=ENDLESS, rate=rate, channels=[CHANNEL], timeout_ms=5_000)
        self.world = World(changes, time.time_ns() // 1_000_000, round(86_400_000 / day_s / rate))
        self.cut_s = cut_s
        self.cuts = 0
        self.cut_at = time.monotonic() + cut_s

    def take(self, first: int, count: int) -> list[bytes]:
        return [self.world.message(index, FIRST_REPLAY_ID + index) for index in range(first, first + count)]

    async def _answer(self, message: dict[str, Any]) -> list[bytes]:
        if message["channel"] == "/meta/handshake":
            self.clients.clear()  # there is one client, and it has given its session up
        elif message.get("clientId") not in self.clients:
            return [self._refusal(message)]
        elif message["channel"] == "/meta/connect" and time.monotonic() > self.cut_at:
            self.cut_at = time.monotonic() + self.cut_s
            self.cuts += 1
            del self.clients[message["clientId"]]
            return [self._refusal(message)]
        return await super()._answer(message)

    @staticmethod
    def _refusal(message: dict[str, Any]) -> bytes:
        return orjson.dumps(
            {
                "channel": message["channel"],
                "id": message.get("id"),
                "successful": False,
                "error": UNKNOWN,
                "advice": {"reconnect": "handshake", "interval": 0},
            }
        )

    def end(self) -> None:
        """Nothing after the repetition under way."""
        size = len(self.world)
        self.total = (self.due() // size + 1) * size

    def figures_now(self) -> dict[str, Any]:
        """What was published, and what every repetition must come to."""
        return {
            "due": self.due(),
            "total": self.total,
            "size": len(self.world),
            "events": self.world.sum.events,
            "digest": self.world.sum.digest,
            "cuts": self.cuts,
        }

    async def dated(self, _: web.Request, response: web.StreamResponse) -> None:
        """Salesforce's clock is that of the world."""
        response.headers["Date"] = formatdate(self.world.time_ms(self.due()) / 1000, usegmt=True)


async def serve(options: dict[str, Any]) -> None:
    """Until standard input ends."""
    bus = EndlessBus(**options)

    async def end(_: web.Request) -> web.Response:
        bus.end()
        return web.json_response(bus.figures_now())

    async def figures(_: web.Request) -> web.Response:
        return web.json_response(bus.figures_now())

    app = web.Application(client_max_size=2**20)
    app.on_response_prepare.append(bus.dated)
    app.router.add_post("/cometd/{version}", bus.cometd)
    app.router.add_post("/cometd/{version}/{rest:.*}", bus.cometd)
    app.router.add_post("/end", end)
    app.router.add_get("/figures", figures)
    app.router.add_get("/services/oauth2/userinfo", bus.identity)
    app.router.add_get("/services/data/{version}/query", bus.query)
    app.router.add_post("/services/data/{version}/composite/sobjects/{entity}", bus.rows)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(json.dumps({"url": f"http://localhost:{runner.addresses[0][1]}"}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    os._exit(0)  # nobody waits for the poll that is held


if __name__ == "__main__":
    asyncio.run(serve(json.loads(sys.argv[1])))
