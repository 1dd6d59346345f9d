"""Salesforce Sales Engagement cadences as lifecycle events.

This is what a handler author imports, and nothing else::

    from consumer import Context, LifecycleEvent, handler

    @handler(on=["run.ended.*", "step.failed"])
    async def notify(event: LifecycleEvent, ctx: Context) -> None:
        await ctx.http.post(URL, json={"text": f"{event.cadence_name}: {event.type} → {event.url}"})

The names of event types are constants in :mod:`consumer.vocabulary`.
"""

from consumer.acting import Actions
from consumer.action_results import ActionCallFailed, ActionError, ActionResult, ActionStatus, Template
from consumer.actions import (
    AssignTarget,
    ChangeAssignee,
    ModifyAttributes,
    PauseRun,
    RemoveTarget,
    ResumeRun,
    SelectTemplate,
    SendEvent,
)
from consumer.events import ErrorDetail, LifecycleEvent, Origin, Position, Transaction
from consumer.plugin import (
    ActionsRefused,
    BatchHandler,
    Context,
    Disable,
    Failed,
    FunctionHandler,
    Handler,
    Reject,
    Retry,
    handler,
)
from consumer.records import ActionCadenceStepTracker, ActionCadenceTracker
from consumer.vocabulary import EventPattern, EventType

__all__ = [
    "ActionCadenceStepTracker",
    "ActionCadenceTracker",
    "ActionCallFailed",
    "ActionError",
    "ActionResult",
    "ActionStatus",
    "Actions",
    "ActionsRefused",
    "AssignTarget",
    "BatchHandler",
    "ChangeAssignee",
    "Context",
    "Disable",
    "ErrorDetail",
    "EventPattern",
    "EventType",
    "Failed",
    "FunctionHandler",
    "Handler",
    "LifecycleEvent",
    "ModifyAttributes",
    "Origin",
    "PauseRun",
    "Position",
    "Reject",
    "RemoveTarget",
    "ResumeRun",
    "Retry",
    "SelectTemplate",
    "SendEvent",
    "Template",
    "Transaction",
    "handler",
]

__version__ = "0.1.0"
