"""Store port: all operations of one store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from consumer.ports.commit import CheckpointStore, IngestStore
from consumer.ports.delivery import CursorStore
from consumer.ports.journal import JournalStore
from consumer.ports.lease import LeaseStore, Tenure

__all__ = ["SecretStore", "SizeStore", "Store", "StoreSize"]


class SecretStore(Protocol):
    """Store operations on secrets: credentials that Salesforce replaces at run time.

    They do not depend on the tenure: the process that exchanged a rotating refresh token has the only valid one, and must be able to
    store it even if it has lost the lease meanwhile. Two processes cannot do so: Salesforce accepts the old token once. Values are opaque
    text, which the caller encrypts.
    """

    async def secret(self, name: str) -> str | None:
        """Load the secret stored under ``name``; None when there is none.

        Raises:
            StoreUnavailable: the store cannot be read now.
        """
        ...

    async def save_secret(self, name: str, value: str) -> None:
        """Store ``value`` under ``name``, replacing any other, as durably as a commit.

        Raises:
            StoreUnavailable: the value may or may not have been written; write it again.
        """
        ...


@dataclass(frozen=True, slots=True)
class StoreSize:
    """Approximate size of a store.

    Attributes:
        bytes: total size, comparable with ``limit``: memory of the Redis server, or bytes in use in the SQLite file.
        journal_bytes: estimated size of the journal.
        limit: size at which the store accepts no more data; None when it has no known limit.
        records: number of stored record states.
        disk_free: free bytes on the disk that this process writes to; None when a server does the writing.
    """

    bytes: int
    journal_bytes: int
    limit: int | None = None
    records: int = 0
    disk_free: int | None = None


class SizeStore(Protocol):
    """Store operations that measure and limit the size."""

    async def size(self) -> StoreSize:
        """Measure the store; cheap at any size."""
        ...

    async def trim(self, tenure: Tenure, through: int) -> None:
        """Remove the journal's entries at or below ``through``; offsets are not reused.

        Raises:
            CommitRefused: the tenure is over; nothing was removed.
        """
        ...


class Store(
    LeaseStore, IngestStore, CheckpointStore, JournalStore, CursorStore, SizeStore, SecretStore, Protocol
):
    """All store ports together; implemented in ``consumer.stores``."""

    @property
    def url(self) -> str:
        """Location of the store without password, for messages."""
        ...

    async def open(self) -> None:
        """Connect to the store, or create it.

        Raises:
            StoreUnavailable: the store cannot be reached.
            StoreForeign: a newer version wrote the store.
        """
        ...

    async def warnings(self) -> list[str]:
        """List what in the store's configuration can lose checkpoints.

        One sentence each, with what to change.
        """
        ...

    async def write_problems(self) -> list[str]:
        """List the reasons why the store would refuse a commit now, without writing.

        One sentence each, with what to change. May be called before :meth:`open`, and after it has failed.

        Raises:
            StoreUnavailable: the store cannot be reached.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection and release every lock."""
        ...
