"""The seams of the service: what ingest and delivery ask of a store and of a source, and the values that cross.

Everything here is plain data and narrow protocols, declared once and implemented behind (``consumer.stores``, ``consumer.salesforce``).
Two halves meet only in the journal: ingest commits, delivery reads.

**One transaction is the truth.** A :class:`Commit` writes record states, journal entries, channel positions and ingest dead letters all
or nothing, only for the current lease holder, and only once: it carries the tenure's random token and its own number *n*, and a store
applies it if it holds this token and *n - 1*, answers "already applied" if it holds this token and *n*, and refuses otherwise.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, Protocol

__all__ = [
    "Answer",
    "ChannelState",
    "CheckpointStore",
    "Commit",
    "Epoch",
    "Fetched",
    "HandlerDeadLetter",
    "HandlerOrder",
    "HandlerRequests",
    "Inbound",
    "IngestDeadLetter",
    "IngestStore",
    "JournalEntry",
    "JournalRecord",
    "JournalStore",
    "LeaseState",
    "LeaseStore",
    "ParkedRun",
    "PastPosition",
    "PlaceStore",
    "SavedPlace",
    "SecretStore",
    "Session",
    "SessionEnded",
    "SessionOpened",
    "SizeStore",
    "Source",
    "Store",
    "StoreSize",
    "Tenure",
]


# ---------------------------------------------------------------- source


@dataclass(frozen=True, slots=True)
class Answer:
    """One poll answer, validated whole before any of it is consumed.

    Attributes:
        session: number of the session it came in, counting from 1 within the process.
        messages: its data messages in arrival order, each ``{"channel": str, "data": Any, …}``.
        body: the raw bytes it came as, so that a bad event can be kept exactly.
        server_ms: Salesforce time (``Date`` header), milliseconds since the epoch; None when absent.
        received_ms: monotonic milliseconds when it had arrived completely.
    """

    session: int
    messages: Sequence[Mapping[str, Any]]
    body: bytes
    server_ms: int | None
    received_ms: int


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """Every configured channel is acknowledged.

    Attributes:
        session: its number.
        resumed: per channel the replay option that was sent and acknowledged: ``-1``, ``-2`` or a replay id.
        server_ms: Salesforce time at the acknowledgement of the last channel; None when no ``Date`` came.
        received_ms: monotonic milliseconds.
        poll_limit_ms: after so long without an answer a poll of this session counts as unanswered; None when nothing was advised.
    """

    session: int
    resumed: Mapping[str, str]
    server_ms: int | None
    received_ms: int
    poll_limit_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was read beside the stream, for a commit: rows that a reconcile task asked Salesforce for, or states that may be forgotten.

    Attributes:
        page: opaque to everybody but who read it and who commits it.
        received_ms: monotonic milliseconds.
    """

    page: Any
    received_ms: int


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """The session is over, and nothing more of it will come.

    Attributes:
        session: its number.
        code: why, a stable label (``consumer.errors.EndReason.code``).
        received_ms: monotonic milliseconds.
    """

    session: int
    code: str
    received_ms: int


Inbound = SessionOpened | Answer | SessionEnded | Fetched


class Session(Protocol):
    """One disposable session: authenticate, handshake, subscribe every channel, poll. Nothing in it is ever repaired."""

    async def open(self, resume: Mapping[str, str]) -> SessionOpened:
        """Authenticate, shake hands and subscribe every channel of ``resume`` (channel to replay option).

        Raises:
            SessionFault: anything but a clean acknowledgement of every channel.
        """
        ...

    def answers(self) -> AsyncIterator[Answer]:
        """Poll, one long poll at a time; yields every answer, also empty ones.

        Raises:
            SessionFault: the session is over, with the reason.
        """
        ...

    async def aclose(self) -> None:
        """Disconnect politely within 2 s; leaves no task, socket or cookie behind."""
        ...


class Source(Protocol):
    """Makes sessions; a Pub/Sub API transport could fill this too."""

    def session(self, number: int, poll_timeout: Callable[[], int | None]) -> Session:
        """A fresh session with its own HTTP connections and cookie jar.

        Args:
            number: of the session.
            poll_timeout: asked right before each long poll: milliseconds after which the server should answer even without events,
                or None for the server's own time-out. While changes are held back, a short poll proves that nothing older is coming.
        """
        ...


# ---------------------------------------------------------------- store: tenure


@dataclass(frozen=True, slots=True)
class Tenure:
    """A won lease.

    Attributes:
        token: random, fresh with every win.
        holder: who, for people: host name, process id, replica.
    """

    token: str
    holder: str


@dataclass(frozen=True, slots=True)
class LeaseState:
    """Who holds the lease, for people.

    Attributes:
        holder: None when nobody does.
        expires_ms: wall milliseconds of the store.
        number: number of the last commit of this tenure.
    """

    holder: str | None
    expires_ms: int
    number: int


class LeaseStore(Protocol):
    """Winning, keeping and leaving the lease."""

    async def acquire(self, holder: str, lease_ms: int) -> Tenure | None:
        """Win the lease and write a fresh token in one step, or None while another holds it."""
        ...

    async def renew(self, tenure: Tenure, number: int, lease_ms: int) -> None:
        """Prolong it.

        Raises:
            CommitRefused: token or number are not what the store holds: the tenure is over.
        """
        ...

    async def release(self, tenure: Tenure) -> None:
        """Leave it to the next at once; does nothing if it is not ours any more."""
        ...

    async def lease(self) -> LeaseState:
        """Who holds it now."""
        ...


# ---------------------------------------------------------------- store: ingest


@dataclass(frozen=True, slots=True)
class ChannelState:
    """What is remembered of one channel.

    Attributes:
        birth_ms: Salesforce time of its first acknowledged subscription; changes committed 60 s before it are ignored.
        position: the checkpoint, an opaque replay id; None until one is finished.
        position_ms: wall milliseconds when ``position`` last moved.
        polled_through_ms: Salesforce time up to which polls were answered without interruption.
        commit_number: the greatest that had arrived then, of the newest epoch; what a restart of numbers is noticed by.
    """

    birth_ms: int
    position: str | None = None
    position_ms: int | None = None
    polled_through_ms: int | None = None
    commit_number: int | None = None


@dataclass(frozen=True, slots=True)
class PastPosition:
    """Where a channel once was.

    Attributes:
        channel: which.
        position: its checkpoint then.
        at_ms: wall milliseconds.
        offset: the journal's end then.
    """

    channel: str
    position: str
    at_ms: int
    offset: int


@dataclass(frozen=True, slots=True)
class Epoch:
    """A stretch of time with one sequence of commit numbers; they restart when the org moves to another instance.

    Attributes:
        number: 0, 1, 2 …
        start_ms: commit time of its first change, milliseconds since the epoch, a whole second; 0 for the first.
        instance: the org's instance name as far as known, as in ``NA224``.
        fell_from: the greatest commit number of the epoch before, as far as it had arrived; 0 for the first.
    """

    number: int
    start_ms: int
    instance: str | None
    fell_from: int = 0


@dataclass(frozen=True, slots=True)
class JournalRecord:
    """A lifecycle event on its way into the journal.

    Attributes:
        id: deterministic.
        type: as in ``run.enrolled``.
        tracker_id: the run, which is the ordering key; None for system events.
        data: its JSON.
    """

    id: str
    type: str
    tracker_id: str | None
    data: bytes


@dataclass(frozen=True, slots=True)
class IngestDeadLetter:
    """A message that could not be understood, with its bytes.

    Attributes:
        id: deterministic: channel, position and a digest of ``raw``.
        channel: where it came from.
        position: its replay id, where it had one.
        reason: stable label (``BadEvent.reason``).
        detail: one line.
        raw: the exact bytes.
        at_ms: wall milliseconds when it was seen.
    """

    id: str
    channel: str
    position: str | None
    reason: str
    detail: str
    raw: bytes
    at_ms: int


@dataclass(slots=True)
class Commit:
    """All or nothing.

    Attributes:
        token: of the tenure.
        number: 1, 2, 3 … within the tenure.
        org_id: 18 characters; a store that belongs to another org refuses.
        states: record id to its encoded state; None removes it.
        journal: appended in this order.
        channels: channel to what is remembered of it from now on.
        dead_letters: kept by id, so that a repeated one is one.
        remember_ms: when not None, positions in ``channels`` are also kept as history, as of these wall milliseconds.
        epochs: every epoch from now on; None when nothing changes.
        timers: key (``consumer.timers.key_of``) to due time in milliseconds since the epoch; None removes it.
        tasks: id of a reconcile task to its encoded form; None removes it.
    """

    token: str
    number: int
    org_id: str
    states: dict[str, bytes | None] = field(default_factory=dict)
    journal: list[JournalRecord] = field(default_factory=list)
    channels: dict[str, ChannelState] = field(default_factory=dict)
    dead_letters: list[IngestDeadLetter] = field(default_factory=list)
    remember_ms: int | None = None
    epochs: list[Epoch] | None = None
    timers: dict[str, int | None] = field(default_factory=dict)
    tasks: dict[str, bytes | None] = field(default_factory=dict)


class IngestStore(Protocol):
    """What a tenure needs besides the lease."""

    async def commit(self, commit: Commit) -> bool:
        """Apply it; False when the store had applied it already (its reply was lost).

        Raises:
            CommitRefused: the tenure is over; nothing was written.
            StoreForeign: the store belongs to another org; nothing was written.
            StoreUnavailable: whether it was written is unknown; send the same commit again.
        """
        ...

    async def states(self, record_ids: Sequence[str]) -> dict[str, bytes]:
        """The encoded states of those that are known."""
        ...

    async def walk(self, cursor: str | None, limit: int) -> tuple[list[tuple[str, bytes]], str | None]:
        """Some of what :meth:`states` knows, about ``limit`` of it, and where to go on.

        What is there all along is met at least once in a walk from None to None; what comes and goes meanwhile may be met or not.

        Args:
            cursor: None begins; else what the call before returned, in this or another process.
            limit: about how many.

        Returns:
            Key and encoded state of each, and the next cursor; None when the walk is over.
        """
        ...

    async def channels(self) -> dict[str, ChannelState]:
        """Every remembered channel."""
        ...

    async def org_id(self) -> str | None:
        """The org this store belongs to; None while it is new."""
        ...

    async def epochs(self) -> list[Epoch]:
        """Every epoch of commit numbers, oldest first; empty while the first lasts and nothing is known of it."""
        ...

    async def timers(self, until_ms: int, limit: int) -> list[tuple[str, int]]:
        """Up to ``limit`` timers due at or before ``until_ms``, the earliest first: key and due time."""
        ...

    async def tasks(self) -> dict[str, bytes]:
        """Every reconcile task: id to encoded form."""
        ...

    async def add_task(self, task_id: str, data: bytes) -> None:
        """Add a task that a person wants, outside any tenure; one that is there already stays as it is."""
        ...

    async def ingest_dead_letters(self, limit: int) -> list[IngestDeadLetter]:
        """The newest, oldest first."""
        ...


class CheckpointStore(Protocol):
    """What people do with positions."""

    async def history(self, channel: str | None, limit: int) -> list[PastPosition]:
        """The newest, oldest first; of all channels with None."""
        ...

    async def save_checkpoint(self, name: str, channels: Mapping[str, ChannelState]) -> None:
        """Keep positions under a name, replacing what had it."""
        ...

    async def saved_checkpoints(self) -> dict[str, dict[str, ChannelState]]:
        """Every named checkpoint."""
        ...

    async def move(self, channels: Mapping[str, ChannelState]) -> None:
        """Put channels elsewhere and end whatever tenure is under way, in one transaction.

        The holder's next commit or renewal is refused; it wins the lease again and builds everything from the store, as every tenure does.
        """
        ...


# ---------------------------------------------------------------- store: delivery


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """A lifecycle event in the journal.

    Attributes:
        offset: its place, counting from 1; grows, holes are possible after retention.
        id: deterministic.
        type: as in ``run.enrolled``.
        tracker_id: the run; None for system events.
        data: its JSON.
    """

    offset: int
    id: str
    type: str
    tracker_id: str | None
    data: bytes


class JournalStore(Protocol):
    """Reading the journal."""

    async def read(self, after: int, limit: int) -> list[JournalEntry]:
        """Up to ``limit`` entries with offsets greater than ``after``, ascending; empty at the end."""
        ...

    async def bounds(self) -> tuple[int, int]:
        """First and last offset; ``(1, 0)`` when it is empty and nothing was ever removed."""
        ...

    async def wait(self, after: int, timeout_ms: int) -> bool:
        """Wait until an entry past ``after`` may exist; False when the time is over."""
        ...

    async def of_run(self, tracker_id: str, first: int = 0) -> list[JournalEntry]:
        """The entries of one run at or after ``first``, ascending."""
        ...


@dataclass(frozen=True, slots=True)
class SavedPlace:
    """A handler's place as stored.

    Attributes:
        revision: grows by one with every change; what compare-and-set compares.
        data: encoded by the delivery half.
        through: the highest offset that it calls settled; a journal that ends before has gone back in time, and the place is refused.
    """

    revision: int
    data: bytes
    through: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class HandlerDeadLetter:
    """An event that a handler gave up on.

    Attributes:
        handler: its name in the settings.
        event_id: of the event.
        offset: of the event in the journal.
        tracker_id: of the event.
        type: of the event.
        attempts: how many were made.
        error: the last failure, one line.
        at_ms: wall milliseconds.
        data: the event's JSON.
    """

    handler: str
    event_id: str
    offset: int
    tracker_id: str | None
    type: str
    attempts: int
    error: str
    at_ms: int
    data: bytes


@dataclass(frozen=True, slots=True)
class ParkedRun:
    """A run whose events one handler is not done with, while the handler's offset goes on.

    Attributes:
        tracker_id: the run; None stands for what belongs to no run.
        first: its first unsettled entry; the journal keeps everything from here on.
        attempts: made so far with that entry.
        due_ms: wall milliseconds before which no other attempt is to be made.
        error: what the last attempt came to, one line.
        done: entries of the run above ``first`` that are settled all the same, ascending.
    """

    tracker_id: str | None
    first: int
    attempts: int = 0
    due_ms: int = 0
    error: str = ""
    done: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class HandlerOrder:
    """What somebody asked of a handler, kept until it is carried out or taken back; whoever holds the lease carries it out.

    Attributes:
        id: unique, without a slash.
        handler: its name in the settings.
        kind: ``pause`` (take nothing until it is taken back) or ``replay`` (deliver a stretch of the journal again).
        at_ms: wall milliseconds when it was given.
        after: of a replay: the offset after which it begins.
        through: of a replay: its last offset.
    """

    id: str
    handler: str
    kind: Literal["pause", "replay"]
    at_ms: int
    after: int = 0
    through: int = 0

    @property
    def place(self) -> str:
        """Under which name the progress of a replay is kept: no handler's name has a slash."""
        return f"{self.handler}/{self.id}"


@dataclass(frozen=True, slots=True)
class HandlerRequests:
    """What is asked of one handler.

    Attributes:
        orders: the oldest first.
        dead_letters: how many it has.
        retries: how many of them are to be delivered again.
    """

    orders: tuple[HandlerOrder, ...] = ()
    dead_letters: int = 0
    retries: int = 0


class PlaceStore(Protocol):
    """Where handlers are."""

    async def place(self, handler: str) -> SavedPlace | None:
        """Its place; None for a new handler."""
        ...

    async def save_place(
        self,
        tenure: Tenure,
        handler: str,
        place: SavedPlace,
        dead_letters: Sequence[HandlerDeadLetter] = (),
        parked: Mapping[str | None, ParkedRun | None] = MappingProxyType({}),
    ) -> None:
        """Write ``place`` with its dead letters and rows, all or nothing, if the stored revision is one less (none, for the first).

        ``parked`` names the rows that change, None removes one.

        Writing the same revision with the same data again is a repetition, not a conflict.

        Raises:
            CommitRefused: the tenure is over, or the stored revision is another one; nothing was written.
            StoreUnavailable: whether it was written is unknown; send the same again.
        """
        ...

    async def places(self) -> dict[str, SavedPlace]:
        """Every handler that ever had a place."""
        ...

    async def parked(self, handler: str) -> list[ParkedRun]:
        """The runs that are parked for it, the one with the lowest entry first."""
        ...

    async def handler_dead_letters(self, handler: str | None, limit: int) -> list[HandlerDeadLetter]:
        """The newest, oldest first; of all handlers with None."""
        ...

    async def retry_dead_letters(self, handler: str, event_ids: Sequence[str]) -> None:
        """Ask for these to be delivered again; ids without a letter are passed over."""
        ...

    async def retries(self, handler: str, limit: int) -> list[HandlerDeadLetter]:
        """Those that are to be delivered again, in journal order."""
        ...

    async def settle_dead_letters(
        self, handler: str, gone: Sequence[str], back: Sequence[HandlerDeadLetter] = ()
    ) -> None:
        """Remove the letters with the ids ``gone``; keep those of ``back``, as they are now, and deliver them again no more."""
        ...

    async def requests(self, handlers: Sequence[str]) -> dict[str, HandlerRequests]:
        """What is asked of these handlers."""
        ...

    async def put_order(self, order: HandlerOrder) -> None:
        """Ask something of a handler; an order of the same id is replaced."""
        ...

    async def remove_order(self, order: HandlerOrder, *, progress: bool = True) -> None:
        """It is carried out, or taken back; with ``progress`` what is known of that goes too.

        Whoever takes a replay back leaves its progress to the holder of the lease, who may be about to write it.
        """
        ...

    async def was_done(self, handler: str, key: str, since_ms: int) -> bool:
        """Whether a handler has marked ``key`` at or after these wall milliseconds."""
        ...

    async def mark_done(self, handler: str, key: str, at_ms: int, since_ms: int) -> None:
        """Mark ``key`` for a handler, as of ``at_ms``; what was marked before ``since_ms`` goes, and all but the newest million."""
        ...

    async def forget_handler(self, handler: str) -> None:
        """Remove its place, parked runs, orders, marks and dead letters. Where it is running, its next save is refused."""
        ...


class SecretStore(Protocol):
    """What outlives a process although it is nobody's state: credentials that Salesforce replaces while the service runs.

    Not under the tenure: whoever exchanged a rotating refresh token holds the only valid one, and must be able to keep it also when the
    lease was lost meanwhile. Two cannot: Salesforce takes the old one once. Values are opaque text; whoever keeps one encrypts it.
    """

    async def secret(self, name: str) -> str | None:
        """What was kept under ``name``; None when nothing was.

        Raises:
            StoreUnavailable: it cannot be read now.
        """
        ...

    async def save_secret(self, name: str, value: str) -> None:
        """Keep ``value``, replacing what had this name; on return it is as safe as a commit.

        Raises:
            StoreUnavailable: whether it was written is unknown; write it again.
        """
        ...


@dataclass(frozen=True, slots=True)
class StoreSize:
    """How large a store is, about.

    Attributes:
        bytes: of all of it, in the unit of ``limit``: memory of the Redis server, bytes of the SQLite file.
        journal_bytes: of the journal alone, an estimate.
        limit: at which it takes no more; None when there is none that it knows.
        records: whose state it keeps.
        disk_free: bytes free on the disk that it writes to itself; None where that is a server's business.
    """

    bytes: int
    journal_bytes: int
    limit: int | None = None
    records: int = 0
    disk_free: int | None = None


class SizeStore(Protocol):
    """Keeping it small."""

    async def size(self) -> StoreSize:
        """How large it is now; cheap, however large it is."""
        ...

    async def trim(self, tenure: Tenure, through: int) -> None:
        """Remove the journal's entries at or below ``through``; offsets go on from where they were.

        Raises:
            CommitRefused: the tenure is over; nothing was removed.
        """
        ...


class Store(
    LeaseStore, IngestStore, CheckpointStore, JournalStore, PlaceStore, SizeStore, SecretStore, Protocol
):
    """Everything at once: what ``consumer.stores`` implements and the conformance suite tests."""

    @property
    def url(self) -> str:
        """Where it is, without password, for messages."""
        ...

    async def open(self) -> None:
        """Connect or create.

        Raises:
            StoreUnavailable: it cannot be reached.
            StoreForeign: it is of a newer format.
        """
        ...

    async def warnings(self) -> list[str]:
        """What about its configuration can lose checkpoints, a sentence each with what to change."""
        ...

    async def write_problems(self) -> list[str]:
        """Why it would not take a commit now, a sentence each with what to change; writes nothing to find out.

        May be asked before :meth:`open` and after it has failed.

        Raises:
            StoreUnavailable: it cannot be reached.
        """
        ...

    async def aclose(self) -> None:
        """Leave nothing behind."""
        ...
