"""An event loop without a clock, without sockets and without a will of its own: time is a number, and a seed says who goes next.

Everything that runs belongs to a *process*, by the context it was started in. A process can be killed between any two steps: what it had
scheduled is never run, and no ``finally`` of it either, as with ``kill -9``. It can be frozen: what it had scheduled waits, its timers
too, and all of it is there when it goes on. Time passes when nobody has anything to do, to the moment of the next timer, at no cost.

What is ready runs in an order that the seed draws. Tasks count themselves, and that is their hash: sets of tasks have the same order in
every run, whatever their addresses are.
"""

import asyncio
import contextvars
import heapq
import random
from collections.abc import Callable, Coroutine
from typing import Any, Self

_MOST_CLOSINGS = 50


class Process:
    """What can be killed and frozen as a whole.

    Attributes:
        name: for people.
        alive: until it is killed; one that has ended by itself stays alive, and has nothing to do.
        frozen: whether it stands still.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.frozen = False
        self.held: list[_Handle] = []


_PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class _Handle:
    """What is to be run; what ``call_soon`` and ``call_at`` return."""

    __slots__ = ("args", "callback", "context", "gone")

    def __init__(self, callback: Callable[..., Any], args: tuple[Any, ...], context: Any) -> None:
        self.callback, self.args = callback, args
        self.context = contextvars.copy_context() if context is None else context
        self.gone = False

    def cancel(self) -> None:
        """It is passed over when its turn comes."""
        self.gone = True

    def cancelled(self) -> bool:
        """Whether it will be."""
        return self.gone


class _Task(asyncio.Task[Any]):
    """A task that counts itself."""

    def __init__(self, number: int, coro: Coroutine[Any, Any, Any], **named: Any) -> None:
        self._number = number
        super().__init__(coro, **named)

    def __hash__(self) -> int:
        return self._number


class Loop(asyncio.AbstractEventLoop):
    """One world's loop.

    Args:
        dice: says who goes next.
        shuffled: whether anybody may; else the first come.
    """

    def __init__(self, dice: random.Random, *, shuffled: bool = True) -> None:
        self.steps = 0
        self._dice = dice
        self._shuffled = shuffled
        self._now = 1_000.0
        self._ready: list[_Handle] = []
        self._timers: list[tuple[float, int, _Handle]] = []
        self._count = 0
        self._tasks: list[_Task] = []
        self._closed = False

    # ------------------------------------------------------------ what a step is

    def step(self) -> bool:
        """Run one thing, or let time pass to the next; False when there is nothing, now or ever.

        Raises:
            Exception: what a callback raised; tasks keep what they raise to themselves.
        """
        while not self._ready:
            if not self._timers:
                return False
            when, _, timer = heapq.heappop(self._timers)
            if timer.gone:
                continue
            self._now = max(self._now, when)
            self._ready.append(timer)
            while self._timers and self._timers[0][0] <= self._now:
                self._ready.append(heapq.heappop(self._timers)[2])
        ready = self._ready
        if self._shuffled and len(ready) > 1:
            index = int(self._dice.random() * len(ready))
            handle = ready[index]
            ready[index] = ready[-1]
            ready.pop()
        else:
            handle = ready.pop(0)
        if handle.gone:
            return True
        process = handle.context.get(_PROCESS)
        if process is not None:
            if not process.alive:
                return True
            if process.frozen:
                process.held.append(handle)
                return True
        self.steps += 1
        handle.context.run(handle.callback, *handle.args)
        return True

    def start(self, process: Process, main: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run ``main`` as a process: it, and whatever it starts."""
        context = contextvars.copy_context()
        context.run(_PROCESS.set, process)
        return self.create_task(main, context=context)

    def thaw(self, process: Process) -> None:
        """It goes on, with everything that came due meanwhile."""
        process.frozen = False
        self._ready += process.held
        process.held = []

    def run(self, coro: Coroutine[Any, Any, Any]) -> Any:
        """Run to its end what waits for nobody."""
        try:
            coro.send(None)
        except StopIteration as done:
            return done.value
        raise AssertionError("it waits for something")

    def __enter__(self) -> Self:
        asyncio._set_running_loop(self)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._close()
        finally:
            asyncio._set_running_loop(None)

    def _close(self) -> None:
        """Take apart what never came to its end. Its ``finally`` blocks run now, in a world where nothing happens any more."""
        self._closed = True
        self._ready.clear()
        self._timers.clear()
        for task in reversed(self._tasks):
            if not task.done():
                task._log_destroy_pending = False
                asyncio.tasks._enter_task(self, task)
                try:
                    _take_apart(task.get_coro())
                finally:
                    asyncio.tasks._leave_task(self, task)
        self._tasks.clear()

    # ------------------------------------------------------------ what asyncio asks of a loop

    def time(self) -> float:
        return self._now

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Any = None) -> Any:
        handle = _Handle(callback, args, context)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any, context: Any = None) -> Any:
        timer = _Handle(callback, args, context)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, timer))
        return timer

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any, context: Any = None) -> Any:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Any, *, name: str | None = None, context: contextvars.Context | None = None
    ) -> asyncio.Task[Any]:
        if self._closed:
            coro.close()
            raise RuntimeError("this world has ended")
        task = _Task(len(self._tasks) + 1, coro, loop=self, name=name or "task", context=context)
        self._tasks.append(task)
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return not self._closed

    def is_closed(self) -> bool:
        return self._closed

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Tasks that nobody asked what became of them: of the dead, mostly."""


def _take_apart(coro: Any) -> None:
    for _ in range(_MOST_CLOSINGS):
        try:
            coro.close()
        except BaseException:  # noqa: BLE001 - a finally block that waits says so, and is asked again
            continue
        return
