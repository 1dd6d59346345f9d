"""Tracked Salesforce objects, field by field, as Salesforce documents them.

Attributes have Python names; their aliases are the API names, which JSON uses. A field that a change event did not carry is *absent* (see
``model_fields_set``), which differs from ``None`` (Salesforce reported it as empty); therefore every attribute may be None, even those that
Salesforce never leaves empty. Unknown fields and picklist values pass through: a subscription always uses the latest schema, so an org that
is newer than this release must not break anything.

Salesforce's documentation of a field is attached to it as a :class:`DocumentedField`, which the decoder, the lookups and the tests read.

Source: Object Reference for Salesforce, ``ActionCadenceTracker`` (API 45.0) and ``ActionCadenceStepTracker`` (API 48.0); both objects have
change events since API 48.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from consumer.domain.picklists import (
    Attribution,
    Disposition,
    RunReason,
    RunState,
    StepReason,
    StepState,
    StepType,
)
from consumer.domain.step_error_codes import ERROR_KINDS

__all__ = [
    "DOCUMENTED_FIELDS",
    "ENTITIES",
    "IMMUTABLE_FIELDS",
    "RUN",
    "STEP",
    "ActionCadenceStepTracker",
    "ActionCadenceTracker",
    "DocumentedField",
    "Record",
]

RUN = "ActionCadenceTracker"
STEP = "ActionCadenceStepTracker"


IMMUTABLE_FIELDS = ("TargetId", "ActionCadenceId", "ActionCadenceTrackerId", "StepType")
"""Fields that never change during a record's life.

Their enrichment values, read at delivery time, are therefore valid for any time.
"""


@dataclass(frozen=True, slots=True)
class DocumentedField:
    """Properties of a field according to the Object Reference.

    Attributes:
        kind: documented type.
        since: API version in which the field appeared, as in ``53.0``.
        nullable: whether the field may be empty.
        calculated: whether the value is calculated on read; change events do not carry such fields.
        values: for a picklist, the documented values.
        restricted: for a picklist, whether an org is prevented from adding values of its own.
        refers_to: for a reference, the objects whose ids it holds.
    """

    kind: Literal["reference", "picklist", "string", "int", "boolean", "dateTime"]
    since: str
    nullable: bool = True
    calculated: bool = False
    values: tuple[str, ...] = ()
    restricted: bool = True
    refers_to: tuple[str, ...] = ()


class Record(BaseModel):
    """Base of both objects: the system fields that change events carry."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True, defer_build=True)

    calculated: ClassVar[frozenset[str]] = frozenset()
    """API names of calculated fields; change events do not carry them."""

    created_date: Annotated[datetime | None, Field(alias="CreatedDate")] = None
    created_by_id: Annotated[str | None, Field(alias="CreatedById")] = None
    last_modified_date: Annotated[datetime | None, Field(alias="LastModifiedDate")] = None
    last_modified_by_id: Annotated[str | None, Field(alias="LastModifiedById")] = None

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Derive ``calculated``."""
        super().__pydantic_init_subclass__(**kwargs)
        cls.calculated = frozenset(
            name for name, documented_field in cls.documented().items() if documented_field.calculated
        )

    @classmethod
    def documented(cls) -> dict[str, DocumentedField]:
        """Map API names to documentation, for the object's own fields."""
        return {
            str(field.alias): documented_field
            for field in cls.model_fields.values()
            for documented_field in field.metadata
            if isinstance(documented_field, DocumentedField)
        }


class ActionCadenceTracker(Record):
    """A run: one target in one cadence."""

    action_cadence_id: Annotated[
        str | None,
        Field(alias="ActionCadenceId"),
        DocumentedField("reference", "45.0", refers_to=("ActionCadence",)),
    ] = None
    """The cadence that the target runs through."""

    completion_disposition: Annotated[
        str | None,
        Field(alias="CompletionDisposition"),
        DocumentedField("picklist", "51.0", values=get_args(Disposition), restricted=False),
    ] = None
    """Outcome for the target, set when ``State`` is Complete, or later.

    Orgs may add values of their own.
    """

    completion_reason: Annotated[
        str | None,
        Field(alias="CompletionReason"),
        DocumentedField("picklist", "45.0", values=get_args(RunReason)),
    ] = None
    """Reason why the run ended, set when ``State`` is Complete."""

    current_step_id: Annotated[
        str | None,
        Field(alias="CurrentStepId"),
        DocumentedField("reference", "45.0", refers_to=("ActionCadenceStepTracker",)),
    ] = None
    """The step tracker (not the cadence's step) that the target is on."""

    daisy_chain_iteration: Annotated[
        int | None, Field(alias="DaisyChainIteration"), DocumentedField("int", "53.0")
    ] = None
    """The number of this run in a chain of cadences that the target follows, 1 to 10."""

    error_message: Annotated[str | None, Field(alias="ErrorMessage"), DocumentedField("string", "45.0")] = (
        None
    )
    """Description of the error, up to 255 characters."""

    exit_global_rule_id: Annotated[
        str | None,
        Field(alias="ExitGlobalRuleId"),
        DocumentedField("reference", "49.0", refers_to=("ActionCadenceRule",)),
    ] = None
    """The exit rule that matched, for runs that a global exit condition ended."""

    is_tracker_active: Annotated[
        bool | None, Field(alias="IsTrackerActive"), DocumentedField("boolean", "50.0", nullable=False)
    ] = None
    """True while ``State`` is Initializing, Running, Paused or Processing.

    An org may have 150,000 active runs.
    """

    last_completed_step_id: Annotated[
        str | None,
        Field(alias="LastCompletedStepId"),
        DocumentedField("reference", "45.0", refers_to=("ActionCadenceStepTracker",)),
    ] = None
    """The step tracker that was completed last."""

    owner_id: Annotated[
        str | None,
        Field(alias="OwnerId"),
        DocumentedField("reference", "45.0", nullable=False, refers_to=("Group", "User")),
    ] = None
    """The assignee, who is to complete the steps."""

    related_to_attribution_type: Annotated[
        str | None,
        Field(alias="RelatedToAttributionType"),
        DocumentedField("picklist", "51.0", values=get_args(Attribution)),
    ] = None
    """Attribution rule: which value of the related record counts, and when."""

    related_to_id: Annotated[
        str | None,
        Field(alias="RelatedToId"),
        DocumentedField("reference", "51.0", refers_to=("Opportunity", "Invoice")),
    ] = None
    """The related opportunity or invoice."""

    scheduled_resume_date_time: Annotated[
        datetime | None, Field(alias="ScheduledResumeDateTime"), DocumentedField("dateTime", "53.0")
    ] = None
    """Time at which the run resumes by itself, while paused or on a wait step."""

    state: Annotated[
        str | None,
        Field(alias="State"),
        DocumentedField("picklist", "45.0", nullable=False, values=get_args(RunState)),
    ] = None
    """Current state of the run."""

    target_id: Annotated[
        str | None,
        Field(alias="TargetId"),
        DocumentedField("reference", "45.0", refers_to=("Contact", "Lead")),
    ] = None
    """The prospect: a lead, a contact or a person account.

    Salesforce does not document which id it uses for a person account, so the id's prefix proves nothing.
    """


class ActionCadenceStepTracker(Record):
    """A step of a run."""

    action_cadence_id: Annotated[
        str | None,
        Field(alias="ActionCadenceId"),
        DocumentedField("reference", "48.0", refers_to=("ActionCadence",)),
    ] = None
    """The cadence that the step belongs to."""

    action_cadence_name: Annotated[
        str | None, Field(alias="ActionCadenceName"), DocumentedField("string", "48.0")
    ] = None
    """The cadence's name; derived, so change events may not carry it."""

    action_cadence_step_id: Annotated[
        str | None,
        Field(alias="ActionCadenceStepId"),
        DocumentedField("reference", "48.0", refers_to=("ActionCadenceStep",)),
    ] = None
    """The step in the cadence's definition, of which this is one run's instance."""

    action_cadence_tracker_id: Annotated[
        str | None,
        Field(alias="ActionCadenceTrackerId"),
        DocumentedField("reference", "48.0", nullable=False, refers_to=("ActionCadenceTracker",)),
    ] = None
    """The run."""

    action_taken_date_time: Annotated[
        datetime | None, Field(alias="ActionTakenDateTime"), DocumentedField("dateTime", "48.0")
    ] = None
    """Time at which the action that the step describes was taken."""

    completed_by_id: Annotated[
        str | None, Field(alias="CompletedById"), DocumentedField("reference", "50.0", refers_to=("User",))
    ] = None
    """User who completed the step; it may have had several assignees before."""

    completion_date: Annotated[
        datetime | None, Field(alias="CompletionDate"), DocumentedField("dateTime", "48.0")
    ] = None
    """Time of completion, done or skipped."""

    completion_reason: Annotated[
        str | None,
        Field(alias="CompletionReason"),
        DocumentedField("picklist", "48.0", values=get_args(StepReason)),
    ] = None
    """Reason for the completion."""

    due_date_time: Annotated[
        datetime | None, Field(alias="DueDateTime"), DocumentedField("dateTime", "48.0")
    ] = None
    """Deadline for completion, for steps with a due date."""

    error_code: Annotated[
        str | None, Field(alias="ErrorCode"), DocumentedField("picklist", "48.0", values=tuple(ERROR_KINDS))
    ] = None
    """Code of the error, grouped by :mod:`consumer.domain.step_error_codes`."""

    go_to_step_iteration_count: Annotated[
        int | None, Field(alias="GoToStepIterationCount"), DocumentedField("int", "58.0")
    ] = None
    """Number of step trackers created for the same step of the cadence."""

    is_action_taken: Annotated[
        bool | None,
        Field(alias="IsActionTaken"),
        DocumentedField("boolean", "48.0", nullable=False, calculated=True),
    ] = None
    """True if an action, such as a call, was completed during this step."""

    scheduled_start_date_time: Annotated[
        datetime | None, Field(alias="ScheduledStartDateTime"), DocumentedField("dateTime", "58.0")
    ] = None
    """Start time of the step."""

    seconds_overdue: Annotated[
        int | None, Field(alias="SecondsOverdue"), DocumentedField("int", "48.0", calculated=True)
    ] = None
    """Seconds since ``DueDateTime`` passed; once action was taken, until then."""

    state: Annotated[
        str | None, Field(alias="State"), DocumentedField("picklist", "48.0", values=get_args(StepState))
    ] = None
    """Current state of the step; unlike a run's it may be empty."""

    step_title: Annotated[str | None, Field(alias="StepTitle"), DocumentedField("string", "48.0")] = None
    """The step's name in the cadence."""

    step_type: Annotated[
        str | None, Field(alias="StepType"), DocumentedField("picklist", "48.0", values=get_args(StepType))
    ] = None
    """Kind of action the step calls for."""

    target_id: Annotated[
        str | None,
        Field(alias="TargetId"),
        DocumentedField("reference", "48.0", refers_to=("Contact", "Lead")),
    ] = None
    """The prospect, as of the run."""

    was_ever_paused: Annotated[
        bool | None, Field(alias="WasEverPaused"), DocumentedField("boolean", "50.0", nullable=False)
    ] = None
    """True if a rep ever paused the step."""


ENTITIES: dict[str, type[Record]] = {RUN: ActionCadenceTracker, STEP: ActionCadenceStepTracker}
"""API name to model, for the two objects that this service supports."""

DOCUMENTED_FIELDS: dict[str, dict[str, DocumentedField]] = {
    entity: model.documented() for entity, model in ENTITIES.items()
}
"""Entity to API name of each of its own fields to the field's documentation."""
