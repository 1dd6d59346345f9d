"""Outcome of a run, by a table over disposition and reason.

The outcome is what the run's ending means for the business.

Salesforce says why a run ended (``CompletionReason``) and what came of it (``CompletionDisposition``, to which an org adds values of its
own). The disposition decides where the table lists it, else the reason, else the outcome is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

__all__ = ["DEFAULT_DISPOSITIONS", "DEFAULT_REASONS", "Outcome", "OutcomeTable"]

Outcome = Literal["won", "lost", "exited", "converted", "moved on", "unknown"]
"""Outcome of a run."""

DEFAULT_DISPOSITIONS: Final[Mapping[str, Outcome]] = {
    "Success": "won",
    "Bad Data": "lost",
    "Disqualified": "lost",
    "Duplicate": "lost",
    "No Response": "lost",
    "Not Interested": "lost",
    "Contact Later": "moved on",
}
"""Outcome by CompletionDisposition; ``Customer Connected`` and ``Customer Engaged`` leave it to the reason."""

DEFAULT_REASONS: Final[Mapping[str, Outcome]] = {
    "LeadConverted": "converted",
    "DaisyChained": "moved on",
    "AutomaticallyExited": "exited",
    "AutomaticallyExitedDeletedStep": "exited",
    "AutomaticallyExitedInvalidParentStep": "exited",
    "ManuallyRemoved": "exited",
    "ManuallyRemovedNoAccess": "exited",
}
"""Outcome by CompletionReason; ``NoMoreSteps`` alone says nothing of success."""


@dataclass(frozen=True, slots=True)
class OutcomeTable:
    """Outcomes by disposition and by reason.

    Attributes:
        dispositions: outcome by CompletionDisposition.
        reasons: outcome by CompletionReason, for dispositions that are not listed.
    """

    dispositions: Mapping[str, Outcome] = field(default_factory=lambda: DEFAULT_DISPOSITIONS)
    reasons: Mapping[str, Outcome] = field(default_factory=lambda: DEFAULT_REASONS)

    def outcome(self, reason: object, disposition: object) -> Outcome:
        """Look up the outcome of a run that ended for ``reason`` with ``disposition``."""
        if isinstance(disposition, str) and disposition in self.dispositions:
            return self.dispositions[disposition]
        return self.reasons.get(reason, "unknown") if isinstance(reason, str) else "unknown"
