"""Salesforce Sales Engagement cadences as lifecycle events.

This is what a handler author imports, and nothing else::

    from consumer import Context, LifecycleEvent, handler

    @handler(on=["run.ended.*", "step.failed"])
    async def notify(event: LifecycleEvent, ctx: Context) -> None:
        await ctx.http.post(URL, json={"text": f"{event.cadence_name}: {event.type} → {event.url}"})

The names of event types are constants in :mod:`consumer.vocabulary`.
"""

from consumer.events import ErrorDetail, LifecycleEvent, Origin, Position, Transaction
from consumer.plugin import BatchHandler, Context, Failed, FunctionHandler, Handler, Reject, Retry, handler
from consumer.records import ActionCadenceStepTracker, ActionCadenceTracker

__all__ = [
    "ActionCadenceStepTracker",
    "ActionCadenceTracker",
    "BatchHandler",
    "Context",
    "ErrorDetail",
    "Failed",
    "FunctionHandler",
    "Handler",
    "LifecycleEvent",
    "Origin",
    "Position",
    "Reject",
    "Retry",
    "Transaction",
    "handler",
]

__version__ = "0.1.0"
