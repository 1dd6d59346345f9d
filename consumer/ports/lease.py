"""Lease port: the right to write, and the token that proves it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["LeaseState", "LeaseStore", "Tenure"]


@dataclass(frozen=True, slots=True)
class Tenure:
    """Won lease.

    Attributes:
        token: random, new with every win.
        holder: name of the holder for people: host name, process id, replica.
    """

    token: str
    holder: str


@dataclass(frozen=True, slots=True)
class LeaseState:
    """State of the lease, for people.

    Attributes:
        holder: name of the holder; None when the lease is free.
        expires_ms: expiry in wall milliseconds of the store.
        number: number of the last commit of this tenure.
    """

    holder: str | None
    expires_ms: int
    number: int


class LeaseStore(Protocol):
    """Store operations on the lease."""

    async def acquire(self, holder: str, lease_ms: int) -> Tenure | None:
        """Win the lease and write a new token in one step; None while another holds it."""
        ...

    async def renew(self, tenure: Tenure, number: int, lease_ms: int) -> None:
        """Prolong the lease.

        Raises:
            CommitRefused: token or number differ from the stored ones: the tenure is over.
        """
        ...

    async def release(self, tenure: Tenure) -> None:
        """Release the lease at once; does nothing if the tenure no longer holds it."""
        ...

    async def lease(self) -> LeaseState:
        """Read the lease's present state."""
        ...
