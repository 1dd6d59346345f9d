"""Journal and places in memory: honest about compare-and-set, with faults on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from consumer.errors import CommitRefused, StoreUnavailable
from consumer.ports.commit import Commit
from consumer.ports.delivery import (
    HandlerCommand,
    HandlerDeadLetter,
    PendingCommands,
    SavedBlockedRun,
    SavedCursor,
)
from consumer.ports.journal import JournalEntry
from consumer.ports.lease import Tenure
from consumer.ports.store import StoreSize


class MemoryStore:
    def __init__(self) -> None:
        self.entries: list[JournalEntry] = []
        self.saved: dict[str, SavedCursor] = {}
        self.dead_letters: list[HandlerDeadLetter] = []
        self.rows: dict[tuple[str, str | None], SavedBlockedRun] = {}
        self.saves: list[tuple[str, SavedCursor, tuple[HandlerDeadLetter, ...]]] = []
        self.marked: set[tuple[str, str]] = set()
        self.commands: dict[str, HandlerCommand] = {}
        self.known: dict[str, bytes] = {}
        self.marks: dict[tuple[str, str], int] = {}
        self.limit: int | None = None
        self.row_saves: list[tuple[int, dict[str | None, SavedBlockedRun | None]]] = []
        self.save_times: list[float] = []
        self.unavailable = False
        self.lose_replies = 0
        self._last = 0
        self._number = 0
        self._wins = 0
        self._token: str | None = None
        self._grown = asyncio.Event()

    async def acquire(self, holder: str, lease_ms: int) -> Tenure | None:
        del lease_ms
        self._wins += 1
        self._token, self._number = f"token-{self._wins}", 0
        return Tenure(self._token, holder)

    async def commit(self, commit: Commit) -> bool:
        if commit.token != self._token:
            raise CommitRefused(commit.number, None)
        for record in commit.journal:
            self._last += 1
            self.entries.append(
                JournalEntry(self._last, record.id, record.type, record.tracker_id, record.data)
            )
        self._grown.set()
        return True

    def remove_through(self, offset: int) -> None:
        """What retention does."""
        self.entries = [entry for entry in self.entries if entry.offset > offset]

    def _check(self) -> None:
        if self.unavailable:
            raise StoreUnavailable("memory", "told to be")

    async def read(self, after: int, limit: int) -> list[JournalEntry]:
        self._check()
        return [entry for entry in self.entries if entry.offset > after][:limit]

    async def bounds(self) -> tuple[int, int]:
        self._check()
        return (self.entries[0].offset if self.entries else self._last + 1, self._last)

    async def wait(self, after: int, timeout_ms: int) -> bool:
        self._check()
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                while self._last <= after:
                    self._grown.clear()
                    await self._grown.wait()
        except TimeoutError:
            return False
        return True

    async def cursor(self, handler: str) -> SavedCursor | None:
        self._check()
        return self.saved.get(handler)

    async def read_run(self, tracker_id: str, first: int = 0) -> list[JournalEntry]:
        self._check()
        return [each for each in self.entries if each.tracker_id == tracker_id and each.offset >= first]

    async def blocked_runs(self, handler: str) -> list[SavedBlockedRun]:
        self._check()
        rows = [row for (whose, _), row in self.rows.items() if whose == handler]
        return sorted(rows, key=lambda row: row.first)

    async def save_cursor(
        self,
        tenure: Tenure,
        handler: str,
        cursor: SavedCursor,
        dead_letters: Sequence[HandlerDeadLetter] = (),
        blocked_runs: Mapping[str | None, SavedBlockedRun | None] = MappingProxyType({}),
    ) -> None:
        self._check()
        stored = self.saved.get(handler)
        if tenure.token != self._token:
            raise CommitRefused(cursor.revision, None)
        if stored is None or stored.revision == cursor.revision - 1:
            if stored is None and cursor.revision != 1:
                raise CommitRefused(cursor.revision, None)
            self.saved[handler] = cursor
            self.dead_letters.extend(dead_letters)
            for run, row in blocked_runs.items():
                self.rows.pop((handler, run), None)
                if row is not None:
                    self.rows[handler, run] = row
            self.saves.append((handler, cursor, tuple(dead_letters)))
            self.row_saves.append((cursor.revision, dict(blocked_runs)))
            self.save_times.append(asyncio.get_running_loop().time())
        elif stored != cursor:
            raise CommitRefused(cursor.revision, None)
        if self.lose_replies:
            self.lose_replies -= 1
            raise StoreUnavailable("memory", "the reply was lost")

    async def cursors(self) -> dict[str, SavedCursor]:
        return dict(self.saved)

    async def handler_dead_letters(self, handler: str | None, limit: int) -> list[HandlerDeadLetter]:
        return [dead_letter for dead_letter in self.dead_letters if handler in (None, dead_letter.handler)][
            -limit:
        ]

    async def redrive_dead_letters(self, handler: str, event_ids: Sequence[str]) -> None:
        self.marked |= {(handler, each) for each in event_ids}

    async def redrives(self, handler: str, limit: int) -> list[HandlerDeadLetter]:
        self._check()
        wanted = [one for one in self.dead_letters if (one.handler, one.event_id) in self.marked]
        return sorted((one for one in wanted if one.handler == handler), key=lambda one: one.offset)[:limit]

    async def resolve_dead_letters(
        self, handler: str, removed: Sequence[str], failed_again: Sequence[HandlerDeadLetter] = ()
    ) -> None:
        self._check()
        ids = {*removed, *(one.event_id for one in failed_again)}
        self.dead_letters = [
            one for one in self.dead_letters if one.handler != handler or one.event_id not in ids
        ]
        self.dead_letters += failed_again
        self.marked -= {(handler, each) for each in ids}

    async def pending_commands(self, handlers: Sequence[str]) -> dict[str, PendingCommands]:
        self._check()
        return {
            each: PendingCommands(
                tuple(command for command in self.commands.values() if command.handler == each),
                sum(one.handler == each for one in self.dead_letters),
                sum(whose == each for whose, _ in self.marked),
            )
            for each in handlers
        }

    async def put_command(self, command: HandlerCommand) -> None:
        self.commands[command.id] = command

    async def remove_command(self, command: HandlerCommand, *, progress: bool = True) -> None:
        self._check()
        self.commands.pop(command.id, None)
        if not progress:
            return
        self.saved.pop(command.cursor, None)
        self.rows = {key: row for key, row in self.rows.items() if key[0] != command.cursor}

    async def forget_handler(self, handler: str) -> None:
        self.saved.pop(handler, None)

    async def states(self, record_ids: Sequence[str]) -> dict[str, bytes]:
        return {each: self.known[each] for each in record_ids if each in self.known}

    async def was_done(self, handler: str, key: str, since_ms: int) -> bool:
        self._check()
        return self.marks.get((handler, key), -1) >= since_ms

    async def mark_done(self, handler: str, key: str, at_ms: int, since_ms: int) -> None:
        self._check()
        self.marks[handler, key] = at_ms

    async def size(self) -> StoreSize:
        self._check()
        return StoreSize(1_000_000 + 100 * len(self.entries), 100 * len(self.entries), self.limit)

    async def trim(self, tenure: Tenure, through: int) -> None:
        self._check()
        if tenure.token != self._token:
            raise CommitRefused(0, None)
        self.remove_through(through)
