"""A handler that cannot open, or does not end its calls, is in a state of its own."""

from __future__ import annotations

import pytest

from consumer.delivery.handler_state import HandlerState, HandlerStateMachine
from consumer.ports.observers.handler_events import (
    HandlerHalted,
    HandlerOpened,
    HandlerOpenFailed,
    HandlerResumed,
)

RUNNING, PAUSED, HALTED, DISABLED, STUCK, OPENING_FAILED = HandlerState
LIMIT = 3


class Seen:
    """Observer that keeps everything in its order."""

    def __init__(self):
        self.seen = []
        self.observe = self.seen.append


@pytest.fixture
def observer():
    return Seen()


@pytest.fixture
def machine(observer):
    return HandlerStateMachine("h", LIMIT, observer)


def test_a_handler_that_cannot_open_is_stopped_until_it_is_open(machine, observer):
    error = OSError("no route")
    machine.opening_failed(error, 500)
    machine.update(paused=False, dead_letters=0)
    assert machine.state is OPENING_FAILED
    machine.opening_failed(error, 1_000)
    machine.opened(7)
    assert machine.state is RUNNING
    assert [type(each) for each in observer.seen] == [
        HandlerOpenFailed,
        HandlerOpenFailed,
        HandlerOpened,
        HandlerResumed,
    ]


def test_a_handler_that_opens_at_once_was_never_stopped(machine, observer):
    machine.opened(7)
    assert machine.state is RUNNING
    assert [type(each) for each in observer.seen] == [HandlerOpened]


def test_a_handler_that_is_halted_stays_so_when_it_is_open_at_last(machine, observer):
    machine.update(paused=False, dead_letters=LIMIT)
    machine.opening_failed(OSError(), 500)
    assert machine.state is OPENING_FAILED
    machine.opened(7)
    assert machine.state is HALTED
    assert type(observer.seen[-1]) is HandlerHalted, "the reason is that one again"


def test_a_handler_runs_again_when_the_last_call_that_ignored_its_cancellation_has_ended(machine, observer):
    machine.cancellation_ignored()
    machine.cancellation_ignored()
    machine.stuck_call_ended()
    assert machine.state is STUCK
    machine.stuck_call_ended()
    assert machine.state is RUNNING
    assert type(observer.seen[-1]) is HandlerResumed
