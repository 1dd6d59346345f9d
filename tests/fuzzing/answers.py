"""Answers that Salesforce should never give, to the boundary and to the running service: ``python -m tests.fuzzing.answers --count 100000``.

Most go to the functions that read answers (``tests.fuzzing.targets``), which keep their promises whatever comes. The rest goes over real
sockets to the service in this process: a simulated org breaks its own answers of REST and OAuth, and puts odd elements into those of
CometD. Then the org is sound again, and the service must be ready, hold every run that was enrolled meanwhile, and have sent no token to
the other host that listens here and is named in many of the answers.
"""

import argparse
import asyncio
import gzip
import os
import random
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path

import aiohttp
import orjson
from aiohttp import web

from consumer.app import serve
from consumer.backoff import Backoff
from consumer.ingest.reconcile import worker
from consumer.ingest.supervisor import SupervisorOptions
from consumer.sandbox import Sandbox, SandboxOptions
from consumer.settings import load_settings
from consumer.stores.sqlite.sqlite_store import SqliteStore
from tests.fuzzing.mutator import mutated
from tests.fuzzing.seeds import SEEDS
from tests.fuzzing.targets import TARGETS
from tests.support.processes.service_process import free_port, settings_for
from tests.support.servers.recording_server import RecordingServer

__all__ = ["broken", "main"]

KINDS = ("answer", "rest", "token", "row", "event")
SURROGATES = (
    b'"\\ud83d"',
    b'"a\\udc00"',
    b'"\xed\xa0\x80"',
    b"1e999",
    b"123456789012345678901234567890",
    b"-0",
    b"NaN",
    b"\xff",
)
ELEMENTS = (
    b'"text"', b"7", b"null", b"[]", b"{}", b'{"channel":7,"data":{}}', b'{"data":{}}', b"[" * 3_000 + b"]" * 3_000,
    b'{"channel":"/data/ActionCadenceTrackerChangeEvent"}', b'{"channel":"/data/ChangeEvents","data":"\\ud83d"}',
    b'{"channel":"/data/ActionCadenceTrackerChangeEvent","data":{"payload":{"A\\ud800":1e999}}}',
)  # fmt: skip
MOST = 20_000


def broken(data: bytes, dice: random.Random, foreign: str = "https://evil.example") -> bytes:
    """Something that is no answer any more, or one with something odd in it."""
    match dice.randrange(10):
        case 0:
            return data[: dice.randrange(len(data) + 1)]
        case 1:
            return (
                data.replace(b'"', dice.choice(SURROGATES), 1)
                if dice.random() < 0.3
                else _with(data, dice, dice.choice(SURROGATES))
            )
        case 2:
            depth = dice.choice((70, 900, 3_000))
            return _with(data, dice, b"[" * depth + b"]" * depth)
        case 3:
            url = dice.choice(
                (foreign, f"{foreign}/x", "http://u@host", "@127.0.0.1:9/x", "1/steal", f"//{foreign[7:]}/x")
            )
            return _with(data, dice, orjson.dumps(url))
        case 4:
            return dice.choice(
                (b"", b"<html>", b"null", b"{}", b"[]", b"[[]]", b"7", b'"x"', dice.randbytes(40))
            )
        case _:
            return mutated(data, dice.getrandbits(32), MOST, lambda body, most: body[:most])


def _with(data: bytes, dice: random.Random, value: bytes) -> bytes:
    """``value`` in place of one of the data's texts or numbers."""
    marks = [at for at in range(len(data)) if data[at : at + 1] == b":"]
    if not marks:
        return data + value
    begin = dice.choice(marks) + 1
    end = begin
    while end < len(data) and data[end : end + 1] not in (b",", b"}", b"]"):
        end += 1
    return data[:begin] + value + data[end:]


def feed_boundary(count: int, seed: int) -> Counter[str]:
    """So many broken answers, each to what reads its kind; whatever is not promised passes through."""
    dice = random.Random(seed)
    counts: Counter[str] = Counter()
    for _ in range(count):
        kind = dice.choice(KINDS)
        data = broken(dice.choice(SEEDS[kind]), dice)
        try:
            TARGETS[kind](data)
        except BaseException:
            print(f'    Found("{kind}", "what is wrong", {data!r}),', file=sys.stderr)
            raise
        counts[kind] += 1
    return counts


# ---------------------------------------------------------------- the running service


class OddOrg(Sandbox):
    """A simulated org that breaks its own answers, for as long as ``share`` says."""

    def __init__(self, foreign: str, seed: int, share: float) -> None:
        super().__init__(SandboxOptions())
        self.dice = random.Random(seed)
        self.share = share
        self.foreign = foreign
        self.broken: Counter[str] = Counter()

    def _application(self) -> web.Application:
        application = super()._application()
        application.middlewares.append(self._break)
        return application

    @web.middleware
    async def _break(self, request, handler):
        response = await handler(request)
        body = getattr(response, "body", None)
        if (
            not isinstance(body, bytes)
            or request.path.startswith("/sandbox")
            or self.dice.random() >= self.share
        ):
            return response
        kind = (
            "cometd"
            if request.path.startswith("/cometd")
            else "oauth"
            if "/oauth2/" in request.path
            else "rest"
        )
        self.broken[kind] += 1
        body = self._odd(body) if kind == "cometd" else broken(body, self.dice, self.foreign)
        headers = {
            "Content-Type": self.dice.choice(
                ("application/json", "text/html", "image/png", "application/json;charset=x")
            )
        }
        if self.dice.random() < 0.1:
            body, headers["Content-Encoding"] = gzip.compress(body), "gzip"
        if self.dice.random() < 0.02:
            headers["Content-Encoding"] = self.dice.choice(("gzip", "br", "deflate", "x"))
        if kind != "cometd" and self.dice.random() < 0.05:
            headers["Location"] = self.foreign
            return web.Response(status=302, headers=headers, body=body)
        return web.Response(status=response.status, headers=headers, body=body)

    def _odd(self, body: bytes) -> bytes:
        """The same answer with odd elements in it, or cut; what is good in it stays, or comes again."""
        if not body.startswith(b"[") or self.dice.random() < 0.1:
            return body[: self.dice.randrange(len(body))]
        return b"[" + b",".join(self.dice.choices(ELEMENTS, k=self.dice.randrange(1, 4))) + b"," + body[1:]


async def feed_service(count: int, seed: int, within_s: float) -> Counter[str]:
    """About so many broken answers to the service in this process; fails where it ends, loses something or gives a token away."""
    worker._BACKOFF = Backoff(10, 50)
    worker._CONTENT_RETRY_MS = 50
    waits = SupervisorOptions(first_ms=1, max_ms=5, min_interval_ms=1, locked_first_ms=1, locked_max_ms=5)
    with tempfile.TemporaryDirectory(prefix="answers-") as folder:
        async with RecordingServer() as evil, OddOrg(evil.url, seed, 0.4) as org:
            port = free_port()
            settings = load_settings(None, settings_for(
                org, Path(folder), CADENCE_HTTP__PORT=str(port), CADENCE_LOG__LEVEL="error",
                CADENCE_SNAPSHOT__MODE="initial", CADENCE_REPLAY__SPEND_ALLOCATION="false",
            ))  # fmt: skip
            serving = asyncio.create_task(serve(settings, waits))
            runs = []
            try:
                async with asyncio.timeout(within_s):
                    while sum(org.broken.values()) < count and not serving.done():
                        runs.append(org.world.enrol())
                        org.oauth.revoke(None)
                        await asyncio.sleep(0.05)
            except TimeoutError:
                pass
            assert not serving.done(), f"it ended: {serving}"
            org.share = 0.0
            await _ready(port)
            await _holds(Path(folder) / "cadence.db", runs)
            assert not evil.headers, "a request reached the other host"
            os.kill(os.getpid(), signal.SIGTERM)
            assert await serving == 0
            return org.broken


async def _ready(port: int) -> None:
    async with asyncio.timeout(60), aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(f"http://127.0.0.1:{port}/readyz") as answer:
                    reasons = await answer.json()
                    if answer.status == 200:
                        return
                    assert reasons["reasons"], "readiness says why"
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)


async def _holds(path: Path, runs: list[str]) -> None:
    store = SqliteStore(path, read_only=True)
    await store.open()
    try:
        async with asyncio.timeout(60):
            while True:
                events = [orjson.loads(entry.data) for entry in await store.read(0, 1_000_000)]
                if {event["tracker_id"] for event in events if event["type"] == "run.enrolled"} >= set(runs):
                    return
                await asyncio.sleep(0.2)
    finally:
        await store.aclose()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=100_000, help="answers in all; default 100,000")
    parser.add_argument(
        "--service", type=int, default=2_000, help="of these, for the running service; default 2,000"
    )
    parser.add_argument(
        "--minutes", type=float, default=5, help="after which the service has had enough; default 5"
    )
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    service = (
        asyncio.run(feed_service(wanted.service, wanted.seed, wanted.minutes * 60))
        if wanted.service
        else Counter()
    )
    print(
        f"{sum(service.values())} answers to the running service: {dict(service)}; it lives, is ready, and lost nothing",
        flush=True,
    )
    boundary = feed_boundary(wanted.count - sum(service.values()), wanted.seed)
    print(f"{sum(boundary.values())} answers to the boundary: {dict(boundary)}; zero exits", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
