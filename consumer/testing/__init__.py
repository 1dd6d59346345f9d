"""A pytest plugin for handler authors: scripted runs, and a service that calls the handler as the real one does. No server needed.

Installed with the package; two fixtures are there at once::

    async def test_every_ending_is_told(new_run, feed):
        run = new_run().enrol().begin_step("Call").complete_step().end("NoMoreSteps")
        report = await feed(notify).deliver(run.events)
        assert report.types == ["run.ended.finished"]

``new_run()``
    makes a :class:`ScriptedRun`, whose events are interpreted from changes by the code that the service uses.
``feed(handler, **section)``
    makes a :class:`Feed` of one handler; keywords are its settings section: ``feed(Warehouse, settings={"dsn": …}, max_attempts=3)``.
    Loading, filters, calls, time limits, retries and what follows them are those of the service; only the waiting is left out.

Async tests need an asyncio plugin such as pytest-asyncio; the fixtures themselves do not.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

if (
    TYPE_CHECKING
):  # a plugin is imported by every pytest in the environment: what it needs comes with its first use
    from consumer.testing.feeding import Attempt, Feed, Report
    from consumer.testing.recorded_actions import RecordedActions
    from consumer.testing.scripted_run import ScriptedRun

__all__ = ["Attempt", "Feed", "RecordedActions", "Report", "ScriptedRun", "feed", "new_run"]

_MODULE_OF = {
    "Attempt": "feeding",
    "Feed": "feeding",
    "RecordedActions": "recording",
    "Report": "feeding",
    "ScriptedRun": "story",
}


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        from importlib import import_module

        return getattr(import_module(f"consumer.testing.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@pytest.fixture
def new_run() -> Callable[..., ScriptedRun]:
    """Makes runs of their own: ``new_run(cadence="Outbound")``."""
    from consumer.testing.scripted_run import ScriptedRun

    numbers = count(1)
    return lambda **facts: ScriptedRun(next(numbers), **facts)


@pytest.fixture
def feed() -> Callable[..., Feed]:
    """Makes a feed of a handler: a class, a decorated function, or what ``use`` may name; see :class:`Feed`."""
    from consumer.testing.feeding import Feed

    return Feed
