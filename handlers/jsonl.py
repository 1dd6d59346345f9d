"""Lifecycle events as JSON lines in a file that is rotated when full.

A batch is flushed and synced to disk before it is acknowledged, so no event is lost. Events can repeat: after a crash between the write
and the save of the handler's cursor, and after a write that took longer than the handler's timeout. Readers deduplicate by ``id``. A crash
in the middle of a write leaves a torn last line. The handler terminates that line when it next opens the file, so that no event is
appended to it; readers skip the one line that is not JSON.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from pydantic import BaseModel, ByteSize, ConfigDict, Field

from consumer import BatchHandler, Context, LifecycleEvent

__all__ = ["Jsonl"]


class Jsonl(BatchHandler):
    """Append one JSON line per event to a file."""

    class Settings(BaseModel):
        """Path of the file, its size limit and the number of rotated files."""

        model_config = ConfigDict(extra="forbid")

        path: Path = Field(description="Path of the file; its directory is created if it does not exist.")
        max_bytes: ByteSize = Field(
            default=ByteSize(100_000_000),
            gt=0,
            description="Size at which the file is rotated, such as `100 MB`; a batch is never split.",
        )
        keep: int = Field(
            default=5, ge=0, description="Number of rotated files to keep: `path.1` (the newest), `path.2` …"
        )

    on = ("*",)

    def __init__(self) -> None:
        self._fd: int | None = None
        # A write that timed out continues in its thread; the next one must wait for it.
        self._lock = Lock()

    async def open(self, settings: Settings, ctx: Context) -> None:
        """Open the file and terminate a torn last line."""
        self._settings = settings
        if await asyncio.to_thread(self._open):
            ctx.log.warning("terminated a last line torn by a crash", path=str(settings.path))

    async def handle_batch(self, events: Sequence[LifecycleEvent], ctx: Context) -> None:
        """Append the events and sync the file."""
        del ctx
        await asyncio.to_thread(self._append, events)

    async def close(self) -> None:
        """Close the file."""
        await asyncio.to_thread(self._close)

    def _open(self) -> bool:
        """Open the file if it is closed; return True if its last line was torn."""
        with self._lock:
            return self._open_locked()

    def _open_locked(self) -> bool:
        if self._fd is not None:
            return False
        path = self._settings.path
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            size = os.fstat(fd).st_size
            torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
            if torn:
                _write(fd, b"\n")
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        return torn

    def _append(self, events: Sequence[LifecycleEvent]) -> None:
        lines = b"".join(event.to_json() + b"\n" for event in events)
        with self._lock:
            if self._fd is not None and not self._is_current(self._fd):
                self._close_locked()  # another process removed or renamed the file: start a new one
            self._open_locked()
            assert self._fd is not None
            size = os.fstat(self._fd).st_size
            if size and size + len(lines) > self._settings.max_bytes:
                self._rotate()
                size = 0
            try:
                _write(self._fd, lines)
                os.fsync(self._fd)
            except BaseException:
                self._undo(size)
                raise

    def _is_current(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), self._settings.path.stat())
        except FileNotFoundError:
            return False

    def _undo(self, size: int) -> None:
        """Truncate the file after a partial write (disk full), as far as possible."""
        assert self._fd is not None
        try:
            os.ftruncate(self._fd, size)
        finally:
            self._close_locked()  # opening it again terminates a line that is still torn

    def _rotate(self) -> None:
        self._close_locked()
        path, keep = self._settings.path, self._settings.keep
        numbered = [path, *(path.with_name(f"{path.name}.{number}") for number in range(1, keep + 1))]
        numbered[-1].unlink(missing_ok=True)
        for older, newer in zip(reversed(numbered[1:]), reversed(numbered[:-1]), strict=True):
            if newer.exists():
                newer.rename(older)
        self._open_locked()
        _sync_directory(path.parent)

    def _close(self) -> None:
        with self._lock:
            self._close_locked()

    def _close_locked(self) -> None:
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _sync_directory(directory: Path) -> None:
    """Sync the directory; a file's fsync does not make its new name durable."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
