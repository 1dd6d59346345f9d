"""Findings of the doctor: one line for each check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["FailureKind", "Finding", "ReportFinding", "Verdict", "failed", "passed", "skipped", "warned"]


class Verdict(StrEnum):
    """Result of a check."""

    PASSED = "fine"
    WARNING = "warning"
    """Working, with something that the operator should know."""
    FAILED = "failed"
    SKIPPED = "skipped"
    """Not checked, because another check failed."""


class FailureKind(StrEnum):
    """Kind of a failure; each has an exit code."""

    SETTINGS = "settings"
    UNAVAILABLE = "unavailable"
    NOT_PERMITTED = "not_permitted"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Finding:
    """Line of the doctor's report.

    Attributes:
        check: stable label of the check, such as ``store`` or ``channel``.
        verdict: result of the check.
        message: what was found, one line.
        action: what the operator can do; empty if nothing, or if ``message`` contains it.
        failure_kind: kind of the failure; None unless it failed.
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
"""Called with each finding as soon as it is known."""


def passed(check: str, message: str) -> Finding:
    """Return a finding for a check that passed."""
    return Finding(check, Verdict.PASSED, message)


def warned(check: str, message: str, action: str) -> Finding:
    """Return a finding for something that works for now."""
    return Finding(check, Verdict.WARNING, message, action)


def failed(check: str, message: str, action: str, failure_kind: FailureKind = FailureKind.OTHER) -> Finding:
    """Return a finding for something that keeps the service from working."""
    return Finding(check, Verdict.FAILED, message, action, failure_kind)


def skipped(check: str, needs: str) -> Finding:
    """Return a finding for a check that was not made; ``needs`` names the reason."""
    return Finding(check, Verdict.SKIPPED, f"not checked: {needs}")
