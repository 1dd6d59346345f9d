"""Inputs of the eight Sales Engagement actions, validated before sending.

One model per action, with Salesforce's names on the wire and Python's in code: ``RemoveTarget(tracker_id=…)`` is sent as
``{"actionCadenceTrackerId": …, "completionReasonCode": "ManuallyRemoved"}``. Salesforce's names are accepted too, so that a row of a file
is a valid input unchanged. Ids may have 15 or 18 characters and are sent with 18. An invalid input raises pydantic's ``ValidationError``;
:func:`~consumer.actions.validation.validation_message` formats that as one line for people.

Source of fields, values and first versions: "Sales Engagement Actions" in the Actions Developer Guide. Two of its samples are wrong and
corrected here: ``eventType`` is ``ManualComplete`` (the sample has a blank in it), ``resumeTime`` is ISO 8601 (the sample has a colon
before the fraction).

An action is *repeatable* if performing it twice has the same effect and the same answer as performing it once. Only such a call is sent
again when the connection breaks and it is unknown whether Salesforce performed it; every other model documents what a second call would
do.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from consumer.actions.validation import (
    OPPORTUNITY_PREFIX,
    AttributionType,
    CadenceNameOrId,
    DispositionName,
    EventName,
    Instant,
    ManuallyRemoved,
    RelatedId,
    RunId,
    StepId,
    TargetId,
    UserId,
)

__all__ = [
    "ActionInput",
    "AssignTarget",
    "ChangeAssignee",
    "ModifyAttributes",
    "PauseRun",
    "RemoveTarget",
    "ResumeRun",
    "SelectTemplate",
    "SendEvent",
]


class ActionInput(BaseModel, ABC):
    """Input of an action; a call takes many inputs of one kind.

    Attributes:
        action: the action's API name.
        since: the first API version that has the action.
        repeatable: whether performing the action twice has the same effect and answer as performing it once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, defer_build=True)

    action: ClassVar[str]
    since: ClassVar[float]
    repeatable: ClassVar[bool] = False

    @property
    @abstractmethod
    def subject(self) -> str:
        """Id by which a person recognises the input: the target, the run or the step."""

    def to_json(self) -> dict[str, Any]:
        """Encode as sent: Salesforce's names, without unset fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class _TargetInput(ActionInput):
    target_id: TargetId = Field(alias="targetId", description="Lead, Contact or person account.")

    @property
    def subject(self) -> str:
        """Id of the target."""
        return self.target_id


class _AttributionInput(ActionInput):
    """Outcome of a run, as `RemoveTarget` and `ModifyAttributes` record it."""

    completion_disposition: DispositionName | None = Field(
        default=None, alias="completionDisposition", description="Outcome of the run."
    )
    related_to_id: RelatedId | None = Field(
        default=None,
        alias="relatedToId",
        description="Opportunity or invoice; only where the org relates them to cadences.",
    )
    related_to_attribution_type: AttributionType | None = Field(
        default=None,
        alias="relatedToAttributionType",
        description="Activation (both), Maturation (opportunities) or Collected (invoices).",
    )

    @model_validator(mode="after")
    def _check_attribution_type(self) -> Self:
        kind, related = self.related_to_attribution_type, self.related_to_id
        if related is None:
            return self
        opportunity = related.startswith(OPPORTUNITY_PREFIX)
        if kind == "Maturation" and not opportunity:
            raise ValueError(
                f"Maturation is for opportunities only, whose ids begin with {OPPORTUNITY_PREFIX}, and relatedToId is {related}; "
                "use Activation or Collected"
            )
        if kind == "Collected" and opportunity:
            raise ValueError(
                f"Collected is for invoices only, and relatedToId {related} is an opportunity; use Activation or Maturation"
            )
        return self


class AssignTarget(_TargetInput):
    """Add a target to a cadence.

    Not repeatable: Salesforce refuses the second call while the first run is active, so a success would be reported as a failure; and once
    that run has ended, the second call would enrol the target again.
    """

    action = "assignTargetToSalesCadence"
    since = 45.0

    cadence: CadenceNameOrId = Field(alias="salesCadenceNameOrId", description="Name or id of the cadence.")
    start_step: str | None = Field(
        default=None,
        min_length=1,
        alias="startStepNameOrId",
        description="Name or id of the step to start at.",
    )
    user_id: UserId | None = Field(
        default=None, alias="userId", description="Assignee of the run, who works its steps."
    )
    related_to_id: RelatedId | None = Field(
        default=None, alias="relatedToId", description="Opportunity or invoice."
    )


class RemoveTarget(_AttributionInput):
    """Remove a target from its cadence, by run or by target.

    A run id removes exactly that run; a target id removes every run of the target.

    Not repeatable: the second call answers that there is nothing to remove; by target it could end a run that began in between.
    """

    action = "removeTargetFromSalesCadence"
    since = 45.0

    target_id: TargetId | None = Field(
        default=None, alias="targetId", description="Lead, Contact or person account."
    )
    tracker_id: RunId | None = Field(default=None, alias="actionCadenceTrackerId", description="The run.")
    completion_reason_code: ManuallyRemoved = Field(
        default="ManuallyRemoved",
        alias="completionReasonCode",
        description="Salesforce accepts no other value.",
    )
    should_apply_user_context: bool | None = Field(
        default=None,
        alias="shouldApplyUserContext",
        description="Remove only runs that the running user owns.",
    )

    @model_validator(mode="after")
    def _check_single_subject(self) -> Self:
        if (self.target_id is None) == (self.tracker_id is None):
            count_set = "neither is" if self.target_id is None else "both are"
            raise ValueError(f"set either targetId or actionCadenceTrackerId; {count_set} set")
        return self

    @property
    def subject(self) -> str:
        """Id of the run, or of the target."""
        return self.tracker_id or self.target_id or ""


class PauseRun(_TargetInput):
    """Pause a target, until ``resume_time`` if set.

    Salesforce accepts no run id here: every run of the target is paused.

    Not repeatable: a paused run cannot be paused, so a success would be reported as a failure.
    """

    action = "pauseSalesCadenceTracker"
    since = 50.0

    resume_time: Instant | None = Field(default=None, alias="resumeTime", description="ISO 8601, with zone.")


class ResumeRun(_TargetInput):
    """Resume every paused run of a target.

    Not repeatable: a running run cannot be resumed, so a success would be reported as a failure.
    """

    action = "resumeSalesCadenceTracker"
    since = 50.0


class ChangeAssignee(_TargetInput):
    """Assign a target to another user.

    Repeatable: the action sets a value.
    """

    action = "changeSalesCadenceTargetAssignee"
    since = 50.0
    repeatable = True

    user_id: UserId | None = Field(default=None, alias="userId", description="The new assignee.")


class ModifyAttributes(_AttributionInput):
    """Record the outcome and attribution of a run, before or after its end.

    Repeatable: the action sets values.
    """

    action = "modifyCadenceTrackerAttributes"
    since = 51.0
    repeatable = True

    tracker_id: RunId = Field(alias="actionCadenceTrackerId", description="The run.")

    @model_validator(mode="after")
    def _check_not_empty(self) -> Self:
        if (
            self.completion_disposition is None
            and self.related_to_id is None
            and self.related_to_attribution_type is None
        ):
            raise ValueError(
                "nothing to modify; set completionDisposition, relatedToId or relatedToAttributionType"
            )
        return self

    @property
    def subject(self) -> str:
        """Id of the run."""
        return self.tracker_id


class SendEvent(ActionInput):
    """Skip a step or complete it by hand.

    Not repeatable: the step is over after the first call, so a success would be reported as a failure.
    """

    action = "sendSalesCadenceEvent"
    since = 52.0

    step_tracker_id: StepId = Field(alias="recordId", description="The step.")
    event_type: EventName = Field(alias="eventType", description="Skip or ManualComplete.")

    @property
    def subject(self) -> str:
        """Id of the step."""
        return self.step_tracker_id


class SelectTemplate(ActionInput):
    """Look up the e-mail template or call script that a step uses for its target.

    Repeatable: the action changes nothing.
    """

    action = "selectTemplateForSalesCadenceStepTracker"
    since = 53.0
    repeatable = True

    step_tracker_id: StepId = Field(alias="stepTrackerId", description="The step.")

    @property
    def subject(self) -> str:
        """Id of the step."""
        return self.step_tracker_id
