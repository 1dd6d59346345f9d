"""Replays of one handler: events that an operator has delivered again.

A replay has a reader and a cursor of its own, and feeds the same lanes as ordinary delivery, so that order and limits hold for both
together. Its cursor is saved, so a replay continues after a restart. The command is removed when everything is acknowledged; a command
that disappears before that cancels its replay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from consumer.delivery.handler_queue import HandlerQueue
from consumer.delivery.journal_reader import JournalReader
from consumer.delivery.store_retry import StoreRetry
from consumer.ports.delivery import CursorStore, HandlerCommand
from consumer.ports.observers.delivery_events import DeliveryEvent
from consumer.ports.observers.handler_events import ReplayEnded, ReplayStarted
from consumer.ports.observers.observer import Observer

__all__ = ["NewReader", "Replays"]


class NewReader(Protocol):
    """Factory of readers of the journal, each with a cursor of its own."""

    def __call__(
        self, cursor_name: str, *, replayed: bool = False, through: int | None = None
    ) -> JournalReader:
        """Make a reader.

        Args:
            cursor_name: name under which its cursor is stored.
            replayed: whether its events are delivered again because of a replay.
            through: last offset that is read; None for no end.
        """
        ...


class Replays:
    """Running replays of one handler.

    Args:
        queue: queue of the handler.
        store: has the commands.
        new_reader: makes the reader of a replay.
        retry: repeats store calls.
        observer: notified of the beginning and the end of each replay.

    Attributes:
        readers: readers of the replays that have begun.
        savers: tasks that save the cursors of these readers.
    """

    def __init__(
        self,
        queue: HandlerQueue,
        store: CursorStore,
        new_reader: NewReader,
        retry: StoreRetry,
        observer: Observer[DeliveryEvent],
    ) -> None:
        self.readers: list[JournalReader] = []
        self.savers: set[asyncio.Task[None]] = set()
        self._queue = queue
        self._store = store
        self._new_reader = new_reader
        self._retry = retry
        self._observer = observer
        self._running: dict[str, JournalReader] = {}
        self._finished: set[str] = set()
        self._replay_tasks: set[asyncio.Task[None]] = set()

    def apply_commands(self, commands: Sequence[HandlerCommand], tasks: asyncio.TaskGroup) -> None:
        """Start the new replays of ``commands``; cancel those that have disappeared."""
        self._finished &= {command.id for command in commands}
        replays = {command.id: command for command in commands if command.kind == "replay"}
        for command in replays.values():
            if command.id not in self._running and command.id not in self._finished:
                reader = self._new_reader(command.cursor, replayed=True, through=command.through)
                self._running[command.id] = reader
                task = tasks.create_task(self._replay(command, reader, tasks))
                self._replay_tasks.add(task)
                task.add_done_callback(self._replay_tasks.discard)
        for command_id in self._running.keys() - replays.keys():
            self._running[command_id].cancel()

    def stop(self) -> None:
        """Stop reading; the cursors are still saved."""
        for task in self._replay_tasks:
            task.cancel()

    async def _replay(self, command: HandlerCommand, reader: JournalReader, tasks: asyncio.TaskGroup) -> None:
        async def first_offset() -> int:
            return command.after

        cursor_saver = reader.cursor_saver
        await cursor_saver.load_or_create(first_offset)
        await reader.recover()
        self._queue.on_enqueued()
        self._observer.observe(
            ReplayStarted(self._queue.name, command.id, cursor_saver.cursor.offset, command.through)
        )
        self.readers.append(reader)
        saver = tasks.create_task(cursor_saver.run())
        self.savers.add(saver)
        await reader.run()
        await reader.cursor_saver.wait_until_drained()
        cursor_saver.stop()
        await saver
        self.savers.discard(saver)
        self.readers.remove(reader)
        await self._retry.call(self._store.remove_command, command)
        self._finished.add(command.id)  # commands that were read before the removal may still contain it
        del self._running[command.id]
        self._observer.observe(
            ReplayEnded(self._queue.name, command.id, cursor_saver.cursor.offset, cancelled=reader.cancelled)
        )
