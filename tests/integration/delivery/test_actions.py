"""What handlers may do in Salesforce, and that they do not answer their own echo."""

from __future__ import annotations

import pytest
import structlog
from structlog.testing import capture_logs

from consumer import ActionResult, ActionsRefused, ActionStatus, Reject, RemoveTarget
from consumer.delivery.dispatcher import Dispatcher
from consumer.plugin import Context
from consumer.ports.observers.delivery_events import EventFiltered
from tests.support.rigs.delivery import Log, loaded, record

RUN = "0qBR00000005CXvMAM"
OURS = "com/salesforce/api/rest/66.0;client=cadence-consumer.h"


class ActionSender:
    """Says yes and writes down who asked."""

    def __init__(self):
        self.performed = []

    async def send(self, inputs, *, client):
        self.performed.append((client, [one.to_json() for one in inputs]))
        return [ActionResult(one, ActionStatus.SUCCEEDED) for one in inputs]

    async def active_runs(self, inputs):
        return [None for _ in inputs]

    async def is_active(self, tracker_id):
        return True


def context(**facts):
    return Context(handler="h", log=structlog.get_logger(), http=lambda: None, **facts)


async def deliver(world, *handlers, action_sender):
    dispatcher = Dispatcher(
        world.store,
        world.tenure,
        handlers,
        clock=world.clock,
        random=lambda: 0.0,
        observer=world.observer,
        action_sender=action_sender,
    )
    world.dispatcher = lambda *_, **__: dispatcher
    return world.delivering()


async def test_a_handler_acts_in_its_own_name_and_the_log_says_for_which_event(world):
    action_sender = ActionSender()

    async def handle(event, ctx):
        await ctx.actions.remove([RemoveTarget(tracker_id=RUN)])

    await world.publish(record(0))
    with capture_logs() as lines:
        async with await deliver(world, loaded(handle), action_sender=action_sender):
            await world.acknowledged_through(1, limit_s=10)
    removal = {"actionCadenceTrackerId": RUN, "completionReasonCode": "ManuallyRemoved"}
    assert action_sender.performed == [("cadence-consumer.h", [removal])]
    (line,) = [line for line in lines if line["event"] == "action"]
    assert (line["handler"], line["event_id"], line["attempt"], line["subjects"]) == ("h", "e0", 1, [RUN])


@pytest.mark.looptime
async def test_a_handler_does_not_get_the_changes_that_it_made_and_others_do(world):
    own, other, curious = Log(), Log(), Log()
    await world.publish(
        record(0, change_origin=OURS),
        record(1, change_origin=OURS.replace(".h", ".other")),
        record(2, change_origin="com/salesforce/api/rest/66.0;client=cadence-consumer"),
        record(3),
    )
    async with world.delivering(
        loaded(own), loaded(other, "other"), loaded(curious, "curious", ignore_own_changes=False)
    ):
        for name in ("h", "other", "curious"):
            await world.acknowledged_through(4, name)
    assert own.ids == ["e1", "e2", "e3"]
    assert other.ids == ["e0", "e2", "e3"]
    assert curious.ids == ["e0", "e1", "e2", "e3"]
    assert ("h", "run.advanced", "own_change") in world.observer.facts(EventFiltered)


@pytest.mark.looptime
async def test_with_ignore_own_changes_off_a_handler_gets_its_echo(world):
    log = Log()
    await world.publish(record(0, change_origin=OURS))
    async with world.delivering(loaded(log, ignore_own_changes=False)):
        await world.acknowledged_through(1)
    assert log.ids == ["e0"]


def test_actions_are_refused_in_a_replay_unless_the_handler_is_allowed_to():
    with pytest.raises(ActionsRefused) as caught:
        _ = context(replayed=True, action_sender=ActionSender()).actions
    assert str(caught.value) == (
        "handler 'h' used ctx.actions for an event that a replay delivers again, so the action may have been taken before: "
        "check ctx.replayed, or set handlers.h.allow_actions_on_replay"
    )
    assert isinstance(caught.value, Reject), "another attempt would be refused just the same"
    assert context(replayed=True, action_sender=ActionSender(), allow_actions_on_replay=True).actions


def test_actions_are_refused_in_a_dry_run_whatever_the_settings_say():
    with pytest.raises(ActionsRefused, match="in a dry run, which changes nothing in Salesforce"):
        _ = context(dry_run=True, action_sender=ActionSender(), allow_actions_on_replay=True).actions


def test_without_an_org_there_are_no_actions():
    with pytest.raises(RuntimeError, match="there is no Salesforce org here"):
        _ = context().actions


@pytest.mark.looptime
async def test_what_a_refused_handler_does_not_catch_makes_its_event_a_dead_letter_at_once(world):
    async def handle(event, ctx):
        raise ActionsRefused(ctx.handler, dry_run=False)

    await world.publish(record(0))
    async with world.delivering(loaded(handle)):
        await world.acknowledged_through(1)
    (dead_letter,) = world.store.dead_letters
    assert dead_letter.attempts == 1
    assert "allow_actions_on_replay" in dead_letter.error
