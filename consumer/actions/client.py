"""Actions client: validates inputs, guards against double enrolment, logs calls.

:class:`Actions` is the type of ``ctx.actions``. It validates inputs, checks before enrolling whether the target is in the cadence already,
passes the remaining inputs to an :class:`ActionSender` and returns the results in input order. Every call writes one log line. A change
made through an action returns as a change event, so each caller signs its calls with a *client* name, which ``changeOrigin`` of the event
contains; :func:`is_from_client` recognises it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pydantic import ValidationError

from consumer.actions.inputs import (
    ActionInput,
    AssignTarget,
    ChangeAssignee,
    ModifyAttributes,
    PauseRun,
    RemoveTarget,
    ResumeRun,
    SelectTemplate,
    SendEvent,
)
from consumer.actions.results import (
    ActionCallFailed,
    ActionError,
    ActionResult,
    ActionStatus,
)
from consumer.actions.validation import validation_message
from consumer.errors import CadenceError

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

__all__ = ["CLIENT", "ActionSender", "Actions", "client_name_for", "is_from_client"]

CLIENT = "cadence-consumer"
"""Client name of every call that is not made for a handler."""
MAX_LOGGED_SUBJECTS = 20
"""Maximum number of ids in a log line; a bulk call has more."""

InputT = TypeVar("InputT", bound=ActionInput)


def client_name_for(handler: str) -> str:
    """Build the client name that signs a handler's calls; no handler's name has a dot."""
    return f"{CLIENT}.{handler}"


def is_from_client(change_origin: str | None, client: str) -> bool:
    """Report whether ``client`` made a change.

    Documented format: ``com/salesforce/api/<API>/<version>;client=<client>``, without the client part for calls that name none. Salesforce
    appends a slash to some clients' names.
    """
    if not change_origin:
        return False
    return change_origin.partition(";client=")[2].rstrip("/") == client


class ActionSender(Protocol):
    """Transport that sends actions to Salesforce."""

    async def send(self, inputs: Sequence[InputT], *, client: str) -> list[ActionResult[InputT]]:
        """Perform inputs of one kind; one result per input, in input order.

        Raises:
            ActionCallFailed: a call failed as a whole; its results state what is known of each input.
        """
        ...

    async def active_runs(self, inputs: Sequence[AssignTarget]) -> list[str | None]:
        """Look up, for each input, the active run of its target in its cadence, or None.

        Raises:
            CadenceError: the query failed.
        """
        ...

    async def is_active(self, tracker_id: str) -> bool:
        """Query whether a run exists and has not ended.

        Raises:
            CadenceError: the query failed.
        """
        ...


class Actions:
    """Client for the eight Sales Engagement actions.

    Inputs are models (:class:`~consumer.actions.inputs.RemoveTarget` …), or mappings with their fields, for rows read from other sources.
    Each method returns one result per input, in input order. An invalid input is not sent: a mapping yields a result with status
    ``refused``, and a model cannot even be constructed.

    Every method raises :class:`~consumer.actions.results.ActionCallFailed` when a call failed as a whole. A handler may let the exception
    propagate, so that its retry repeats the call; handlers should therefore check before acting (:meth:`is_active`, the guard of
    :meth:`assign`).

    Args:
        action_sender: transport for the inputs.
        log: logger that receives one line per call.
        client: client name that signs the calls.
    """

    def __init__(
        self, action_sender: ActionSender, log: FilteringBoundLogger, *, client: str = CLIENT
    ) -> None:
        self._action_sender = action_sender
        self._log = log
        self._client = client

    # ------------------------------------------------------------ one method per action

    async def assign(
        self, inputs: Iterable[AssignTarget | Mapping[str, Any]], *, guard: bool = True
    ) -> list[ActionResult[AssignTarget]]:
        """Add targets to cadences.

        Args:
            inputs: targets and cadences.
            guard: refuse a target that has an active run in the same cadence (``ALREADY_ENROLLED``), and a repeated pair of target and
                cadence (``DUPLICATE_INPUT``). Salesforce checks too; its answer is authoritative either way.
        """
        return await self.call(AssignTarget, inputs, guard=guard)

    async def remove(
        self, inputs: Iterable[RemoveTarget | Mapping[str, Any]]
    ) -> list[ActionResult[RemoveTarget]]:
        """Remove targets from cadences, by run id or by target id.

        A run id removes one run, a target id removes every run of the target.
        """
        return await self.call(RemoveTarget, inputs)

    async def pause(self, inputs: Iterable[PauseRun | Mapping[str, Any]]) -> list[ActionResult[PauseRun]]:
        """Pause targets.

        Salesforce cannot pause one run of a target that is in several cadences.
        """
        return await self.call(PauseRun, inputs)

    async def resume(self, inputs: Iterable[ResumeRun | Mapping[str, Any]]) -> list[ActionResult[ResumeRun]]:
        """Resume paused targets.

        Salesforce cannot resume one run of a target that is in several cadences.
        """
        return await self.call(ResumeRun, inputs)

    async def change_assignee(
        self, inputs: Iterable[ChangeAssignee | Mapping[str, Any]]
    ) -> list[ActionResult[ChangeAssignee]]:
        """Assign targets to other users."""
        return await self.call(ChangeAssignee, inputs)

    async def modify(
        self, inputs: Iterable[ModifyAttributes | Mapping[str, Any]]
    ) -> list[ActionResult[ModifyAttributes]]:
        """Record dispositions and attributions of runs."""
        return await self.call(ModifyAttributes, inputs)

    async def send_event(
        self, inputs: Iterable[SendEvent | Mapping[str, Any]]
    ) -> list[ActionResult[SendEvent]]:
        """Skip steps, or complete them by hand."""
        return await self.call(SendEvent, inputs)

    async def select_template(
        self, inputs: Iterable[SelectTemplate | Mapping[str, Any]]
    ) -> list[ActionResult[SelectTemplate]]:
        """Look up the templates or call scripts of steps; see ``result.template``."""
        return await self.call(SelectTemplate, inputs)

    # ------------------------------------------------------------ conveniences

    async def complete_step(self, step_tracker_id: str) -> ActionResult[SendEvent]:
        """Complete one step by hand; the run moves on to its next step, or ends.

        Sends ``ManualComplete``. Salesforce offers no way to complete a step as if its automation had done it, to choose the next branch,
        or to complete a step that is not the run's current one; there is no action named ``completeActionCadenceStep``.

        Raises:
            ValueError: ``step_tracker_id`` is not the id of a step.
            ActionCallFailed: the call failed.
        """
        return (
            await self.send_event([SendEvent(step_tracker_id=step_tracker_id, event_type="ManualComplete")])
        )[0]

    async def skip_step(self, step_tracker_id: str) -> ActionResult[SendEvent]:
        """Skip one step; the run moves on to its next step, or ends.

        Salesforce ends the step as ``Completed`` with reason ``ManuallySkipped``. It cannot undo a skip, and cannot skip a step that the
        run has not reached.

        Raises:
            ValueError: ``step_tracker_id`` is not the id of a step.
            ActionCallFailed: the call failed.
        """
        return (await self.send_event([SendEvent(step_tracker_id=step_tracker_id, event_type="Skip")]))[0]

    async def log_call_outcome(
        self, tracker_id: str, step_tracker_id: str, disposition: str
    ) -> list[ActionResult[ActionInput]]:
        """Record the outcome of a phone call on its run, and complete the call's step.

        Returns two results, or one when the first action failed. The disposition is recorded first, because that is repeatable: after any
        failure the whole method may be called again. The step is completed only after the disposition is recorded.

        Salesforce has no action that stores a result on the step itself: neither a call's duration, nor its notes, nor a value other than
        the documented dispositions. Those belong on a Task, which these actions do not write.

        Args:
            tracker_id: the run.
            step_tracker_id: its current step.
            disposition: as in ``Customer Connected``.

        Raises:
            ValueError: an id or the disposition is invalid.
            ActionCallFailed: a call failed.
        """
        recorded = ModifyAttributes.model_validate(
            {"tracker_id": tracker_id, "completion_disposition": disposition}
        )
        completed = SendEvent(step_tracker_id=step_tracker_id, event_type="ManualComplete")
        results: list[ActionResult[ActionInput]] = [*await self.modify([recorded])]
        if results[0].succeeded:
            results += await self.send_event([completed])
        return results

    async def is_active(self, tracker_id: str) -> bool:
        """Query whether a run exists and has not ended, before acting on an old event.

        Raises:
            CadenceError: the query failed.
        """
        return await self._action_sender.is_active(tracker_id)

    # ------------------------------------------------------------ a call

    async def call(
        self, kind: type[InputT], inputs: Iterable[InputT | Mapping[str, Any]], *, guard: bool = True
    ) -> list[ActionResult[InputT]]:
        """Perform the action of the input model ``kind``; the methods above call this one.

        Args:
            kind: model of the inputs, which determines the action.
            inputs: models of that kind, or mappings.
            guard: see :meth:`assign`; without effect for the other actions.
        """
        items = list(inputs)
        results: dict[int, ActionResult[InputT]] = {}
        pending: dict[int, InputT] = {}
        for index, item in enumerate(items):
            validated = _validated(kind, item)
            if isinstance(validated, ActionResult):
                results[index] = validated
            else:
                pending[index] = validated
        try:
            if guard and issubclass(kind, AssignTarget):
                for index, refusal in zip(
                    list(pending), await self._enrollment_refusals(pending.values()), strict=True
                ):
                    if refusal is not None:
                        results[index] = refusal
                        del pending[index]
            if pending:
                sent_results = await self._action_sender.send(list(pending.values()), client=self._client)
                results.update(zip(pending, sent_results, strict=True))
        except ActionCallFailed as failed:
            results.update(zip(pending, failed.results, strict=True))
            call_failed = ActionCallFailed(
                kind.action, failed.cause, [results[index] for index in range(len(items))]
            )
            self._log_outcome(kind, call_failed.results, error=failed.cause)
            raise call_failed from failed
        except asyncio.CancelledError:
            self._log.warning(
                "action_cancelled", action=kind.action, inputs=len(items), **_subject_fields(pending.values())
            )
            raise
        ordered = [results[index] for index in range(len(items))]
        self._log_outcome(kind, ordered)
        return ordered

    async def _enrollment_refusals(self, items: Iterable[Any]) -> list[ActionResult[Any] | None]:
        """Build a refusal for each input that would enrol a target twice, else None."""
        inputs: list[AssignTarget] = list(items)
        try:
            runs = await self._action_sender.active_runs(inputs) if inputs else []
        except CadenceError as error:
            unsent = [ActionResult(item, ActionStatus.UNSENT) for item in inputs]
            raise ActionCallFailed(AssignTarget.action, str(error), unsent) from error
        refusals: list[ActionResult[Any] | None] = []
        seen: set[tuple[str, str]] = set()
        for item, run in zip(inputs, runs, strict=True):
            key = (item.cadence.casefold(), item.target_id)
            if run is not None:
                code, message = (
                    "ALREADY_ENROLLED",
                    f"{item.target_id} is already in {item.cadence}, in run {run}",
                )
                refusals.append(_refused_result(item, code, message))
            elif key in seen:
                message = f"an earlier input of this call already assigns {item.target_id} to {item.cadence}"
                refusals.append(_refused_result(item, "DUPLICATE_INPUT", message))
            else:
                refusals.append(None)
                seen.add(key)
        return refusals

    def _log_outcome(
        self, kind: type[ActionInput], results: Sequence[ActionResult[Any]], *, error: str | None = None
    ) -> None:
        counts: dict[str, int] = {}
        for item in results:
            counts[item.status.value] = counts.get(item.status.value, 0) + 1
        facts: dict[str, Any] = {"action": kind.action, "inputs": len(results), **counts}
        facts |= _subject_fields(item.input for item in results if isinstance(item.input, ActionInput))
        first = next((item.why for item in results if item.why), None)
        if first is not None:
            facts["first_failure"] = first
        if error is not None:
            self._log.warning("action_call_failed", error=error, **facts)
        elif counts.get("succeeded", 0) == len(results):
            self._log.info("action", **facts)
        else:
            self._log.warning("action", **facts)


def _validated(kind: type[InputT], item: InputT | Mapping[str, Any]) -> InputT | ActionResult[InputT]:
    if isinstance(item, kind):
        return item
    if not isinstance(item, Mapping):
        raise TypeError(f"{kind.action} takes {kind.__name__} or a mapping, not {type(item).__name__}")
    try:
        return kind.model_validate(item)
    except ValidationError as error:
        return _refused_result(item, "INVALID_INPUT", validation_message(error))


def _refused_result(item: InputT | Mapping[str, Any], code: str, message: str) -> ActionResult[InputT]:
    return ActionResult(item, ActionStatus.REFUSED, (ActionError(status_code=code, message=message),))


def _subject_fields(inputs: Iterable[ActionInput]) -> dict[str, list[str]]:
    subjects = [item.subject for item in inputs]
    return {"subjects": subjects[:MAX_LOGGED_SUBJECTS]}
