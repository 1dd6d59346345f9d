"""The eight Sales Engagement actions: what each takes, and the rules that are checked before anything is sent.

One model per action, with Salesforce's names on the wire and Python's in code: ``RemoveTarget(tracker_id=…)`` is sent as
``{"actionCadenceTrackerId": …, "completionReasonCode": "ManuallyRemoved"}``. Salesforce's names are taken too, so that a row of a file
becomes an input as it is. Ids are given with 15 or 18 characters and sent with 18. What breaks a rule raises pydantic's
``ValidationError``; :func:`~consumer.actions.validation.validation_message` turns that into one line for people.

Source of fields, values and first versions: "Sales Engagement Actions" in the Actions Developer Guide. Two of its samples are wrong and
corrected here: ``eventType`` is ``ManualComplete`` (the sample has a blank in it), ``resumeTime`` is ISO 8601 (the sample has a colon
before the fraction).

*Repeatable* is an action that, performed twice, leaves and answers what once does. Only such a call is sent again when the connection
broke and nobody knows whether Salesforce performed it; for each of the others the model says what a second call would do.
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
    """One input of an action; a call takes many of one kind.

    Attributes:
        action: the action's API name.
        since: the first API version that has it.
        repeatable: whether performing it twice leaves and answers what once does.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, defer_build=True)

    action: ClassVar[str]
    since: ClassVar[float]
    repeatable: ClassVar[bool] = False

    @property
    @abstractmethod
    def subject(self) -> str:
        """The id that a person knows it by: the target, the run or the step."""

    def to_json(self) -> dict[str, Any]:
        """As it is sent: Salesforce's names, without what was not given."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class _TargetInput(ActionInput):
    target_id: TargetId = Field(alias="targetId", description="Lead, Contact or person account.")

    @property
    def subject(self) -> str:
        """The target."""
        return self.target_id


class _AttributionInput(ActionInput):
    """What `RemoveTarget` and `ModifyAttributes` say about how a run came out."""

    completion_disposition: DispositionName | None = Field(
        default=None, alias="completionDisposition", description="How the run came out."
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
                f"Maturation is for opportunities only, and relatedToId {related} is none (they begin with {OPPORTUNITY_PREFIX}); "
                "use Activation or Collected"
            )
        if kind == "Collected" and opportunity:
            raise ValueError(
                f"Collected is for invoices only, and relatedToId {related} is an opportunity; use Activation or Maturation"
            )
        return self


class AssignTarget(_TargetInput):
    """Add a target to a cadence.

    Not repeatable: Salesforce refuses the second call while the first run is active, so a success would read as a failure; and once that
    run has ended the second call would enrol the target again.
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
        default=None, alias="userId", description="Who is to work the steps: the run's assignee."
    )
    related_to_id: RelatedId | None = Field(
        default=None, alias="relatedToId", description="Opportunity or invoice."
    )


class RemoveTarget(_AttributionInput):
    """Take a target out of its cadence, by target or by run. By run is exact; by target it is every run that the target is in.

    Not repeatable: the second call answers that there is nothing to remove; by target it could end a run that began in between.
    """

    action = "removeTargetFromSalesCadence"
    since = 45.0

    target_id: TargetId | None = Field(
        default=None, alias="targetId", description="Lead, Contact or person account."
    )
    tracker_id: RunId | None = Field(default=None, alias="actionCadenceTrackerId", description="The run.")
    completion_reason_code: ManuallyRemoved = Field(
        default="ManuallyRemoved", alias="completionReasonCode", description="Salesforce takes no other."
    )
    should_apply_user_context: bool | None = Field(
        default=None,
        alias="shouldApplyUserContext",
        description="Remove only runs that the running user owns.",
    )

    @model_validator(mode="after")
    def _check_single_subject(self) -> Self:
        if (self.target_id is None) == (self.tracker_id is None):
            count_given = "neither is" if self.target_id is None else "both are"
            raise ValueError(f"give either targetId or actionCadenceTrackerId; {count_given} given")
        return self

    @property
    def subject(self) -> str:
        """The run, or the target."""
        return self.tracker_id or self.target_id or ""


class PauseRun(_TargetInput):
    """Pause a target, until ``resume_time`` if given. Salesforce takes no run here: it is every run that the target is in.

    Not repeatable: a paused run cannot be paused, so a success would read as a failure.
    """

    action = "pauseSalesCadenceTracker"
    since = 50.0

    resume_time: Instant | None = Field(default=None, alias="resumeTime", description="ISO 8601, with zone.")


class ResumeRun(_TargetInput):
    """Resume a paused target: every paused run of it.

    Not repeatable: a running run cannot be resumed, so a success would read as a failure.
    """

    action = "resumeSalesCadenceTracker"
    since = 50.0


class ChangeAssignee(_TargetInput):
    """Give a target to another user. Repeatable: it sets a value."""

    action = "changeSalesCadenceTargetAssignee"
    since = 50.0
    repeatable = True

    user_id: UserId | None = Field(default=None, alias="userId", description="The new assignee.")


class ModifyAttributes(_AttributionInput):
    """Record how a run came out and what it led to, before or after its end. Repeatable: it sets values."""

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
                "nothing to modify; give completionDisposition, relatedToId or relatedToAttributionType"
            )
        return self

    @property
    def subject(self) -> str:
        """The run."""
        return self.tracker_id


class SendEvent(ActionInput):
    """Skip a step or complete it by hand.

    Not repeatable: the step is over after the first call, so a success would read as a failure.
    """

    action = "sendSalesCadenceEvent"
    since = 52.0

    step_tracker_id: StepId = Field(alias="recordId", description="The step.")
    event_type: EventName = Field(alias="eventType", description="Skip or ManualComplete.")

    @property
    def subject(self) -> str:
        """The step."""
        return self.step_tracker_id


class SelectTemplate(ActionInput):
    """Ask which e-mail template or call script a step uses for its target. Repeatable: it changes nothing."""

    action = "selectTemplateForSalesCadenceStepTracker"
    since = 53.0
    repeatable = True

    step_tracker_id: StepId = Field(alias="stepTrackerId", description="The step.")

    @property
    def subject(self) -> str:
        """The step."""
        return self.step_tracker_id
