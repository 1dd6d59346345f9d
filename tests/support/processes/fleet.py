"""Replicas, and whether two of them were ever ready at the same time.

A :class:`Replica` is the place in a deployment, not the process: killed or stopped, it is started again.
"""

import asyncio
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import aiohttp

from tests.support.processes.service_process import ServiceProcess

PROBE_S = 0.03
_UNBROKEN_S = 0.5
"""An answer that took longer, or came so long after the one before, says nothing about the time between."""


@dataclass(frozen=True)
class Answer:
    """What ``/readyz`` said; monotonic seconds.

    Attributes:
        process: which start of the replica answered.
        asked: when; it cannot have been true before.
        got: when the answer had arrived; it may not be true any more.
        ready: whether it leads and works.
        standby: whether it waits in good order.
    """

    process: int
    asked: float
    got: float
    ready: bool
    standby: bool


class Replica:
    """A place in the deployment; asks its process all the time whether it is ready.

    Attributes:
        name: for people.
        service: the process of now.
        answers: all it gave.
        busy: something is done to it; it is to be left alone.
    """

    def __init__(self, name: str, process: Callable[[], ServiceProcess]) -> None:
        self.name = name
        self.service = process()
        self.answers: list[Answer] = []
        self.busy = False
        self._make = process
        self._starts = 0
        self._doomed = 0
        self._probe: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start a process, in the place of the one before."""
        if self._starts:
            self.service = self._make()
        self._starts += 1
        await self.service.start()
        if self._probe is None:
            self._probe = asyncio.create_task(self._ask())

    async def close(self) -> None:
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.wait({self._probe})
        await self.service.__aexit__()

    def hit(self, number: signal.Signals) -> float:
        """Send a signal; when."""
        if number in (signal.SIGKILL, signal.SIGTERM):
            self._doomed = self._starts
        at = time.monotonic()
        self.service.signal(number)
        return at

    @property
    def pid(self) -> int:
        assert self.service.process is not None
        return self.service.process.pid

    async def _ask(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http:
            while True:
                process, asked = self._starts, time.monotonic()
                ready = standby = False
                try:
                    async with http.get(f"http://127.0.0.1:{self.service.port}/readyz?standby") as answer:
                        ready = (await answer.json())["ready"]
                        standby = not ready and answer.status == 200
                except aiohttp.ClientError:
                    pass
                self.answers.append(Answer(process, asked, time.monotonic(), ready, standby))
                await asyncio.sleep(PROBE_S)

    def _last(self) -> Answer | None:
        answer = self.answers[-1] if self.answers else None
        if answer is None or answer.process != self._starts or time.monotonic() - answer.asked > _UNBROKEN_S:
            return None
        return answer

    @property
    def is_ready(self) -> bool:
        return not self.busy and (answer := self._last()) is not None and answer.ready

    @property
    def is_standby(self) -> bool:
        return not self.busy and (answer := self._last()) is not None and answer.standby

    def ready_since(self, after: float) -> float | None:
        """When it first said that it is ready, of the questions asked after that time; what a process says that is about to end is too late."""
        return next(
            (
                each.got
                for each in self.answers
                if each.asked > after and each.ready and each.process != self._doomed
            ),
            None,
        )

    def reigns(self) -> list[tuple[float, float]]:
        """From when until when it certainly led: from a first answer that said ready to the last question that was answered so."""
        found: list[tuple[float, float]] = []
        since, before = 0.0, None
        for answer in [each for each in self.answers if each.got - each.asked < _UNBROKEN_S]:
            goes_on = before is not None and before.ready and before.process == answer.process
            if not answer.ready:
                pass
            elif goes_on and answer.got - before.asked < _UNBROKEN_S:
                found.append((since, answer.asked))
            else:
                since = answer.got
            before = answer
        return found


def overlaps(replicas: Sequence[Replica]) -> list[str]:
    """Where two replicas were ready at the same time, beyond the doubt that lies between a question and its answer."""
    reigns = sorted((*reign, replica.name) for replica in replicas for reign in replica.reigns())
    found: list[str] = []
    latest: dict[str, float] = {}
    for start, end, name in reigns:
        found += [
            f"{name} from {start:.3f} on, {other} until {until:.3f}"
            for other, until in latest.items()
            if other != name and until > start
        ]
        latest[name] = max(end, latest.get(name, 0.0))
    return found
