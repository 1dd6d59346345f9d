"""Picklists of both objects, value by value, as Salesforce documents them.

This module is the only source of picklist values in the service: the fields of :mod:`consumer.domain.objects`, the state machines of
:mod:`consumer.domain.state_machines` and the inputs of the actions take them from here. The lists are closed for type checkers only. At
run time an unlisted value passes through as text, because a subscription always uses the latest schema; it is counted, and logged once.

Source: Object Reference for Salesforce, ``ActionCadenceTracker`` and ``ActionCadenceStepTracker``; the union over API versions, since
older ones list fewer values. ``ErrorCode`` has a module of its own, :mod:`consumer.domain.step_error_codes`.
"""

from __future__ import annotations

from typing import Literal

__all__ = [
    "Attribution",
    "Disposition",
    "RunReason",
    "RunState",
    "StepReason",
    "StepState",
    "StepType",
    "WritableAttribution",
]

RunState = Literal[
    "Initializing",  # being prepared
    "Running",
    "Paused",
    "Processing",  # "Salesforce is working on changing the state": transitional
    "Complete",  # ended, for the reason in CompletionReason; note the tense: a step is Completed
    "Error",  # stopped by an error, described in ErrorMessage
]
"""``ActionCadenceTracker.State``.

Initializing, Running, Paused and Processing count as active (``IsTrackerActive``).
"""

RunReason = Literal[
    "NoMoreSteps",  # all steps are completed
    "AutomaticallyExited",  # an exit rule (global exit condition) held; API 49.0
    "AutomaticallyExitedDeletedStep",  # its step was removed from the cadence
    "AutomaticallyExitedInvalidParentStep",
    "ManuallyRemoved",  # the rep removed the target
    "ManuallyRemovedNoAccess",  # reserved for future use
    "LeadConverted",
    "DaisyChained",  # the target continues in the next cadence, in a run of its own
]
"""``ActionCadenceTracker.CompletionReason``, set when ``State`` is Complete."""

Disposition = Literal[
    "Success",  # the outreach was successful
    "Customer Engaged",  # the target engaged with an e-mail
    "Customer Connected",  # the rep contacted the target
    "Contact Later",  # the target asked to be contacted at a later date
    "No Response",  # the target did not reply to any outreach
    "Not Interested",  # the target stated a lack of interest
    "Disqualified",  # a rep determined that the target is not qualified
    "Bad Data",  # some of the target's data is incorrect or invalid
    "Duplicate",  # the target has a duplicate lead, contact or person account
]
"""``ActionCadenceTracker.CompletionDisposition``: the standard values.

The picklist is not restricted: an org may add values of its own.
"""

WritableAttribution = Literal[
    "Activation",  # the opportunity, when it is created
    "Maturation",  # the opportunity, only when its stage advances
    "Collected",  # the value of the invoice, after payment
]
"""Attributions that the actions accept."""

Attribution = Literal[
    WritableAttribution,
    "Collection Advancement",  # the value of the invoice, when it is out for collection; can be read, not written
]
"""``ActionCadenceTracker.RelatedToAttributionType``.

States which value of the related record is attributed to the cadence, and when.
"""

StepState = Literal[
    "Active",  # the current step, to be performed
    "InProgress",  # the rep has started it
    "Scheduled",  # e-mail steps: to be sent later
    "Queued",  # automated e-mail steps: waits in the queue to be sent
    "Paused",
    "Completed",  # finished or skipped, see CompletionReason; note the tense: a run is Complete
    "Cancelled",  # not run
    "Error",  # failed, see ErrorCode
]
"""``ActionCadenceStepTracker.State``."""

StepReason = Literal[
    "AutomaticallyCompleted",  # done, and Salesforce moved on
    "ManuallyCompleted",  # the rep marked it as completed
    "ManuallySkipped",  # the rep skipped it
    "AutomaticallyExited",  # an exit rule held; API 49.0
]
"""``ActionCadenceStepTracker.CompletionReason``.

No value stands for a daisy chain: that is the run's reason.
"""

StepType = Literal[
    "AutoSendAnEmail",
    "Branch",
    "CreateTask",
    "DaisyChain",
    "LinkedInConnection",
    "LinkedInMail",
    "ListenerBranch",
    "MakeACall",
    "PlatformScreenFlow",  # API 55.0
    "Root",
    "SendAnEmail",
    "SubRoot",  # API 58.0
    "Wait",
]
"""``ActionCadenceStepTracker.StepType``."""
