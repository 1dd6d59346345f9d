"""Is everything there that the service needs? Looks, and changes nothing: no lease, no write, no position.

``findings`` is what is told, ``store`` and ``org`` look, ``remedies`` says what to do about what Salesforce refused. One thing that is
missing does not hide the others: what can still be looked at is looked at, and what cannot says on what it waits.
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
