"""Recorded actions of a handler, in the place of requests to Salesforce.

Inputs are validated, guarded against double enrolment and logged as in production: only the sender is replaced.
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
    """Action sender for tests, which records and sends nothing.

    Attributes:
        sent: every input that was sent, in order, failed ones included.
        over: ids of runs that have ended; all others are active.
        enrolled: run that :meth:`~consumer.actions.client.Actions.assign` finds, by target and cadence as the handler names it.
    """

    def __init__(self) -> None:
        self.sent: list[ActionInput] = []
        self.over: set[str] = set()
        self.enrolled: dict[tuple[str, str], str] = {}
        self._faults: deque[ActionError | str] = deque()

    def refuse(self, code: str = "UNKNOWN_EXCEPTION", message: str = "refused by the test") -> None:
        """Make the next call fail with this error for each of its inputs.

        Further uses of this method are for the calls after it.
        """
        self._faults.append(ActionError(status_code=code, message=message))

    def break_off(self, why: str = "connection reset") -> None:
        """Make the next call lose its response, so that its effect is unknown."""
        self._faults.append(why)

    async def send(self, inputs: Sequence[InputT], *, client: str) -> list[ActionResult[InputT]]:
        """Record the inputs.

        Raises:
            ActionCallFailed: the test asked for it with :meth:`break_off`.
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
        """Return the runs of :attr:`enrolled`."""
        return [self.enrolled.get((action_input.target_id, action_input.cadence)) for action_input in inputs]

    async def is_active(self, tracker_id: str) -> bool:
        """Return true unless the run is in :attr:`over`."""
        return tracker_id not in self.over
