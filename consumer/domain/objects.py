"""The two objects, field by field, as Salesforce documents them.

Attributes carry Python names; their aliases are the API names, which JSON uses. What a change event did not carry is *absent*
(``model_fields_set`` tells), which is not the same as ``None`` (Salesforce said it is empty); therefore every attribute may be None,
those that Salesforce never leaves empty too. Unknown fields and picklist values pass through: a subscription always uses the latest
schema, so an org that is newer than this release must not break anything.

What Salesforce documents about a field stands beside it as a :class:`DocumentedField`, from which the decoder, the look-ups and the tests
of
what is known take it.

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
"""Fields that never change in a record's life, so that an enrichment value, read at delivery time, is right at any time."""


@dataclass(frozen=True, slots=True)
class DocumentedField:
    """What the Object Reference says about a field.

    Attributes:
        kind: its type there.
        since: API version in which it appeared, as in ``53.0``.
        nullable: whether it may be empty.
        calculated: whether it is calculated when read; such fields do not travel in change events.
        values: of a picklist, the documented ones.
        restricted: of a picklist, whether an org cannot add values of its own.
        refers_to: of a reference, the objects whose ids it holds.
    """

    kind: Literal["reference", "picklist", "string", "int", "boolean", "dateTime"]
    since: str
    nullable: bool = True
    calculated: bool = False
    values: tuple[str, ...] = ()
    restricted: bool = True
    refers_to: tuple[str, ...] = ()


class Record(BaseModel):
    """What both objects share: the system fields that travel in change events."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True, defer_build=True)

    calculated: ClassVar[frozenset[str]] = frozenset()
    """API names of calculated fields; they do not travel in change events."""

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
        """API name to what is documented, for the object's own fields."""
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
    """How the target came out, set when ``State`` is Complete, or later; orgs may have values of their own."""

    completion_reason: Annotated[
        str | None,
        Field(alias="CompletionReason"),
        DocumentedField("picklist", "45.0", values=get_args(RunReason)),
    ] = None
    """Why the run ended, set when ``State`` is Complete."""

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
    """What went wrong, up to 255 characters."""

    exit_global_rule_id: Annotated[
        str | None,
        Field(alias="ExitGlobalRuleId"),
        DocumentedField("reference", "49.0", refers_to=("ActionCadenceRule",)),
    ] = None
    """The exit rule that held, for runs that a global exit condition ended."""

    is_tracker_active: Annotated[
        bool | None, Field(alias="IsTrackerActive"), DocumentedField("boolean", "50.0", nullable=False)
    ] = None
    """Whether ``State`` is Initializing, Running, Paused or Processing; an org may have 150,000 active runs."""

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
    """The assignee: who is to complete the steps."""

    related_to_attribution_type: Annotated[
        str | None,
        Field(alias="RelatedToAttributionType"),
        DocumentedField("picklist", "51.0", values=get_args(Attribution)),
    ] = None
    """What of the related record is attributed to the cadence, and when."""

    related_to_id: Annotated[
        str | None,
        Field(alias="RelatedToId"),
        DocumentedField("reference", "51.0", refers_to=("Opportunity", "Invoice")),
    ] = None
    """The related opportunity or invoice."""

    scheduled_resume_date_time: Annotated[
        datetime | None, Field(alias="ScheduledResumeDateTime"), DocumentedField("dateTime", "53.0")
    ] = None
    """When the run goes on by itself, while it is paused or on a wait step."""

    state: Annotated[
        str | None,
        Field(alias="State"),
        DocumentedField("picklist", "45.0", nullable=False, values=get_args(RunState)),
    ] = None
    """Where the run stands."""

    target_id: Annotated[
        str | None,
        Field(alias="TargetId"),
        DocumentedField("reference", "45.0", refers_to=("Contact", "Lead")),
    ] = None
    """The prospect; a person account too, by which of its ids is not documented, so its prefix means nothing."""


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
    """The cadence's name; derived, so it may not travel in change events."""

    action_cadence_step_id: Annotated[
        str | None,
        Field(alias="ActionCadenceStepId"),
        DocumentedField("reference", "48.0", refers_to=("ActionCadenceStep",)),
    ] = None
    """The step as the cadence defines it, of which this is the instance in one run."""

    action_cadence_tracker_id: Annotated[
        str | None,
        Field(alias="ActionCadenceTrackerId"),
        DocumentedField("reference", "48.0", nullable=False, refers_to=("ActionCadenceTracker",)),
    ] = None
    """The run."""

    action_taken_date_time: Annotated[
        datetime | None, Field(alias="ActionTakenDateTime"), DocumentedField("dateTime", "48.0")
    ] = None
    """When the action that the step describes was taken."""

    completed_by_id: Annotated[
        str | None, Field(alias="CompletedById"), DocumentedField("reference", "50.0", refers_to=("User",))
    ] = None
    """Who completed it; a step may pass through several hands before."""

    completion_date: Annotated[
        datetime | None, Field(alias="CompletionDate"), DocumentedField("dateTime", "48.0")
    ] = None
    """When it was completed: done or skipped."""

    completion_reason: Annotated[
        str | None,
        Field(alias="CompletionReason"),
        DocumentedField("picklist", "48.0", values=get_args(StepReason)),
    ] = None
    """How it was completed."""

    due_date_time: Annotated[
        datetime | None, Field(alias="DueDateTime"), DocumentedField("dateTime", "48.0")
    ] = None
    """When it must be completed, for steps with a due date."""

    error_code: Annotated[
        str | None, Field(alias="ErrorCode"), DocumentedField("picklist", "48.0", values=tuple(ERROR_KINDS))
    ] = None
    """What went wrong; :mod:`consumer.domain.step_error_codes` says whose trouble it is."""

    go_to_step_iteration_count: Annotated[
        int | None, Field(alias="GoToStepIterationCount"), DocumentedField("int", "58.0")
    ] = None
    """How often a step tracker was created for the same step of the cadence."""

    is_action_taken: Annotated[
        bool | None,
        Field(alias="IsActionTaken"),
        DocumentedField("boolean", "48.0", nullable=False, calculated=True),
    ] = None
    """Whether an action, such as a call, was completed during this step."""

    scheduled_start_date_time: Annotated[
        datetime | None, Field(alias="ScheduledStartDateTime"), DocumentedField("dateTime", "58.0")
    ] = None
    """When the step starts."""

    seconds_overdue: Annotated[
        int | None, Field(alias="SecondsOverdue"), DocumentedField("int", "48.0", calculated=True)
    ] = None
    """Seconds since ``DueDateTime`` passed; once action was taken, until then."""

    state: Annotated[
        str | None, Field(alias="State"), DocumentedField("picklist", "48.0", values=get_args(StepState))
    ] = None
    """Where the step stands; unlike a run's it may be empty."""

    step_title: Annotated[str | None, Field(alias="StepTitle"), DocumentedField("string", "48.0")] = None
    """The step's name in the cadence."""

    step_type: Annotated[
        str | None, Field(alias="StepType"), DocumentedField("picklist", "48.0", values=get_args(StepType))
    ] = None
    """What is to be done."""

    target_id: Annotated[
        str | None,
        Field(alias="TargetId"),
        DocumentedField("reference", "48.0", refers_to=("Contact", "Lead")),
    ] = None
    """The prospect, as of the run."""

    was_ever_paused: Annotated[
        bool | None, Field(alias="WasEverPaused"), DocumentedField("boolean", "50.0", nullable=False)
    ] = None
    """Whether a rep ever paused it."""


ENTITIES: dict[str, type[Record]] = {RUN: ActionCadenceTracker, STEP: ActionCadenceStepTracker}
"""API name to model, for the two objects this service understands."""

DOCUMENTED_FIELDS: dict[str, dict[str, DocumentedField]] = {
    entity: model.documented() for entity, model in ENTITIES.items()
}
"""Entity to API name of its own fields to what is documented about them."""
