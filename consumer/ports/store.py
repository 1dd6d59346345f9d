"""Store: everything that one store offers, and what is asked of it as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from consumer.ports.commit import CheckpointStore, IngestStore
from consumer.ports.delivery import CursorStore
from consumer.ports.journal import JournalStore
from consumer.ports.lease import LeaseStore, Tenure

__all__ = ["SecretStore", "SizeStore", "Store", "StoreSize"]


class SecretStore(Protocol):
    """What outlives a process although it is nobody's state: credentials that Salesforce replaces while the service runs.

    Not under the tenure: whoever exchanged a rotating refresh token holds the only valid one, and must be able to keep it also when the
    lease was lost meanwhile. Two cannot: Salesforce takes the old one once. Values are opaque text; whoever keeps one encrypts it.
    """

    async def secret(self, name: str) -> str | None:
        """What was kept under ``name``; None when nothing was.

        Raises:
            StoreUnavailable: it cannot be read now.
        """
        ...

    async def save_secret(self, name: str, value: str) -> None:
        """Keep ``value``, replacing what had this name; on return it is as safe as a commit.

        Raises:
            StoreUnavailable: whether it was written is unknown; write it again.
        """
        ...


@dataclass(frozen=True, slots=True)
class StoreSize:
    """How large a store is, about.

    Attributes:
        bytes: of all of it, in the unit of ``limit``: memory of the Redis server, bytes of the SQLite file.
        journal_bytes: of the journal alone, an estimate.
        limit: at which it takes no more; None when there is none that it knows.
        records: whose state it keeps.
        disk_free: bytes free on the disk that it writes to itself; None where that is a server's business.
    """

    bytes: int
    journal_bytes: int
    limit: int | None = None
    records: int = 0
    disk_free: int | None = None


class SizeStore(Protocol):
    """Keeping it small."""

    async def size(self) -> StoreSize:
        """How large it is now; cheap, however large it is."""
        ...

    async def trim(self, tenure: Tenure, through: int) -> None:
        """Remove the journal's entries at or below ``through``; offsets go on from where they were.

        Raises:
            CommitRefused: the tenure is over; nothing was removed.
        """
        ...


class Store(
    LeaseStore, IngestStore, CheckpointStore, JournalStore, CursorStore, SizeStore, SecretStore, Protocol
):
    """Everything at once: what ``consumer.stores`` implements and the conformance suite tests."""

    @property
    def url(self) -> str:
        """Where it is, without password, for messages."""
        ...

    async def open(self) -> None:
        """Connect or create.

        Raises:
            StoreUnavailable: it cannot be reached.
            StoreForeign: it is of a newer format.
        """
        ...

    async def warnings(self) -> list[str]:
        """What about its configuration can lose checkpoints, a sentence each with what to change."""
        ...

    async def write_problems(self) -> list[str]:
        """Why it would not take a commit now, a sentence each with what to change; writes nothing to find out.

        May be asked before :meth:`open` and after it has failed.

        Raises:
            StoreUnavailable: it cannot be reached.
        """
        ...

    async def aclose(self) -> None:
        """Leave nothing behind."""
        ...
