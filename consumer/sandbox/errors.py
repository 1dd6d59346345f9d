"""Errors of the sandbox itself, as opposed to the faults that it simulates.

SandboxError
├── IllegalTransition   the state of a run does not allow what a scenario asks for
├── UnknownRecord       no such record in the org, or it is deleted
├── UnknownCall         the world has no method of this name
├── UnknownFault        no fault of this kind
└── PortUnavailable     the port cannot be bound
"""

from __future__ import annotations

from collections.abc import Iterable


class SandboxError(Exception):
    """Base of the sandbox's own errors."""


class IllegalTransition(SandboxError):
    """A run or step is in a state that does not allow `action`."""

    def __init__(self, *, action: str, record_id: str, state: str | None, allowed: Iterable[str]) -> None:
        self.action = action
        self.record_id = record_id
        self.state = state
        super().__init__(
            f"cannot {action} {record_id}: its state is {state}; "
            f"bring it to one of {', '.join(sorted(allowed))} first"
        )


class UnknownRecord(SandboxError):
    """No record of this object has this id, or it is deleted."""

    def __init__(self, *, entity: str, record_id: str) -> None:
        self.entity = entity
        self.record_id = record_id
        super().__init__(f"{entity} {record_id} does not exist in this org or is deleted; create it first")


class UnknownFault(SandboxError):
    """Unknown kind of fault."""

    def __init__(self, *, kind: str, known: Iterable[str]) -> None:
        self.kind = kind
        super().__init__(f"there is no fault of kind {kind!r}; use one of {', '.join(sorted(known))}")


class PortUnavailable(SandboxError):
    """The sandbox cannot listen on the port."""

    def __init__(self, *, host: str, port: int, cause: OSError) -> None:
        self.port = port
        super().__init__(
            f"cannot listen on {host}:{port}: {cause}; choose another port, or 0 for any free one"
        )
