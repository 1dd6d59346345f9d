"""What an examination tells: one line for each thing that was looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["FailureKind", "Finding", "ReportFinding", "Verdict", "failed", "passed", "skipped", "warned"]


class Verdict(StrEnum):
    """How it stands."""

    PASSED = "fine"
    WARNING = "warning"
    """It works, and somebody should know."""
    FAILED = "failed"
    SKIPPED = "skipped"
    """It could not be looked at, because something else failed."""


class FailureKind(StrEnum):
    """What kind of failure it is; exit codes tell them apart."""

    SETTINGS = "settings"
    UNAVAILABLE = "unavailable"
    NOT_PERMITTED = "not_permitted"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line.

    Attributes:
        check: what was looked at, a stable label, as in ``store`` or ``channel``.
        verdict: how it stands.
        message: what was seen, one line.
        action: what to do about it; empty where nothing is to be done, or where ``message`` says it.
        failure_kind: of what kind it is; None unless it failed.
    """

    check: str
    verdict: Verdict
    message: str
    action: str = ""
    failure_kind: FailureKind | None = None

    def __str__(self) -> str:
        if not self.action:
            return self.message
        return f"{self.message}{'' if self.message.endswith(('.', '!', '?')) else '.'} {self.action}"


ReportFinding = Callable[[Finding], None]
"""Takes a finding as soon as it is known."""


def passed(check: str, message: str) -> Finding:
    """It is as it should be."""
    return Finding(check, Verdict.PASSED, message)


def warned(check: str, message: str, action: str) -> Finding:
    """It works for now."""
    return Finding(check, Verdict.WARNING, message, action)


def failed(check: str, message: str, action: str, failure_kind: FailureKind = FailureKind.OTHER) -> Finding:
    """It keeps the service from doing its work."""
    return Finding(check, Verdict.FAILED, message, action, failure_kind)


def skipped(check: str, needs: str) -> Finding:
    """It was not looked at; ``needs`` says what has to be right first."""
    return Finding(check, Verdict.SKIPPED, f"not looked at: {needs}")
