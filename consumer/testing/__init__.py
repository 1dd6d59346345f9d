"""Pytest plugin for handler authors: scripted runs, and the service's own calls.

It needs no server, is installed with the package, and has two fixtures::

    async def test_every_end_of_a_run_is_reported(new_run, feed):
        run = new_run().enrol().begin_step("Call").complete_step().end("NoMoreSteps")
        report = await feed(notify).deliver(run.events)
        assert report.types == ["run.ended.finished"]

``new_run()``
    makes a :class:`ScriptedRun`, whose events are interpreted from change events by the code that the service uses.
``feed(handler, **section)``
    makes a :class:`Feed` of one handler; the keywords are its settings section: ``feed(Warehouse, settings={"dsn": …}, max_attempts=3)``.
    Loading, filters, calls, time limits, retries and dead letters are those of the service; only the waits are left out.

Async tests need an asyncio plugin such as pytest-asyncio; the fixtures themselves do not.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

if (
    TYPE_CHECKING
):  # every pytest run in the environment imports this plugin; the rest is imported on first use
    from consumer.testing.feeding import Attempt, Feed, Report
    from consumer.testing.recorded_actions import RecordedActions
    from consumer.testing.scripted_run import ScriptedRun

__all__ = ["Attempt", "Feed", "RecordedActions", "Report", "ScriptedRun", "feed", "new_run"]

_MODULE_OF = {
    "Attempt": "feeding",
    "Feed": "feeding",
    "RecordedActions": "recorded_actions",
    "Report": "feeding",
    "ScriptedRun": "scripted_run",
}


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        from importlib import import_module

        return getattr(import_module(f"consumer.testing.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@pytest.fixture
def new_run() -> Callable[..., ScriptedRun]:
    """Factory of runs: ``new_run(cadence="Outbound")`` makes a new one each time."""
    from consumer.testing.scripted_run import ScriptedRun

    numbers = count(1)
    return lambda **facts: ScriptedRun(next(numbers), **facts)


@pytest.fixture
def feed() -> Callable[..., Feed]:
    """Factory of feeds of a handler; see :class:`Feed`.

    The handler is a class, a decorated function, or a value of the setting ``use``.
    """
    from consumer.testing.feeding import Feed

    return Feed
