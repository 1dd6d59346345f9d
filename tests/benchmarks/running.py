"""Processes of a measurement: the bus, a peer, the service on a store of its own."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.acceptance.service_process import ServiceProcess
from tests.benchmarks import stream
from tests.interop.node import node_command, node_environment

INTEROP = Path(__file__).parents[1] / "interop"
PATIENCE_S = 300


class BusProcess:
    """The server, as seen from here."""

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        self.url, self.options = url, options

    @property
    def channels(self) -> list[str]:
        return list(self.options.get("channels") or [stream.CUSTOM])

    async def figures(self) -> dict[str, Any]:
        async with aiohttp.ClientSession() as http, http.get(f"{self.url}/figures") as answer:
            return dict(await answer.json())


@asynccontextmanager
async def bus(**options: Any) -> AsyncIterator[BusProcess]:
    """A server that serves these options' stream once."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.benchmarks.bus",
        json.dumps(options),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            url = json.loads(await process.stdout.readline())["url"]
        yield BusProcess(url, options)
    finally:
        process.stdin.close()
        await process.wait()


async def peer(name: str, server: BusProcess, total: int) -> dict[str, Any]:
    """Let a peer receive everything; its figures."""
    argument = json.dumps({"url": server.url, "channels": server.channels, "total": total})
    command, environment = {
        "aiosfstream": ([sys.executable, "-m", "tests.benchmarks.bare_aiosfstream"], dict(os.environ)),
        "cometd": ([*node_command(), str(INTEROP / "cometd-tally.mjs")], node_environment()),
        "jsforce": ([*node_command(), str(INTEROP / "jsforce-tally.cjs")], node_environment()),
    }[name]
    process = await asyncio.create_subprocess_exec(
        *command, argument, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        raise
    assert out, f"{name} printed nothing: {err.decode()[-2000:]}"
    return dict(json.loads(out.splitlines()[0]))


def settings(server: BusProcess, store_url: str, out: Path, until: int, **more: str) -> dict[str, str]:
    """Environment of the service: everything as it is by default, but for where it connects and who counts."""
    return {
        "CADENCE_SALESFORCE__AUTH": "access_token",
        "CADENCE_SALESFORCE__ACCESS_TOKEN": "benchmark",
        "CADENCE_SALESFORCE__INSTANCE_URL": server.url,
        "CADENCE_CHANNELS": json.dumps(server.channels),
        "CADENCE_STORE__URL": store_url,
        "CADENCE_REPLAY__START": "earliest",
        "CADENCE_LOG__FORMAT": "json",
        "CADENCE_HANDLERS__TALLY__USE": "tests.benchmarks.tally:Tally",
        "CADENCE_HANDLERS__TALLY__START": "earliest",
        "CADENCE_HANDLERS__TALLY__SETTINGS__OUT": str(out),
        "CADENCE_HANDLERS__TALLY__SETTINGS__UNTIL": str(until),
        **more,
    }


async def written(path: Path, process: ServiceProcess, within_s: float = PATIENCE_S) -> dict[str, Any]:
    """Wait for the tally's file."""
    async with asyncio.timeout(within_s):
        while not path.exists():
            assert process.process is not None
            assert process.process.returncode is None, process.errors()[-3000:]
            await asyncio.sleep(0.02)
    return dict(json.loads(path.read_text()))
