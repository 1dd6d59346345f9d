"""The production store: Redis 7 or newer, or Valkey.

A commit is one Lua script (``commit.lua``): it validates token, number and org before its first write, because a failing script does
not roll back. All keys share one hash tag, so the store fits on a cluster. The journal is a stream whose ids are ``<offset>-0``.

The client never repeats a command by itself: a script that timed out may have been applied, and only the commit's number can tell. Every
socket has a time-out; a socket without one hangs for ten hours one night. What is not promised: a Redis that forgets acknowledged commits
(AOF ``everysec`` on power failure, failover with replication lag) takes state, journal, positions and places back *together*.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import secrets
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import asdict
from importlib import resources
from types import MappingProxyType
from typing import Any, Final

import orjson
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from consumer.errors import CommitRefused, StoreEmpty, StoreForeign, StoreUnavailable
from consumer.ports.commit import (
    ChannelState,
    Commit,
    Epoch,
    IngestDeadLetter,
    PastPosition,
)
from consumer.ports.delivery import (
    HandlerCommand,
    HandlerDeadLetter,
    PendingCommands,
    SavedBlockedRun,
    SavedCursor,
)
from consumer.ports.journal import JournalEntry
from consumer.ports.lease import LeaseState, Tenure
from consumer.ports.store import StoreSize
from consumer.stores.encoding import (
    HISTORY_KEPT,
    ONCE_MARKS_KEPT,
    commands_of,
    decode_blocked_run,
    decode_channel,
    decode_channels,
    encode_blocked_run,
    encode_channels,
)
from consumer.stores.error_hints import with_hint
from consumer.stores.journal_signal import JournalSignal

__all__ = ["RedisStore"]

FORMAT: Final = 1
"""Version of these keys; migrating them is code with a test."""

_TIMEOUT_S: Final = 5.0
_MIN_VERSION: Final = (7, 0)
_TRIM_BATCH: Final = 1_000
"""Journal entries removed at a time."""
_PIPELINE_SIZE: Final = 500
"""Commands sent at a time."""


class RedisStore:
    """Keys under ``{prefix}`` of one Redis database as a store.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``, as redis-py reads them.
        shown_url: the same without password.
        prefix: first part and hash tag of every key.
        read_only: for commands that only look: writes nothing, not even the format's version.
    """

    def __init__(self, url: str, *, shown_url: str, prefix: str = "cadence", read_only: bool = False) -> None:
        self._shown_url = shown_url
        self._read_only = read_only
        # Any: redis-py types its answers for every decoding mode at once.
        self._redis: Any = Redis.from_url(
            url,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            health_check_interval=15,
            retry=Retry(NoBackoff(), 0),
            retry_on_error=[],
            **({} if url.startswith("unix:") else {"socket_keepalive": True}),
        )
        tag = f"{{{prefix}}}:"
        self._lease = f"{tag}lease"
        self._meta = f"{tag}meta"
        self._states = f"{tag}states"
        self._journal = f"{tag}journal"
        self._runs = f"{tag}run:"
        self._channels = f"{tag}channels"
        self._history = f"{tag}positions"
        self._checkpoints = f"{tag}checkpoints"
        self._timers = f"{tag}timers"
        self._tasks = f"{tag}tasks"
        self._ingest_dead_letters = f"{tag}dead:ingest"
        self._ingest_dead_letters_order = f"{tag}dead:ingest:order"
        self._cursors = f"{tag}places"
        self._blocked_runs = f"{tag}parked:"
        self._handler_dead_letters = f"{tag}dead:handlers"
        self._handler_dead_letters_order = f"{tag}dead:handlers:order:"
        self._redrives = f"{tag}dead:handlers:retry:"
        self._once = f"{tag}once:"
        self._commands = f"{tag}orders"
        self._commit = self._script("commit")
        self._lease_script = self._script("lease")
        self._cursor_script = self._script("cursor")
        self._move = self._script("move")
        self._trim = self._script("trim")
        self._journal_signal = JournalSignal()

    def _script(self, name: str) -> Any:
        text = resources.files("consumer.stores.redis").joinpath(f"{name}.lua").read_text()
        return self._redis.register_script(text)

    @property
    def url(self) -> str:
        """Where it is, without password."""
        return self._shown_url

    # ------------------------------------------------------------ opening and closing

    async def open(self) -> None:
        """Connect, and check that it is new enough and of a format that this version reads.

        Raises:
            StoreUnavailable: it cannot be reached.
            StoreForeign: it is too old, or of a newer format.
        """
        info = await self._call(self._redis.info("server"))
        version = str(info.get("valkey_version") or info.get("redis_version", "0"))
        if (
            "valkey_version" not in info
            and tuple(int(part) for part in version.split(".")[:2]) < _MIN_VERSION
        ):
            raise StoreForeign(
                f"store {self.url} is Redis {version}: version 7.0 or newer, or Valkey, is needed"
            )
        if not self._read_only:
            await self._call(self._redis.hsetnx(self._meta, "format", str(FORMAT)))
        found = await self._call(self._redis.hget(self._meta, "format"))
        if found is None:
            raise StoreEmpty(
                self.url,
                "nothing has been written under this prefix yet; it appears when the service has run",
            )
        if int(found) > FORMAT:
            raise StoreForeign(
                f"store {self.url} is of format {int(found)}; this version reads up to {FORMAT}: run the newer release"
            )

    async def warnings(self) -> list[str]:
        """What about its configuration can lose checkpoints."""
        # INFO rather than CONFIG GET, which hosted servers refuse.
        try:
            info = await self._call(self._redis.info())
        except StoreUnavailable as error:
            info = {"why": error.why}
        policy, aof = info.get("maxmemory_policy"), info.get("aof_enabled")
        if policy is None or aof is None:
            why = info.get("why", "INFO does not say")
            return [
                f"cannot see how {self.url} is configured ({why}): make sure of maxmemory-policy noeviction and appendonly yes"
            ]
        found = []
        if policy != "noeviction":
            found.append(
                f"{self.url} has maxmemory-policy {policy}: it may throw checkpoints away; set noeviction"
            )
        if not aof:
            found.append(f"{self.url} has appendonly no: a restart forgets commits; set appendonly yes")
        return found

    async def write_problems(self) -> list[str]:
        """Whether it is a primary with memory left, whose log can be written."""
        info = await self._call(self._redis.info())
        found = []
        if info.get("role") == "slave":
            found.append(f"{self.url} is a replica, which takes no commits: name the primary in store.url")
        limit = info.get("maxmemory", 0)
        if limit and info.get("used_memory", 0) >= limit:
            found.append(
                f"{self.url} is full ({limit} bytes): raise maxmemory, or lower journal.max_bytes and journal.max_age"
            )
        if info.get("aof_enabled") and info.get("aof_last_write_status", "ok") != "ok":
            found.append(f"{self.url} cannot write its append-only file: look at the server's disk and log")
        return found

    async def aclose(self) -> None:
        """Close every connection."""
        with contextlib.suppress(RedisError, OSError):
            await self._redis.aclose()

    async def _call(self, command: Awaitable[Any]) -> Any:
        task = asyncio.current_task()
        cancelled_before = task.cancelling() if task is not None else 0
        try:
            return await command
        except (RedisError, OSError, TimeoutError) as error:
            raise StoreUnavailable(self.url, with_hint(error)) from error
        finally:
            # redis-py sends under asyncio.wait_for, which on Python 3.11 swallows a cancellation that comes while it sends; a task
            # that survives its cancellation keeps the task group of an ended tenure waiting for ever.
            if task is not None and task.cancelling() > cancelled_before:
                raise asyncio.CancelledError

    # ------------------------------------------------------------ lease

    async def acquire(self, holder: str, lease_ms: int) -> Tenure | None:
        """Win the lease and write a fresh token in one script."""
        token = secrets.token_hex(16)
        answer = await self._call(
            self._lease_script(keys=[self._lease], args=["win", token, lease_ms, holder])
        )
        return Tenure(token, holder) if answer[0] == 1 else None

    async def renew(self, tenure: Tenure, number: int, lease_ms: int) -> None:
        """Prolong the lease if token and number are still ours."""
        answer = await self._call(
            self._lease_script(keys=[self._lease], args=["renew", tenure.token, lease_ms, number])
        )
        if answer[0] != 1:
            raise CommitRefused(number, answer[1].decode() or None)

    async def release(self, tenure: Tenure) -> None:
        """Leave the lease to the next."""
        await self._call(self._lease_script(keys=[self._lease], args=["leave", tenure.token, 0, ""]))

    async def lease(self) -> LeaseState:
        """Who holds it."""
        holder, expires, number = await self._call(
            self._redis.hmget(self._lease, ["holder", "expires", "number"])
        )
        if expires is None:
            return LeaseState(None, 0, 0)
        seconds, micros = await self._call(self._redis.time())
        held = bool(holder) and int(expires) > int(seconds) * 1000 + int(micros) // 1000
        return LeaseState(holder.decode() if held else None, int(expires), int(number))

    # ------------------------------------------------------------ ingest

    async def commit(self, commit: Commit) -> bool:
        """Apply a commit as one script, if token and number say so."""
        keys = [
            self._lease,
            self._meta,
            self._states,
            self._journal,
            self._channels,
            self._ingest_dead_letters,
            self._ingest_dead_letters_order,
            self._history,
            self._timers,
            self._tasks,
        ]
        args = _arguments(commit, self._runs)
        answer = await self._call(self._commit(keys=keys, args=args))
        match answer[0]:
            case b"applied":
                if commit.journal:
                    self._journal_signal.notify()
                return True
            case b"again":
                return False
            case b"foreign":
                raise StoreForeign(
                    f"the store belongs to org {answer[1].decode()}, not to {commit.org_id}: give every org a prefix of its own"
                )
            case _:
                raise CommitRefused(commit.number, answer[1].decode() or None)

    async def states(self, record_ids: Sequence[str]) -> dict[str, bytes]:
        """The encoded states of those that are known."""
        if not record_ids:
            return {}
        found = await self._call(self._redis.hmget(self._states, list(record_ids)))
        return {
            record_id: data for record_id, data in zip(record_ids, found, strict=True) if data is not None
        }

    async def walk(self, cursor: str | None, limit: int) -> tuple[list[tuple[str, bytes]], str | None]:
        """Some states and where to go on; Redis gives more than ``limit`` while a small hash is one piece."""
        after, found = await self._call(self._redis.hscan(self._states, int(cursor or 0), count=limit))
        return [(key.decode(), data) for key, data in found.items()], str(after) if after else None

    async def channels(self) -> dict[str, ChannelState]:
        """Every remembered channel."""
        found = await self._call(self._redis.hgetall(self._channels))
        return {channel.decode(): decode_channel(data) for channel, data in found.items()}

    async def org_id(self) -> str | None:
        """The org this store belongs to."""
        found = await self._call(self._redis.hget(self._meta, "org"))
        return None if found is None else found.decode()

    async def epochs(self) -> list[Epoch]:
        """Every epoch of commit numbers."""
        found = await self._call(self._redis.hget(self._meta, "epochs"))
        return [] if found is None else [Epoch(**value) for value in orjson.loads(found)]

    async def timers(self, until_ms: int, limit: int) -> list[tuple[str, int]]:
        """What is due."""
        found = await self._call(
            self._redis.zrangebyscore(self._timers, "-inf", until_ms, start=0, num=limit, withscores=True)
        )
        return [(key.decode(), int(due_ms)) for key, due_ms in found]

    async def reconcile_tasks(self) -> dict[str, bytes]:
        """Every reconcile task."""
        found = await self._call(self._redis.hgetall(self._tasks))
        return {task_id.decode(): data for task_id, data in found.items()}

    async def add_reconcile_task(self, task_id: str, data: bytes) -> None:
        """Add one that a person wants."""
        await self._call(self._redis.hsetnx(self._tasks, task_id, data))

    async def ingest_dead_letters(self, limit: int) -> list[IngestDeadLetter]:
        """The newest, oldest first."""
        ids = await self._call(self._redis.zrevrange(self._ingest_dead_letters_order, 0, limit - 1))
        found = await self._call(self._redis.hmget(self._ingest_dead_letters, ids)) if ids else []
        dead_letters = []
        for data in reversed(found):
            if data is not None:
                value = orjson.loads(data)
                dead_letters.append(IngestDeadLetter(**{**value, "raw": base64.b64decode(value["raw"])}))
        return dead_letters

    # ------------------------------------------------------------ secrets

    async def secret(self, name: str) -> str | None:
        """What was kept under a name."""
        found = await self._call(self._redis.hget(self._meta, f"secret:{name}"))
        return None if found is None else found.decode()

    async def save_secret(self, name: str, value: str) -> None:
        """Keep a value under a name."""
        await self._call(self._redis.hset(self._meta, f"secret:{name}", value))

    # ------------------------------------------------------------ checkpoints

    async def history(self, channel: str | None, limit: int) -> list[PastPosition]:
        """Where channels once were."""
        found = await self._call(self._redis.lrange(self._history, 0, -1))
        past = [PastPosition(**orjson.loads(data)) for data in found]
        return [entry for entry in past if channel is None or entry.channel == channel][-limit:]

    async def save_checkpoint(self, name: str, channels: Mapping[str, ChannelState]) -> None:
        """Keep positions under a name."""
        await self._call(self._redis.hset(self._checkpoints, name, encode_channels(channels)))

    async def saved_checkpoints(self) -> dict[str, dict[str, ChannelState]]:
        """Every named checkpoint."""
        found = await self._call(self._redis.hgetall(self._checkpoints))
        return {name.decode(): decode_channels(data) for name, data in sorted(found.items())}

    async def move(self, channels: Mapping[str, ChannelState]) -> None:
        """Put channels elsewhere and end the tenure under way."""
        args: list[Any] = [secrets.token_hex(16)]
        for channel, state in channels.items():
            args += (channel, orjson.dumps(asdict(state)))
        await self._call(self._move(keys=[self._lease, self._channels], args=args))

    # ------------------------------------------------------------ journal

    async def read(self, after: int, limit: int) -> list[JournalEntry]:
        """Entries past ``after``."""
        found = await self._call(self._redis.xrange(self._journal, min=f"({after}-0", max="+", count=limit))
        return [_entry(stream_id, fields) for stream_id, fields in found]

    async def bounds(self) -> tuple[int, int]:
        """First and last offset."""
        if not await self._call(self._redis.exists(self._journal)):
            return 1, 0
        info = await self._call(self._redis.xinfo_stream(self._journal))
        last = _offset(info["last-generated-id"])
        first = info["first-entry"]
        return (_offset(first[0]) if first else last + 1), last

    async def wait(self, after: int, timeout_ms: int) -> bool:
        """Wait for an entry past ``after``."""
        return await self._journal_signal.wait(self._last, after, timeout_ms)

    async def _last(self) -> int:
        return (await self.bounds())[1]

    async def read_run(self, tracker_id: str, first: int = 0) -> list[JournalEntry]:
        """The entries of one run."""
        offsets = [int(each) for each in await self._call(self._redis.lrange(self._runs + tracker_id, 0, -1))]
        wanted = [offset for offset in offsets if offset >= first]
        entries = []
        for start in range(0, len(wanted), _PIPELINE_SIZE):
            pipeline = self._redis.pipeline(transaction=False)
            for offset in wanted[start : start + _PIPELINE_SIZE]:
                pipeline.xrange(self._journal, min=f"{offset}-0", max=f"{offset}-0", count=1)
            for found in await self._call(pipeline.execute()):
                entries += [_entry(found_id, fields) for found_id, fields in found]
        return entries

    async def size(self) -> StoreSize:
        """Memory of the server and of the journal, and how many records."""
        info = await self._call(self._redis.info("memory"))
        journal = await self._call(self._redis.memory_usage(self._journal, samples=5))
        records = await self._call(self._redis.hlen(self._states))
        limit = int(info.get("maxmemory", 0)) or None
        return StoreSize(int(info["used_memory"]), int(journal or 0), limit, int(records))

    async def trim(self, tenure: Tenure, through: int) -> None:
        """Remove the front of the journal, a thousand entries at a time."""
        while True:
            entries = await self._call(
                self._redis.xrange(self._journal, min="-", max=f"{through}-0", count=_TRIM_BATCH)
            )
            last = _offset(entries[-1][0]) if len(entries) == _TRIM_BATCH else through
            runs = sorted({fields[b"r"] for _, fields in entries} - {b""})
            answer = await self._call(
                self._trim(
                    keys=[self._lease, self._journal], args=[tenure.token, last, self._runs, len(runs), *runs]
                )
            )
            if answer[0] != 1:
                raise CommitRefused(0, answer[1].decode() or None)
            if last == through:
                return

    # ------------------------------------------------------------ places

    async def cursor(self, handler: str) -> SavedCursor | None:
        """Where a handler is."""
        revision, data = await self._call(
            self._redis.hmget(self._cursors, [f"revision:{handler}", f"data:{handler}"])
        )
        return None if revision is None else SavedCursor(int(revision), data)

    async def cursors(self) -> dict[str, SavedCursor]:
        """Where every handler is."""
        found = await self._call(self._redis.hgetall(self._cursors))
        names = [name.removeprefix(b"revision:").decode() for name in found if name.startswith(b"revision:")]
        return {
            name: SavedCursor(int(found[f"revision:{name}".encode()]), found[f"data:{name}".encode()])
            for name in names
        }

    async def blocked_runs(self, handler: str) -> list[SavedBlockedRun]:
        """The runs that are parked for a handler."""
        found = await self._call(self._redis.hvals(self._blocked_runs + handler))
        return sorted(map(decode_blocked_run, found), key=lambda row: row.first)

    async def save_cursor(
        self,
        tenure: Tenure,
        handler: str,
        cursor: SavedCursor,
        dead_letters: Sequence[HandlerDeadLetter] = (),
        blocked_runs: Mapping[str | None, SavedBlockedRun | None] = MappingProxyType({}),
    ) -> None:
        """Compare-and-set a place with its dead letters and parked runs under the tenure's token."""
        args: list[Any] = [
            tenure.token,
            handler,
            cursor.revision,
            cursor.data,
            cursor.through,
            len(dead_letters),
        ]
        for dead_letter in dead_letters:
            value = {**asdict(dead_letter), "data": dead_letter.data.decode()}
            args += [f"{dead_letter.handler}/{dead_letter.event_id}", dead_letter.at_ms, orjson.dumps(value)]
        args.append(len(blocked_runs))
        for tracker_id, row in blocked_runs.items():
            args += [tracker_id or "", "" if row is None else encode_blocked_run(row)]
        keys = [
            self._lease,
            self._cursors,
            self._handler_dead_letters,
            self._handler_dead_letters_order + handler.partition("/")[0],
            self._journal,
            self._blocked_runs + handler,
        ]
        answer = await self._call(self._cursor_script(keys=keys, args=args))
        if answer[0] != 1:
            raise CommitRefused(cursor.revision, answer[1].decode() or None)

    async def handler_dead_letters(self, handler: str | None, limit: int) -> list[HandlerDeadLetter]:
        """The newest, oldest first."""
        names = (
            [handler] if handler is not None else [each for each in await self.cursors() if "/" not in each]
        )
        found: list[tuple[float, bytes]] = []
        for name in names:
            found += [
                (at_ms, key)
                for key, at_ms in await self._call(
                    self._redis.zrevrange(
                        self._handler_dead_letters_order + name, 0, limit - 1, withscores=True
                    )
                )
            ]
        return await self._load_dead_letters([key for _, key in sorted(found)[-limit:]])

    async def _load_dead_letters(self, keys: Sequence[bytes]) -> list[HandlerDeadLetter]:
        dead_letters = []
        for start in range(0, len(keys), _PIPELINE_SIZE):
            for data in await self._call(
                self._redis.hmget(self._handler_dead_letters, keys[start : start + _PIPELINE_SIZE])
            ):
                if data is not None:
                    value = orjson.loads(data)
                    dead_letters.append(HandlerDeadLetter(**{**value, "data": value["data"].encode()}))
        return dead_letters

    async def redrive_dead_letters(self, handler: str, event_ids: Sequence[str]) -> None:
        """Mark letters to be delivered again."""
        keys = [f"{handler}/{event_id}" for event_id in event_ids]
        for start in range(0, len(keys), _PIPELINE_SIZE):
            chunk = keys[start : start + _PIPELINE_SIZE]
            known = await self._call(self._redis.hmget(self._handler_dead_letters, chunk))
            if existing := [key for key, data in zip(chunk, known, strict=True) if data is not None]:
                await self._call(self._redis.sadd(self._redrives + handler, *existing))

    async def redrives(self, handler: str, limit: int) -> list[HandlerDeadLetter]:
        """Those that are marked."""
        keys = await self._call(self._redis.smembers(self._redrives + handler))
        return sorted(await self._load_dead_letters(list(keys)), key=lambda dead_letter: dead_letter.offset)[
            :limit
        ]

    async def resolve_dead_letters(
        self, handler: str, removed: Sequence[str], failed_again: Sequence[HandlerDeadLetter] = ()
    ) -> None:
        """Remove or keep letters, and their marks."""
        pipeline = self._redis.pipeline(transaction=True)
        for event_id in removed:
            key = f"{handler}/{event_id}"
            pipeline.hdel(self._handler_dead_letters, key).zrem(
                self._handler_dead_letters_order + handler, key
            )
            pipeline.srem(self._redrives + handler, key)
        for dead_letter in failed_again:
            key = f"{handler}/{dead_letter.event_id}"
            value = {**asdict(dead_letter), "data": dead_letter.data.decode()}
            pipeline.hset(self._handler_dead_letters, key, orjson.dumps(value))
            pipeline.zadd(self._handler_dead_letters_order + handler, {key: dead_letter.at_ms})
            pipeline.srem(self._redrives + handler, key)
        await self._call(pipeline.execute())

    # ------------------------------------------------------------ what is asked of handlers

    async def pending_commands(self, handlers: Sequence[str]) -> dict[str, PendingCommands]:
        """What is asked of handlers, in one round trip."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hvals(self._commands)
        for handler in handlers:
            pipeline.zcard(self._handler_dead_letters_order + handler).scard(self._redrives + handler)
        values, *counts = await self._call(pipeline.execute())
        commands = [HandlerCommand(**orjson.loads(data)) for data in values]
        return {
            handler: PendingCommands(commands_of(commands, handler), counts[2 * at], counts[2 * at + 1])
            for at, handler in enumerate(handlers)
        }

    async def put_command(self, command: HandlerCommand) -> None:
        """Ask something of a handler."""
        await self._call(self._redis.hset(self._commands, command.id, orjson.dumps(asdict(command))))

    async def remove_command(self, command: HandlerCommand, *, progress: bool = True) -> None:
        """Forget an order, and its progress."""
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.hdel(self._commands, command.id)
        if progress:
            self._forget_cursor(pipeline, command.cursor)
        await self._call(pipeline.execute())

    async def was_done(self, handler: str, key: str, since_ms: int) -> bool:
        """Whether it is marked."""
        at_ms = await self._call(self._redis.zscore(self._once + handler, key))
        return at_ms is not None and at_ms >= since_ms

    async def mark_done(self, handler: str, key: str, at_ms: int, since_ms: int) -> None:
        """Mark it, and forget old ones."""
        name = self._once + handler
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.zadd(name, {key: at_ms}).zremrangebyscore(name, "-inf", f"({since_ms}")
        pipeline.zremrangebyrank(name, 0, -ONCE_MARKS_KEPT - 1)
        await self._call(pipeline.execute())

    async def forget_handler(self, handler: str) -> None:
        """Forget everything about a handler."""
        commands = (await self.pending_commands([handler]))[handler].commands
        dead_letters = await self._call(self._redis.zrange(self._handler_dead_letters_order + handler, 0, -1))
        pipeline = self._redis.pipeline(transaction=True)
        for name in (handler, *(command.cursor for command in commands)):
            self._forget_cursor(pipeline, name)
        for command in commands:
            pipeline.hdel(self._commands, command.id)
        if dead_letters:
            pipeline.hdel(self._handler_dead_letters, *dead_letters)
        pipeline.delete(
            self._handler_dead_letters_order + handler, self._redrives + handler, self._once + handler
        )
        await self._call(pipeline.execute())

    def _forget_cursor(self, pipeline: Any, name: str) -> None:
        pipeline.hdel(self._cursors, f"revision:{name}", f"data:{name}").delete(self._blocked_runs + name)


def _arguments(commit: Commit, runs: str) -> list[Any]:
    """The commit as the script's arguments."""
    args: list[Any] = [commit.token, commit.number, commit.org_id, runs, len(commit.states)]
    for record_id, state in commit.states.items():
        args += (record_id, b"" if state is None else state)
    args.append(len(commit.journal))
    for record in commit.journal:
        args += (record.id, record.type, record.tracker_id or "", record.data)
    args.append(len(commit.channels))
    for channel, known in commit.channels.items():
        args += (channel, orjson.dumps(asdict(known)))
    args.append(len(commit.dead_letters))
    for dead_letter in commit.dead_letters:
        value = {**asdict(dead_letter), "raw": base64.b64encode(dead_letter.raw).decode()}
        args += (dead_letter.id, dead_letter.at_ms, orjson.dumps(value))
    args.append(b"" if commit.epochs is None else orjson.dumps([asdict(epoch) for epoch in commit.epochs]))
    args += ("" if commit.history_at_ms is None else commit.history_at_ms, HISTORY_KEPT, len(commit.timers))
    for key, due_ms in commit.timers.items():
        args += (key, "" if due_ms is None else due_ms)
    args.append(len(commit.reconcile_tasks))
    for task_id, data in commit.reconcile_tasks.items():
        args += (task_id, b"" if data is None else data)
    return args


def _offset(stream_id: bytes | str) -> int:
    text = stream_id.decode() if isinstance(stream_id, bytes) else stream_id
    return int(text.partition("-")[0])


def _entry(stream_id: bytes, fields: dict[bytes, bytes]) -> JournalEntry:
    run = fields[b"r"].decode()
    return JournalEntry(
        _offset(stream_id), fields[b"i"].decode(), fields[b"t"].decode(), run or None, fields[b"d"]
    )
