"""The operating system's side of a process.

It consists of exit codes, signals, and how the interpreter is tuned.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any, TypeVar

__all__ = ["ExitCode", "ServiceLoop", "on_signals", "run_service", "stop_on_signals", "tune_interpreter"]

T = TypeVar("T")

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class ExitCode(IntEnum):
    """Exit codes of every command, as ``sysexits.h`` has them, where it has one."""

    OK = 0
    FAILED = 1
    """A command did not do what it was told; ``run`` had to cut something short."""
    USAGE = 2
    UNAVAILABLE = 69
    NOT_PERMITTED = 77


class ServiceLoop(asyncio.SelectorEventLoop):
    """Event loop that a handler cannot end.

    ``sys.exit()`` in a task that a handler has started, or in a callback, would end the loop, and with it every handler and ingest. While
    the service runs (:func:`stop_on_signals`) the loop continues instead and reports it; the task has failed with what it raised. No signal
    is turned into a KeyboardInterrupt in that time.

    Attributes:
        ignores_exits: whether it does so now.
    """

    ignores_exits = False

    def run_forever(self) -> None:
        """Run until stopped."""
        while True:
            try:
                super().run_forever()
            except (SystemExit, KeyboardInterrupt) as error:
                if not self.ignores_exits:
                    raise
                self.call_exception_handler(
                    {
                        "message": f"{type(error).__name__} was raised in a task or a callback, and ignored: only signals end the service",
                        "exception": error,
                    }
                )
            else:
                return


def run_service(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` in a :class:`ServiceLoop`; return its result."""
    with asyncio.Runner(loop_factory=ServiceLoop) as runner:
        return runner.run(work)


@contextmanager
def on_signals(callback: Callable[[], object]) -> Iterator[None]:
    """Call ``callback`` at each SIGTERM and SIGINT, in the event loop."""
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, callback)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


@contextmanager
def stop_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` at the first SIGTERM or SIGINT, and end the process at the second."""
    received = 0

    def on_signal() -> None:
        nonlocal received
        received += 1
        if received == 1:
            stop()
        else:
            os._exit(ExitCode.FAILED)

    loop = asyncio.get_running_loop()
    with on_signals(on_signal):
        if not isinstance(loop, ServiceLoop):
            yield
            return
        loop.ignores_exits = True
        try:
            yield
        finally:
            loop.ignores_exits = False


def tune_interpreter() -> None:
    """Tune the interpreter for this kind of program.

    The program has a large heap without cycles, and store threads that must not wait.

    Thousands of record states live long and hold no cycles; looking through them again and again, as the default thresholds of the garbage
    collector make it do, costs an eighth of all processor time. What was loaded until now stays for ever and is not looked at any more.

    A commit asks for the interpreter's lock a few dozen times; the event loop, with a backlog before it, would make the store's thread wait
    five milliseconds each time, and then wait for the commit.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    sys.setswitchinterval(0.0005)
