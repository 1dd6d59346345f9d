"""What can go wrong, as a tree. Every class takes facts and writes its own message.

::

    CadenceError
    ├── SettingsError        the configuration is unusable (exit code 2); carries every problem at once
    ├── StopService          Salesforce or the store says something only a person can change (exit code 77 or 69)
    ├── BadEvent             one change event cannot be understood; it becomes an ingest dead letter
    ├── SessionFault         a CometD session ended; carries the reason, the supervisor decides what is next
    ├── AuthenticationFailed no access token could be had
    └── StoreError
        ├── StoreUnavailable the store cannot be reached or cannot write now
        │   └── StoreEmpty   it can be reached, and nothing was ever written to it
        ├── StoreForeign     the store belongs to another org or to a newer version
        │   └── StoreDamaged what it holds is not what this service writes
        └── CommitRefused    the lease is lost or the store went back in time: the tenure is over

``Retry``, ``Reject`` and ``Failed`` (``consumer.plugin``) are words of the plugin API, not faults of the service.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

__all__ = [
    "AuthenticationFailed",
    "BadEvent",
    "CadenceError",
    "CommitRefused",
    "EndReason",
    "Remedy",
    "SessionFault",
    "SettingProblem",
    "SettingsError",
    "StopService",
    "StoreDamaged",
    "StoreEmpty",
    "StoreError",
    "StoreForeign",
    "StoreUnavailable",
    "first_error",
]

ErrorT = TypeVar("ErrorT", bound=BaseException)


class CadenceError(Exception):
    """Base of everything this service raises on purpose."""


@dataclass(frozen=True, slots=True)
class SettingProblem:
    """One unusable setting.

    Attributes:
        setting: its full name, as in ``handlers.notify.on``.
        message: what is wrong and what to do, one line.
    """

    setting: str
    message: str

    def __str__(self) -> str:
        return f"{self.setting}: {self.message}"


class SettingsError(CadenceError):
    """The configuration is unusable; ``problems`` holds all of them."""

    def __init__(self, problems: Sequence[SettingProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class StopService(CadenceError):
    """Going on would be wrong until a person changes something.

    Attributes:
        code: stable label for logs and metrics, as in ``permission_denied``.
        action: what to change, one sentence.
        permission: True where Salesforce refused a permission (exit code 77), else the service is unavailable (69).
    """

    def __init__(self, code: str, what: str, action: str, *, permission: bool = False) -> None:
        self.code = code
        self.what = what
        self.action = action
        self.permission = permission
        super().__init__(f"{what} {action}")


class BadEvent(CadenceError):
    """A message that is valid JSON and not a usable change event.

    Attributes:
        reason: stable label, as in ``no_header``, ``wrong_type``, ``unknown_entity``.
        detail: what exactly, one line.
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


class Remedy(StrEnum):
    """What the end of a session asks for."""

    RETRY = "retry"
    """Open a new session after a back-off."""
    REAUTHENTICATE = "reauthenticate"
    """Forget the access token, then open a new session."""
    WAIT_QUOTA = "wait_quota"
    """The rolling 24 h delivery allocation is used up: stay down, come back by position."""
    RECONCILE = "reconcile"
    """The stored position was refused: the replay policy decides."""
    STOP = "stop"
    """Only a person can change it."""


@dataclass(frozen=True, slots=True)
class EndReason:
    """Why a session ended.

    Attributes:
        code: stable label for logs and metrics (bounded set), as in ``unknown_client`` or ``poll_timeout``.
        detail: what was seen, one line, free of secrets.
        remedy: what to do next.
        action: for ``STOP``: what a person must change; empty otherwise.
        channel: the channel it concerns, where there is one.
        position: the refused replay id, for ``RECONCILE``.
        server_ms: Salesforce's time of the refusal in milliseconds, for ``RECONCILE``; None when the answer had no ``Date``.
    """

    code: str
    detail: str
    remedy: Remedy = Remedy.RETRY
    action: str = ""
    channel: str | None = None
    position: str | None = None
    server_ms: int | None = None

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


class SessionFault(CadenceError):
    """A session is over. No recovery happens inside a session, so there is one path to test.

    Attributes:
        reason: why.
        body: the exact answer, where it could not be read.
    """

    body: bytes | None = None

    def __init__(self, reason: EndReason) -> None:
        self.reason = reason
        super().__init__(str(reason))


class AuthenticationFailed(CadenceError):
    """No access token could be had.

    Attributes:
        code: the OAuth error (``invalid_grant``, ``invalid_client_id`` …), ``http_<status>`` or ``unreachable``.
        permanent: True when trying again with the same settings cannot help.
    """

    def __init__(self, code: str, detail: str, *, permanent: bool) -> None:
        self.code = code
        self.detail = detail
        self.permanent = permanent
        super().__init__(f"Salesforce gave no access token ({code}): {detail}")


class StoreError(CadenceError):
    """Base of everything a store raises."""


class StoreUnavailable(StoreError):
    """The store cannot be reached or cannot write now; nothing was half-written."""

    def __init__(self, store: str, why: str) -> None:
        self.store = store
        self.why = why
        super().__init__(f"store {store} is unavailable: {why}")


class StoreEmpty(StoreUnavailable):
    """It can be reached, and nothing was ever written to it: there is nothing to look at yet."""


class StoreForeign(StoreError):
    """The store holds the state of another org, or of a newer format."""


class StoreDamaged(StoreForeign):
    """It holds something that this service never wrote: damaged, or written by something else under the same name.

    Attributes:
        what: what it should have been, as in ``state of a record``.
        data_prefix: how it begins.
    """

    def __init__(self, what: str, data: bytes) -> None:
        self.what = what
        self.data_prefix = data[:200]
        super().__init__(
            f"the store holds {self.data_prefix!r}, which should be the {what} and is none: it was damaged, or something else writes "
            "under the same store.prefix; restore it from a backup, or give this service a store of its own"
        )


class CommitRefused(StoreError):
    """The tenure is over: everything built from the store must be built again.

    Attributes:
        holder: who holds the lease now, where known.
    """

    def __init__(self, number: int, holder: str | None) -> None:
        self.number = number
        self.holder = holder
        super().__init__(
            f"commit {number} was refused: the lease is held by {holder or 'nobody or a newer tenure'}"
        )


def first_error(group: BaseExceptionGroup[ErrorT]) -> ErrorT:
    """The first error of a group that holds no group itself: one cause to report where several tasks ended for it."""
    error: ErrorT | BaseExceptionGroup[ErrorT] = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
