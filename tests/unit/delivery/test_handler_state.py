"""What stops a handler and what lets it run again, one cause at a time and several at once."""

from __future__ import annotations

from itertools import combinations

import pytest

from consumer.delivery.handler_state import STOP_CAUSES, HandlerState, HandlerStateMachine, Trigger
from consumer.ports.journal import JournalEntry
from consumer.ports.observers.handler_events import (
    HandlerDisabled,
    HandlerHalted,
    HandlerPaused,
    HandlerResumed,
)
from tests.support.rigs.observing import Recorder

RUNNING, PAUSED, HALTED, DISABLED, STUCK, OPENING_FAILED = HandlerState
LIMIT = 3
ENTRY = JournalEntry(7, "e7", "run.updated", "run", b"{}")


@pytest.fixture
def observer():
    return Recorder()


@pytest.fixture
def machine(observer):
    return HandlerStateMachine("h", LIMIT, observer)


def stopped(machine, *causes):
    """A handler that is stopped by these causes."""
    machine.update(paused=PAUSED in causes, dead_letters=LIMIT if HALTED in causes else 0)
    if DISABLED in causes:
        machine.disable(ENTRY, "no licence")
    return machine


def test_a_new_handler_has_no_dead_letters(observer):
    assert not HandlerStateMachine("h", 1, observer).is_at_dead_letter_limit


def test_a_new_handler_runs_and_nobody_is_notified(machine, observer):
    machine.update(paused=False, dead_letters=LIMIT - 1)
    assert machine.state is RUNNING
    assert not machine.is_at_dead_letter_limit
    assert observer.seen == []


def test_every_state_but_running_has_one_row():
    assert [cause.state for cause in STOP_CAUSES] == [OPENING_FAILED, STUCK, DISABLED, HALTED, PAUSED]
    assert {cause.begins_with for cause in STOP_CAUSES} == {
        Trigger.OPEN_FAILED,
        Trigger.CANCELLATION_IGNORED,
        Trigger.PAUSE,
        Trigger.LIMIT_REACHED,
        Trigger.DISABLE,
    }


@pytest.mark.parametrize(
    "causes", [each for size in (1, 2, 3) for each in combinations((DISABLED, HALTED, PAUSED), size)]
)
def test_the_state_is_that_of_the_first_cause_in_the_table(machine, causes):
    assert stopped(machine, *causes).state is causes[0]


@pytest.mark.parametrize(
    ("causes", "left"),
    [
        ((PAUSED,), RUNNING),
        ((DISABLED, PAUSED), RUNNING),
        ((HALTED, PAUSED), HALTED),
        ((DISABLED, HALTED, PAUSED), HALTED),
    ],
)
def test_taking_a_pause_back_ends_the_pause_and_lets_a_disabled_handler_try_again(machine, causes, left):
    stopped(machine, *causes).update(paused=False, dead_letters=LIMIT if HALTED in causes else 0)
    assert machine.state is left


@pytest.mark.parametrize(
    ("causes", "left"),
    [
        ((HALTED,), RUNNING),
        ((HALTED, PAUSED), PAUSED),
        ((DISABLED, HALTED), DISABLED),
        ((DISABLED, HALTED, PAUSED), DISABLED),
    ],
)
def test_fewer_dead_letters_than_the_limit_end_the_halt_and_nothing_else(machine, causes, left):
    stopped(machine, *causes).update(paused=PAUSED in causes, dead_letters=LIMIT - 1)
    assert machine.state is left


def test_what_is_known_already_changes_nothing_and_notifies_nobody(machine, observer):
    stopped(machine, DISABLED, HALTED, PAUSED)
    observer.seen.clear()
    stopped(machine, DISABLED, HALTED, PAUSED)
    machine.halt()
    assert machine.state is DISABLED
    assert observer.seen == []


def test_a_disabled_handler_is_not_resumed_by_the_absence_of_a_pause(machine):
    stopped(machine, DISABLED).update(paused=False, dead_letters=0)
    assert machine.state is DISABLED


def test_dead_letters_that_are_not_stored_yet_count(machine):
    machine.update(paused=False, dead_letters=LIMIT - 2)
    machine.add_dead_letter()
    assert not machine.is_at_dead_letter_limit
    machine.add_dead_letter()
    assert machine.is_at_dead_letter_limit
    assert machine.state is RUNNING, "one more would be too many, and halts it"
    machine.halt()
    assert machine.state is HALTED


@pytest.mark.parametrize(
    ("causes", "notified"),
    [
        ((PAUSED,), [HandlerResumed("h"), HandlerPaused("h")]),
        ((HALTED,), [HandlerHalted("h", LIMIT, LIMIT)]),
        (
            (HALTED, PAUSED),
            [HandlerResumed("h"), HandlerPaused("h"), HandlerPaused("h"), HandlerHalted("h", LIMIT, LIMIT)],
        ),
        ((DISABLED,), [HandlerDisabled("h", ENTRY, "no licence")]),
    ],
)
def test_the_observer_is_notified_of_all_that_stops_a_handler(machine, observer, causes, notified):
    stopped(machine, *causes)
    assert observer.seen == notified


@pytest.mark.parametrize(
    ("causes", "notified"),
    [
        ((HALTED,), [HandlerResumed("h")]),
        ((HALTED, PAUSED), [HandlerResumed("h"), HandlerPaused("h")]),
        ((DISABLED, HALTED), []),
        ((DISABLED, HALTED, PAUSED), [HandlerPaused("h")]),
    ],
)
def test_the_end_of_a_halt_is_announced_unless_the_handler_is_disabled(machine, observer, causes, notified):
    stopped(machine, *causes)
    observer.seen.clear()
    machine.update(paused=PAUSED in causes, dead_letters=0)
    assert observer.seen == notified


@pytest.mark.parametrize(
    ("causes", "notified"),
    [
        ((PAUSED,), [HandlerResumed("h")]),
        ((DISABLED, PAUSED), [HandlerResumed("h")]),
        ((HALTED, PAUSED), [HandlerHalted("h", LIMIT, LIMIT)]),
    ],
)
def test_the_end_of_a_pause_is_announced_unless_the_handler_is_halted(machine, observer, causes, notified):
    stopped(machine, *causes)
    observer.seen.clear()
    machine.update(paused=False, dead_letters=LIMIT if HALTED in causes else 0)
    assert observer.seen == notified
