"""A lock on a file beside the store: how replicas on one machine learn at once that the holder of the lease is dead.

The kernel frees the lock when the process that has it ends, however it ends. In the file stands the token of its tenure. Whoever gets
the lock and reads there the token that the store has as well knows that the process of this tenure is gone, and need not wait for the
lease to run out.

A free lock alone says nothing: a holder that won because the lease of a frozen one had run out has no lock, since the frozen one still
has it. When that one goes on, or is killed, the lock is free while the lease is held.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

__all__ = ["FileLock"]

_TOKEN_BYTES = 100


class FileLock:
    """One process's hand on the lock of ``path``, which is made if need be."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def acquire(self) -> str | None:
        """Get the lock, or keep it; the token of the last tenure that had it (empty: none had), None while another process has it."""
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
        """Say that this tenure has the lock; without the lock nothing is said."""
        if self._fd is not None:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, token.encode("ascii"), 0)

    def release(self) -> None:
        """Leave it to others."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)
