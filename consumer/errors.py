"""Exceptions of the service, as a tree; every class formats its own message.

::

    CadenceError
    ├── SettingsError        the configuration is unusable (exit code 2); carries every problem at once
    ├── StopService          Salesforce or the store reports a problem that only a person can solve (exit code 77 or 69)
    ├── UnusableAnswer       an answer of Salesforce has content that cannot be used, so that asking again is no remedy
    ├── BadEvent             one change event cannot be decoded; it becomes an ingest dead letter
    ├── SessionFault         a CometD session ended; carries the reason, by which the supervisor decides the next step
    ├── AuthenticationFailed no access token could be obtained
    └── StoreError
        ├── StoreUnavailable the store cannot be reached or cannot write now
        │   └── StoreEmpty   the store can be reached, but nothing was ever written to it
        ├── StoreForeign     the store belongs to another org or to a newer version
        │   └── StoreDamaged the store contains data that this service did not write
        └── CommitRefused    the lease is lost or the store went back in time: the tenure is over

``Retry``, ``Reject`` and ``Failed`` (``consumer.plugin``) belong to the plugin API; they are not faults of the service.
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
    "UnusableAnswer",
    "first_error",
]

ErrorT = TypeVar("ErrorT", bound=BaseException)


class CadenceError(Exception):
    """Base of all exceptions that this service raises on purpose."""


@dataclass(frozen=True, slots=True)
class SettingProblem:
    """Invalid setting.

    Attributes:
        setting: full name of the setting, as in ``handlers.notify.on``.
        message: the problem and its solution, one line.
    """

    setting: str
    message: str

    def __str__(self) -> str:
        return f"{self.setting}: {self.message}"


class SettingsError(CadenceError):
    """Unusable configuration; ``problems`` contains every problem."""

    def __init__(self, problems: Sequence[SettingProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class StopService(CadenceError):
    """Stop of the service until a person solves a problem.

    Attributes:
        code: stable label for logs and metrics, as in ``permission_denied``.
        what: the problem, one sentence.
        action: the change to make, one sentence.
        permission: True where Salesforce refused a permission (exit code 77), else the service is unavailable (69).
    """

    def __init__(self, code: str, what: str, action: str, *, permission: bool = False) -> None:
        self.code = code
        self.what = what
        self.action = action
        self.permission = permission
        super().__init__(f"{what} {action}")


class UnusableAnswer(CadenceError):
    """An answer of Salesforce is readable, and its content cannot be used.

    The same request would bring it again.
    """


class BadEvent(CadenceError):
    """Message that is valid JSON but not a usable change event.

    Attributes:
        reason: stable label, as in ``no_header``, ``wrong_type``, ``unknown_entity``.
        detail: description of the problem, one line.
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


class Remedy(StrEnum):
    """Reaction that the end of a session calls for."""

    RETRY = "retry"
    """Open a new session after a backoff."""
    REAUTHENTICATE = "reauthenticate"
    """Discard the access token, then open a new session."""
    WAIT_QUOTA = "wait_quota"
    """Stay disconnected, then resume by position.

    The rolling 24 h delivery allocation is used up.
    """
    RECONCILE = "reconcile"
    """Apply the replay policy: the stored position was refused."""
    STOP = "stop"
    """Stop the service: only a person can solve the problem."""


@dataclass(frozen=True, slots=True)
class EndReason:
    """Reason for the end of a session.

    Attributes:
        code: stable label for logs and metrics (bounded set), as in ``unknown_client`` or ``poll_timeout``.
        detail: observed failure, one line, free of secrets.
        remedy: reaction to the end.
        action: for ``STOP``, the change that a person must make; empty otherwise.
        channel: the affected channel, if any.
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
    """End of a session.

    No recovery happens inside a session, so there is one path to test.

    Attributes:
        reason: reason for the end.
        body: the exact answer, where it could not be parsed.
    """

    body: bytes | None = None

    def __init__(self, reason: EndReason) -> None:
        self.reason = reason
        super().__init__(str(reason))


class AuthenticationFailed(CadenceError):
    """Failure to obtain an access token.

    Attributes:
        code: the OAuth error (``invalid_grant``, ``invalid_client_id`` …), ``http_<status>`` or ``unreachable``.
        detail: description of the failure, one line.
        permanent: True when a retry with the same settings cannot succeed.
    """

    def __init__(self, code: str, detail: str, *, permanent: bool) -> None:
        self.code = code
        self.detail = detail
        self.permanent = permanent
        super().__init__(f"Salesforce issued no access token ({code}): {detail}")


class StoreError(CadenceError):
    """Base of all exceptions that a store raises."""


class StoreUnavailable(StoreError):
    """Store that cannot be reached or written to now; nothing was half-written."""

    def __init__(self, store: str, why: str) -> None:
        self.store = store
        self.why = why
        super().__init__(f"store {store} is unavailable: {why}")


class StoreEmpty(StoreUnavailable):
    """Store that can be reached but has never been written to, so has nothing to show."""


class StoreForeign(StoreError):
    """Store with the state of another org, or with a newer format."""


class StoreDamaged(StoreForeign):
    """Store with data that this service never wrote.

    The data is damaged, or another program wrote it under the same name.

    Attributes:
        what: kind of data that was expected, as in ``state of a record``.
        data_prefix: the first 200 bytes of the data.
    """

    def __init__(self, what: str, data: bytes) -> None:
        self.what = what
        self.data_prefix = data[:200]
        super().__init__(
            f"the store contains {self.data_prefix!r} instead of the {what}: it was damaged, or another program writes "
            "under the same store.prefix; restore it from a backup, or give this service a store of its own"
        )


class CommitRefused(StoreError):
    """Refusal of a commit: the tenure is over, and all state must be loaded again.

    Attributes:
        number: number of the refused commit, or revision of the refused cursor.
        holder: present holder of the lease, where known.
    """

    def __init__(self, number: int, holder: str | None) -> None:
        self.number = number
        self.holder = holder
        super().__init__(
            f"commit {number} was refused: the lease is held by {holder or 'no replica, or by a newer tenure'}"
        )


def first_error(group: BaseExceptionGroup[ErrorT]) -> ErrorT:
    """Find the first error in nested groups: one cause to report for several tasks."""
    error: ErrorT | BaseExceptionGroup[ErrorT] = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
