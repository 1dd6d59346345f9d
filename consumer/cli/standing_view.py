"""How it stands, for people: a line about the store and a table each of channels, handlers and what is to be mended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rich.filesize import decimal

from consumer.clock import iso
from consumer.durations import in_words

if TYPE_CHECKING:
    from consumer.standing import ChannelStanding, HandlerStanding, Standing, TaskStanding

__all__ = ["Pace", "headline", "pace_between", "tables"]

Row = tuple[str, ...]


class Pace(NamedTuple):
    """What happened between two looks, a second.

    Attributes:
        journaled: lifecycle events that came into the journal.
        handled: by handler, how far its offset moved.
    """

    journaled: float
    handled: dict[str, float]


def pace_between(before: Standing, now: Standing) -> Pace | None:
    """How fast it went; None when no time has passed, or the store went back."""
    seconds = (now.at_ms - before.at_ms) / 1000
    if seconds <= 0 or now.journal.last < before.journal.last:
        return None
    was = {one.handler: one.offset for one in before.handlers}
    return Pace(
        (now.journal.last - before.journal.last) / seconds,
        {
            one.handler: (one.offset - old) / seconds
            for one in now.handlers
            if one.offset is not None and (old := was.get(one.handler)) is not None
        },
    )


def headline(now: Standing, pace: Pace | None = None) -> list[str]:
    """What is told above the tables."""
    if now.holder is None:
        lease = "nobody holds the lease"
    else:
        ends = in_words(max(now.expires_ms - now.at_ms, 0))
        lease = f"lease held by {now.holder} for {ends} more, {now.commits:,} commits in this tenure"
    limit = f" of {decimal(now.limit)}" if now.limit else ""
    journal = now.journal
    held = "the journal is empty"
    if journal.entries > 0:
        held = f"journal {journal.first:,} to {journal.last:,}, {_span(journal.first_ms, journal.last_ms)}, {decimal(journal.bytes)}"
    lines = [
        f"store {now.store}, org {now.org_id or 'not known yet'}: {lease}",
        f"{held}; {now.records:,} records known; store {decimal(now.bytes)}{limit}",
    ]
    if pace is not None:
        lines[1] += f"; {pace.journaled:,.1f} events/s"
    if now.unreadable:
        lines.append(f"{_unreadable(now)} could not be understood: cadence-consumer dead-letters list")
    return lines


def tables(now: Standing, pace: Pace | None = None) -> Iterator[tuple[Row, Sequence[Row]]]:
    """Columns and rows of each table."""
    yield (
        ("channel", "position", "moved", "polled through", "headroom"),
        [_channel(one, now.at_ms) for one in now.channels],
    )
    rate = () if pace is None else ("events/s",)
    yield (
        ("handler", "offset", "lag", "behind", *rate, "parked", "dead", "orders", ""),
        [_handler(one, pace) for one in now.handlers],
    )
    if now.tasks:
        yield (
            ("to mend", "object", "reading", "done", "rows", "changed", "events", ""),
            [_task(one, now.at_ms) for one in now.tasks],
        )


def _channel(one: ChannelStanding, now_ms: int) -> Row:
    if one.birth_ms is None:
        return one.channel, "never subscribed", "", "", ""
    return (
        one.channel if one.configured else f"{one.channel} (not configured)",
        one.position or "none yet",
        f"{in_words(max(now_ms - one.position_ms, 0))} ago" if one.position_ms is not None else "never",
        iso(one.polled_through_ms) if one.polled_through_ms is not None else "",
        _headroom(one.headroom_ms or 0),
    )


def _headroom(ms: int) -> str:
    return in_words(ms) if ms > 0 else f"none since {in_words(-ms)}"


def _handler(one: HandlerStanding, pace: Pace | None) -> Row:
    rate: Row = ()
    if pace is not None:
        moved = pace.handled.get(one.handler)
        rate = ("" if moved is None else f"{moved:,.1f}",)
    notes = [] if one.configured else ["not configured, or off"]
    if one.parked and one.retried:
        notes.append(f"up to {one.retried} attempts: {one.error}")
    return (
        one.handler,
        f"{one.offset:,}" if one.offset is not None else "new",
        f"{one.lag:,}" if one.lag is not None else "",
        in_words(one.behind_ms) if one.behind_ms is not None else "",
        *rate,
        str(one.parked or ""),
        f"{one.dead_letters} ({one.retries} again)" if one.retries else str(one.dead_letters or ""),
        ", ".join(one.orders),
        "; ".join(notes),
    )


def _task(one: TaskStanding, now_ms: int) -> Row:
    if one.waiting:
        note = f"from {iso(one.since_ms or 0)} on; due {_when(one.due_ms, now_ms)}"
    elif one.since_ms is not None:
        note = f"{iso(one.since_ms)} to {iso(one.until_ms) if one.until_ms is not None else 'now'}"
    else:
        note = f"{one.records} records left" if one.records else ""
    return (
        one.reason,
        one.entity,
        "waits" if one.waiting else one.phase,
        f"{one.done:.0%}" if one.done is not None else "",
        f"{one.fetched:,}",
        f"{one.changed:,}",
        f"{one.events:,}",
        note,
    )


def _when(due_ms: int, now_ms: int) -> str:
    return f"in {in_words(due_ms - now_ms)}" if due_ms > now_ms else "now"


def _span(first_ms: int | None, last_ms: int | None) -> str:
    if first_ms is None or last_ms is None:
        return "of unknown age"
    return f"{iso(first_ms)} to {iso(last_ms)}"


def _unreadable(now: Standing) -> str:
    from consumer.standing import LETTERS

    many = f"{LETTERS} messages or more" if now.unreadable >= LETTERS else f"{now.unreadable} messages"
    return "1 message" if now.unreadable == 1 else many
