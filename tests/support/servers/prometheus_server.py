"""A real Prometheus that scrapes what a test runs and evaluates the real alert rules, on a free port, stopped by process id."""

import asyncio
import re
import signal
import time
from pathlib import Path
from typing import Self

import aiohttp
import yaml

from tests.support.processes.service_process import ROOT, free_port
from tests.support.servers.debian import needed

RULES = ROOT / "deploy" / "prometheus" / "alerts.yaml"


class PrometheusServer:
    """Scrapes every quarter of a second. The expressions are those of ``deploy/``; only how long each must hold (``for``) is a second.

    Args:
        folder: keeps configuration and data.
        port: of the service; its job is ``cadence``.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self._command = needed("prometheus")
        self.folder = folder
        folder.mkdir()
        self.port = free_port()
        rules = re.sub(r"(?m)^( +for: ).*$", r"\g<1>1s", RULES.read_text())
        (folder / "alerts.yaml").write_text(rules)
        config = {
            "global": {
                "scrape_interval": "250ms",
                "scrape_timeout": "250ms",
                "evaluation_interval": "250ms",
            },
            "rule_files": ["alerts.yaml"],
            "scrape_configs": [
                {"job_name": "cadence", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
            ],
        }
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        self.process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        with (self.folder / "log").open("wb") as log:
            self.process = await asyncio.create_subprocess_exec(
                self._command,
                f"--config.file={self.folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={self.folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--log.level=warn",
                stdout=log,
                stderr=log,
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)  # it keeps nothing that anybody wants
        await self.process.wait()

    async def _get(self, path: str) -> dict:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as http,
            http.get(f"http://127.0.0.1:{self.port}{path}") as answer,
        ):
            return (await answer.json())["data"]

    async def firing(self) -> dict[str, list[str]]:
        """Name of every alert that fires, with its summaries."""
        found: dict[str, list[str]] = {}
        for alert in (await self._get("/api/v1/alerts"))["alerts"]:
            if alert["state"] == "firing":
                found.setdefault(alert["labels"]["alertname"], []).append(alert["annotations"]["summary"])
        return found

    async def until(
        self, *, firing: set[str] | None = None, quiet: bool = False, within_s: float = 30
    ) -> dict:
        """Wait until these alerts fire, or none at all does for a second; what fires then."""
        deadline, since, seen = time.monotonic() + within_s, None, {}
        while True:
            try:
                scraped = (await self._get("/api/v1/query?query=up%7Bjob%3D%22cadence%22%7D"))["result"]
                seen = await self.firing()
            except (aiohttp.ClientError, KeyError, TimeoutError):
                scraped = []  # it is starting
            if scraped and firing is not None and firing <= seen.keys():
                return seen
            since = (since or time.monotonic()) if scraped and not seen else None
            if quiet and since is not None and time.monotonic() - since > 1:
                return seen
            assert time.monotonic() < deadline, f"wanted {firing or 'quiet'}, firing: {seen}\n{self.log()}"
            await asyncio.sleep(0.1)

    def log(self) -> str:
        return (self.folder / "log").read_text()[-2000:]
