"""When what is known of a record may be forgotten.

Runs end, and nobody asks about them any more. A run that has ended goes some time after it was last heard of, itself or one of its steps
(``state.retention``), and its steps go before it, because what is known of the run says that they may. A tombstone, and the note that a
gap was announced, go as soon as nothing of them can be delivered again (:data:`consumer.domain.record_state.IDENTITY_RETENTION_MS`), and
nothing ever goes
before that. What is not known to have ended stays.

What is forgotten is an unknown record from then on: a later change of it is looked up and told like the first that was ever seen of it.

Pure functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from consumer.clock import to_ms
from consumer.domain.objects import RUN
from consumer.domain.record_state import IDENTITY_RETENTION_MS, RecordState

__all__ = ["GAP_NOTE", "ExpiryCutoff", "has_ended", "is_expirable", "last_seen_ms", "needs_run_state"]

GAP_NOTE: Final = "gap/"
"""What the keys of notes about gaps begin with: identities of gap events, kept beside the states of the records that they name."""

_ENDED_RUN: Final = frozenset({"Complete"})
_ENDED_STEP: Final = frozenset({"Completed", "Cancelled"})


@dataclass(frozen=True, slots=True)
class ExpiryCutoff:
    """What was last heard of before these times may go; milliseconds of Salesforce time.

    Attributes:
        identities_ms: nothing that was committed before can be delivered again.
        ended_ms: for runs that have ended, and their steps; None keeps them.
    """

    identities_ms: int
    ended_ms: int | None

    @classmethod
    def at(cls, now_ms: int, retention_ms: int | None) -> ExpiryCutoff:
        """As of a moment; ``retention_ms`` None keeps ended runs for ever."""
        identities_ms = now_ms - IDENTITY_RETENTION_MS
        return cls(identities_ms, None if retention_ms is None else min(now_ms - retention_ms, identities_ms))


def last_seen_ms(state: RecordState) -> int | None:
    """When it was last heard of; None where that is not known."""
    modified = state.get("LastModifiedDate")
    known = (
        state.last_activity_ms,
        state.row_ms or 0,
        max(state.seen.values(), default=0),
        to_ms(datetime.fromisoformat(modified)) if isinstance(modified, str) else 0,
    )
    return max(known) or None


def has_ended(state: RecordState) -> bool:
    """Whether it is known to have ended, or to be gone."""
    ended = _ENDED_RUN if state.entity == RUN else _ENDED_STEP
    return state.is_deleted or (state.announced is not None and state.announced[0] in ended)


def needs_run_state(state: RecordState, cutoff: ExpiryCutoff) -> bool:
    """Whether what is known of its run decides about it: a step that is no tombstone and has not been heard of for long enough."""
    seen_ms = last_seen_ms(state)
    return (
        state.entity != RUN
        and not state.is_deleted
        and not state.record_id.startswith(GAP_NOTE)
        and seen_ms is not None
        and seen_ms < cutoff.identities_ms
    )


def is_expirable(state: RecordState, run: RecordState | None, cutoff: ExpiryCutoff) -> bool:
    """Whether it may be forgotten.

    Args:
        state: of a record, or a note about a gap.
        run: of a step: what is known of its run; None where nothing is.
        cutoff: what is long enough.
    """
    seen_ms = last_seen_ms(state)
    if seen_ms is None or seen_ms >= cutoff.identities_ms:
        return False
    if state.is_deleted or state.record_id.startswith(GAP_NOTE):
        return True
    if state.entity != RUN and run is not None:
        # With its run, whatever it says itself: what ended the run ended it too, and its own last word may have been lost.
        return is_expirable(run, None, cutoff)
    return has_ended(state) and cutoff.ended_ms is not None and seen_ms < cutoff.ended_ms
