"""Alerts under the real fault: the service as a process, its /metrics scraped by a real Prometheus, the rules of ``deploy/`` evaluated.

The expressions are untouched; only how long each must hold is shortened to a second, and a healthy service keeps them quiet first.
"""

import asyncio
import os
import signal
import subprocess
import sys

import pytest
import redis

from tests.support.processes.connection import connected
from tests.support.servers.prometheus_server import PrometheusServer
from tests.support.servers.redis_server import RedisServer

pytestmark = [pytest.mark.long, pytest.mark.timeout(180)]

HANDLER = '''
"""Refuses everything while there is a file named ``broken``."""
from pathlib import Path
from consumer import Reject, handler

@handler(on=["run.enrolled"])  # one of each run: what waits in a run is retried before its dead letters
async def fussy(event, ctx):
    if Path("broken").exists():
        raise Reject("the receiver's schema has changed")
'''


async def test_dead_letters_and_the_handler_they_stop_are_told_until_somebody_retries(tmp_path):
    (tmp_path / "fussy.py").write_text(HANDLER)
    handler = {
        "CADENCE_HANDLERS__CRM__USE": "fussy:fussy",
        "CADENCE_HANDLERS__CRM__DEAD_LETTER_LIMIT": "3",
    }
    async with (
        connected(tmp_path, wire=False, **handler) as link,
        PrometheusServer(tmp_path / "prom", link.service.port) as prom,
    ):
        link.live()
        await prom.until(quiet=True)
        (tmp_path / "broken").touch()
        seen = await prom.until(firing={"CadenceDeadLetters", "CadenceHandlerStopped", "CadenceNotReady"})
        assert seen["CadenceDeadLetters"] == ["3 events that handler crm gave up on wait for somebody"]
        dead_letters = link.logged("dead_lettered")
        assert dead_letters
        for line in dead_letters:
            assert all(
                line[key]
                for key in ("tenure", "handler", "run", "event_id", "channel", "position", "transaction")
            ), line
        assert link.logged("session_opened")[0]["tenure"] == dead_letters[0]["tenure"]
        # What the runbook says.
        (tmp_path / "broken").unlink()
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "consumer", "dead-letters", "redrive", "--handler", "crm", "--all"],
            cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
            env={**os.environ, **link.service._environment},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        await prom.until(quiet=True)


async def test_an_org_that_cannot_be_reached_and_a_store_that_is_gone_are_told(tmp_path):
    server = RedisServer(tmp_path / "redis")
    server.start()
    lease = {"CADENCE_LEASE__TTL": "2s", "CADENCE_LEASE__RENEW": "500ms"}
    try:
        async with (
            connected(tmp_path / "service", redis=server.url, **lease) as link,
            PrometheusServer(tmp_path / "prom", link.service.port) as prom,
        ):
            link.live()
            await prom.until(quiet=True)
            await link.unplug()
            seen = await prom.until(firing={"CadenceNotReady"})
            assert "CadenceNoLeader" not in seen, "it leads, and waits for the org"
            await link.plug_in()
            await prom.until(quiet=True)
            server.stop(signal.SIGKILL)
            await prom.until(firing={"CadenceNotReady", "CadenceNoLeader"})
            server.start()
            await prom.until(quiet=True)
            await link.settle()
    finally:
        server.stop(signal.SIGKILL)


async def test_a_used_up_allocation_and_a_store_without_room_are_told(tmp_path):
    server = RedisServer(tmp_path / "redis")
    server.start()
    try:
        async with (
            connected(tmp_path / "service", redis=server.url, wire=False) as link,
            PrometheusServer(tmp_path / "prom", link.service.port) as prom,
        ):
            link.live()
            await prom.until(quiet=True)
            quota = link.sandbox.delivery_quota
            quota.limit -= quota.remaining - 20
            seen = await prom.until(firing={"CadenceQuotaExhausted"})
            assert "CadenceQuotaLow" not in seen, "limits are asked for every five minutes"
            link.rest()
            with redis.Redis(port=server.port) as client:
                client.config_set("maxmemory", int(client.info("memory")["used_memory"] / 0.85))
            # A new tenure measures at once what a standing one measures every minute, and every five.
            quota.limit += 20
            link.service.signal(signal.SIGTERM)
            assert await link.service.ended() == 0
            await link.service.start()
            seen = await prom.until(firing={"CadenceQuotaLow", "CadenceStoreFilling"})
            assert "of the org's daily deliveries are left" in seen["CadenceQuotaLow"][0]
    finally:
        server.stop(signal.SIGKILL)
