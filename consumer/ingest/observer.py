"""What ingest tells the outside about itself; logs, metrics and readiness listen here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from consumer.changes import Change, Novel
from consumer.ports import IngestDeadLetter

__all__ = ["IngestEvents"]


class IngestEvents(Protocol):
    """Named moments of the ingest half. Implementations neither block nor raise."""

    def received(self, channel: str, changes: int) -> None:
        """Changes arrived on a channel; merged ones count once per record."""
        ...

    def bad_event(self, letter: IngestDeadLetter) -> None:
        """A message could not be understood and is kept with its bytes."""
        ...

    def undocumented(self, entity: str, novel: Sequence[Novel]) -> None:
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

    def input_flows(self, channel: str) -> None:
        """An answer could be read again."""
        ...

    def allocation_unknown(self, why: str) -> None:
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

    def reconcile_failing(self, task: str, why: str, again_ms: int) -> None:
        """A page of a task could not be had; it is asked for again."""
        ...

    def row_unread(self, entity: str, record_id: str, why: str) -> None:
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
