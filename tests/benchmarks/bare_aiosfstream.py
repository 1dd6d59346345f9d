"""A bare ``aiosfstream`` receive loop, as in its README; counts and keeps nothing.

The library passes ``loop=`` to asyncio, which Python 3.10 removed; here these arguments are dropped so that it runs at all.
Argument: {"url", "channels", "total"} as JSON; prints one line of JSON.
"""

import asyncio
import json
import os
import sys
import time
import types

import aiocometd.client
import aiocometd.transports.base
import aiocometd.transports.long_polling
from aiosfstream import Client, ReplayOption
from aiosfstream.auth import AuthenticatorBase

from tests.benchmarks.meter import peak_mb


def _without_loop() -> types.SimpleNamespace:
    def dropping(function):
        def without(*args, loop=None, **kwargs):
            del loop
            return function(*args, **kwargs)

        return without

    patched = {name: getattr(asyncio, name) for name in dir(asyncio)}
    for name in ("Queue", "Semaphore", "Event", "wait", "wait_for", "sleep", "ensure_future"):
        patched[name] = dropping(patched[name])
    return types.SimpleNamespace(**patched)


for module in (aiocometd.client, aiocometd.transports.base, aiocometd.transports.long_polling):
    module.asyncio = _without_loop()


class Given(AuthenticatorBase):
    """A token that is there already."""

    def __init__(self, url):
        super().__init__()
        self._answer = {"access_token": "benchmark", "token_type": "Bearer", "instance_url": url}

    async def _authenticate(self):
        return 200, self._answer


async def receive(url, channels, total):
    async with Client(Given(url), replay=ReplayOption.ALL_EVENTS) as client:
        for channel in channels:
            await client.subscribe(channel)
        cpu_s, count = time.process_time(), 0
        async for _ in client:
            count += 1
            if count == total:
                break
        ended_ns = time.monotonic_ns()
        peak = round(peak_mb() * 1e6)
        figures = {"ended_ns": ended_ns, "cpu_s": time.process_time() - cpu_s, "rss_peak": peak}
        print(json.dumps(figures), flush=True)
        os._exit(0)  # closing waits for the long poll, a minute or more


if __name__ == "__main__":
    asyncio.run(asyncio.wait_for(receive(**json.loads(sys.argv[1])), 300))
