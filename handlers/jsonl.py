"""Lifecycle events as lines of JSON in a file, which is turned over when it is full.

A batch is on the disk (flushed and synced) before it counts as delivered, so no event is lost. Events can be repeated: after a crash
between writing and the saving of the handler's place, and after a write that took longer than the handler's timeout. Readers tell by
``id``. A crash in the middle of a write leaves a torn last line; it is ended when the file is opened again, so that no event is glued to
it, and readers skip the one line that is not JSON.
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
    """Appends one JSON line per event to a file."""

    class Settings(BaseModel):
        """Where to, and how much is kept."""

        model_config = ConfigDict(extra="forbid")

        path: Path = Field(description="The file; its directory is made if need be.")
        max_bytes: ByteSize = Field(
            default=ByteSize(100_000_000),
            gt=0,
            description="Size at which a new file is begun, such as `100 MB`; a batch is never divided.",
        )
        keep: int = Field(
            default=5, ge=0, description="How many full files are kept, as `path.1` (the newest), `path.2` …"
        )

    on = ("*",)

    def __init__(self) -> None:
        self._fd: int | None = None
        # A write that timed out goes on in its thread; the next must wait for it.
        self._lock = Lock()

    async def open(self, settings: Settings, ctx: Context) -> None:
        """Open the file and end a torn last line."""
        self._settings = settings
        if await asyncio.to_thread(self._open):
            ctx.log.warning("the last line was torn by a crash and has been ended", path=str(settings.path))

    async def handle_batch(self, events: Sequence[LifecycleEvent], ctx: Context) -> None:
        """Append the events and sync the file."""
        del ctx
        await asyncio.to_thread(self._append, events)

    async def close(self) -> None:
        """Close the file."""
        await asyncio.to_thread(self._close)

    def _open(self) -> bool:
        """Open the file if it is not; whether its last line was torn."""
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
                self._close_locked()  # somebody removed or renamed the file: begin it anew under its name
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
        """After a write that failed half-way (disk full): back to whole lines, as far as that is possible."""
        assert self._fd is not None
        try:
            os.ftruncate(self._fd, size)
        finally:
            self._close_locked()  # opening ends a torn line, should there be one

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
    """Make names durable: syncing a file does not sync the directory that names it."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
