"""The operating system's side of a process: exit codes, signals, and how the interpreter is tuned."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum

__all__ = ["ExitCode", "on_signals", "stop_on_signals", "tune_interpreter"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class ExitCode(IntEnum):
    """Exit codes of every command, as ``sysexits.h`` has them, where it has one."""

    OK = 0
    FAILED = 1
    """A command did not do what it was told; ``run`` had to cut something short."""
    USAGE = 2
    UNAVAILABLE = 69
    NOT_PERMITTED = 77


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

    with on_signals(on_signal):
        yield


def tune_interpreter() -> None:
    """Tell the interpreter what kind of program this is: a large heap without cycles, and store threads that must not wait.

    Thousands of record states live long and hold no cycles; looking through them again and again, as the default thresholds of the garbage
    collector make it do, costs an eighth of all processor time. What was loaded until now stays for ever and is not looked at any more.

    A commit asks for the interpreter's lock a few dozen times; the event loop, with a backlog before it, would make the store's thread wait
    five milliseconds each time, and then wait for the commit.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    sys.setswitchinterval(0.0005)
