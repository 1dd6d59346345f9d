"""Results of an action, one per input: failures are values, not exceptions.

Only a call that failed as a whole raises an exception.

Salesforce answers a call with one element per input, in input order, each with ``isSuccess`` and, where it failed, ``errors``
(documented: "If any type of error occurs with an action, the isSuccess field is false"). The HTTP status of a partly failed call is not
documented, so this module ignores it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from consumer.actions.inputs import ActionInput
from consumer.errors import CadenceError

__all__ = ["ActionAnswer", "ActionCallFailed", "ActionError", "ActionResult", "ActionStatus", "Template"]

InputT_co = TypeVar("InputT_co", bound=ActionInput, covariant=True)


_SUBJECT_KEYS = (
    "actionCadenceTrackerId",
    "tracker_id",
    "targetId",
    "target_id",
    "recordId",
    "stepTrackerId",
    "step_tracker_id",
)


class _AnswerModel(BaseModel):
    # Members added by newer API versions are kept.
    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True, defer_build=True)


class ActionError(_AnswerModel):
    """Error of one input.

    Attributes:
        status_code: Salesforce's code, as in ``UNKNOWN_EXCEPTION``; ``INVALID_INPUT``, ``ALREADY_ENROLLED`` and ``DUPLICATE_INPUT`` are
            this service's own and mean that the input was not sent.
        message: text for people.
        fields: fields of the input that caused the error, where Salesforce names them.
    """

    status_code: str = Field(default="UNKNOWN_EXCEPTION", alias="statusCode")
    message: str = ""
    fields: tuple[str, ...] | None = ()


class ActionAnswer(_AnswerModel):
    """Element of Salesforce's answer, as received.

    Attributes:
        action_name: the action's API name.
        is_success: whether the input took effect.
        errors: None or absent when the input took effect.
        output_values: values that the action returns; absent where it returns none.
    """

    action_name: str = Field(default="", alias="actionName")
    is_success: bool = Field(alias="isSuccess")
    errors: tuple[ActionError, ...] | None = None
    output_values: dict[str, Any] | None = Field(default=None, alias="outputValues")


class Template(_AnswerModel):
    """Template or call script of a step.

    Attributes:
        template_id: id of the e-mail template or call script.
        split_percentage: share of the template in a variant test, in percent.
    """

    template_id: str = Field(alias="TemplateId")
    split_percentage: float | None = Field(default=None, alias="SplitPercentage")


class ActionStatus(StrEnum):
    """Outcome of one input."""

    SUCCEEDED = "succeeded"
    """Performed by Salesforce."""
    FAILED = "failed"
    """Rejected by Salesforce."""
    REFUSED = "refused"
    """Never sent: the input is invalid, or the target is already enrolled."""
    UNKNOWN = "unknown"
    """Sent, but the answer was lost: the input may or may not have taken effect."""
    UNSENT = "unsent"
    """Never sent: the call failed before the input's turn."""


@dataclass(frozen=True, slots=True)
class ActionResult(Generic[InputT_co]):
    """Result of one input.

    Attributes:
        input: the input; the caller's mapping where it is invalid.
        status: outcome of the input.
        errors: reasons why the input did not succeed.
        output: values that the action returned.
    """

    input: InputT_co | Mapping[str, Any]
    status: ActionStatus
    errors: tuple[ActionError, ...] = ()
    output: Mapping[str, Any] = field(default_factory=dict)

    @property
    def succeeded(self) -> bool:
        """True if Salesforce performed the input."""
        return self.status is ActionStatus.SUCCEEDED

    @property
    def why(self) -> str:
        """Reason for the failure in one line; empty on success."""
        return "; ".join(f"{error.status_code}: {error.message}" for error in self.errors)

    @property
    def template(self) -> Template | None:
        """Template that ``select_template`` found; None for other results."""
        template = self.output.get("output")
        return Template.model_validate(template) if self.succeeded and isinstance(template, Mapping) else None

    @property
    def subject(self) -> str:
        """Id by which a person recognises the input."""
        if isinstance(self.input, ActionInput):
            return self.input.subject
        return next((str(self.input[name]) for name in _SUBJECT_KEYS if name in self.input), "")

    def to_json(self) -> dict[str, Any]:
        """Encode for NDJSON: the input with Salesforce's names, and its outcome."""
        input_json = self.input.to_json() if isinstance(self.input, ActionInput) else dict(self.input)
        line: dict[str, Any] = {"status": self.status.value, "succeeded": self.succeeded, "input": input_json}
        if self.errors:
            line["errors"] = [
                error.model_dump(mode="json", by_alias=True, exclude_unset=True) for error in self.errors
            ]
        if self.output:
            line["output"] = dict(self.output)
        return line


class ActionCallFailed(CadenceError):
    """Failure of a whole call: no answer, or none that states the inputs' outcome.

    Attributes:
        action: the action's API name.
        cause: the failure, one line.
        results: one per input, in input order; results of the calls before the failed one are final, the others are ``unknown`` or
            ``unsent``.
    """

    def __init__(self, action: str, cause: str, results: Sequence[ActionResult[Any]]) -> None:
        self.action = action
        self.cause = cause
        self.results = tuple(results)
        parts = []
        if unknown := len(self.unknown):
            parts.append(f"{unknown} may or may not have taken effect (check before sending them again)")
        if unsent := sum(result.status is ActionStatus.UNSENT for result in self.results):
            parts.append(f"{unsent} {'were' if unsent > 1 else 'was'} not sent")
        count = len(self.results)
        super().__init__(
            f"{action} failed: {cause}; of {count} input{'s' if count != 1 else ''} {' and '.join(parts) or 'none was sent'}"
        )

    @property
    def unknown(self) -> tuple[ActionResult[Any], ...]:
        """Results of the inputs that may or may not have taken effect."""
        return tuple(result for result in self.results if result.status is ActionStatus.UNKNOWN)
