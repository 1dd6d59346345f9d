"""Application of handler commands: pause, resume, replay, redrive.

Operators write commands into the store; the holder of the lease reads them every second and applies them here. Applying the same commands
twice changes nothing.
"""

from __future__ import annotations

import asyncio

from consumer.delivery.handler_state import HandlerStateMachine
from consumer.delivery.journal_reader import JournalReader
from consumer.delivery.redrive import DeadLetterRedrive
from consumer.delivery.replays import Replays
from consumer.delivery.store_retry import StoreRetry
from consumer.delivery.worker_pool import WorkerPool
from consumer.ports.delivery import CursorStore, PendingCommands

__all__ = ["HandlerControl"]


class HandlerControl:
    """Application of the pending commands of one handler.

    Args:
        state: state of the handler.
        pool: its workers.
        main_reader: its reader, whose dead letters may not be stored yet.
        redrive: its redriven dead letters.
        replays: its replays.
        store: has the commands.
        retry: repeats store calls.
        stopping: set when the service stops; only the state follows commands from then on.
    """

    def __init__(
        self,
        state: HandlerStateMachine,
        pool: WorkerPool,
        main_reader: JournalReader,
        redrive: DeadLetterRedrive,
        replays: Replays,
        store: CursorStore,
        retry: StoreRetry,
        stopping: asyncio.Event,
    ) -> None:
        self._state = state
        self._pool = pool
        self._main_reader = main_reader
        self._redrive = redrive
        self._replays = replays
        self._store = store
        self._retry = retry
        self._stopping = stopping
        self._pending_commands = PendingCommands()
        self._tasks: asyncio.TaskGroup | None = None
        self._redrive_task: asyncio.Task[None] | None = None

    async def load_commands(self) -> None:
        """Read the commands from the store and apply them.

        Called before the handler is opened, so that a paused handler does not begin with an attempt.
        """
        handler = self._pool.queue.name
        self.apply_commands((await self._retry.call(self._store.pending_commands, [handler]))[handler])

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Carry out redrives and replays from now on, as members of ``tasks``.

        Commands that were applied before are carried out as well.
        """
        self._tasks = tasks
        self._redrive_task = tasks.create_task(self._redrive.run())
        self.apply_commands(self._pending_commands)

    def apply_commands(self, pending_commands: PendingCommands) -> None:
        """Apply what the store says about the handler; called every second or so.

        Before :meth:`start` and during a stop only the state of the handler follows.
        """
        self._pending_commands = pending_commands
        dead_letters = (
            pending_commands.dead_letters
            - pending_commands.redrives
            + sum(len(reader.cursor_saver.unsaved) for reader in (self._main_reader, *self._replays.readers))
        )
        paused = any(command.kind == "pause" for command in pending_commands.commands)
        self._state.update(paused=paused, dead_letters=dead_letters)
        if self._tasks is None or self._stopping.is_set():
            return
        self._redrive.apply_commands(pending_commands)
        self._replays.apply_commands(pending_commands.commands, self._tasks)
        self._pool.queue.wake_readers()
        self._pool.start_workers()

    def stop(self) -> None:
        """Stop fetching redriven and replayed events."""
        if self._redrive_task is not None:
            self._redrive_task.cancel()
        self._replays.stop()

    def save(self, tasks: asyncio.TaskGroup) -> set[asyncio.Task[None]]:
        """Save the results of redrives and replays; returns the tasks that do so.

        To be called when no call of the handler is running any more.
        """
        for reader in self._replays.readers:
            reader.cursor_saver.stop()
        return {*self._replays.savers, tasks.create_task(self._redrive.save())}
