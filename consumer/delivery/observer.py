"""What delivery tells about itself: one method per thing that happens, for logs and metrics to be made of.

Delivery itself logs nothing and counts nothing. Calls come from the event loop's thread and must not block.
"""

from __future__ import annotations

from typing import Protocol

from consumer.ports import JournalEntry

__all__ = ["DeliveryEvents"]


class DeliveryEvents(Protocol):
    """The observer of all handlers; ``handler`` is a handler's name in the settings everywhere."""

    def opened(self, handler: str, offset: int) -> None:
        """The handler is open and goes on after ``offset``."""
        ...

    def open_failed(self, handler: str, error: BaseException, again_ms: int) -> None:
        """Its ``open`` raised or took too long; the next try is ``again_ms`` milliseconds away."""
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
        again_ms: int,
    ) -> None:
        """An attempt failed and another follows in ``again_ms`` milliseconds.

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
        again_ms: int,
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

    def replay_began(self, handler: str, order_id: str, after: int, through: int) -> None:
        """Events after ``after`` up to ``through`` are delivered again, or the rest of them after a restart."""
        ...

    def replay_ended(self, handler: str, order_id: str, offset: int, *, cancelled: bool) -> None:
        """A replay is done, or was taken back."""
        ...

    def interrupted(self, handler: str, entry: JournalEntry) -> None:
        """A call was cancelled by the stop; its event is delivered again after the next start."""
        ...

    def outrun(self, handler: str, after: int, first: int) -> None:
        """Retention removed what lay between ``after`` and ``first`` before the handler got there."""
        ...

    def place(self, handler: str, offset: int, lag: int, parked: int, dead_letters: int) -> None:
        """Saved: all up to ``offset`` is settled but for ``parked`` runs; ``lag`` is how far the end of the journal is ahead."""
        ...

    def store_unavailable(self, handler: str, error: BaseException, again_ms: int) -> None:
        """Reading or saving failed; it is asked again in ``again_ms`` milliseconds."""
        ...

    def unsaved(self, handler: str, offset: int) -> None:
        """The stop came to an end before the place could be saved: what follows ``offset`` is delivered again after the next start."""
        ...
