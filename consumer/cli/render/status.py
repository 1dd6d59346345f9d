"""Status for people: header lines, and tables of channels, handlers and tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rich.filesize import decimal

from consumer.clock import iso
from consumer.durations import humanize_ms

if TYPE_CHECKING:
    from consumer.inspection.status import (
        ChannelStatus,
        HandlerStatus,
        ServiceStatus,
        TaskStatus,
    )

__all__ = ["Rates", "header_lines", "rates_between", "tables"]

Row = tuple[str, ...]


class Rates(NamedTuple):
    """Rates between two readings of the status, per second.

    Attributes:
        journaled: lifecycle events appended to the journal.
        handled: by handler, the advance of its offset.
    """

    journaled: float
    handled: dict[str, float]


def rates_between(previous: ServiceStatus, current: ServiceStatus) -> Rates | None:
    """Compute rates; None if no time has passed, or the store was rolled back."""
    seconds = (current.at_ms - previous.at_ms) / 1000
    if seconds <= 0 or current.journal.last < previous.journal.last:
        return None
    previous_offsets = {status.handler: status.offset for status in previous.handlers}
    return Rates(
        (current.journal.last - previous.journal.last) / seconds,
        {
            status.handler: (status.offset - old) / seconds
            for status in current.handlers
            if status.offset is not None and (old := previous_offsets.get(status.handler)) is not None
        },
    )


def header_lines(current: ServiceStatus, rates: Rates | None = None) -> list[str]:
    """Format the lines above the tables."""
    if current.holder is None:
        lease = "nobody holds the lease"
    else:
        ends = humanize_ms(max(current.expires_ms - current.at_ms, 0))
        lease = (
            f"lease held by {current.holder} for another {ends}, {current.commits:,} commits in this tenure"
        )
    limit = f" of {decimal(current.limit)}" if current.limit else ""
    journal = current.journal
    journal_summary = "the journal is empty"
    if journal.entries > 0:
        journal_summary = (
            f"journal {journal.first:,} to {journal.last:,}, {_span(journal.first_ms, journal.last_ms)}, "
            f"{decimal(journal.bytes)}"
        )
    lines = [
        f"store {current.store}, org {current.org_id or 'not known yet'}: {lease}",
        f"{journal_summary}; {current.records:,} records; store {decimal(current.bytes)}{limit}",
    ]
    if rates is not None:
        lines[1] += f"; {rates.journaled:,.1f} events/s"
    if current.ingest_dead_letters:
        lines.append(f"{_unreadable(current)} could not be understood: cadence-consumer dead-letters list")
    return lines


def tables(current: ServiceStatus, rates: Rates | None = None) -> Iterator[tuple[Row, Sequence[Row]]]:
    """Yield columns and rows of each table."""
    yield (
        ("channel", "position", "moved", "polled through", "headroom"),
        [_channel(status, current.at_ms) for status in current.channels],
    )
    rate = () if rates is None else ("events/s",)
    yield (
        ("handler", "offset", "lag", "behind", *rate, "blocked", "dead letters", "commands", ""),
        [_handler(status, rates) for status in current.handlers],
    )
    if current.tasks:
        yield (
            ("reconciling", "object", "reading", "done", "rows", "changed", "events", ""),
            [_task(status, current.at_ms) for status in current.tasks],
        )


def _channel(status: ChannelStatus, now_ms: int) -> Row:
    if status.birth_ms is None:
        return status.channel, "never subscribed", "", "", ""
    return (
        status.channel if status.configured else f"{status.channel} (not configured)",
        status.position or "none yet",
        f"{humanize_ms(max(now_ms - status.position_ms, 0))} ago"
        if status.position_ms is not None
        else "never",
        iso(status.polled_through_ms) if status.polled_through_ms is not None else "",
        _headroom(status.headroom_ms or 0),
    )


def _headroom(ms: int) -> str:
    return humanize_ms(ms) if ms > 0 else f"none since {humanize_ms(-ms)}"


def _handler(status: HandlerStatus, rates: Rates | None) -> Row:
    rate: Row = ()
    if rates is not None:
        moved = rates.handled.get(status.handler)
        rate = ("" if moved is None else f"{moved:,.1f}",)
    notes = [] if status.configured else ["not configured, or off"]
    if status.blocked_runs and status.attempts:
        notes.append(f"up to {status.attempts} attempts: {status.error}")
    return (
        status.handler,
        f"{status.offset:,}" if status.offset is not None else "new",
        f"{status.lag:,}" if status.lag is not None else "",
        humanize_ms(status.behind_ms) if status.behind_ms is not None else "",
        *rate,
        str(status.blocked_runs or ""),
        f"{status.dead_letters} ({status.redrives} redriving)"
        if status.redrives
        else str(status.dead_letters or ""),
        ", ".join(status.commands),
        "; ".join(notes),
    )


def _task(status: TaskStatus, now_ms: int) -> Row:
    if status.waiting:
        note = f"from {iso(status.since_ms or 0)} on; due {_when(status.due_ms, now_ms)}"
    elif status.since_ms is not None:
        note = f"{iso(status.since_ms)} to {iso(status.until_ms) if status.until_ms is not None else 'now'}"
    else:
        note = f"{status.records} records left" if status.records else ""
    if status.error is not None:
        note = f"set aside: {status.error}"
    return (
        status.reason,
        status.entity,
        "waits" if status.waiting else status.phase,
        f"{status.done:.0%}" if status.done is not None else "",
        f"{status.fetched:,}",
        f"{status.changed:,}",
        f"{status.events:,}",
        note,
    )


def _when(due_ms: int, now_ms: int) -> str:
    return f"in {humanize_ms(due_ms - now_ms)}" if due_ms > now_ms else "now"


def _span(first_ms: int | None, last_ms: int | None) -> str:
    if first_ms is None or last_ms is None:
        return "of unknown age"
    return f"{iso(first_ms)} to {iso(last_ms)}"


def _unreadable(current: ServiceStatus) -> str:
    from consumer.inspection.status import DEAD_LETTER_COUNT_LIMIT

    many = (
        f"{DEAD_LETTER_COUNT_LIMIT} messages or more"
        if current.ingest_dead_letters >= DEAD_LETTER_COUNT_LIMIT
        else f"{current.ingest_dead_letters} messages"
    )
    return "1 message" if current.ingest_dead_letters == 1 else many
