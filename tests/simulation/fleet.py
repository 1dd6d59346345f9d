"""The replicas: started, killed, frozen, thawed, stopped, and started again."""

import contextvars
import random
from collections.abc import Callable
from typing import Any

from consumer.errors import StoreUnavailable
from consumer.service import Service
from tests.simulation.faults import Trace
from tests.simulation.loop import Loop, Process
from tests.simulation.store import SimulatedStore

_DOWN_MS = (0, 300, 3_000, 10_000)
_FROZEN_S = (0.5, 3, 5, 9)


class Fleet:
    """Every process of a world.

    Args:
        loop: in which they run.
        dice: of the world.
        open_store: opens the store for a process.
        serve: makes the service of a process.
        tell: writes the story down.
    """

    def __init__(
        self,
        loop: Loop,
        dice: random.Random,
        open_store: Callable[[Process], SimulatedStore],
        serve: Callable[[Process, SimulatedStore], Service],
        trace: Trace,
    ) -> None:
        self.crash: BaseException | None = None
        self._loop, self._dice, self._open_store, self._serve, self._trace = (
            loop,
            dice,
            open_store,
            serve,
            trace,
        )
        self._running: dict[Process, SimulatedStore] = {}
        self._services: dict[Process, Service] = {}
        self._stores: list[SimulatedStore] = []
        self._outside = contextvars.Context()

    @property
    def running(self) -> list[Process]:
        """Those that have begun and not ended, the oldest first."""
        return list(self._running)

    def later(self, name: str, ms: int) -> None:
        """A replica starts, so many milliseconds from now."""
        # Not of the process in whose name this may be said, which may be dead.
        self._loop.call_later(ms / 1_000, self._start, name, context=self._outside)

    def _start(self, name: str) -> None:
        process = Process(f"{name}.{len(self._stores) + 1}")
        store = self._open_store(process)
        self._stores.append(store)
        self._running[process] = store
        main = self._loop.start(process, self._main(process, store))
        main.add_done_callback(lambda task: self._ended(process, task))

    async def _main(self, process: Process, store: SimulatedStore) -> None:
        """A process, from its first to its last line."""
        await store.open()
        service = self._services[process] = self._serve(process, store)
        await service.run()
        await store.aclose()

    def _ended(self, process: Process, task: Any) -> None:
        if process not in self._running:
            return  # killed after its last line
        self._trace(process.name, lambda: "ends")
        process.alive = False
        self._running.pop(process).left_behind()
        error = task.exception()
        if error is not None and not isinstance(error, StoreUnavailable):
            self.crash = error
        self.later(process.name.partition(".")[0], self._dice.choice((100, 1_000)))

    def kill(self, process: Process) -> None:
        """``kill -9``; something will start it again."""
        if process in self._running:
            self._trace(process.name, lambda: "is killed")
            process.alive = False
            self._running.pop(process).left_behind()
            self.later(process.name.partition(".")[0], self._dice.choice(_DOWN_MS))

    def freeze(self, process: Process) -> None:
        """``SIGSTOP``, and seconds later ``SIGCONT``."""
        if not process.frozen:
            self._trace(process.name, lambda: "stands still")
            process.frozen = True
            self._loop.call_later(self._dice.choice(_FROZEN_S), self._thaw, process)

    def _thaw(self, process: Process) -> None:
        if process.frozen:
            self._trace(process.name, lambda: "goes on")
            self._loop.thaw(process)

    def stop(self, process: Process) -> None:
        """``SIGTERM``."""
        if process in self._services:
            self._trace(process.name, lambda: "is told to stop")
            self._services[process].stop()

    def thaw_all(self) -> None:
        """Nobody stands still any more."""
        for process in self.running:
            self._thaw(process)

    def close(self) -> None:
        """The world has ended."""
        for store in self._stores:
            store.close_files()
