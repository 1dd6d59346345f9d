"""Fields of single event types.

Endings with outcome and duration, errors, the step that a run advances to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from consumer import event_types as v
from consumer.clock import parse_iso_ms
from consumer.domain.announcements import ChangeView
from consumer.domain.objects import RUN
from consumer.domain.outcomes import OutcomeTable
from consumer.domain.record_state import RecordState
from consumer.domain.step_error_codes import error_kind

__all__ = ["NOTHING_NEARBY", "STEP_CONTEXT", "Detail", "Nearby", "add_detail", "set_if_known"]


@dataclass(frozen=True, slots=True)
class Nearby:
    """Facts that other records provide about a change of a run.

    Attributes:
        step: values of the step to which the run advances.
        error_code: error code of the step that failed in the same transaction, or else last before.
    """

    step: Mapping[str, Any] = field(default_factory=dict)
    error_code: str | None = None


NOTHING_NEARBY = Nearby()


@dataclass(frozen=True, slots=True)
class Detail:
    """Facts from which the fields of single event types are set.

    Attributes:
        view: the change.
        commit_ms: commit time of the change, in milliseconds.
        record: state of the record after the change.
        outcomes: outcomes of runs.
        nearby: what other records say.
    """

    view: ChangeView
    commit_ms: int
    record: RecordState
    outcomes: OutcomeTable
    nearby: Nearby

    def get(self, name: str) -> Any:
        """Value of a field after the change."""
        return (self.view.after or {}).get(name)


def _add_ending(event: dict[str, Any], detail: Detail) -> None:
    record, history = detail.record, detail.record.history
    set_if_known(event, "reason", detail.get("CompletionReason"))
    if detail.view.is_reason_late and "State" not in detail.view.values:
        set_if_known(event, "supersedes", history.ending)
    set_if_known(event, "duration", _duration(detail.commit_ms, record))
    if record.entity != RUN:
        event["was_overdue"] = bool(record.fired.get(v.STEP_OVERDUE))
        return
    set_if_known(event, "disposition", detail.get("CompletionDisposition"))
    set_if_known(event, "exit_rule_id", detail.get("ExitGlobalRuleId"))
    event["outcome"] = detail.outcomes.outcome(event.get("reason"), event.get("disposition"))
    if history.began_ms is not None:
        event["steps_completed"], event["steps_skipped"], event["steps_failed"] = history.counts


def _duration(ended_ms: int, record: RecordState) -> int | None:
    """Seconds from the record's creation to its end."""
    created = record.get("CreatedDate")
    began_ms = parse_iso_ms(created) if isinstance(created, str) else record.history.began_ms
    return None if began_ms is None else max(ended_ms - began_ms, 0) // 1_000


def _add_disposition(event: dict[str, Any], detail: Detail) -> None:
    set_if_known(event, "disposition", detail.get("CompletionDisposition"))


def _add_run_error(event: dict[str, Any], detail: Detail) -> None:
    code = detail.nearby.error_code
    event["error"] = {"code": code, "message": detail.get("ErrorMessage"), "kind": error_kind(code)}


def _add_step_error(event: dict[str, Any], detail: Detail) -> None:
    code = detail.get("ErrorCode")
    event["error"] = {"code": code, "kind": error_kind(code)}


def _add_current_step(event: dict[str, Any], detail: Detail) -> None:
    set_if_known(event, "step_tracker_id", detail.get("CurrentStepId"))
    for name, source in STEP_CONTEXT:
        set_if_known(event, name, detail.nearby.step.get(source))
    set_if_known(event, "from_step_tracker_id", (detail.view.before or {}).get("CurrentStepId"))


STEP_CONTEXT = (
    ("cadence_step_id", "ActionCadenceStepId"),
    ("step_type", "StepType"),
    ("step_title", "StepTitle"),
)
"""Fields of an event about a step, with the fields of the record that they come from."""

_SETTERS: dict[str, Callable[[dict[str, Any], Detail], None]] = {
    **{name: _add_ending for name in v.ALL_TYPES if ".ended." in name},
    v.RUN_DISPOSITION_SET: _add_disposition,
    v.RUN_FAILED: _add_run_error,
    v.STEP_FAILED: _add_step_error,
    v.RUN_ADVANCED: _add_current_step,
}


def add_detail(event: dict[str, Any], detail: Detail) -> None:
    """Set the fields that events of this type have beside the common ones."""
    setter = _SETTERS.get(event["type"])
    if setter is not None:
        setter(event, detail)


def set_if_known(event: dict[str, Any], name: str, value: Any) -> None:
    """Set a field, unless its value is unknown."""
    if value is not None:
        event[name] = value
