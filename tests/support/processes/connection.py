"""A simulated org, the service, and between them a wire that breaks; with a probe that asks ``/readyz`` all the time.

:func:`connected` starts the three. :meth:`Link.endure` injects one fault and measures, from outside, how long it took until the service
said that it is not ready and until it was ready again. :meth:`Link.settle` ends with the verdict: the journal is what an oracle computes
from the org's ledger - nothing missing, nothing twice, the order of each run kept - and no secret is in anything that the process wrote.
"""

import asyncio
import contextlib
import json
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import aiohttp

from consumer.sandbox import CometdOptions, Sandbox, SandboxOptions
from consumer.stores.redis.redis_store import RedisStore
from consumer.stores.sqlite.sqlite_store import SqliteStore
from tests.oracle import compare, expected
from tests.support.processes.interruptible import interruptible
from tests.support.processes.service_process import ROOT, ServiceProcess, settings_for
from tests.support.servers.tcp_proxy import TcpProxy

POLL_MS = 2_000
"""How long the org holds a poll; 110 s in production."""
SOON_S = 5
"""Ceiling for a fault that shows itself: a closed socket, an answer that says so."""
UNREADY_S = 5
"""Promised: not ready so soon after the service has noticed."""
TOKENS = re.compile(r"!AQ[\w.]{20}|5Aep861[\w.]{20}")
"""Access and refresh tokens, as the simulated org makes them."""


class Impatient(ServiceProcess):
    """The service with other waits between sessions than the command has."""

    def __init__(self, environment: dict[str, str], folder: Path, **backoff: int) -> None:
        super().__init__({**environment, "IMPATIENT": json.dumps(backoff)}, folder)

    async def start(self) -> Self:
        with self.out.open("wb") as out, self.err.open("wb") as err, interruptible():
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.support.processes.impatient",
                cwd=ROOT, env=self._environment, stdout=out, stderr=err, stdin=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        return self


class Readiness:
    """What ``/readyz`` answered, as a load balancer sees it: every change of it with its time and its reasons."""

    def __init__(self, service: ServiceProcess) -> None:
        self._service = service
        self.changes: list[tuple[float, bool, list[str]]] = []
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._ask())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _ask(self) -> None:
        url = f"http://127.0.0.1:{self._service.port}/readyz"
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http:
            while True:
                asked = time.monotonic()
                try:
                    async with http.get(url) as answer:
                        ready, reasons = answer.status == 200, (await answer.json())["reasons"]
                except (aiohttp.ClientError, TimeoutError):
                    ready, reasons = False, ["no answer"]
                if not self.changes or self.changes[-1][1] is not ready:
                    self.changes.append((asked if ready else time.monotonic(), ready, reasons))
                await asyncio.sleep(0.015)

    def first(self, ready: bool, after: float) -> tuple[float, list[str]] | None:
        """When it first said so after that time, and its reasons."""
        for at, was, reasons in self.changes:
            if was is ready and at >= after:
                return at, reasons
        return None

    @property
    def now(self) -> bool:
        return bool(self.changes) and self.changes[-1][1]


@dataclass
class Endured:
    """One fault: until it was noticed and told, and until everything worked again after its cause was gone; seconds."""

    name: str
    noticed_s: float
    recovered_s: float
    reasons: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.name:<58} {self.noticed_s:>7.2f} {self.recovered_s:>7.2f}  {' '.join(self.reasons)}"


@dataclass
class Link:
    """See the module. Times are monotonic seconds."""

    sandbox: Sandbox
    proxy: TcpProxy
    service: ServiceProcess
    folder: Path
    readiness: Readiness
    store: Callable[[], Any]
    endured: list[Endured] = field(default_factory=list)
    world: asyncio.Task[None] | None = None
    excused: int = 0

    # ------------------------------------------------------------ the org

    def live(self, step_s: float = 0.04) -> None:
        """The world goes on from here: about two change events in ``step_s``."""
        self.rest()

        async def go_on() -> None:
            while True:
                self.sandbox.world.advance(1)
                await asyncio.sleep(step_s)

        self.world = asyncio.create_task(go_on())

    def rest(self) -> None:
        """Nothing happens in the org until it lives again."""
        if self.world is not None:
            self.world.cancel()
            self.world = None

    def fault(self, kind: str, **details: Any) -> Callable[[], Awaitable[None]]:
        """Orders this trouble of the sandbox."""

        async def inject() -> None:
            self.sandbox.faults.inject(kind, **details)

        return inject

    # ------------------------------------------------------------ the wire

    async def unplug(self) -> None:
        """Nobody listens any more; open connections are reset."""
        await self.proxy.unplug()

    async def plug_in(self) -> None:
        """Listen again, where it was."""
        await self.proxy.plug_in()

    # ------------------------------------------------------------ the service

    def logged(self, event: str) -> list[dict[str, Any]]:
        found = []
        for line in self.service.errors().splitlines():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict) and entry.get("event") == event:
                    found.append(entry)
        return found

    def ends(self) -> list[str]:
        """Why sessions ended, by code."""
        return [line["reason"] for line in self.logged("session_ended")]

    async def metrics(self) -> dict[str, float]:
        """Every number of ``/metrics`` under its name with labels."""
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"http://127.0.0.1:{self.service.port}/metrics") as answer,
        ):
            lines = (await answer.text()).splitlines()
        numbers = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in numbers}

    async def until(self, condition: Callable[[], Any], what: str, within_s: float) -> Any:
        """What the condition becomes when it is true."""
        deadline = time.monotonic() + within_s
        while True:
            if value := condition():
                return value
            running = self.service.process is not None and self.service.process.returncode is None
            assert running, f"it ended while {what} was waited for:\n{self.service.errors()[-3000:]}"
            assert time.monotonic() < deadline, (
                f"not within {within_s} s: {what}\n{self.service.errors()[-4000:]}"
            )
            await asyncio.sleep(0.02)

    async def healthy(self, for_s: float = 0.6) -> None:
        """Wait until it has been ready for so long without interruption."""

        def is_healthy() -> bool:
            return self.readiness.now and time.monotonic() - self.readiness.changes[-1][0] >= for_s

        await self.until(is_healthy, "it is ready", 40)

    # ------------------------------------------------------------ a fault

    async def endure(
        self,
        name: str,
        inject: Callable[[], Awaitable[None]],
        codes: Collection[str],
        *,
        clear: Callable[[], Awaitable[None]] | None = None,
        ends: int = 1,
        ceiling_s: float = SOON_S,
        recovery_s: float = 15,
        lasts_s: float = 0.0,
    ) -> Endured:
        """Inject a fault into a healthy service and see it out.

        Args:
            name: for people.
            inject: what breaks it.
            codes: why the sessions may end that it ends.
            clear: what makes it whole again, done ``lasts_s`` after the service said that it is not ready.
            ends: at least so many sessions end of it.
            ceiling_s: until the service says that it is not ready.
            recovery_s: and from the end of the fault until it is ready again.
            lasts_s: see ``clear``.
        """
        await self.healthy()
        before = len(self.ends())
        began, wall = time.monotonic(), time.time()
        await inject()
        await self.until(lambda: len(self.ends()) > before, f"{name}: a session ends", ceiling_s + 4)
        noticed = _wall(self.logged("session_ended")[before]) - wall
        gone = began + noticed
        if clear is not None:
            await self.until(lambda: self.readiness.first(False, began), f"{name}: not ready", UNREADY_S)
            await asyncio.sleep(lasts_s)
            await clear()
            gone = time.monotonic()
        await self.until(lambda: len(self.ends()) >= before + ends, f"{name}: {ends} sessions end", 45)
        if ends > 1:
            gone = max(gone, began + _wall(self.logged("session_ended")[before + ends - 1]) - wall)
        recovered, _ = await self.until(
            lambda: (self.readiness.now and self.readiness.first(True, gone)) or self._swift(began, gone),
            f"{name}: ready again",
            recovery_s,
        )
        unready = self.readiness.first(False, began)
        told_s = unready[0] - began if unready is not None else noticed
        if unready is None:
            # Between two probes: only a gap shorter than that between them may go unseen.
            opened = next(
                at for line in self.logged("session_opened") if (at := _wall(line) - wall) > noticed
            )
            assert opened - noticed < 0.2, (
                f"{name}: it was away for {opened - noticed:.2f} s and said nothing"
            )
        assert told_s - noticed < UNREADY_S, (
            f"{name}: it noticed after {noticed:.2f} s and told after {told_s:.2f} s"
        )
        assert told_s < ceiling_s, f"{name}: told after {told_s:.2f} s, promised are {ceiling_s} s"
        seen = self.ends()[before:]
        assert set(seen) <= set(codes), f"{name}: {seen}\n{self.service.errors()[-3000:]}"
        if unready is not None:
            assert unready[1], f"{name}: not ready, and no word why"
        endured = Endured(name, told_s, recovered - gone, sorted(set(seen)))
        self.endured.append(endured)
        return endured

    def _swift(self, began: float, gone: float) -> tuple[float, list[str]] | None:
        """Ready all the time as far as the probe saw: the next session opened between two probes."""
        if self.readiness.first(False, began) is None and self.readiness.now and time.monotonic() - gone > 2:
            return gone, []
        return None

    # ------------------------------------------------------------ the verdict

    async def journal(self) -> list[dict[str, Any]]:
        store = self.store()
        await store.open()
        try:
            return [json.loads(entry.data) for entry in await store.read(0, 10_000_000)]
        finally:
            await store.aclose()

    async def caught_up(self, within_s: float = 60) -> None:
        """Wait until the journal holds everything that the org has told so far."""
        self.sandbox.settle()
        wanted = expected(self.sandbox.ledger.messages(), self.sandbox.org.organization_id)
        assert wanted.ids, "nothing happened in the org, so nothing is proved"
        deadline = time.monotonic() + within_s
        while missing := compare(wanted, await self.journal()).missing:
            assert time.monotonic() < deadline, (
                f"{len(missing)} missing, first {missing[0]}\n{self.service.errors()[-4000:]}"
            )
            await asyncio.sleep(0.1)

    async def settle(self, *, late_per_mille: int = 0) -> int:
        """Let the org rest, wait until everything has arrived, stop the service in order and judge; how many events there are.

        Args:
            late_per_mille: how many of a thousand events may be told otherwise than in order, because something came late: while no poll
                is answered for longer than ``ordering.max_hold``, what is held is let go, and its elder sibling may follow.
        """
        self.rest()
        await self.caught_up()
        self.service.signal(signal.SIGTERM)
        assert await self.service.ended() == 0, self.service.errors()[-3000:]
        journal = await self.journal()
        verdict = compare(expected(self.sandbox.ledger.messages(), self.sandbox.org.organization_id), journal)
        assert verdict.ok, f"{verdict}\n{self.service.errors()[-3000:]}"
        self.excused = len(verdict.excused)
        assert self.excused <= verdict.compared * late_per_mille // 1_000, str(verdict)
        self.keeps_secrets()
        return len(journal)

    def keeps_secrets(self) -> None:
        """Nothing that signs anybody in is in what the process wrote."""
        known = self.sandbox.credentials
        key = [line for line in known.private_key.splitlines() if not line.startswith("-----")]
        secrets = [known.client_secret, known.password, known.refresh_token, *key]
        for path in (self.service.out, self.service.err):
            text = path.read_text(errors="replace")
            assert not [secret for secret in secrets if secret in text], f"a secret is in {path}"
            assert TOKENS.search(text) is None, f"a token is in {path}"
            assert "Traceback" not in text, text[-3000:]


def _wall(line: dict[str, Any]) -> float:
    return datetime.fromisoformat(line["timestamp"]).timestamp()


def table(*links: Link) -> str:
    """What was measured, for people."""
    lines = [f"{'fault':<58} {'noticed':>7} {'again':>7}  sessions ended by (seconds)"]
    return "\n".join([*lines, *(str(each) for link in links for each in link.endured)])


@asynccontextmanager
async def connected(
    folder: Path,
    *,
    backoff: dict[str, int] | None = None,
    options: SandboxOptions | None = None,
    redis: str | None = None,
    wire: bool = True,
    process: type[ServiceProcess] = ServiceProcess,
    **settings: str,
) -> AsyncIterator[Link]:
    """An org that rests, and the service on it, ready.

    Args:
        folder: keeps everything.
        backoff: waits that differ from the command's; None runs the command itself.
        options: of the org; without TLS.
        redis: URL of the store; None takes a SQLite file.
        wire: whether the service goes through the proxy.
        process: how it is started, without ``backoff``.
        settings: more environment.
    """
    folder.mkdir(exist_ok=True)
    options = options or SandboxOptions(cometd=CometdOptions(poll_timeout_ms=POLL_MS))
    async with Sandbox(options) as sandbox, TcpProxy(sandbox.port) as proxy:
        environment = {
            **settings_for(sandbox, folder, CADENCE_ORDERING__LATENESS="300ms"),
            **({"CADENCE_SALESFORCE__LOGIN_URL": f"http://localhost:{proxy.port}"} if wire else {}),
            **({"CADENCE_STORE__URL": redis} if redis is not None else {}),
            **settings,
        }
        path = folder / "cadence.db"

        def store() -> RedisStore | SqliteStore:
            if redis is not None:
                return RedisStore(redis, shown_url=redis, read_only=True)
            return SqliteStore(path, read_only=True)

        service = (
            process(environment, folder) if backoff is None else Impatient(environment, folder, **backoff)
        )
        async with service, Readiness(service) as readiness:
            await service.ready()
            link = Link(sandbox, proxy, service, folder, readiness, store)
            try:
                yield link
            finally:
                link.rest()
