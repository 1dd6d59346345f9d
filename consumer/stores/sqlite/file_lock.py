"""Lock file beside the store, by which a replica notices a dead holder at once.

The kernel releases the lock when the locking process ends, however it ends. The file contains the token of that process's tenure. A replica
on the same machine that gets the lock and finds the token which the store has too knows that the process of this tenure is gone, and need
not wait for the lease to expire.

A free lock alone proves nothing: a replica that won after the lease of a frozen process expired has no lock, since the frozen process still
has it. When the frozen process resumes, or is killed, the lock is free although the lease is held.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

__all__ = ["FileLock"]

_TOKEN_BYTES = 100


class FileLock:
    """Lock of one process on the file at ``path``, which is created if missing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def acquire(self) -> str | None:
        """Get the lock, or keep it.

        Returns:
            The token of the last tenure that had the lock, empty if none had; None while another process has it.
        """
        if self._fd is None:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                return None
            except BaseException:
                os.close(fd)
                raise
            self._fd = fd
        return os.pread(self._fd, _TOKEN_BYTES, 0).decode("ascii", "replace")

    def write_token(self, token: str) -> None:
        """Record that this tenure has the lock; does nothing without the lock."""
        if self._fd is not None:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, token.encode("ascii"), 0)

    def release(self) -> None:
        """Release the lock."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)
