"""Observer events of the service's life: lease, store, stop."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "LeaseAcquired",
    "LeaseAwaited",
    "LeaseRenewed",
    "ServiceEvent",
    "ServiceStopped",
    "StopRequested",
    "StoreReachable",
    "StoreUnreachable",
    "StoreWarningFound",
    "TenureEnded",
]


@dataclass(frozen=True, slots=True)
class LeaseAwaited:
    """The lease is held by another replica, ``holder``; repeated."""

    holder: str | None


@dataclass(frozen=True, slots=True)
class LeaseAcquired:
    """The lease was acquired by this replica, and a tenure begins.

    Observed in the task from which the tenure's tasks are started.

    Attributes:
        holder: this replica's name.
        until_ms: monotonic milliseconds when the lease expires unless it is renewed; None if unknown.
        token: fencing token of the tenure.
    """

    holder: str
    until_ms: int | None = None
    token: str = ""


@dataclass(frozen=True, slots=True)
class LeaseRenewed:
    """The lease was renewed until ``until_ms``, monotonic milliseconds; repeated."""

    until_ms: int


@dataclass(frozen=True, slots=True)
class TenureEnded:
    """The tenure is over.

    Another replica took over, the store went back in time, or the lease was released.

    Attributes:
        reason: one line.
        holder: the replica that has the lease now, where known.
    """

    reason: str
    holder: str | None = None


@dataclass(frozen=True, slots=True)
class StoreUnreachable:
    """The store did not answer; repeated with every attempt."""

    error: str


@dataclass(frozen=True, slots=True)
class StoreReachable:
    """The store answered; repeated."""


@dataclass(frozen=True, slots=True)
class StoreWarningFound:
    """The store's configuration can lose checkpoints; ``warning`` is a sentence."""

    warning: str


@dataclass(frozen=True, slots=True)
class StopRequested:
    """A stop was requested; running handlers get ``grace_ms`` milliseconds."""

    grace_ms: int


@dataclass(frozen=True, slots=True)
class ServiceStopped:
    """The service has stopped; ``clean`` if nothing had to be cut short."""

    clean: bool


ServiceEvent = (
    LeaseAwaited
    | LeaseAcquired
    | LeaseRenewed
    | TenureEnded
    | StoreUnreachable
    | StoreReachable
    | StoreWarningFound
    | StopRequested
    | ServiceStopped
)
"""Any event of the service's life."""
