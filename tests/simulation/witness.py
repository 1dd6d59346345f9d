"""What is asked after every step that changes the store: the invariants of the guarantees, on what is true outside of all processes.

The model of ``tests.model`` says what the store must answer to whom and what a commit must leave true: nothing forgotten, nothing journaled
twice, no checkpoint past anything whose effects are not stored. Here the same is asked of leases and of places: who may win, who may write,
and that no place passes an event that its handler is not done with, which is neither a dead letter nor of a blocked run.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable
from typing import Any

import orjson

from consumer.errors import CommitRefused
from consumer.ingest.options import IngestOptions
from consumer.ports.commit import Commit
from consumer.ports.delivery import HandlerDeadLetter, SavedBlockedRun, SavedCursor
from tests.model.arrivals import Arrivals
from tests.model.model import Model
from tests.simulation.handlers import Sink, wants
from tests.simulation.loop import Process
from tests.simulation.store import Deed


class Witness:
    """Believes what the store has executed, and nobody else.

    Args:
        model: of the store, token and number.
        sink: what handlers have done.
        options: of every process.
        now_ms: the machine's clock that does not jump.
        wall_ms: the machine's clock.
    """

    def __init__(
        self,
        model: Model,
        sink: Sink,
        options: IngestOptions,
        now_ms: Callable[[], int],
        wall_ms: Callable[[], int],
    ) -> None:
        self.model, self.sink = model, sink
        self.holder: Process | None = None
        self.figures: Counter[str] = Counter()
        self._wall_ms = wall_ms
        self._until_ms = 0
        self._options = options
        self._now_ms = now_ms
        self._arrivals: dict[str, Arrivals] = {}
        self._tenures: dict[str, Arrivals] = {}
        self._places: dict[str, SavedCursor] = {}
        self._blocked: dict[str, dict[str | None, SavedBlockedRun]] = {}
        self._dead_letters: dict[str, set[str]] = {}

    def executed(self, process: Process, deed: Deed, result: Any, connection: sqlite3.Connection) -> None:
        """The store has done this for ``process``.

        Raises:
            AssertionError: it must not have, or not so.
        """
        match deed.name:
            case "acquire" if result is True:
                self._won(process, deed.facts[1], connection)
            case "renew":
                self._renewed(*deed.facts, result)
            case "commit":
                self._committed(deed.facts[0], result)
            case "save_place":
                self._saved(*deed.facts, result)
            case "settle_dead_letters":
                self._acknowledged(*deed.facts)

    # ------------------------------------------------------------ who may write

    def _won(self, process: Process, lease_ms: int, connection: sqlite3.Connection) -> None:
        other = self.holder
        if other is not None and other.alive and other is not process:
            assert self._until_ms <= self._wall_ms(), (
                f"{process.name} wins a lease that {other.name} holds for {self._until_ms - self._wall_ms()} ms more"
            )
        (token,) = connection.execute("SELECT token FROM lease").fetchone()
        self.model.won(token)
        self.holder, self._until_ms = process, self._wall_ms() + lease_ms
        self._arrivals[process.name] = self._tenures[token] = Arrivals(self.model, self._options)
        self.figures["tenures"] += 1

    def arrivals(self, who: str) -> Arrivals:
        """What the tenure of a process is given, and when."""
        return self._arrivals[who]

    def leaves(self, process: Process) -> None:
        """It has given up its tenure, and writes no more."""
        if self.holder is process:
            self.holder = None

    def moved(self) -> None:
        """Somebody has ended the tenure by a command."""
        self.model.over()
        self.holder = None

    def _renewed(self, tenure: Any, number: int, lease_ms: int, result: Any) -> None:
        right = self.model.may_renew(tenure.token, number)
        assert right is not isinstance(result, CommitRefused), (
            "the holder's renewal was refused" if right else "a lease was prolonged that somebody else holds"
        )
        if right:
            self._until_ms = self._wall_ms() + lease_ms
        else:
            self.figures["renewals refused"] += 1

    # ------------------------------------------------------------ commits

    def _committed(self, commit: Commit, result: Any) -> None:
        right = self.model.answer_to(commit)
        answer = {True: "applied", False: "again"}.get(result) if isinstance(result, bool) else "refused"
        assert isinstance(result, bool | CommitRefused), result
        assert answer == right, f"commit {commit.number} is {answer}, and must be {right}"
        self.figures[f"commits {answer}"] += 1
        if answer != "applied":
            return
        fresh = self.model.applied(commit)
        self._tenures[commit.token].committed(fresh, self._now_ms())
        for record in commit.journal:
            self.sink.journal.append(record)
            self.sink.offsets[record.id] = len(self.sink.journal)

    # ------------------------------------------------------------ places

    def _saved(
        self,
        tenure: Any,
        handler: str,
        cursor: SavedCursor,
        dead_letters: tuple[HandlerDeadLetter, ...],
        blocked_runs: dict[str | None, SavedBlockedRun | None],
        result: Any,
    ) -> None:
        before = self._places.get(handler)
        is_repeated = before is not None and (before.revision, before.data) == (cursor.revision, cursor.data)
        may = tenure.token == self.model.token and (
            is_repeated
            or (
                cursor.revision == (before.revision if before else 0) + 1
                and cursor.through <= len(self.sink.journal)
            )
        )
        assert may is not isinstance(result, CommitRefused), (
            f"the place of {handler} was refused to its holder"
            if may
            else f"the place of {handler} was written by somebody else"
        )
        if not may or is_repeated:
            self.figures["places refused" if not may else "places again"] += 1
            return
        self.figures["places saved"] += 1
        self._places[handler] = cursor
        rows = self._blocked.setdefault(handler, {})
        for run, row in blocked_runs.items():
            if row is None:
                rows.pop(run, None)
            else:
                rows[run] = row
        self._dead_letters.setdefault(handler, set()).update(
            dead_letter.event_id for dead_letter in dead_letters
        )
        self._check_place(handler, cursor, rows)

    def _check_place(
        self, handler: str, cursor: SavedCursor, rows: dict[str | None, SavedBlockedRun]
    ) -> None:
        value = orjson.loads(cursor.data)
        done, dead_letters = self.sink.done[handler], self._dead_letters[handler]
        spans = [(1, value["offset"]), *value["settled"]]
        for first, last in spans:
            for offset in range(first, last + 1):
                record = self.sink.journal[offset - 1]
                if record.id in done or record.id in dead_letters or not wants(handler, record.type):
                    continue
                row = rows.get(record.tracker_id)
                is_blocked = row is not None and row.first <= offset and offset not in row.done
                assert is_blocked, (
                    f"guarantee 2: the place of {handler} ({cursor.data.decode()}) passes {record.id} at {offset}, which was never done"
                )
        for row in rows.values():
            for offset in row.done:
                record = self.sink.journal[offset - 1]
                assert record.id in done or record.id in dead_letters, (
                    f"guarantee 2: {handler} has {record.id} for done, which it never did"
                )

    def _acknowledged(
        self, handler: str, removed: tuple[str, ...], failed_again: tuple[HandlerDeadLetter, ...]
    ) -> None:
        for event_id in removed:
            assert event_id in self.sink.done[handler], (
                f"the dead letter {event_id} of {handler} is gone, and was never done"
            )
        self.figures["letters settled"] += len(removed) + len(failed_again)

    # ------------------------------------------------------------ the end

    def unfinished(self, kinds: tuple[str, ...]) -> list[str]:
        """What has not come to its end, a sentence each; empty when everything has."""
        left: list[str] = []
        model, last = self.model, len(self.sink.journal)
        for channel, bus in model.world.bus.items():
            wanted = [position for position, _ in bus if position is not None][-1:]
            if [one for one in (model.checkpoints.get(channel),) if one] != wanted:
                left.append(
                    f"{channel} is at {model.checkpoints.get(channel)}, its last position is {wanted}"
                )
        for kind in kinds:
            cursor = self._places.get(kind)
            at = 0 if cursor is None else orjson.loads(cursor.data)["offset"]
            if at < last or self._blocked.get(kind):
                left.append(
                    f"{kind} is at {at} of {last}, {len(self._blocked.get(kind, {}))} runs are blocked"
                )
        return left
