"""Sales Engagement actions over REST: bulk calls in chunks, one result per input, and nothing sent twice that must not be.

POST ``/services/data/vXX.X/actions/standard/<name>`` with ``{"inputs": […]}`` is answered with an array, one element per input. With
which HTTP status a partly failed call is answered is not documented, so the array counts whatever the status is; an answer that is an
array of REST errors, or nothing of Salesforce's, means that the call broke.

A call that broke is sent again by itself in two cases only: Salesforce certainly did not perform it (no connection, told to come back
later), or the action is repeatable (see :mod:`consumer.actions`). Everything else is told as
:class:`~consumer.action_results.ActionCallFailed` and left to whoever can look first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from consumer.action_results import ActionAnswer, ActionCallFailed, ActionError, ActionResult, ActionStatus
from consumer.action_rules import is_cadence_id
from consumer.actions import ActionInput, AssignTarget
from consumer.clock import Clock
from consumer.delivery.pace import Pace
from consumer.errors import AuthenticationFailed
from consumer.ids import to_18
from consumer.salesforce.rest import RestClient, RestError, refusal

__all__ = ["SalesforceActions"]

ATTEMPTS = 3
"""How often a call is sent that may be sent again."""
BACK_OFF_MS = (500, 2_000)
"""Before the second and the third attempt."""
ASKED = 400
"""Ids of one query: Salesforce takes 16,384 bytes of URL."""
NAMED = 15
"""Names of one query, which may be long."""

I = TypeVar("I", bound=ActionInput)  # noqa: E741 - an input


class SalesforceActions:
    """Performs actions in an org.

    Args:
        rest: for the calls and for looking.
        api_version: as in ``66.0``; each action has a first version that offers it.
        chunk: most inputs of a call.
        rate: most calls per second, of all callers together.
        clock: for spacing the calls.

    Attributes:
        calls: how many action calls were sent, queries not counted.
    """

    def __init__(
        self, rest: RestClient, *, api_version: str, clock: Clock, chunk: int = 100, rate: float = 5.0
    ) -> None:
        self._rest = rest
        self._api_version = api_version
        self._chunk = chunk
        self._pace = Pace(rate)
        self._clock = clock
        self.calls = 0

    async def perform(self, inputs: Sequence[I], *, client: str) -> list[ActionResult[I]]:
        """Perform inputs of one kind; one result per input, in input order.

        Raises:
            ActionCallFailed: a call broke; what earlier ones did is in its results.
        """
        results: list[ActionResult[I]] = []
        for start in range(0, len(inputs), self._chunk):
            some = inputs[start : start + self._chunk]
            try:
                results += await self._chunk_of(some, client)
            except (RestError, AuthenticationFailed) as error:
                unsent = isinstance(error, AuthenticationFailed) or error.performed is False
                status = ActionStatus.UNSENT if unsent else ActionStatus.UNKNOWN
                results += [ActionResult(one, status) for one in some]
                results += [ActionResult(one, ActionStatus.UNSENT) for one in inputs[len(results) :]]
                raise ActionCallFailed(some[0].action, str(error), results) from error
        return results

    async def _chunk_of(self, some: Sequence[I], client: str) -> list[ActionResult[I]]:
        kind = type(some[0])
        if float(self._api_version) < kind.since:
            raise RestError(
                kind.action,
                0,
                "api_version",
                f"it needs API version {kind.since:.1f}, and salesforce.api_version is {self._api_version}",
                performed=False,
            )
        payload = {"inputs": [one.to_json() for one in some]}
        doubtful = False
        for back_off_ms in (*BACK_OFF_MS, None):
            try:
                return await self._once(kind, some, payload, client)
            except RestError as error:
                doubtful |= error.performed is None
                if back_off_ms is None or not _again(kind, error):
                    error.performed = None if doubtful else error.performed
                    raise
            await asyncio.sleep(back_off_ms / 1000)
        raise AssertionError("the last attempt returns or raises")

    async def _once(
        self, kind: type[I], some: Sequence[I], payload: Mapping[str, Any], client: str
    ) -> list[ActionResult[I]]:
        now_ms = self._clock.monotonic_ms()
        delay_ms = self._pace.delay_ms(now_ms)
        self._pace.spend(now_ms, 1)  # before waiting: whoever comes meanwhile queues behind
        await asyncio.sleep(delay_ms / 1000)
        self.calls += 1
        status, body = await self._rest.post(f"/actions/standard/{kind.action}", payload, client=client)
        answers = _answers(body)
        if answers is None:
            if isinstance(body, list) and any(isinstance(one, dict) and "isSuccess" in one for one in body):
                message = "results came, and not all of them can be read"
                raise RestError(kind.action, status, "unreadable", message)
            raise refusal(kind.action, status, body)
        if len(answers) != len(some):
            raise RestError(
                kind.action,
                status,
                "wrong_count",
                f"{len(answers)} results came for {len(some)} inputs, so nobody can tell which is whose",
            )
        return [_result(one, answer) for one, answer in zip(some, answers, strict=True)]

    # ------------------------------------------------------------ looking

    async def active_runs(self, inputs: Sequence[AssignTarget]) -> list[str | None]:
        """For each input the active run of its target in its cadence, or None.

        A cadence that is named is looked up; where several have the name, a run in any of them counts.

        Raises:
            RestError: Salesforce refused, or did not answer.
            AuthenticationFailed: no token could be had.
        """
        cadences = await self._cadences(one.cadence for one in inputs)
        targets: dict[str, dict[str, None]] = {}
        for one in inputs:
            for cadence in cadences[one.cadence]:
                targets.setdefault(cadence, {})[one.target_id] = None
        active: dict[tuple[str, str], str] = {}
        for cadence, those in targets.items():
            for some in _batches(list(those)):
                rows = await self._rest.query(
                    "SELECT Id, TargetId FROM ActionCadenceTracker WHERE IsTrackerActive = true "  # noqa: S608 - quoted
                    f"AND ActionCadenceId = {_quoted(cadence)} AND TargetId IN ({_listed(some)})"
                )
                active.update({(cadence, row["TargetId"]): row["Id"] for row in rows})
        return [
            next((active[key] for cadence in cadences[one.cadence] if (key := (cadence, one.target_id)) in active), None)
            for one in inputs
        ]  # fmt: skip

    async def _cadences(self, given: Iterable[str]) -> dict[str, list[str]]:
        """Name or id as given, to the ids that it means."""
        unique = dict.fromkeys(given)
        found = {one: [to_18(one)] if is_cadence_id(one) else [] for one in unique}
        for some in _batches([one for one in unique if not is_cadence_id(one)], most=NAMED):
            rows = await self._rest.query(
                f"SELECT Id, Name FROM ActionCadence WHERE Name IN ({_listed(some)})"  # noqa: S608 - quoted
            )
            for row in rows:
                for name in some:
                    if name.casefold() == str(row["Name"]).casefold():
                        found[name].append(row["Id"])
        return found

    async def is_active(self, tracker_id: str) -> bool:
        """Whether a run exists and has not ended.

        Raises:
            RestError: Salesforce refused, or did not answer.
            AuthenticationFailed: no token could be had.
            ValueError: it is not a record id.
        """
        one = _quoted(to_18(tracker_id))
        rows = await self._rest.query(
            f"SELECT Id FROM ActionCadenceTracker WHERE IsTrackerActive = true AND Id = {one}"  # noqa: S608 - quoted
        )
        return bool(rows)


def _again(kind: type[ActionInput], error: RestError) -> bool:
    """Whether a broken call may, and is worth, being sent again."""
    passing = error.code == "unreachable" or error.status == 429 or error.status >= 500
    return passing and (error.performed is False or kind.repeatable)


def _answers(body: Any) -> list[ActionAnswer] | None:
    """The array of results; None when the body is anything else."""
    if not isinstance(body, list) or not body:
        return None
    try:
        return [ActionAnswer.model_validate(one) for one in body]
    except ValidationError:
        return None


def _result(given: I, answer: ActionAnswer) -> ActionResult[I]:
    output = answer.output_values or {}
    if answer.is_success:
        return ActionResult(given, ActionStatus.SUCCEEDED, output=output)
    errors = answer.errors or (ActionError(message=str(output.get("error") or "Salesforce gave no reason")),)
    return ActionResult(given, ActionStatus.FAILED, errors, output)


def _batches(values: Sequence[str], most: int = ASKED) -> Iterator[Sequence[str]]:
    for start in range(0, len(values), most):
        yield values[start : start + most]


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _listed(values: Iterable[str]) -> str:
    return ", ".join(_quoted(value) for value in values)
