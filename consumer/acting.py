"""Actions as handlers and people call them: checked, guarded against double enrolment, and told to the log.

:class:`Actions` is what ``ctx.actions`` is. It takes inputs, sorts out those that break a rule, asks before it enrols whether the target is
in the cadence already, hands the rest to a :class:`Performer` and puts the results back into input order. Every call leaves one line in the
log. Whoever changes something in Salesforce hears of it again as a change event, so each caller signs its calls with a *client* name,
which comes back in ``changeOrigin``; :func:`made_by` recognises it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pydantic import ValidationError

from consumer.action_results import ActionCallFailed, ActionError, ActionResult, ActionStatus
from consumer.action_rules import broken_rules
from consumer.actions import (
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
from consumer.errors import CadenceError

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

__all__ = ["CLIENT", "Actions", "Performer", "client_of", "made_by"]

CLIENT = "cadence-consumer"
"""The client name of everything that is not done for a handler."""
SUBJECTS_LOGGED = 20
"""Ids that a log line names; a bulk call has more."""

I = TypeVar("I", bound=ActionInput)  # noqa: E741 - an input


def client_of(handler: str) -> str:
    """The client name with which a handler's calls are signed; the dot stands in no handler's name."""
    return f"{CLIENT}.{handler}"


def made_by(change_origin: str | None, client: str) -> bool:
    """Whether a change was made by ``client``.

    Documented format: ``com/salesforce/api/<API>/<version>;client=<client>``, without the client part where none was given. Salesforce
    ends some clients' names with a slash.
    """
    if not change_origin:
        return False
    return change_origin.partition(";client=")[2].rstrip("/") == client


class Performer(Protocol):
    """What sends actions to Salesforce."""

    async def perform(self, inputs: Sequence[I], *, client: str) -> list[ActionResult[I]]:
        """Perform inputs of one kind; one result per input, in input order.

        Raises:
            ActionCallFailed: a call broke; its results say how far things got.
        """
        ...

    async def active_runs(self, inputs: Sequence[AssignTarget]) -> list[str | None]:
        """For each input the active run of its target in its cadence, or None.

        Raises:
            CadenceError: Salesforce could not be asked.
        """
        ...

    async def is_active(self, tracker_id: str) -> bool:
        """Whether a run exists and has not ended.

        Raises:
            CadenceError: Salesforce could not be asked.
        """
        ...


class Actions:
    """The eight Sales Engagement actions.

    Inputs are models (:class:`~consumer.actions.RemoveTarget` …), or mappings with their fields, for rows that come from elsewhere. Each
    method returns one result per input, in input order. An input that breaks a rule is not sent: as a mapping it becomes a result with
    status ``refused``, as a model it cannot even be made.

    Every method raises :class:`~consumer.action_results.ActionCallFailed` when a call broke, which a handler may leave to its retries: the
    call is repeated then, so handlers that act should look first (:meth:`is_active`, the guard of :meth:`assign`).

    Args:
        performer: sends.
        log: gets one line per call.
        client: signs the calls.
    """

    def __init__(self, performer: Performer, log: FilteringBoundLogger, *, client: str = CLIENT) -> None:
        self._performer = performer
        self._log = log
        self._client = client

    # ------------------------------------------------------------ one method per action

    async def assign(
        self, inputs: Iterable[AssignTarget | Mapping[str, Any]], *, guard: bool = True
    ) -> list[ActionResult[AssignTarget]]:
        """Add targets to cadences.

        Args:
            inputs: targets and cadences.
            guard: do not send a target that has an active run in that very cadence (``ALREADY_ENROLLED``), nor the same target and cadence
                twice (``DUPLICATE_INPUT``). Salesforce checks too; what it answers is the truth either way.
        """
        return await self.call(AssignTarget, inputs, guard=guard)

    async def remove(
        self, inputs: Iterable[RemoveTarget | Mapping[str, Any]]
    ) -> list[ActionResult[RemoveTarget]]:
        """Take targets out of cadences: by run one run, by target every run that it is in."""
        return await self.call(RemoveTarget, inputs)

    async def pause(self, inputs: Iterable[PauseRun | Mapping[str, Any]]) -> list[ActionResult[PauseRun]]:
        """Pause targets. Salesforce cannot pause one run of a target that is in several cadences."""
        return await self.call(PauseRun, inputs)

    async def resume(self, inputs: Iterable[ResumeRun | Mapping[str, Any]]) -> list[ActionResult[ResumeRun]]:
        """Resume paused targets. Salesforce cannot resume one run of a target that is in several cadences."""
        return await self.call(ResumeRun, inputs)

    async def change_assignee(
        self, inputs: Iterable[ChangeAssignee | Mapping[str, Any]]
    ) -> list[ActionResult[ChangeAssignee]]:
        """Give targets to other users."""
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
        """Ask which templates or call scripts steps use; see ``result.template``."""
        return await self.call(SelectTemplate, inputs)

    # ------------------------------------------------------------ conveniences

    async def complete_step(self, step_tracker_id: str) -> ActionResult[SendEvent]:
        """Complete one step by hand (``ManualComplete``); the run goes on to its next step, or ends.

        Salesforce offers no way to complete a step as if its automation had done it, to choose the branch that is taken next, or to
        complete a step that is not the run's current one; there is no action named ``completeActionCadenceStep``.

        Raises:
            ValueError: it is not the id of a step.
            ActionCallFailed: the call broke.
        """
        return (
            await self.send_event([SendEvent(step_tracker_id=step_tracker_id, event_type="ManualComplete")])
        )[0]

    async def skip_step(self, step_tracker_id: str) -> ActionResult[SendEvent]:
        """Skip one step; Salesforce ends it as ``Completed`` with reason ``ManuallySkipped`` and goes on.

        Salesforce cannot take a skip back, and cannot skip a step that the run has not reached.

        Raises:
            ValueError: it is not the id of a step.
            ActionCallFailed: the call broke.
        """
        return (await self.send_event([SendEvent(step_tracker_id=step_tracker_id, event_type="Skip")]))[0]

    async def log_call_outcome(
        self, tracker_id: str, step_tracker_id: str, disposition: str
    ) -> list[ActionResult[ActionInput]]:
        """Record what a call came to, on its run, and complete the call's step; two results, or one when the first failed.

        The disposition is recorded first: that can be repeated, so when anything breaks, the whole may be called again. The step is
        completed only when the disposition is recorded.

        Salesforce has no action that stores a result on the step itself: neither a call's duration, nor its notes, nor a value other than
        the documented dispositions. Those belong on a Task, which these actions do not write.

        Args:
            tracker_id: the run.
            step_tracker_id: its current step.
            disposition: as in ``Customer Connected``.

        Raises:
            ValueError: an id or the disposition is none.
            ActionCallFailed: a call broke.
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
        """Whether a run exists and has not ended, as Salesforce has it now: what to ask before acting on an event that may be old.

        Raises:
            CadenceError: Salesforce could not be asked.
        """
        return await self._performer.is_active(tracker_id)

    # ------------------------------------------------------------ a call

    async def call(
        self, kind: type[I], inputs: Iterable[I | Mapping[str, Any]], *, guard: bool = True
    ) -> list[ActionResult[I]]:
        """The action of ``kind``, for callers that have it as a value; the methods above are this with a name.

        Args:
            kind: of the inputs.
            inputs: models of that kind, or mappings.
            guard: see :meth:`assign`; of no effect for the other actions.
        """
        given = list(inputs)
        results: dict[int, ActionResult[I]] = {}
        wanted: dict[int, I] = {}
        for at, one in enumerate(given):
            checked = _checked(kind, one)
            if isinstance(checked, ActionResult):
                results[at] = checked
            else:
                wanted[at] = checked
        try:
            if guard and issubclass(kind, AssignTarget):
                for at, refusal in zip(list(wanted), await self._enrolled(wanted.values()), strict=True):
                    if refusal is not None:
                        results[at] = refusal
                        del wanted[at]
            if wanted:
                performed = await self._performer.perform(list(wanted.values()), client=self._client)
                results.update(zip(wanted, performed, strict=True))
        except ActionCallFailed as failed:
            results.update(zip(wanted, failed.results, strict=True))
            told = ActionCallFailed(kind.action, failed.cause, [results[at] for at in range(len(given))])
            self._tell(kind, told.results, broke=failed.cause)
            raise told from failed
        except asyncio.CancelledError:
            self._log.warning(
                "action_cancelled", action=kind.action, inputs=len(given), **_named(wanted.values())
            )
            raise
        ordered = [results[at] for at in range(len(given))]
        self._tell(kind, ordered)
        return ordered

    async def _enrolled(self, given: Iterable[Any]) -> list[ActionResult[Any] | None]:
        """A refusal for each input that would enrol a target twice."""
        inputs: list[AssignTarget] = list(given)
        try:
            runs = await self._performer.active_runs(inputs) if inputs else []
        except CadenceError as error:
            unsent = [ActionResult(one, ActionStatus.UNSENT) for one in inputs]
            raise ActionCallFailed(AssignTarget.action, str(error), unsent) from error
        refusals: list[ActionResult[Any] | None] = []
        seen: set[tuple[str, str]] = set()
        for one, run in zip(inputs, runs, strict=True):
            key = (one.cadence.casefold(), one.target_id)
            if run is not None:
                code, message = (
                    "ALREADY_ENROLLED",
                    f"{one.target_id} is in {one.cadence} already, by run {run}",
                )
                refusals.append(_refused(one, code, message))
            elif key in seen:
                message = f"{one.target_id} and {one.cadence} stand in an earlier input of this call"
                refusals.append(_refused(one, "DUPLICATE_INPUT", message))
            else:
                refusals.append(None)
                seen.add(key)
        return refusals

    def _tell(
        self, kind: type[ActionInput], results: Sequence[ActionResult[Any]], *, broke: str | None = None
    ) -> None:
        counts: dict[str, int] = {}
        for one in results:
            counts[one.status.value] = counts.get(one.status.value, 0) + 1
        facts: dict[str, Any] = {"action": kind.action, "inputs": len(results), **counts}
        facts |= _named(one.input for one in results if isinstance(one.input, ActionInput))
        first = next((one.why for one in results if one.why), None)
        if first is not None:
            facts["first_failure"] = first
        if broke is not None:
            self._log.warning("action_broke_off", why=broke, **facts)
        elif counts.get("succeeded", 0) == len(results):
            self._log.info("action", **facts)
        else:
            self._log.warning("action", **facts)


def _checked(kind: type[I], given: I | Mapping[str, Any]) -> I | ActionResult[I]:
    if isinstance(given, kind):
        return given
    if not isinstance(given, Mapping):
        raise TypeError(f"{kind.action} takes {kind.__name__} or a mapping, not {type(given).__name__}")
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        return _refused(given, "INVALID_INPUT", broken_rules(error))


def _refused(given: I | Mapping[str, Any], code: str, message: str) -> ActionResult[I]:
    return ActionResult(given, ActionStatus.REFUSED, (ActionError(status_code=code, message=message),))


def _named(inputs: Iterable[ActionInput]) -> dict[str, list[str]]:
    subjects = [one.subject for one in inputs]
    return {"subjects": subjects[:SUBJECTS_LOGGED]}
