"""Rounds of chaos: the real command on a real Redis, killed, starved, frozen and sent back in time while a simulated org goes on.

Every scenario is a function that takes a :class:`Deployment` and a number of rounds and returns its :class:`Figures`. It asserts while it
runs what the fault must show (work was uncommitted, the service noticed, it became ready again) and ends with the one verdict of all
scenarios: the journal is what an oracle computes from the org's ledger - nothing missing, nothing twice, the order of each run kept - and
the handler has seen every event of it.

A killed Redis forgets nothing that it has written to its file, because the file system remembers. What a power failure would take with
AOF ``everysec`` is taken away here by hand: the end of the file, back to some write of the last second and a half.
"""

import asyncio
import bisect
import contextlib
import hashlib
import json
import random
import shutil
import signal
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Self

import aiohttp

from consumer.errors import StoreUnavailable
from consumer.ports.lease import LeaseState
from consumer.sandbox import FaultOptions, Sandbox, SandboxOptions
from consumer.stores.redis.redis_store import RedisStore
from tests.oracle import compare, expected
from tests.support.processes.service_process import ServiceProcess, settings_for
from tests.support.servers.redis_server import RedisServer
from tests.support.servers.tcp_proxy import Picked, TcpProxy

FAULTS = FaultOptions(reorder=0.08, swap=0.05, republish=0.03, duplicate=0.05, reorder_ms=(50, 300))
LATENESS = "600ms"
FORGOTTEN_S = 1.5
"""As much as AOF ``everysec`` may lose when the power fails."""
SOCKET_TIMEOUT_S = 5
"""After so long the service gives a request to Redis up."""
LATELY_S = 10
"""Longest time until a fault is noticed, or is over after its cause is."""


@dataclass
class Figures:
    """What a scenario measured.

    Attributes:
        rounds: how many.
        events: lifecycle events in the journal in the end.
        late: how many of them are marked late.
        repeats: how often a handler saw an event again.
        measured: by what was measured, one value per occasion.
    """

    rounds: int = 0
    events: int = 0
    late: int = 0
    repeats: int = 0
    measured: dict[str, list[float]] = field(default_factory=dict)

    def add(self, what: str, value: float) -> None:
        self.measured.setdefault(what, []).append(value)

    def __str__(self) -> str:
        lines = [
            f"{self.rounds} rounds, {self.events} events ({self.late} late), {self.repeats} repeated to the handler"
        ]
        lines += [f"  {what}: {_spread(values)}" for what, values in self.measured.items()]
        return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    return f"min {min(values):.4g}, median {statistics.median(values):.4g}, max {max(values):.4g} (n={len(values)})"


class Deployment:
    """A simulated org that lives, a Redis with AOF of its own, and what is delivered; use :func:`deployed`.

    Attributes:
        dice: every random choice of the rounds.
        figures: of the scenario.
        redis: the server.
    """

    def __init__(self, sandbox: Sandbox, redis: RedisServer, folder: Path, seed: int, step_s: float) -> None:
        self.dice = random.Random(seed)
        self.figures = Figures()
        self.redis = redis
        self._sandbox = sandbox
        self._folder = folder
        self._step_s = step_s
        self._written: list[tuple[float, int]] = []
        self._tasks = [asyncio.create_task(self._live()), asyncio.create_task(self._watch_file())]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _live(self) -> None:
        """The world goes on, whether the service is up or not."""
        while True:
            self._sandbox.world.advance(1)
            await asyncio.sleep(self._step_s)

    # ------------------------------------------------------------ the service

    def service(self, name: str = "service", **settings: str) -> ServiceProcess:
        """A replica, not started; it takes over within a second or two so that rounds are short."""
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        environment = settings_for(
            self._sandbox,
            folder,
            CADENCE_STORE__URL=self.redis.url,
            CADENCE_ORDERING__LATENESS=LATENESS,
            CADENCE_HANDLERS__FILE__USE="jsonl",
            CADENCE_HANDLERS__FILE__START="earliest",
            CADENCE_HANDLERS__FILE__SETTINGS__PATH=str(folder / "delivered.jsonl"),
            CADENCE_LEASE__TTL="1s",
            CADENCE_LEASE__RENEW="250ms",
        )
        return ServiceProcess({**environment, **settings}, folder)

    # ------------------------------------------------------------ what the store holds

    @asynccontextmanager
    async def _store(self) -> AsyncIterator[RedisStore]:
        store = RedisStore(self.redis.url, shown_url=self.redis.url, read_only=True)
        try:
            yield store
        finally:
            await store.aclose()

    async def journal(self) -> list[dict[str, Any]]:
        async with self._store() as store:
            return [json.loads(entry.data) for entry in await store.read(0, 10_000_000)]

    async def length(self) -> int:
        async with self._store() as store:
            return (await store.bounds())[1]

    async def lease(self) -> LeaseState:
        async with self._store() as store:
            return await store.lease()

    async def grows_past(self, length: int, service: ServiceProcess, within_s: float = 30) -> None:
        async def has_grown() -> bool:
            return await self.length() > length

        await until(has_grown, f"the journal grows past {length}", within_s, service)

    def published(self) -> list[dict[str, Any]]:
        """The ledger of this moment."""
        return self._sandbox.ledger.messages()

    async def known(self) -> set[str]:
        """Ids in the journal of this moment."""
        async with self._store() as store:
            return {entry.id for entry in await store.read(0, 10_000_000)}

    def note_uncommitted(self, published: list[dict[str, Any]], known: set[str]) -> None:
        """How many events of the ledger were not in the journal; a fault while none was would prove nothing.

        The ledger is to be read before the journal and both before the fault, and this is to be called after it, because it takes
        its time: so the figure is never more than what was uncommitted at the fault.
        """
        uncommitted = len(expected(published, self._sandbox.org.organization_id).ids - known)
        assert uncommitted > 0, "nothing was uncommitted at the fault, so it would prove nothing"
        self.figures.add("uncommitted at the fault", uncommitted)

    def delivered(self) -> list[str]:
        """Ids in the handler's files, in order; a line torn by a kill is not one."""
        ids = []
        for path in sorted(self._folder.glob("*/delivered.jsonl*")):
            for line in path.read_bytes().splitlines():
                with contextlib.suppress(ValueError):
                    ids.append(json.loads(line)["id"])
        return ids

    # ------------------------------------------------------------ Redis dies

    async def _watch_file(self) -> None:
        """How long the file was when: what was written before it was that long is safe."""
        while True:
            if self.redis.process is not None and (path := self._file()) is not None:
                self._written.append((time.monotonic(), path.stat().st_size))
            await asyncio.sleep(0.05)

    def _file(self) -> Path | None:
        return max(self.redis.folder.glob("appendonlydir/*.incr.aof"), default=None)

    def power_failure(self, lost: str) -> int:
        """Kill Redis and take the end of its file away.

        Args:
            lost: ``nothing``, ``last writes`` (one to three), ``some`` of the last 1.5 s, ``all`` of it, or ``torn``: some, in the
                middle of a write.

        Returns:
            How many writes (commands or transactions) were lost.
        """
        now = time.monotonic()
        self.redis.stop(signal.SIGKILL)
        path = self._file()
        assert path is not None
        if lost == "nothing":
            return 0
        safe = max(size for at, size in self._written if at <= now - FORGOTTEN_S)
        ends = list(_ends_of_writes(path.read_bytes()))
        ends = ends[max(bisect.bisect_left(ends, safe) - 1, 0) :]
        count = {
            "last writes": self.dice.randint(1, 3),
            "some": self.dice.randrange(len(ends)),
            "torn": self.dice.randrange(len(ends)),
            "all": len(ends) - 1,
        }[lost]
        count = min(count, len(ends) - 1)
        keep = ends[len(ends) - 1 - count]
        if lost == "torn" and count:
            keep += (ends[len(ends) - count] - keep) // 2
        with path.open("r+b") as file:
            file.truncate(keep)
        return count

    async def start_redis(self) -> None:
        await asyncio.to_thread(self.redis.start)
        if (path := self._file()) is not None:
            # What a server has come up with is safe already.
            self._written = [(time.monotonic() - FORGOTTEN_S, path.stat().st_size)]

    def back_up(self, name: str) -> Path:
        """A copy of Redis's files, taken while it runs."""
        copy = self._folder / name
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.redis.folder / "appendonlydir", copy)
        return copy

    def restore(self, copy: Path) -> None:
        """Stop Redis and put an earlier copy of its files back."""
        self.redis.stop()
        shutil.rmtree(self.redis.folder / "appendonlydir")
        shutil.copytree(copy, self.redis.folder / "appendonlydir")

    # ------------------------------------------------------------ the verdict

    async def settle(self, *services: ServiceProcess, within_s: float = 60) -> Figures:
        """Let the org rest, wait until everything has arrived, stop the services in order and judge."""
        self._tasks[0].cancel()
        self._sandbox.settle()
        expectation = expected(self._sandbox.ledger.messages(), self._sandbox.org.organization_id)
        deadline = time.monotonic() + within_s
        while True:
            journal = await self.journal()
            verdict = compare(expectation, journal)
            delivered = self.delivered()
            unseen = {event["id"] for event in journal} - set(delivered)
            if not verdict.missing and not unseen:
                break
            assert time.monotonic() < deadline, (
                f"{verdict}\nnot delivered: {len(unseen)}, first: {min(unseen, default=None)}\n{_tails(services)}"
            )
            await asyncio.sleep(0.3)
        for service in services:
            service.signal(signal.SIGTERM)
            assert await service.ended() == 0, service.errors()[-3000:]
        journal = await self.journal()
        verdict = compare(expectation, journal)
        assert verdict.ok, f"{verdict}\n{_tails(services)}"
        delivered = self.delivered()
        assert {event["id"] for event in journal} <= set(delivered)
        self.figures.events = len(journal)
        self.figures.late = len(verdict.late)
        self.figures.repeats = len(delivered) - len(set(delivered))
        return self.figures


@asynccontextmanager
async def deployed(folder: Path, seed: int, *, step_s: float = 0.03) -> AsyncIterator[Deployment]:
    """An org with about two change events per ``step_s``, and a Redis with AOF, on free ports."""
    redis = RedisServer(folder / "redis")
    try:
        async with Sandbox(SandboxOptions(seed=seed, faults=FAULTS)) as sandbox:
            deployment = Deployment(sandbox, redis, folder, seed, step_s)
            try:
                await deployment.start_redis()
                yield deployment
            finally:
                await deployment.close()
    finally:
        await asyncio.to_thread(redis.stop, signal.SIGKILL)


async def until(
    condition: Callable[[], Awaitable[bool]], what: str, within_s: float, *services: ServiceProcess
) -> float:
    """Wait for a condition; the seconds it took. A store that does not answer is a condition that does not hold yet."""
    began = time.monotonic()
    while True:
        with contextlib.suppress(StoreUnavailable):
            if await condition():
                return time.monotonic() - began
        for service in services:
            assert is_up(service), f"it ended while {what} was waited for:\n{_tails([service])}"
        assert time.monotonic() - began < within_s, f"not within {within_s} s: {what}\n{_tails(services)}"
        await asyncio.sleep(0.03)


def is_up(service: ServiceProcess) -> bool:
    """Whether the process still runs."""
    return service.process is not None and service.process.returncode is None


def _tails(services: Sequence[ServiceProcess]) -> str:
    return "\n".join(f"{service.folder.name}:\n{service.errors()[-3000:]}" for service in services)


def logged(service: ServiceProcess, event: str) -> list[dict[str, Any]]:
    """The log lines of a kind."""
    found = []
    for line in service.errors().splitlines():
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict) and entry.get("event") == event:
                found.append(entry)
    return found


def _ends_of_writes(data: bytes) -> Iterator[int]:
    """Where each command, or each transaction as a whole, ends in an append-only file."""
    at, within = 0, False
    while (end := data.find(b"\r\n", at)) != -1 and data[at : at + 1] == b"*":
        count, at, name = int(data[at + 1 : end]), end + 2, b""
        for index in range(count):
            end = data.index(b"\r\n", at)
            length = int(data[at + 1 : end])
            if index == 0:
                name = data[end + 2 : end + 2 + length].upper()
            at = end + 2 + length + 2
        within = name == b"MULTI" or (within and name != b"EXEC")
        if not within:
            yield at


# ---------------------------------------------------------------- scenarios


async def killed_service(deployment: Deployment, rounds: int) -> Figures:
    """kill -9 of the service at random moments; in one round of four even before its tenure has committed anything."""
    dice, figures = deployment.dice, deployment.figures
    service = await deployment.service().start()
    try:
        for round_ in range(rounds):
            if round_ == 0 or dice.random() < 0.75:
                killed = time.monotonic()
                await deployment.grows_past(await deployment.length(), service)
                if round_:
                    figures.add("seconds until the next process commits", time.monotonic() - killed)
            await asyncio.sleep(dice.uniform(0, 0.5))
            published = deployment.published()
            service.signal(signal.SIGKILL)
            await service.ended()
            deployment.note_uncommitted(published, await deployment.known())
            figures.rounds += 1
            service = await deployment.service().start()
        return await deployment.settle(service)
    finally:
        await service.__aexit__()


async def killed_redis(deployment: Deployment, rounds: int) -> Figures:
    """kill -9 of Redis while the service stays up; in three rounds of four the file loses what a power failure would take."""
    dice, figures = deployment.dice, deployment.figures
    async with deployment.service(CADENCE_LEASE__TTL="2s", CADENCE_LEASE__RENEW="500ms") as service:
        before = 0
        for round_ in range(rounds):
            await service.ready()
            await deployment.grows_past(before, service)
            await asyncio.sleep(dice.uniform(0, 0.7))
            number, ended = (await deployment.lease()).number, len(logged(service, "tenure_ended"))
            published, known = deployment.published(), await deployment.known()
            began = time.monotonic()
            lost = deployment.power_failure(("nothing", "last writes", "some", "all", "torn")[round_ % 5])
            await service.ready(False, LATELY_S)
            figures.add("seconds until not ready", time.monotonic() - began)
            figures.add("writes lost", lost)
            deployment.note_uncommitted(published, known)
            await asyncio.sleep(dice.uniform(0, 1))
            await deployment.start_redis()
            began = time.monotonic()
            if (await deployment.lease()).number < number and not _is_new_tenure(service, ended):
                await _tenure_ends(service, ended)
                figures.add("seconds until the loss is noticed", time.monotonic() - began)
            await service.ready(True, LATELY_S)
            figures.add("seconds until ready again", time.monotonic() - began)
            before = await deployment.length()
            figures.rounds += 1
        return await deployment.settle(service)


async def restored_redis(deployment: Deployment, rounds: int) -> Figures:
    """Redis is replaced by an earlier copy of itself while the service runs: of this tenure, or of one before."""
    dice, figures = deployment.dice, deployment.figures
    async with deployment.service(CADENCE_LEASE__TTL="2s", CADENCE_LEASE__RENEW="500ms") as service:
        await deployment.grows_past(0, service)
        oldest = deployment.back_up("oldest")
        for round_ in range(rounds):
            await service.ready()
            recent = deployment.back_up("recent")
            copied = await deployment.length()
            await deployment.grows_past(copied, service)
            await asyncio.sleep(dice.uniform(0.1, 1.5))
            ended, length = len(logged(service, "tenure_ended")), await deployment.length()
            published, known = deployment.published(), await deployment.known()
            deployment.restore(oldest if round_ % 3 == 2 else recent)
            await deployment.start_redis()
            began = time.monotonic()
            figures.add("events taken back", length - await deployment.length())
            await _tenure_ends(service, ended)
            figures.add("seconds until noticed", time.monotonic() - began)
            await service.ready(True, LATELY_S)
            figures.add("seconds until ready again", time.monotonic() - began)
            deployment.note_uncommitted(published, known)
            await deployment.grows_past(await deployment.length(), service)
            figures.rounds += 1
        return await deployment.settle(service)


def _is_new_tenure(service: ServiceProcess, ended: int) -> bool:
    return len(logged(service, "tenure_ended")) > ended


async def _tenure_ends(service: ServiceProcess, ended: int) -> None:
    async def has_ended() -> bool:
        return _is_new_tenure(service, ended)

    await until(has_ended, "the service notices that the store went back in time", LATELY_S, service)


# ---------------------------------------------------------------- answers that come too late

_COMMIT = (
    hashlib.sha1(resources.files("consumer.stores.redis").joinpath("commit.lua").read_bytes())
    .hexdigest()
    .encode()
)
"""What every request for a commit contains: the name under which Redis knows the script."""


async def late_answers(deployment: Deployment, rounds: int) -> Figures:
    """Between the service and Redis a network that delivers a commit and loses its answer, or delivers it long after it was sent again."""
    faults = (
        _answer_comes_too_late,
        _answer_is_lost,
        _overtaken_by_its_repetition,
        _answer_is_cut,
        _released_into_a_later_commit,
        _request_is_cut,
        _half_open,
    )
    async with TcpProxy(deployment.redis.port) as proxy:
        settings = {
            "CADENCE_STORE__URL": f"redis://127.0.0.1:{proxy.port}/0",
            "CADENCE_LEASE__TTL": "20s",
            "CADENCE_LEASE__RENEW": "500ms",
        }
        async with deployment.service(**settings) as service:
            for round_ in range(rounds):
                await service.ready()
                await deployment.grows_past(await deployment.length(), service)
                await asyncio.sleep(deployment.dice.uniform(0, 0.3))
                published, known = deployment.published(), await deployment.known()
                failing = len(logged(service, "commit_failing"))
                began = time.monotonic()
                await faults[round_ % len(faults)](deployment, proxy, service)

                async def succeed_again(failed: int = failing) -> bool:
                    again = logged(service, "commits_recovered")
                    return len(logged(service, "commit_failing")) > failed and len(again) >= failed + 1

                await until(succeed_again, "commits succeed again", LATELY_S, service)
                deployment.figures.add("seconds until commits succeed again", time.monotonic() - began)
                deployment.note_uncommitted(published, known)
                deployment.figures.rounds += 1
            assert not logged(service, "tenure_ended"), "a lost answer is no reason to end a tenure"
            return await deployment.settle(service)


async def _given_up(service: ServiceProcess, picked: Picked) -> None:
    """Wait until the service has given the request up."""
    failed = len(logged(service, "commit_failing"))

    async def has_given_up() -> bool:
        return len(logged(service, "commit_failing")) > failed

    await asyncio.wait_for(picked.seen.wait(), LATELY_S)
    await until(has_given_up, "the service gives the commit up", SOCKET_TIMEOUT_S + 3, service)


async def _answer_comes_too_late(_: Deployment, proxy: TcpProxy, service: ServiceProcess) -> None:
    """Applied at once; the answer comes when nobody waits for it any more."""
    picked = proxy.withhold_answer(_COMMIT)
    await _given_up(service, picked)
    assert b"applied" in picked.answer
    picked.release()


async def _answer_is_lost(_: Deployment, proxy: TcpProxy, service: ServiceProcess) -> None:
    """Applied at once; instead of the answer the connection breaks."""
    picked = proxy.withhold_answer(_COMMIT)
    again = proxy.withhold_answer(_COMMIT)
    await asyncio.wait_for(picked.answered.wait(), LATELY_S)
    assert b"applied" in picked.answer
    picked.reset()
    await asyncio.wait_for(again.answered.wait(), LATELY_S)
    assert b"again" in again.answer, "the same commit came again, and Redis knew it"
    again.release()
    assert is_up(service), _tails([service])


async def _overtaken_by_its_repetition(_: Deployment, proxy: TcpProxy, service: ServiceProcess) -> None:
    """Not delivered until the repetition is on its way too: then the one is applied and the other known."""
    first, second = proxy.hold_request(_COMMIT), proxy.hold_request(_COMMIT)
    await _given_up(service, first)
    await asyncio.wait_for(second.seen.wait(), LATELY_S)
    both = min(len(first.request), len(second.request))
    assert first.request[:both] == second.request[:both], "it is sent again unchanged"
    second.release()
    await asyncio.wait_for(second.answered.wait(), LATELY_S)
    assert b"applied" in second.answer
    first.release()
    await asyncio.wait_for(first.answered.wait(), LATELY_S)
    assert b"again" in first.answer or b"refused" in first.answer


async def _released_into_a_later_commit(
    deployment: Deployment, proxy: TcpProxy, service: ServiceProcess
) -> None:
    """Not delivered until later commits have followed its repetition: then it is out of turn."""
    picked = proxy.hold_request(_COMMIT)
    await _given_up(service, picked)
    number = (await deployment.lease()).number

    async def have_followed() -> bool:
        return (await deployment.lease()).number > number + 2

    await until(have_followed, "later commits follow", LATELY_S, service)
    picked.release()
    await asyncio.wait_for(picked.answered.wait(), LATELY_S)
    assert b"refused" in picked.answer


async def _answer_is_cut(_: Deployment, proxy: TcpProxy, service: ServiceProcess) -> None:
    """Applied, and the connection breaks in the middle of the answer."""
    picked, again = proxy.withhold_answer(_COMMIT), proxy.withhold_answer(_COMMIT)
    await asyncio.wait_for(picked.answered.wait(), LATELY_S)
    picked.cut(3)
    await asyncio.wait_for(again.answered.wait(), LATELY_S)
    assert b"again" in again.answer, "the same commit came again, and Redis knew it"
    again.release()
    assert is_up(service), _tails([service])


async def _request_is_cut(_: Deployment, proxy: TcpProxy, service: ServiceProcess) -> None:
    """The connection breaks in the middle of the request, which therefore never was one."""
    picked, again = proxy.hold_request(_COMMIT), proxy.withhold_answer(_COMMIT)
    await asyncio.wait_for(picked.seen.wait(), LATELY_S)
    picked.cut(200)
    await asyncio.wait_for(again.answered.wait(), LATELY_S)
    assert b"applied" in again.answer, "half a commit is none"
    again.release()
    assert is_up(service), _tails([service])


async def _half_open(_: Deployment, proxy: TcpProxy, service: ServiceProcess) -> None:
    """Nothing passes and nothing closes, until everything that was sent meanwhile arrives at once."""
    failed = len(logged(service, "commit_failing"))

    async def has_given_up() -> bool:
        return len(logged(service, "commit_failing")) > failed

    proxy.freeze()
    try:
        await service.ready(False, SOCKET_TIMEOUT_S + 3)
        # A renewal of the lease may have been in front of the commit.
        await until(has_given_up, "the service gives the commit up", SOCKET_TIMEOUT_S + 3, service)
    finally:
        proxy.thaw()


# ---------------------------------------------------------------- two replicas


class Probes:
    """What ``/readyz`` of each replica answered when, as a load balancer sees it.

    A frozen process answers what it was asked while frozen as soon as it goes on, so nothing is skipped and nothing times out early.
    """

    def __init__(self, services: Sequence[ServiceProcess]) -> None:
        self._services = services
        self.answers: list[list[tuple[float, bool]]] = [[] for _ in services]
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._ask(index)) for index in range(len(self._services))]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    async def _ask(self, index: int) -> None:
        url = f"http://127.0.0.1:{self._services[index].port}/readyz"
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http:
            while True:
                try:
                    async with http.get(url) as answer:
                        self.answers[index].append((time.monotonic(), answer.status == 200))
                except aiohttp.ClientError:
                    self.answers[index].append((time.monotonic(), False))
                await asyncio.sleep(0.02)

    def is_ready(self, index: int) -> bool:
        answers = self.answers[index]
        return bool(answers) and answers[-1][1] and time.monotonic() - answers[-1][0] < 0.5

    def overlaps(self) -> list[float]:
        """When one said ready while the other had just said so and said so again after."""
        found = []
        for one, other in (self.answers, self.answers[::-1]):
            times = [at for at, _ in other]
            after = 0
            for at, ready in one:
                while after < len(times) and times[after] < at:
                    after += 1
                around = other[max(after - 1, 0) : after + 1]
                if ready and len(around) == 2 and all(was and abs(when - at) < 0.3 for when, was in around):
                    found.append(at)
        return found


async def stopped_holder(deployment: Deployment, rounds: int) -> Figures:
    """Two replicas on one lease; the holder is frozen (SIGSTOP) and goes on (SIGCONT) when the other has taken over, or just before."""
    dice, figures = deployment.dice, deployment.figures
    lease = {"CADENCE_LEASE__TTL": "2s", "CADENCE_LEASE__RENEW": "500ms"}
    one, two = deployment.service("one", **lease), deployment.service("two", **lease)
    async with one, two, Probes((one, two)) as probes:
        services = (one, two)
        for _ in range(rounds):

            async def somebody_works() -> bool:
                return probes.is_ready(0) or probes.is_ready(1)

            await until(somebody_works, "one of them is ready", 30, *services)
            await deployment.grows_past(await deployment.length(), services[0])
            index = 0 if probes.is_ready(0) else 1
            holder, standby = services[index], services[1 - index]
            await asyncio.sleep(dice.uniform(0, 0.6))
            # A short one first: less than what is left of the lease changes nothing.
            ended = len(logged(holder, "tenure_ended"))
            holder.signal(signal.SIGSTOP)
            await asyncio.sleep(dice.uniform(0, 1))
            holder.signal(signal.SIGCONT)
            await deployment.grows_past(await deployment.length(), holder)
            assert len(logged(holder, "tenure_ended")) == ended, (
                "a pause shorter than the lease costs no tenure"
            )
            published, known = deployment.published(), await deployment.known()
            await _freeze_until_taken_over(deployment, holder, standby, probes, 1 - index, ended)
            deployment.note_uncommitted(published, known)
            figures.rounds += 1
        figures = await deployment.settle(one, two)
        overlaps = probes.overlaps()
        figures.add("probes", sum(map(len, probes.answers)))
        assert not overlaps, f"both said ready at the same time, {len(overlaps)} times"
        return figures


async def _freeze_until_taken_over(
    deployment: Deployment,
    holder: ServiceProcess,
    standby: ServiceProcess,
    probes: Probes,
    index: int,
    ended: int,
) -> None:
    dice, figures = deployment.dice, deployment.figures

    async def has_taken_over() -> bool:
        return probes.is_ready(index)

    holder.signal(signal.SIGSTOP)
    try:
        took = await until(has_taken_over, "the standby takes over within lease + 2 s", 4, standby)
        figures.add("seconds to take over", took)
        await asyncio.sleep(dice.uniform(0, 0.8))
    finally:
        holder.signal(signal.SIGCONT)

    async def has_noticed() -> bool:
        return len(logged(holder, "tenure_ended")) > ended

    noticed = await until(has_noticed, "the frozen holder notices that it is none any more", 4, holder)
    figures.add("seconds until the frozen holder notices", noticed)


SCENARIOS: dict[str, Callable[[Deployment, int], Awaitable[Figures]]] = {
    "service": killed_service,
    "redis": killed_redis,
    "answers": late_answers,
    "restore": restored_redis,
    "stops": stopped_holder,
}
"""By the name under which the command runs them."""
