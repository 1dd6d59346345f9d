"""Read-only inspection of a service: status, explain, doctor's checks.

It takes no lease, writes nothing and moves no position. ``status`` and ``explain`` read the store; ``store_checks`` and ``org_checks``
report ``findings``, and ``remedies`` has the operator's action for each refusal. One failed check does not hide the others: what depends on
it is reported as skipped, with the reason.
"""

from __future__ import annotations

from consumer.inspection.findings import (
    FailureKind,
    Finding,
    ReportFinding,
    Verdict,
)
from consumer.inspection.org_checks import OrgChecks
from consumer.inspection.store_checks import StoreFacts, check_store

__all__ = ["FailureKind", "Finding", "OrgChecks", "ReportFinding", "StoreFacts", "Verdict", "check_store"]
