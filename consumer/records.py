"""The two objects, field by field, as Salesforce documents them.

Attributes carry Python names; their aliases are the API names, which JSON uses. What a change event did not carry is *absent*
(``model_fields_set`` tells), which is not the same as ``None`` (Salesforce said it is empty). Unknown fields and picklist values pass
through: a subscription always uses the latest schema, so an org that is newer than this release must not break anything.

Source: Object Reference for Salesforce, ``ActionCadenceTracker`` (API 45.0) and ``ActionCadenceStepTracker`` (API 48.0).
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ENTITIES", "RUN", "STEP", "ActionCadenceStepTracker", "ActionCadenceTracker", "Record"]

RUN = "ActionCadenceTracker"
STEP = "ActionCadenceStepTracker"


class Record(BaseModel):
    """What both objects share: the system fields that travel in change events."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)

    calculated: ClassVar[frozenset[str]] = frozenset()
    """API names of calculated fields; they do not travel in change events."""

    created_date: Annotated[datetime | None, Field(alias="CreatedDate")] = None
    created_by_id: Annotated[str | None, Field(alias="CreatedById")] = None
    last_modified_date: Annotated[datetime | None, Field(alias="LastModifiedDate")] = None
    last_modified_by_id: Annotated[str | None, Field(alias="LastModifiedById")] = None


class ActionCadenceTracker(Record):
    """A run: one target in one cadence."""

    action_cadence_id: Annotated[str | None, Field(alias="ActionCadenceId")] = None
    completion_disposition: Annotated[str | None, Field(alias="CompletionDisposition")] = None
    completion_reason: Annotated[str | None, Field(alias="CompletionReason")] = None
    current_step_id: Annotated[str | None, Field(alias="CurrentStepId")] = None
    daisy_chain_iteration: Annotated[int | None, Field(alias="DaisyChainIteration")] = None
    error_message: Annotated[str | None, Field(alias="ErrorMessage")] = None
    exit_global_rule_id: Annotated[str | None, Field(alias="ExitGlobalRuleId")] = None
    is_tracker_active: Annotated[bool | None, Field(alias="IsTrackerActive")] = None
    last_completed_step_id: Annotated[str | None, Field(alias="LastCompletedStepId")] = None
    owner_id: Annotated[str | None, Field(alias="OwnerId")] = None
    related_to_attribution_type: Annotated[str | None, Field(alias="RelatedToAttributionType")] = None
    related_to_id: Annotated[str | None, Field(alias="RelatedToId")] = None
    scheduled_resume_date_time: Annotated[datetime | None, Field(alias="ScheduledResumeDateTime")] = None
    state: Annotated[str | None, Field(alias="State")] = None
    target_id: Annotated[str | None, Field(alias="TargetId")] = None


class ActionCadenceStepTracker(Record):
    """A step of a run."""

    calculated: ClassVar[frozenset[str]] = frozenset({"IsActionTaken", "SecondsOverdue"})

    action_cadence_id: Annotated[str | None, Field(alias="ActionCadenceId")] = None
    action_cadence_name: Annotated[str | None, Field(alias="ActionCadenceName")] = None
    action_cadence_step_id: Annotated[str | None, Field(alias="ActionCadenceStepId")] = None
    action_cadence_tracker_id: Annotated[str | None, Field(alias="ActionCadenceTrackerId")] = None
    action_taken_date_time: Annotated[datetime | None, Field(alias="ActionTakenDateTime")] = None
    completed_by_id: Annotated[str | None, Field(alias="CompletedById")] = None
    completion_date: Annotated[datetime | None, Field(alias="CompletionDate")] = None
    completion_reason: Annotated[str | None, Field(alias="CompletionReason")] = None
    due_date_time: Annotated[datetime | None, Field(alias="DueDateTime")] = None
    error_code: Annotated[str | None, Field(alias="ErrorCode")] = None
    go_to_step_iteration_count: Annotated[int | None, Field(alias="GoToStepIterationCount")] = None
    is_action_taken: Annotated[bool | None, Field(alias="IsActionTaken")] = None
    scheduled_start_date_time: Annotated[datetime | None, Field(alias="ScheduledStartDateTime")] = None
    seconds_overdue: Annotated[int | None, Field(alias="SecondsOverdue")] = None
    state: Annotated[str | None, Field(alias="State")] = None
    step_title: Annotated[str | None, Field(alias="StepTitle")] = None
    step_type: Annotated[str | None, Field(alias="StepType")] = None
    target_id: Annotated[str | None, Field(alias="TargetId")] = None
    was_ever_paused: Annotated[bool | None, Field(alias="WasEverPaused")] = None


ENTITIES: dict[str, type[Record]] = {RUN: ActionCadenceTracker, STEP: ActionCadenceStepTracker}
"""API name to model, for the two objects this service understands."""
