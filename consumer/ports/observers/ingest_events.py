"""Observer events of ingest: what arrives, what is held back, what is committed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from consumer.domain.change_events import Change, UnknownValue
from consumer.ports.commit import IngestDeadLetter
from consumer.ports.observers.reconcile_events import ReconcileEvent

__all__ = [
    "BadEventReceived",
    "ChangeEventsReceived",
    "ChangesHeld",
    "ChangesReleasedEarly",
    "CommitApplied",
    "CommitFailed",
    "GapReceived",
    "IngestEvent",
    "InputRecovered",
    "InputStuck",
    "LookupFailed",
    "PositionRefused",
    "QuotaUnknown",
    "UnknownValuesReceived",
    "ValuesReplaced",
]


@dataclass(frozen=True, slots=True)
class ChangeEventsReceived:
    """Change events of one channel arrived with one answer.

    Attributes:
        channel: the subscribed channel.
        changes: number of changes; a merged event counts once for each record.
    """

    channel: str
    changes: int


@dataclass(frozen=True, slots=True)
class BadEventReceived:
    """A message could not be understood; it is stored as an ingest dead letter.

    Attributes:
        dead_letter: the stored message, with its bytes.
    """

    dead_letter: IngestDeadLetter


@dataclass(frozen=True, slots=True)
class UnknownValuesReceived:
    """Events of one answer held fields or values unknown to this release.

    They pass through as text.

    Attributes:
        counts: entity and unknown value to the number of events that held it.
    """

    counts: Mapping[tuple[str, UnknownValue], int]


@dataclass(frozen=True, slots=True)
class ValuesReplaced:
    """An event held values that cannot be encoded; it is used with replacements.

    Half of a surrogate pair becomes U+FFFD, and a number that is out of range becomes text.

    Attributes:
        channel: the subscribed channel.
        fields: names of the fields.
    """

    channel: str
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GapReceived:
    """Salesforce reports that something happened which the stream does not carry.

    Attributes:
        change: the gap or overflow event, for one record.
    """

    change: Change


@dataclass(frozen=True, slots=True)
class PositionRefused:
    """Salesforce no longer knows the stored replay id.

    Attributes:
        channel: the subscribed channel.
        position: the refused replay id.
        policy: where the stream continues: ``earliest``, ``latest`` or ``halt``.
        missed: whether changes may have been missed; False if polls were answered throughout the retention.
    """

    channel: str
    position: str
    policy: str
    missed: bool


@dataclass(frozen=True, slots=True)
class InputStuck:
    """The same answer could not be read three times.

    It is stored, and the stream cannot continue without it.

    Attributes:
        channel: the subscribed channels, separated by spaces.
        error: one line.
    """

    channel: str
    error: str


@dataclass(frozen=True, slots=True)
class InputRecovered:
    """An answer could be read again.

    Attributes:
        channel: the subscribed channels, separated by spaces.
    """

    channel: str


@dataclass(frozen=True, slots=True)
class QuotaUnknown:
    """All retained events are about to be read, at an unknown delivery quota.

    It is unknown whether the org's delivery allocation is sufficient.

    Attributes:
        error: why Salesforce did not answer, one line.
    """

    error: str


@dataclass(frozen=True, slots=True)
class LookupFailed:
    """Records that were never seen could not be looked up.

    Their changes are interpreted with what is known.

    Attributes:
        error: one line.
        records: number of records.
    """

    error: str
    records: int


@dataclass(frozen=True, slots=True)
class ChangesHeld:
    """The buffer has been emptied, and changes are held back for ordering.

    Attributes:
        changes: number of changes that are held back now; may be 0.
        catching_up: whether a channel has still to catch up after a session was opened, so that none of them may be released by time.
    """

    changes: int
    catching_up: bool = False


@dataclass(frozen=True, slots=True)
class ChangesReleasedEarly:
    """A bound on holding was reached, and changes were released early.

    Something earlier may still arrive.

    Attributes:
        changes: number of them.
    """

    changes: int


@dataclass(frozen=True, slots=True)
class CommitApplied:
    """The store has applied a commit.

    Attributes:
        number: number of the commit in its tenure.
        changes: number of changes in it.
        duplicates: of those, changes that had been committed before.
        late: of those, changes that arrived after something newer of their run had been committed.
        ignored: of those, changes from before their channel was first subscribed.
        events: lifecycle event type to the number journaled.
        newest_commit_ms: greatest Salesforce commit time among its changes, milliseconds since the epoch.
        duration_ms: milliseconds from the beginning of its interpretation until it was applied.
    """

    number: int
    changes: int
    duplicates: int
    late: int
    ignored: int
    events: Mapping[str, int]
    newest_commit_ms: int | None
    duration_ms: int


@dataclass(frozen=True, slots=True)
class CommitFailed:
    """The store did not take a commit; the same commit is sent again.

    Attributes:
        number: number of the commit in its tenure.
        error: one line.
        since_ms: milliseconds since the first attempt.
    """

    number: int
    error: str
    since_ms: int


IngestEvent = (
    ChangeEventsReceived
    | BadEventReceived
    | UnknownValuesReceived
    | ValuesReplaced
    | GapReceived
    | PositionRefused
    | InputStuck
    | InputRecovered
    | QuotaUnknown
    | LookupFailed
    | ChangesHeld
    | ChangesReleasedEarly
    | CommitApplied
    | CommitFailed
    | ReconcileEvent
)
"""Any event of ingest, its reconcile tasks included."""
