"""What can go wrong in the sandbox itself, as opposed to what it pretends goes wrong.

SandboxError
├── IllegalTransition   a story asks a run for something its state does not allow
├── UnknownRecord       no such record in the org, or it is deleted
├── UnknownFault      a kind of trouble that the weather does not know
└── PortUnavailable     the port cannot be bound
"""

from __future__ import annotations

from collections.abc import Iterable


class SandboxError(Exception):
    """Base of the sandbox's own errors."""


class IllegalTransition(SandboxError):
    """A run or step is not in a state in which `action` is possible."""

    def __init__(self, *, action: str, record_id: str, state: str | None, allowed: Iterable[str]) -> None:
        self.action = action
        self.record_id = record_id
        self.state = state
        super().__init__(
            f"cannot {action} {record_id}: its state is {state}; "
            f"bring it to one of {', '.join(sorted(allowed))} first"
        )


class UnknownRecord(SandboxError):
    """No live record of this object has this id."""

    def __init__(self, *, entity: str, record_id: str) -> None:
        self.entity = entity
        self.record_id = record_id
        super().__init__(f"{entity} {record_id} does not exist in this org or is deleted; create it first")


class UnknownFault(SandboxError):
    """The weather has no trouble of this kind."""

    def __init__(self, *, kind: str, known: Iterable[str]) -> None:
        self.kind = kind
        super().__init__(f"there is no trouble of kind {kind!r}; use one of {', '.join(sorted(known))}")


class PortUnavailable(SandboxError):
    """The sandbox cannot listen on the wanted port."""

    def __init__(self, *, port: int, cause: OSError) -> None:
        self.port = port
        super().__init__(
            f"cannot listen on localhost:{port}: {cause}; choose another port, or 0 for any free one"
        )
