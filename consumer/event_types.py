"""Names of lifecycle events, one constant each, and the patterns that select them.

Handlers select types by exact names or by patterns in which ``*`` stands for one or more parts: ``run.*`` selects everything about runs,
``run.ended.*`` every ending. A pattern that matches no type is an error at load time, not a handler that is never called.
"""

from __future__ import annotations

import re
from typing import Final, Literal

__all__ = [
    "ALL_TYPES",
    "RUN_TYPES",
    "STEP_TYPES",
    "SYSTEM_TYPES",
    "EventPattern",
    "EventType",
    "matching_types",
]

RUN_ENROLLED: Final = "run.enrolled"
RUN_STARTED: Final = "run.started"
RUN_ADVANCED: Final = "run.advanced"
RUN_WAITING: Final = "run.waiting"
RUN_PAUSED: Final = "run.paused"
RUN_RESUMED: Final = "run.resumed"
RUN_RESUME_CHANGED: Final = "run.resume_changed"
RUN_RESUME_DUE: Final = "run.resume_due"
RUN_ENDED_FINISHED: Final = "run.ended.finished"
RUN_ENDED_EXITED: Final = "run.ended.exited"
RUN_ENDED_REMOVED: Final = "run.ended.removed"
RUN_ENDED_CONVERTED: Final = "run.ended.converted"
RUN_ENDED_CHAINED: Final = "run.ended.chained"
RUN_ENDED_OTHER: Final = "run.ended.other"
RUN_FAILED: Final = "run.failed"
RUN_RECOVERED: Final = "run.recovered"
RUN_REASSIGNED: Final = "run.reassigned"
RUN_DISPOSITION_SET: Final = "run.disposition_set"
RUN_ATTRIBUTED: Final = "run.attributed"
RUN_DELETED: Final = "run.deleted"
RUN_RESTORED: Final = "run.restored"
RUN_UPDATED: Final = "run.updated"

STEP_CREATED: Final = "step.created"
STEP_ACTIVATED: Final = "step.activated"
STEP_IN_PROGRESS: Final = "step.in_progress"
STEP_SCHEDULED: Final = "step.scheduled"
STEP_QUEUED: Final = "step.queued"
STEP_PAUSED: Final = "step.paused"
STEP_RESUMED: Final = "step.resumed"
STEP_ACTION_TAKEN: Final = "step.action_taken"
STEP_DUE_CHANGED: Final = "step.due_changed"
STEP_START_CHANGED: Final = "step.start_changed"
STEP_ENDED_COMPLETED: Final = "step.ended.completed"
STEP_ENDED_SKIPPED: Final = "step.ended.skipped"
STEP_ENDED_EXITED: Final = "step.ended.exited"
STEP_ENDED_CANCELLED: Final = "step.ended.cancelled"
STEP_FAILED: Final = "step.failed"
STEP_RECOVERED: Final = "step.recovered"
STEP_OVERDUE: Final = "step.overdue"
STEP_DELETED: Final = "step.deleted"
STEP_RESTORED: Final = "step.restored"
STEP_UPDATED: Final = "step.updated"

SYSTEM_GAP: Final = "system.gap"
SYSTEM_OVERFLOW: Final = "system.overflow"
SYSTEM_REPAIRED: Final = "system.repaired"
SYSTEM_SNAPSHOT: Final = "system.snapshot"


EventType = Literal[
    "run.enrolled",
    "run.started",
    "run.advanced",
    "run.waiting",
    "run.paused",
    "run.resumed",
    "run.resume_changed",
    "run.resume_due",
    "run.ended.finished",
    "run.ended.exited",
    "run.ended.removed",
    "run.ended.converted",
    "run.ended.chained",
    "run.ended.other",
    "run.failed",
    "run.recovered",
    "run.reassigned",
    "run.disposition_set",
    "run.attributed",
    "run.deleted",
    "run.restored",
    "run.updated",
    "step.created",
    "step.activated",
    "step.in_progress",
    "step.scheduled",
    "step.queued",
    "step.paused",
    "step.resumed",
    "step.action_taken",
    "step.due_changed",
    "step.start_changed",
    "step.ended.completed",
    "step.ended.skipped",
    "step.ended.exited",
    "step.ended.cancelled",
    "step.failed",
    "step.recovered",
    "step.overdue",
    "step.deleted",
    "step.restored",
    "step.updated",
    "system.gap",
    "system.overflow",
    "system.repaired",
    "system.snapshot",
]
"""Every event type, for type checkers."""

EventPattern = (
    EventType
    | Literal[
        "*",
        "run.*",
        "run.ended.*",
        "step.*",
        "step.ended.*",
        "system.*",
        "*.ended.*",
        "*.failed",
        "*.recovered",
        "*.paused",
        "*.resumed",
        "*.deleted",
        "*.restored",
        "*.updated",
    ]
)
"""Patterns for ``on`` in code, so that mypy finds a typing error.

Settings accept any pattern that selects a type.
"""


def _types_with_prefix(prefix: str) -> tuple[str, ...]:
    return tuple(
        value for name, value in globals().items() if name.startswith(prefix) and isinstance(value, str)
    )


RUN_TYPES: Final = _types_with_prefix("RUN_")
STEP_TYPES: Final = _types_with_prefix("STEP_")
SYSTEM_TYPES: Final = _types_with_prefix("SYSTEM_")
ALL_TYPES: Final = RUN_TYPES + STEP_TYPES + SYSTEM_TYPES

__all__ += [
    name for name in list(globals()) if name.startswith(("RUN_", "STEP_", "SYSTEM_")) and name not in __all__
]


def matching_types(pattern: str) -> frozenset[str]:
    """Find every event type that ``pattern`` selects; empty when it selects none.

    ``*`` alone selects everything; within a pattern it stands for one or more dot-separated parts.
    """
    regex = re.compile(".+".join(re.escape(part) for part in pattern.split("*")))
    return frozenset(name for name in ALL_TYPES if regex.fullmatch(name))
