"""What became of an action, input by input: a failure is a value, only a call that broke is an exception.

Salesforce answers a call with one element per input, in input order, each with ``isSuccess`` and, where it failed, ``errors``
(documented: "If any type of error occurs with an action, the isSuccess field is false"). The HTTP status of a call that failed in part is
not documented, so it decides nothing here.
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
    # Newer API versions add members; they are kept.
    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True, defer_build=True)


class ActionError(_AnswerModel):
    """Why an input failed.

    Attributes:
        status_code: Salesforce's, as in ``UNKNOWN_EXCEPTION``; ``INVALID_INPUT``, ``ALREADY_ENROLLED`` and ``DUPLICATE_INPUT`` are ours and
            mean that the input was not sent.
        message: for people.
        fields: which fields of the input it is about, where Salesforce says so.
    """

    status_code: str = Field(default="UNKNOWN_EXCEPTION", alias="statusCode")
    message: str = ""
    fields: tuple[str, ...] | None = ()


class ActionAnswer(_AnswerModel):
    """One element of Salesforce's answer, as it came.

    Attributes:
        action_name: the action's API name.
        is_success: whether the input took effect.
        errors: None or absent when it did.
        output_values: what the action returns; absent where it returns nothing.
    """

    action_name: str = Field(default="", alias="actionName")
    is_success: bool = Field(alias="isSuccess")
    errors: tuple[ActionError, ...] | None = None
    output_values: dict[str, Any] | None = Field(default=None, alias="outputValues")


class Template(_AnswerModel):
    """Which template or call script a step uses.

    Attributes:
        template_id: of the e-mail template or call script.
        split_percentage: its share in a variant test, in per cent.
    """

    template_id: str = Field(alias="TemplateId")
    split_percentage: float | None = Field(default=None, alias="SplitPercentage")


class ActionStatus(StrEnum):
    """What became of one input."""

    SUCCEEDED = "succeeded"
    """Salesforce performed it."""
    FAILED = "failed"
    """Salesforce answered that it did not."""
    REFUSED = "refused"
    """Not sent: it breaks a rule, or the target is enrolled already."""
    UNKNOWN = "unknown"
    """Sent, and the answer was lost: it may or may not have taken effect."""
    UNSENT = "unsent"
    """Not sent: the call broke before its turn."""


@dataclass(frozen=True, slots=True)
class ActionResult(Generic[InputT_co]):
    """What became of one input.

    Attributes:
        input: the input; the mapping as it was given where it breaks a rule.
        status: what became of it.
        errors: why it did not succeed.
        output: what the action returned.
    """

    input: InputT_co | Mapping[str, Any]
    status: ActionStatus
    errors: tuple[ActionError, ...] = ()
    output: Mapping[str, Any] = field(default_factory=dict)

    @property
    def succeeded(self) -> bool:
        """Whether Salesforce performed it."""
        return self.status is ActionStatus.SUCCEEDED

    @property
    def why(self) -> str:
        """Why it did not succeed, one line; empty when it did."""
        return "; ".join(f"{error.status_code}: {error.message}" for error in self.errors)

    @property
    def template(self) -> Template | None:
        """What ``select_template`` found."""
        found = self.output.get("output")
        return Template.model_validate(found) if self.succeeded and isinstance(found, Mapping) else None

    @property
    def subject(self) -> str:
        """The id that a person knows the input by."""
        if isinstance(self.input, ActionInput):
            return self.input.subject
        return next((str(self.input[name]) for name in _SUBJECT_KEYS if name in self.input), "")

    def to_json(self) -> dict[str, Any]:
        """For NDJSON: the input with Salesforce's names, and what became of it."""
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
    """A call broke: no answer, or none that says what became of the inputs.

    Attributes:
        action: the action's API name.
        cause: what broke, one line.
        results: one per input, in input order; those of calls before the one that broke are final, the others are ``unknown`` or
            ``unsent``.
    """

    def __init__(self, action: str, cause: str, results: Sequence[ActionResult[Any]]) -> None:
        self.action = action
        self.cause = cause
        self.results = tuple(results)
        parts = []
        if unknown := len(self.unknown):
            parts.append(f"{unknown} may or may not have taken effect (look before sending them again)")
        if unsent := sum(result.status is ActionStatus.UNSENT for result in self.results):
            parts.append(f"{unsent} {'were' if unsent > 1 else 'was'} not sent")
        count = len(self.results)
        super().__init__(
            f"{action} broke off: {cause}; of {count} input{'s' if count != 1 else ''} {' and '.join(parts) or 'none was sent'}"
        )

    @property
    def unknown(self) -> tuple[ActionResult[Any], ...]:
        """The inputs that may or may not have taken effect."""
        return tuple(result for result in self.results if result.status is ActionStatus.UNKNOWN)
