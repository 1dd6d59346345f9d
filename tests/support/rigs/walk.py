"""One change event, followed through the functions that it passes, from the answer to a poll to the handler.

``python -m tests.support.rigs.walk`` writes the walk into ``consumer/README.md``; ``tests/integration/ingest/test_walk.py`` says what counts.
"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Self

from consumer.delivery.dispatcher import Dispatcher
from consumer.delivery.lanes import Delivery
from consumer.domain.change_events import Change, decode
from consumer.domain.lifecycle_events import LifecycleEvent
from consumer.domain.record_state import RecordState
from consumer.ingest.batch import Batch, LoadedStates, Part
from consumer.ingest.pending_commit import PendingCommit
from consumer.ingest.positions import PositionEntry
from consumer.plugin import Context
from consumer.ports.commit import Commit, JournalRecord
from consumer.ports.journal import JournalEntry
from consumer.ports.source import Answer
from consumer.stores.sqlite.sqlite_store import SqliteStore
from tests.support.builders.changes import RUN, RUN_1, message
from tests.support.rigs.delivery import loaded
from tests.support.rigs.ingest import tenure
from tests.support.rigs.observing import Ignore

ROOT = Path(__file__).parents[3] / "consumer"
README = ROOT / "README.md"
BLOCK = re.compile(r"(?<=<!-- walk: begin -->\n).*?(?=<!-- walk: end -->)", re.DOTALL)
LEFT_OUT = ("domain", "ports", "event_types.py", "clock.py", "errors.py")
"""Vocabulary: what everything speaks, and nothing passes through."""


@dataclass
class Call:
    """A function that was called.

    Attributes:
        code: which.
        is_internal: whether its caller is in the same module.
        is_on_the_walk: whether it was given, or gave back, what is followed.
    """

    code: CodeType
    is_internal: bool
    is_on_the_walk: bool

    @property
    def module(self) -> str:
        return str(Path(self.code.co_filename).relative_to(ROOT))

    @property
    def name(self) -> str:
        return self.code.co_qualname


class Walk:
    """Functions of ``consumer`` that are given a change or what became of it, or give it back, in the order of their calls.

    Args:
        record_id: the record of the change; every event of it counts as that change's.
        position: the replay id of the message.
    """

    def __init__(self, record_id: str, position: str) -> None:
        self.calls: list[Call] = []
        self._record_id = record_id
        self._position = position
        self._began: dict[FrameType, Call] = {}
        """Every frame that was entered; kept, so that its identity is not used again."""

    def __enter__(self) -> Self:
        sys.setprofile(self._profile)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        self.calls = [call for call in self._began.values() if call.is_on_the_walk]
        self._began.clear()

    def _profile(self, frame: FrameType, event: str, value: Any) -> None:
        code = frame.f_code
        if event not in {"call", "return"} or not _is_of_the_service(code):
            return
        if event == "call" and frame not in self._began:  # a coroutine that continues is not called again
            caller = frame.f_back.f_code if frame.f_back is not None else None
            is_internal = caller is not None and caller.co_filename == code.co_filename
            arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
            holds = any(self._holds(frame.f_locals[name]) for name in arguments)
            self._began[frame] = Call(code, is_internal, holds)
        elif event == "return" and frame in self._began and self._holds(value):
            self._began[frame].is_on_the_walk = True

    def _holds(self, value: Any) -> bool:
        """Whether this is the change, or what carries it, or what became of it."""
        match value:
            case str():
                return value == self._record_id
            case Change() | RecordState():
                return value.record_id == self._record_id
            case PositionEntry():
                return value.position == self._position
            case Part():
                return self._holds(value.change)
            case Answer():
                return self._holds(value.messages)
            case PendingCommit():
                return self._holds(value.parts)
            case LoadedStates():
                return self._record_id in value.records
            case Batch() | Commit():
                return self._record_id in value.states
            case JournalRecord() | JournalEntry():
                return value.tracker_id == self._record_id
            case LifecycleEvent():
                return value.record_id == self._record_id
            case Delivery():
                return self._holds(value.entry)
            case Mapping():
                event = (value.get("data") or {}) if "channel" in value else {}
                return str(event.get("event", {}).get("replayId")) == self._position
            case list() | tuple() | set():
                return any(self._holds(one) for one in value)
        return False

    # ------------------------------------------------------------ what it shows

    def index(self, code: CodeType) -> int:
        """Where a function is on the walk."""
        return next(at for at, call in enumerate(self.calls) if call.code is code)

    def entries(self, calls: Sequence[Call] | None = None) -> list[tuple[str, list[str]]]:
        """Module after module as the walk enters them, each with its functions.

        A call that a module makes to itself enters nothing: it is listed where the module was entered last.
        """
        entries: list[tuple[str, list[str]]] = []
        for call in self.calls if calls is None else calls:
            last = next((each for each in reversed(entries) if each[0] == call.module), None)
            if last is None or not (call.is_internal or last is entries[-1]):
                last = (call.module, [])
                entries.append(last)
            if call.name not in last[1]:
                last[1].append(call.name)
        return entries

    def entries_of_ingest(self) -> Counter[str]:
        """How often the walk enters each module of ingest after the change is decoded and before the store commits it."""
        first, last = self.index(decode.__code__), self.index(SqliteStore.commit.__code__)
        entries = self.entries(self.calls[first + 1 : last])
        return Counter(module for module, _ in entries if module.startswith("ingest/"))

    def text(self) -> str:
        """The walk for the README."""
        entries = self.entries()
        width = max(len(module) for module, _ in entries)
        lines = "\n".join(
            textwrap.fill(
                " · ".join(names),
                130,
                initial_indent=f"{module:<{width}}  ",
                subsequent_indent=" " * (width + 2),
            )
            for module, names in entries
        )
        return f"```text\n{lines}\n```\n"


def _is_of_the_service(code: CodeType) -> bool:
    if code is decode.__code__:
        return True
    path = Path(code.co_filename)
    if not path.is_relative_to(ROOT) or code.co_name.startswith(("<", "__")):
        return False
    return path.relative_to(ROOT).parts[0] not in LEFT_OUT


async def walk_of_an_update(path: Path) -> Walk:
    """The walk of an update of a run that is in memory, from the answer that holds it to the handler that is done with its event."""
    handled = asyncio.Event()

    async def handle(event: LifecycleEvent, ctx: Context) -> None:
        del ctx
        if event.type == "run.paused":
            handled.set()

    async with tenure(path, lateness_ms=100) as rig:
        dispatcher = Dispatcher(
            rig.store, rig.tenure, [loaded(handle)], clock=rig.clock, random=lambda: 0.0, observer=Ignore()
        )
        delivering = asyncio.create_task(dispatcher.run())
        await rig.open()
        await rig.answer(message("CREATE", RUN, RUN_1, {"State": "Running", "TargetId": "00Q"}, commit=1))
        await rig.pass_time(2_000)
        with Walk(RUN_1, "21") as walk:
            await rig.answer(message("UPDATE", RUN, RUN_1, {"State": "Paused"}, commit=2))
            await rig.pass_time(500, every=50)
            await handled.wait()
            await dispatcher.stop(1_000)
        await delivering
    return walk


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        text = asyncio.run(walk_of_an_update(Path(folder) / "cadence.db")).text()
    README.write_text(BLOCK.sub(lambda _: text, README.read_text()))
