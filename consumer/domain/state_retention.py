"""Retention rules for stored record states.

An ended run expires ``state.retention`` after the last activity of the run or one of its steps. Its steps expire before it, because the
run's state decides that they may. A tombstone, and the note that a gap was announced, expire as soon as none of their events can be
delivered again (:data:`consumer.domain.record_state.IDENTITY_RETENTION_MS`), and no state expires before that. A record that is not known
to have ended is kept.

An expired record is unknown from then on: a later change of it is looked up and reported like the first change ever seen of it.

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
"""Key prefix of gap notes.

A gap note holds the identities of gap events, stored beside the states of the records that they name.
"""

_ENDED_RUN: Final = frozenset({"Complete"})
_ENDED_STEP: Final = frozenset({"Completed", "Cancelled"})


@dataclass(frozen=True, slots=True)
class ExpiryCutoff:
    """Times before which a state's last activity must lie for it to expire.

    In milliseconds of Salesforce time.

    Attributes:
        identities_ms: time before which no committed change can be delivered again.
        ended_ms: limit for ended runs and their steps; None keeps them forever.
    """

    identities_ms: int
    ended_ms: int | None

    @classmethod
    def at(cls, now_ms: int, retention_ms: int | None) -> ExpiryCutoff:
        """Compute the cutoff at ``now_ms``; without ``retention_ms`` ended runs are kept."""
        identities_ms = now_ms - IDENTITY_RETENTION_MS
        return cls(identities_ms, None if retention_ms is None else min(now_ms - retention_ms, identities_ms))


def last_seen_ms(state: RecordState) -> int | None:
    """Time of the record's last known activity in milliseconds; None where unknown."""
    modified = state.get("LastModifiedDate")
    known = (
        state.last_activity_ms,
        state.row_ms or 0,
        max(state.seen.values(), default=0),
        to_ms(datetime.fromisoformat(modified)) if isinstance(modified, str) else 0,
    )
    return max(known) or None


def has_ended(state: RecordState) -> bool:
    """Report whether the record is known to have ended or to be deleted."""
    ended = _ENDED_RUN if state.entity == RUN else _ENDED_STEP
    return state.is_deleted or (state.announced is not None and state.announced[0] in ended)


def needs_run_state(state: RecordState, cutoff: ExpiryCutoff) -> bool:
    """Report whether the run's state decides about this one.

    True for a step that is not deleted and had no activity since the cutoff.
    """
    seen_ms = last_seen_ms(state)
    return (
        state.entity != RUN
        and not state.is_deleted
        and not state.record_id.startswith(GAP_NOTE)
        and seen_ms is not None
        and seen_ms < cutoff.identities_ms
    )


def is_expirable(state: RecordState, run: RecordState | None, cutoff: ExpiryCutoff) -> bool:
    """Report whether a state may be dropped.

    Args:
        state: state of a record, or a gap note.
        run: for a step, the known state of its run; None where unknown.
        cutoff: times before which the last activity must lie.
    """
    seen_ms = last_seen_ms(state)
    if seen_ms is None or seen_ms >= cutoff.identities_ms:
        return False
    if state.is_deleted or state.record_id.startswith(GAP_NOTE):
        return True
    if state.entity != RUN and run is not None:
        # The run decides, whatever the step's own state: the end of the run ended the step too, and the step's last event may be lost.
        return is_expirable(run, None, cutoff)
    return has_ended(state) and cutoff.ended_ms is not None and seen_ms < cutoff.ended_ms
