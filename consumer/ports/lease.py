"""Lease: who may write, under which token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["LeaseState", "LeaseStore", "Tenure"]


@dataclass(frozen=True, slots=True)
class Tenure:
    """A won lease.

    Attributes:
        token: random, fresh with every win.
        holder: who, for people: host name, process id, replica.
    """

    token: str
    holder: str


@dataclass(frozen=True, slots=True)
class LeaseState:
    """Who holds the lease, for people.

    Attributes:
        holder: None when nobody does.
        expires_ms: wall milliseconds of the store.
        number: number of the last commit of this tenure.
    """

    holder: str | None
    expires_ms: int
    number: int


class LeaseStore(Protocol):
    """Winning, keeping and leaving the lease."""

    async def acquire(self, holder: str, lease_ms: int) -> Tenure | None:
        """Win the lease and write a fresh token in one step, or None while another holds it."""
        ...

    async def renew(self, tenure: Tenure, number: int, lease_ms: int) -> None:
        """Prolong it.

        Raises:
            CommitRefused: token or number are not what the store holds: the tenure is over.
        """
        ...

    async def release(self, tenure: Tenure) -> None:
        """Leave it to the next at once; does nothing if it is not ours any more."""
        ...

    async def lease(self) -> LeaseState:
        """Who holds it now."""
        ...
