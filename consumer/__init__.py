"""Salesforce Sales Engagement cadences as lifecycle events.

The public API for handlers::

    from consumer import Context, LifecycleEvent, handler

    @handler(on=["run.ended.*", "step.failed"])
    async def notify(event: LifecycleEvent, ctx: Context) -> None:
        await ctx.http.post(URL, json={"text": f"{event.cadence_name}: {event.type} → {event.url}"})

The names of event types are constants in :mod:`consumer.event_types`.
"""

from consumer.actions.client import Actions
from consumer.actions.inputs import (
    AssignTarget,
    ChangeAssignee,
    ModifyAttributes,
    PauseRun,
    RemoveTarget,
    ResumeRun,
    SelectTemplate,
    SendEvent,
)
from consumer.actions.results import (
    ActionCallFailed,
    ActionError,
    ActionResult,
    ActionStatus,
    Template,
)
from consumer.domain.lifecycle_events import (
    ErrorDetail,
    LifecycleEvent,
    Origin,
    Position,
    Transaction,
)
from consumer.domain.objects import ActionCadenceStepTracker, ActionCadenceTracker
from consumer.event_types import EventPattern, EventType
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

__version__ = "0.2.0.dev0"
