"""The actions that a handler took, recorded instead of sent to Salesforce.

Inputs are checked, guarded against double enrolment and logged as in production: only what sends is replaced.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TypeVar

from consumer.action_results import ActionCallFailed, ActionError, ActionResult, ActionStatus
from consumer.actions import ActionInput, AssignTarget

__all__ = ["RecordedActions"]

I = TypeVar("I", bound=ActionInput)  # noqa: E741 - an input


class RecordedActions:
    """What ``ctx.actions`` sends to in a test.

    Attributes:
        sent: every input that was sent, in order, those included that then failed.
        over: ids of runs that are not active (any more); all others are.
        enrolled: (target, cadence as the handler names it) to the run that :meth:`~consumer.acting.Actions.assign` finds there.
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

    async def perform(self, inputs: Sequence[I], *, client: str) -> list[ActionResult[I]]:
        """Record the inputs.

        Raises:
            ActionCallFailed: the test asked for it.
        """
        del client
        self.sent += inputs
        fault = self._faults.popleft() if self._faults else None
        if isinstance(fault, str):
            unknown = [ActionResult(one, ActionStatus.UNKNOWN) for one in inputs]
            raise ActionCallFailed(inputs[0].action, fault, unknown)
        if fault is not None:
            return [ActionResult(one, ActionStatus.FAILED, (fault,)) for one in inputs]
        return [ActionResult(one, ActionStatus.SUCCEEDED) for one in inputs]

    async def active_runs(self, inputs: Sequence[AssignTarget]) -> list[str | None]:
        """As :attr:`enrolled` says."""
        return [self.enrolled.get((one.target_id, one.cadence)) for one in inputs]

    async def is_active(self, tracker_id: str) -> bool:
        """As :attr:`over` says."""
        return tracker_id not in self.over
