"""Status of a service, read from its store.

Holder of the lease, position of each channel, content of the journal, offset, lag and blocked runs of each handler, open reconcile tasks.
It is read from the store alone, so that the answer is the same from any machine, and also when nothing runs; what only the lease holder
knows (its session, whether polls are answered) is in ``/readyz``. The store is read several times, so moving figures may differ by an
instant.
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
"""Highest number of ingest dead letters that is counted: each is read with its bytes."""


@dataclass(frozen=True, slots=True)
class ChannelStatus:
    """Position of a channel.

    Attributes:
        channel: name of the channel.
        configured: whether the settings name it.
        position: the checkpoint; None before the first.
        position_ms: wall milliseconds when it last moved.
        birth_ms: Salesforce time of its first subscription; None if it was never subscribed.
        polled_through_ms: Salesforce time up to which polls were answered without interruption, as last written.
        headroom_ms: milliseconds until unread changes may be gone from Salesforce; None if it was never subscribed.
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
    """Content of the journal.

    Attributes:
        first: lowest offset.
        last: highest offset; one less than ``first`` if the journal is empty.
        first_ms: time of the first event; None if the journal is empty.
        last_ms: time of the last event; None if the journal is empty.
        bytes: approximate size.
    """

    first: int
    last: int
    first_ms: int | None
    last_ms: int | None
    bytes: int

    @property
    def entries(self) -> int:
        """Number of entries, holes counted."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class HandlerStatus:
    """Progress of a handler.

    Attributes:
        handler: its name in the settings.
        configured: whether the settings name and enable it.
        offset: everything up to here is acknowledged, apart from blocked runs; None before it has a cursor.
        lag: number of journal entries after it; None before it has a cursor.
        behind_ms: age of the first of these entries; None if there is none.
        blocked_runs: number of runs that wait for another attempt.
        attempts: highest number of attempts among them.
        error: last failure of the oldest of them.
        dead_letters: number of events given up.
        redrives: number of dead letters to be delivered again.
        commands: the operator's pending commands, as text.
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
    """Progress of a reconcile task.

    Attributes:
        task: id of the task.
        reason: why the task exists.
        entity: API name of the object.
        phase: what is being read.
        waiting: whether it is the next sweep, which waits for its time.
        due_ms: Salesforce time from which it may start; 0 for at once.
        since_ms: beginning of its window; None for named records and snapshots.
        until_ms: end of its window.
        records: number of named records that are left.
        done: share that is done, from 0 to 1; None if unknown.
        fetched: number of rows read so far.
        changed: number of rows that contained something new.
        deleted: number of records that are gone.
        events: number of lifecycle events emitted for them.
        error: why the task is set aside; None while it is not.
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
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """Status of a service at one moment.

    Attributes:
        at_ms: wall milliseconds when it was read.
        store: URL of the store, without password.
        org_id: the org the store belongs to; None while it is new.
        holder: replica that holds the lease; None if none does.
        expires_ms: when the lease expires unless it is renewed, wall milliseconds.
        commits: number of commits of the present tenure, or of the last.
        channels: status of each channel, configured channels first.
        journal: status of the journal.
        handlers: status of each handler, configured handlers first.
        tasks: open reconcile tasks, the waiting sweeps last.
        ingest_dead_letters: number of messages that could not be understood, counted up to :data:`DEAD_LETTER_COUNT_LIMIT`.
        records: number of records whose state is stored.
        bytes: approximate size of the store.
        limit: bytes at which the store is full; None if unknown.
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
        """Return JSON values; instants and spans in milliseconds."""
        return asdict(self)


async def read_status(
    store: Store, channels: Sequence[str], handlers: Sequence[str], now_ms: int
) -> ServiceStatus:
    """Read the status from the store.

    Args:
        store: open store.
        channels: the configured channels.
        handlers: names of the configured handlers.
        now_ms: wall milliseconds.

    Raises:
        StoreUnavailable: the store does not answer.
        StoreForeign: a newer release of this service wrote the store.
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
    """Return the time of the first event after ``offset``; None if there is none."""
    entries = await store.read(max(offset, 0), 1)
    if not entries:
        return None
    return to_ms(datetime.fromisoformat(orjson.loads(entries[0].data)["time"]))


async def _handlers(
    store: Store, configured: Sequence[str], last: int, now_ms: int
) -> tuple[HandlerStatus, ...]:
    # A name with a slash is the cursor of a replay.
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
        task.error,
    )
