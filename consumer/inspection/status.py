"""How it stands: what the store knows of a service, whoever runs it, at one moment.

Who holds the lease, how far each channel was read, what the journal holds, where each handler is and what waits for it, what is still to
be mended. It is read from the store alone, so that the answer is the same from any machine, and also when nothing runs; what only the
lease holder knows (its session, whether polls are answered) is ``/readyz``'s to say. The store is asked several times, so figures that
move may differ by an instant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from consumer.clock import to_ms
from consumer.delivery.cursor import Cursor
from consumer.domain.bus_retention import headroom_ms
from consumer.domain.reconcile_task import ReconcileTask
from consumer.ports.commit import ChannelState
from consumer.ports.delivery import HandlerCommand, SavedCursor
from consumer.ports.journal import JournalStore
from consumer.ports.store import Store

__all__ = [
    "ChannelStatus",
    "HandlerStatus",
    "JournalStatus",
    "ServiceStatus",
    "TaskStatus",
    "read_status",
]

DEAD_LETTER_COUNT_LIMIT: Final = 100
"""Messages that nobody understood are counted up to here: each comes with its bytes."""


@dataclass(frozen=True, slots=True)
class ChannelStatus:
    """How far a channel was read.

    Attributes:
        channel: its name.
        configured: whether the settings name it.
        position: the checkpoint; None before there is one.
        position_ms: wall milliseconds when it last moved.
        birth_ms: Salesforce time of its first subscription; None when it was never subscribed.
        polled_through_ms: Salesforce time up to which polls were answered without interruption, as of the last time it was written.
        headroom_ms: how long until changes may be gone from Salesforce unread; None when it was never subscribed.
    """

    channel: str
    configured: bool
    position: str | None = None
    position_ms: int | None = None
    birth_ms: int | None = None
    polled_through_ms: int | None = None
    headroom_ms: int | None = None


@dataclass(frozen=True, slots=True)
class JournalStatus:
    """What the journal holds.

    Attributes:
        first: lowest offset.
        last: highest offset; one less than ``first`` when it is empty.
        first_ms: when the event there happened; None when it is empty.
        last_ms: the same of the last.
        bytes: about.
    """

    first: int
    last: int
    first_ms: int | None
    last_ms: int | None
    bytes: int

    @property
    def entries(self) -> int:
        """How many, holes counted."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class HandlerStatus:
    """Where a handler is.

    Attributes:
        handler: its name in the settings.
        configured: whether the settings name it and have not switched it off.
        offset: everything up to here is settled or parked; None before it has a place.
        lag: entries of the journal above; None before it has a place.
        behind_ms: age of the first of them; None when there is none.
        parked: runs that wait for another attempt.
        retried: most attempts that one of them has had.
        error: the last failure of the oldest one.
        dead_letters: events that it gave up on.
        retries: of those, to be delivered again.
        orders: what is asked of it, for people.
    """

    handler: str
    configured: bool
    offset: int | None
    lag: int | None
    behind_ms: int | None
    blocked_runs: int
    attempts: int
    error: str | None
    dead_letters: int
    redrives: int
    commands: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """Something to mend.

    Attributes:
        task: its id.
        reason: what caused it.
        entity: API name of the object.
        phase: what is being read.
        waiting: whether it is a sweep that waits for its time, which is how it should be.
        due_ms: Salesforce time before which it is too early; 0 for at once.
        since_ms: beginning of its window; None for named records and snapshots.
        until_ms: end of its window.
        records: of named records, how many are left.
        done: how much is done, from 0 to 1; None where nothing tells.
        fetched: rows read so far.
        changed: of those, how many said something new.
        deleted: of those, records that are gone.
        events: lifecycle events told of them.
    """

    task: str
    reason: str
    entity: str
    phase: str
    waiting: bool
    due_ms: int
    since_ms: int | None
    until_ms: int | None
    records: int
    done: float | None
    fetched: int
    changed: int
    deleted: int
    events: int


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """Everything at once.

    Attributes:
        at_ms: wall milliseconds when it was read.
        store: where, without password.
        org_id: whose it is; None while it is new.
        holder: who holds the lease; None when nobody does.
        expires_ms: when the lease runs out unless it is renewed, wall milliseconds.
        commits: of the tenure under way, or of the last one.
        channels: configured ones first.
        journal: what it holds.
        handlers: configured ones first.
        tasks: what is to be mended, the waiting sweeps last.
        unreadable: messages that nobody understood, counted up to :data:`DEAD_LETTER_COUNT_LIMIT`.
        records: whose state is known.
        bytes: of the store, about.
        limit: at which it takes no more; None when it knows none.
    """

    at_ms: int
    store: str
    org_id: str | None
    holder: str | None
    expires_ms: int
    commits: int
    channels: tuple[ChannelStatus, ...]
    journal: JournalStatus
    handlers: tuple[HandlerStatus, ...]
    tasks: tuple[TaskStatus, ...]
    ingest_dead_letters: int
    records: int
    bytes: int
    limit: int | None

    def document(self) -> dict[str, Any]:
        """JSON-ready; instants and spans in milliseconds, as the names say."""
        return asdict(self)


async def read_status(
    store: Store, channels: Sequence[str], handlers: Sequence[str], now_ms: int
) -> ServiceStatus:
    """Ask the store.

    Args:
        store: open.
        channels: the configured ones.
        handlers: names of the configured ones.
        now_ms: wall milliseconds.

    Raises:
        StoreUnavailable: it does not answer.
        StoreForeign: a newer version of this service wrote what is in it.
    """
    channel_states = await store.channels()
    lease = await store.lease()
    size = await store.size()
    first, last = await store.bounds()
    tasks = [ReconcileTask.decode(data) for data in (await store.reconcile_tasks()).values()]
    return ServiceStatus(
        now_ms,
        store.url,
        await store.org_id(),
        lease.holder,
        lease.expires_ms,
        lease.number,
        tuple(_channels(channel_states, channels, now_ms)),
        JournalStatus(
            first,
            last,
            await _time_after(store, first - 1),
            await _time_after(store, last - 1),
            size.journal_bytes,
        ),
        await _handlers(store, handlers, last, now_ms),
        tuple(_task(task) for task in sorted(tasks, key=lambda each: (each.is_waiting, each.id))),
        len(await store.ingest_dead_letters(DEAD_LETTER_COUNT_LIMIT)),
        size.records,
        size.bytes,
        size.limit,
    )


def _channels(
    channel_states: Mapping[str, ChannelState], configured: Sequence[str], now_ms: int
) -> list[ChannelStatus]:
    statuses = []
    for channel in (*configured, *sorted(channel_states.keys() - set(configured))):
        state = channel_states.get(channel)
        if state is None:
            statuses.append(ChannelStatus(channel, configured=True))
            continue
        statuses.append(
            ChannelStatus(
                channel,
                channel in configured,
                state.position,
                state.position_ms,
                state.birth_ms,
                state.polled_through_ms,
                headroom_ms(state, now_ms),
            )
        )
    return statuses


async def _time_after(store: JournalStore, offset: int) -> int | None:
    """When the event of the first entry past ``offset`` happened; None when there is none."""
    entries = await store.read(max(offset, 0), 1)
    if not entries:
        return None
    return to_ms(datetime.fromisoformat(orjson.loads(entries[0].data)["time"]))


async def _handlers(
    store: Store, configured: Sequence[str], last: int, now_ms: int
) -> tuple[HandlerStatus, ...]:
    # A name with a slash is the progress of a replay.
    cursors = {name: cursor for name, cursor in (await store.cursors()).items() if "/" not in name}
    names = [*configured, *sorted(cursors.keys() - set(configured))]
    pending_commands = await store.pending_commands(names)
    statuses = []
    for name in names:
        offset = _offset(name, cursors.get(name))
        lag = max(0, last - offset) if offset is not None else None
        since_ms = await _time_after(store, offset) if offset is not None and lag else None
        blocked = await store.blocked_runs(name)
        statuses.append(
            HandlerStatus(
                name,
                name in configured,
                offset,
                lag,
                max(0, now_ms - since_ms) if since_ms is not None else None,
                len(blocked),
                max((row.attempts for row in blocked), default=0),
                next((row.error for row in blocked if row.error), None),
                pending_commands[name].dead_letters,
                pending_commands[name].redrives,
                tuple(_describe_command(command) for command in pending_commands[name].commands),
            )
        )
    return tuple(statuses)


def _offset(handler: str, saved: SavedCursor | None) -> int | None:
    return None if saved is None else Cursor.restore(handler, saved).offset


def _describe_command(command: HandlerCommand) -> str:
    return "paused" if command.kind == "pause" else f"replays {command.after + 1} to {command.through}"


def _task(task: ReconcileTask) -> TaskStatus:
    return TaskStatus(
        task.id,
        task.reason,
        task.entity,
        task.phase,
        task.is_waiting,
        task.due_ms,
        task.since_ms,
        task.until_ms,
        len(task.ids),
        task.done,
        task.fetched,
        task.changed,
        task.deleted,
        task.events,
    )
