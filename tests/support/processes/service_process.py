"""The real command as a process: started with settings in its environment, watched from outside, stopped with real signals."""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Self

import aiohttp

from tests.support.processes.interruptible import interruptible

ROOT = Path(__file__).parents[3]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def settings_for(sandbox, folder: Path, **more: str) -> dict[str, str]:
    """Environment that connects to the sandbox and keeps everything in ``folder``."""
    return {
        "CADENCE_SALESFORCE__AUTH": "client_credentials",
        "CADENCE_SALESFORCE__LOGIN_URL": sandbox.url,
        "CADENCE_SALESFORCE__CLIENT_ID": sandbox.credentials.client_id,
        "CADENCE_SALESFORCE__CLIENT_SECRET": sandbox.credentials.client_secret,
        "CADENCE_STORE__URL": f"sqlite:///{folder / 'cadence.db'}",
        "CADENCE_REPLAY__START": "earliest",
        "CADENCE_LOG__FORMAT": "json",
        **more,
    }


class ServiceProcess:
    """One run of ``cadence-consumer``; what it writes goes to files in ``folder``."""

    runs = 0

    def __init__(self, environment: dict[str, str], folder: Path, *command: str) -> None:
        type(self).runs += 1
        self.port = free_port()
        self.folder = folder
        self.out = folder / f"out-{self.runs}.txt"
        self.err = folder / f"err-{self.runs}.txt"
        self._command = command or ("run",)
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CADENCE_")},
            "PYTHONPATH": str(ROOT),
            "NO_COLOR": "1",
            "CADENCE_HTTP__PORT": str(self.port),
            **environment,
        }
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> Self:
        with self.out.open("wb") as out, self.err.open("wb") as err, interruptible():
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "consumer",
                *self._command,
                cwd=self.folder,
                env=self._environment,
                stdout=out,
                stderr=err,
                stdin=asyncio.subprocess.DEVNULL,
            )
        return self

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self, within_s: float = 20) -> int:
        return await asyncio.wait_for(self.process.wait(), within_s)

    def errors(self) -> str:
        return self.err.read_text()

    async def get(self, path: str) -> tuple[int, dict]:
        """An answer of the service's HTTP server; (0, {}) when it does not listen (yet)."""
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as http,
                http.get(f"http://127.0.0.1:{self.port}{path}") as answer,
            ):
                return answer.status, await answer.json()
        except (aiohttp.ClientError, TimeoutError):
            return 0, {}

    async def ready(self, wanted: bool = True, within_s: float = 30) -> dict:
        """Wait until ``/readyz`` says so; its body."""
        async with asyncio.timeout(within_s):
            while True:
                status, body = await self.get("/readyz")
                if status == (200 if wanted else 503):
                    return body
                assert self.process.returncode is None, (
                    f"it ended with {self.process.returncode}:\n{self.errors()[-3000:]}"
                )
                await asyncio.sleep(0.05)
