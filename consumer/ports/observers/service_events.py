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
    """Another replica, ``holder``, has the lease; repeated with every attempt to acquire it."""

    holder: str | None


@dataclass(frozen=True, slots=True)
class LeaseAcquired:
    """This replica has acquired the lease and a tenure begins; observed in the task from which the tenure's tasks start.

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
    """The tenure is over: another replica took over, the store went back in time, or the lease was released.

    Attributes:
        reason: one line.
        holder: the replica that has the lease now, where known.
    """

    reason: str
    holder: str | None = None


@dataclass(frozen=True, slots=True)
class StoreUnreachable:
    """The store did not answer while the lease was acquired, renewed or released; repeated with every attempt."""

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
    """Everything has ended; ``clean`` if nothing had to be cut short."""

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
