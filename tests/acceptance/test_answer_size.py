"""An answer of a gibibyte, plain or compressed, on every endpoint of Salesforce: memory stays flat, and the event loop goes on."""

import asyncio
import time
import zlib
from pathlib import Path

import pytest
from aiohttp import web

from consumer.sandbox import Sandbox, SandboxOptions
from tests.support.processes.service_process import ServiceProcess, settings_for

GIBIBYTE = 2**30
MOST_MB = 200
STILL_S = 0.5
CHUNK = b'[{"a":"' + b"x" * (2**20 - 7)


def packed_gibibyte():
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    pieces = [packer.compress(CHUNK) for _ in range(GIBIBYTE // len(CHUNK))]
    return b"".join((*pieces, packer.flush()))


class LargeOrg(Sandbox):
    """A simulated org whose answers of one kind are as large as that."""

    def __init__(self):
        super().__init__(SandboxOptions())
        self.kind = None
        self.encoding = "plain"
        self.packed = packed_gibibyte()
        self.sent = {}

    def _application(self):
        application = super()._application()
        application.middlewares.append(self._enlarge)
        return application

    @web.middleware
    async def _enlarge(self, request, handler):
        kind = await self._kind_of(request)
        if kind != self.kind:
            return await handler(request)
        key = (kind, self.encoding)
        headers = {"Content-Type": "application/json"} | (
            {"Content-Encoding": "gzip"} if self.encoding == "gzip" else {}
        )
        response = web.StreamResponse(headers=headers)
        response.enable_chunked_encoding()
        await response.prepare(request)
        try:
            if self.encoding == "gzip":
                await response.write(self.packed)
            else:
                for _ in range(GIBIBYTE // len(CHUNK)):
                    await response.write(CHUNK)
            await response.write_eof()
        except ConnectionError:
            pass
        finally:
            self.sent[key] = self.sent.get(key, 0) + 1
        return response

    @staticmethod
    async def _kind_of(request):
        if request.path.startswith("/cometd"):
            (first, *_) = await request.json()
            return first["channel"].removeprefix("/meta/")
        return "token" if "/oauth2/" in request.path else "rest"


def peak_mb(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


class Pinger:
    """Asks ``/healthz`` all the time, and remembers how long the longest answer took."""

    def __init__(self, service):
        self._service = service
        self.longest_s = 0.0

    async def run(self):
        while True:
            began = time.monotonic()
            await self._service.get("/healthz")
            self.longest_s = max(self.longest_s, time.monotonic() - began)
            await asyncio.sleep(0.02)


async def answer_sent(org, kind, encoding, service, within_s=30):
    """Wait until the client has had such an answer, or given it up."""
    until_s = time.monotonic() + within_s
    while (kind, encoding) not in org.sent:
        assert time.monotonic() < until_s, (kind, encoding, org.sent, (await service.get("/readyz"))[1])
        await asyncio.sleep(0.05)


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_gibibyte_on_any_endpoint_fills_no_memory_and_holds_no_loop(tmp_path):
    async with LargeOrg() as org:
        environment = settings_for(
            org, tmp_path, CADENCE_LOG__LEVEL="error", CADENCE_SNAPSHOT__MODE="initial"
        )
        org.kind = "token"
        async with ServiceProcess(environment, tmp_path) as service:
            pinger = Pinger(service)
            async with asyncio.timeout(30):
                while (await service.get("/healthz"))[0] != 200:
                    await asyncio.sleep(0.05)
            pinging = asyncio.create_task(pinger.run())
            await asyncio.sleep(1)
            usual_s, pinger.longest_s = pinger.longest_s, 0.0
            for kind in ("token", "rest", "connect", "handshake"):
                for encoding in ("plain", "gzip"):
                    org.encoding, org.kind = encoding, kind
                    org.faults.inject("drop_session")
                    await answer_sent(org, kind, encoding, service)
            org.kind = None
            pinging.cancel()
            assert service.process.returncode is None
            peak = peak_mb(service.process.pid)
            print(
                f"peak {peak:.0f} MB, loop still for {pinger.longest_s:.2f} s at most ({usual_s:.2f} s before), {org.sent}"
            )
            assert {
                ("rest", "plain"),
                ("rest", "gzip"),
                ("connect", "gzip"),
                ("handshake", "gzip"),
                ("token", "gzip"),
            } <= set(org.sent)
            assert peak < MOST_MB
            assert pinger.longest_s < STILL_S + usual_s
