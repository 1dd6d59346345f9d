"""What ingest tells the outside about itself; logs, metrics and readiness listen here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from consumer.domain.change_events import Change, UnknownValue
from consumer.errors import AuthenticationFailed, EndReason
from consumer.ports.commit import IngestDeadLetter
from consumer.ports.journal import JournalEntry
from consumer.ports.source import Answer, SessionOpened
from consumer.ports.store import StoreSize

__all__ = [
    "CommitSummary",
    "DeliveryEvents",
    "IngestEvents",
    "RetentionEvents",
    "ServiceEvents",
    "SupervisorEvents",
]


class IngestEvents(Protocol):
    """Named moments of the ingest half. Implementations neither block nor raise."""

    def received(self, channel: str, changes: int) -> None:
        """Changes arrived on a channel; merged ones count once per record."""
        ...

    def bad_event(self, dead_letter: IngestDeadLetter) -> None:
        """A message could not be understood and is kept with its bytes."""
        ...

    def unknown_field(self, entity: str, unknown_values: Sequence[UnknownValue]) -> None:
        """An event held fields or picklist values that this release does not know; they pass through. Told with every such event."""
        ...

    def gap(self, change: Change) -> None:
        """Salesforce says that something happened which the stream does not carry."""
        ...

    def position_refused(self, channel: str, position: str, policy: str, *, missed: bool) -> None:
        """Salesforce does not know the stored replay id any more.

        Args:
            channel: which.
            position: the refused replay id.
            policy: what is done about it.
            missed: whether changes may have been missed (False: polls were answered all the time within the retention).
        """
        ...

    def input_stuck(self, channel: str, what: str) -> None:
        """The same answer could not be read three times; it is kept, and the stream cannot go on without it."""
        ...

    def input_recovered(self, channel: str) -> None:
        """An answer could be read again."""
        ...

    def quota_unknown(self, why: str) -> None:
        """Everything retained is about to be read, and Salesforce does not say whether the org's delivery allocation bears that."""
        ...

    def lookup_failed(self, why: str, records: int) -> None:
        """Records that were never seen could not be looked up; their changes are interpreted with what is known."""
        ...

    def held(self, changes: int) -> None:
        """So many changes are held back for ordering now."""
        ...

    def committed(self, summary: CommitSummary) -> None:
        """A commit was applied."""
        ...

    def commit_failing(self, number: int, why: str, since_ms: int) -> None:
        """The store did not take a commit; the same one is sent again.

        Args:
            number: of the commit.
            why: one line.
            since_ms: for how long it has been failing, in milliseconds.
        """
        ...

    def reconciling(self, pending: Mapping[str, int]) -> None:
        """So many reconcile tasks are under way, by reason; those that are not named are none."""
        ...

    def reconcile_failing(self, task: str, why: str, retry_delay_ms: int) -> None:
        """A page of a task could not be had; it is asked for again."""
        ...

    def row_unreadable(self, entity: str, record_id: str, why: str) -> None:
        """A row could not be understood; the record stays as it was known."""
        ...

    def reconciled(self, reason: str, fetched: int, changed: int) -> None:
        """A page was compared and committed."""
        ...

    def task_done(self, task: str, report: Mapping[str, Any]) -> None:
        """A task is done."""
        ...

    def states_counted(self, records: Mapping[str, int], sizes: Mapping[str, int]) -> None:
        """So many states are known, and so many bytes of them, by kind: ``run``, ``step``, ``target``, ``gap``."""
        ...

    def states_expired(self, states: int) -> None:
        """So many states were forgotten."""
        ...


class CommitSummary(Protocol):
    """What a commit held; all counts."""

    number: int
    changes: int
    duplicates: int
    late: int
    ignored: int
    events: Mapping[str, int]
    """Event type to count."""
    newest_commit_ms: int | None
    """Greatest Salesforce commit time among its changes, milliseconds since the epoch."""
    duration_ms: int


class DeliveryEvents(Protocol):
    """The observer of all handlers; ``handler`` is a handler's name in the settings everywhere."""

    def opened(self, handler: str, offset: int) -> None:
        """The handler is open and goes on after ``offset``."""
        ...

    def open_failed(self, handler: str, error: BaseException, retry_after_ms: int) -> None:
        """Its ``open`` raised or took too long; the next try is ``retry_after_ms`` milliseconds away."""
        ...

    def close_failed(self, handler: str, error: BaseException) -> None:
        """Its ``close`` raised or took too long; it counts as closed."""
        ...

    def called(self, handler: str, duration_ms: int, delivered: int) -> None:
        """A call came to its end, well or not: it is done with so many events of its batch, one or none where there is no batch."""
        ...

    def recovered(self, handler: str, type_: str, attempt: int) -> None:
        """It is done with an event of this type that had failed before."""
        ...

    def failed(
        self,
        handler: str,
        entry: JournalEntry,
        attempt: int,
        error: str,
        exception: BaseException | None,
        retry_after_ms: int,
    ) -> None:
        """An attempt failed and another follows in ``retry_after_ms`` milliseconds.

        ``error`` is one line; ``exception`` is what was raised, None where the handler gave a sentence.
        """
        ...

    def blocked(
        self,
        handler: str,
        entry: JournalEntry,
        attempt: int,
        error: str,
        exception: BaseException | None,
        retry_after_ms: int,
    ) -> None:
        """As :meth:`failed`, with all attempts used up: the run is held back until the event succeeds."""
        ...

    def dead_lettered(
        self, handler: str, entry: JournalEntry, attempts: int, error: str, exception: BaseException | None
    ) -> None:
        """The event is kept aside; it is written with the place that passes it."""
        ...

    def skipped(
        self, handler: str, entry: JournalEntry, attempts: int, error: str, exception: BaseException | None
    ) -> None:
        """All attempts failed and ``on_failure = skip`` goes on without the event."""
        ...

    def disabled(self, handler: str, entry: JournalEntry, error: str) -> None:
        """It asked to be stopped: it gets no more events until it is paused and resumed, or started again."""
        ...

    def filtered(self, handler: str, type_: str, why: str) -> None:
        """An event of a wanted type was left out: ``origin``, ``own_change``, ``max_age`` or ``predicate``."""
        ...

    def paused(self, handler: str) -> None:
        """Somebody paused it: it makes no attempts until :meth:`resumed`."""
        ...

    def halted(self, handler: str, dead_letters: int, limit: int) -> None:
        """It has as many dead letters as it may have: it makes no attempts until :meth:`resumed`."""
        ...

    def resumed(self, handler: str) -> None:
        """A pause or a halt is over."""
        ...

    def replay_began(self, handler: str, command_id: str, after: int, through: int) -> None:
        """Events after ``after`` up to ``through`` are delivered again, or the rest of them after a restart."""
        ...

    def replay_ended(self, handler: str, command_id: str, offset: int, *, cancelled: bool) -> None:
        """A replay is done, or was taken back."""
        ...

    def interrupted(self, handler: str, entry: JournalEntry) -> None:
        """A call was cancelled by the stop; its event is delivered again after the next start."""
        ...

    def offset_out_of_range(self, handler: str, after: int, first: int) -> None:
        """Retention removed what lay between ``after`` and ``first`` before the handler got there."""
        ...

    def cursor_saved(self, handler: str, offset: int, lag: int, blocked_runs: int, dead_letters: int) -> None:
        """Saved: all up to ``offset`` is settled but for ``blocked_runs`` runs; ``lag`` is how far the end of the journal is ahead."""
        ...

    def store_unavailable(self, handler: str, error: BaseException, retry_after_ms: int) -> None:
        """Reading or saving failed; it is asked again in ``retry_after_ms`` milliseconds."""
        ...

    def unsaved(self, handler: str, offset: int) -> None:
        """The stop came to an end before the place could be saved: what follows ``offset`` is delivered again after the next start."""
        ...


class RetentionEvents(Protocol):
    """Told what retention sees and does."""

    def measured(
        self, size: StoreSize, entries: int, bytes_per_day: float | None, seconds_until_full: float | None
    ) -> None:
        """Bytes and entries now; how many bytes a day are added, and in how many seconds the store is full, where that can be known."""
        ...

    def trimmed(self, through: int, entries: int) -> None:
        """So many entries, up to this offset, were removed."""
        ...

    def held_back(self, handler: str, offset: int, *, bytes_over: int) -> None:
        """``handler`` needs the entry at ``offset``, which the settings would remove; ``bytes_over`` is how much is kept too much, or 0."""
        ...

    def within_limits(self) -> None:
        """Nothing is kept beyond what the settings say; repeated."""
        ...


class SupervisorEvents(Protocol):
    """What the supervisor tells: to logs, metrics and readiness. None of it may block or raise."""

    def session_opening(self, number: int) -> None:
        """A session is about to authenticate and shake hands."""
        ...

    def session_opened(self, opened: SessionOpened) -> None:
        """Every channel is acknowledged."""
        ...

    def polled(self, answer: Answer) -> None:
        """A poll was answered; also without messages."""
        ...

    def session_ended(
        self, number: int, reason: EndReason, next_in_ms: int | None, body: bytes | None
    ) -> None:
        """A session is over.

        Args:
            number: of the session.
            reason: why.
            next_in_ms: when the next one is tried; None when the service stops.
            body: the exact answer, where it could not be read.
        """
        ...

    def authentication_failed(self, failure: AuthenticationFailed, next_in_ms: int) -> None:
        """No token could be had; followed by :meth:`session_ended`."""
        ...


class ServiceEvents(Protocol):
    """Named moments of the service's life."""

    def waiting(self, holder: str | None) -> None:
        """Another replica holds the lease; repeated at every look."""
        ...

    def won(self, holder: str, until_ms: int | None = None, token: str = "") -> None:
        """The lease is ours until then (monotonic milliseconds), a tenure begins; called where its tasks are started from."""
        ...

    def renewed(self, until_ms: int) -> None:
        """The lease is ours until then; repeated."""
        ...

    def ended(self, why: str, holder: str | None = None) -> None:
        """The tenure is over: another replica has taken over, or the store went back in time, or we left."""
        ...

    def store_unavailable(self, why: str) -> None:
        """The store does not answer while the lease is asked for, kept or left; repeated with every attempt."""
        ...

    def store_available(self) -> None:
        """The store answered; repeated."""
        ...

    def stopping(self, grace_ms: int) -> None:
        """A stop was asked for."""
        ...

    def stopped(self, *, clean: bool) -> None:
        """Everything has ended; ``clean`` when nothing had to be cut short."""
        ...
