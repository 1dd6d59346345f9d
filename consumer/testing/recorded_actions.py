"""The actions that a handler took, recorded instead of sent to Salesforce.

Inputs are checked, guarded against double enrolment and logged as in production: only what sends is replaced.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TypeVar

from consumer.actions.inputs import ActionInput, AssignTarget
from consumer.actions.results import (
    ActionCallFailed,
    ActionError,
    ActionResult,
    ActionStatus,
)

__all__ = ["RecordedActions"]

InputT = TypeVar("InputT", bound=ActionInput)


class RecordedActions:
    """What ``ctx.actions`` sends to in a test.

    Attributes:
        sent: every input that was sent, in order, those included that then failed.
        over: ids of runs that are not active (any more); all others are.
        enrolled: (target, cadence as the handler names it) to the run that :meth:`~consumer.actions.client.Actions.assign` finds there.
    """

    def __init__(self) -> None:
        self.sent: list[ActionInput] = []
        self.over: set[str] = set()
        self.enrolled: dict[tuple[str, str], str] = {}
        self._faults: deque[ActionError | str] = deque()

    def refuse(self, code: str = "UNKNOWN_EXCEPTION", message: str = "refused by the test") -> None:
        """Let the next call come back with this error for each of its inputs; several wait in line."""
        self._faults.append(ActionError(status_code=code, message=message))

    def break_off(self, why: str = "connection reset") -> None:
        """Let the next call lose its answer: nobody knows what took effect."""
        self._faults.append(why)

    async def send(self, inputs: Sequence[InputT], *, client: str) -> list[ActionResult[InputT]]:
        """Record the inputs.

        Raises:
            ActionCallFailed: the test asked for it.
        """
        del client
        self.sent += inputs
        fault = self._faults.popleft() if self._faults else None
        if isinstance(fault, str):
            unknown = [ActionResult(action_input, ActionStatus.UNKNOWN) for action_input in inputs]
            raise ActionCallFailed(inputs[0].action, fault, unknown)
        if fault is not None:
            return [ActionResult(action_input, ActionStatus.FAILED, (fault,)) for action_input in inputs]
        return [ActionResult(action_input, ActionStatus.SUCCEEDED) for action_input in inputs]

    async def active_runs(self, inputs: Sequence[AssignTarget]) -> list[str | None]:
        """As :attr:`enrolled` says."""
        return [self.enrolled.get((action_input.target_id, action_input.cadence)) for action_input in inputs]

    async def is_active(self, tracker_id: str) -> bool:
        """As :attr:`over` says."""
        return tracker_id not in self.over
