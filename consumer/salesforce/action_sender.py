"""Sales Engagement actions over REST, in chunks, with one result per input.

POST ``/services/data/vXX.X/actions/standard/<name>`` with ``{"inputs": […]}`` is answered with an array, one element per input. The HTTP
status of a partly failed call is not documented, so the array is used whatever the status; an answer that is an array of REST errors, or
not from Salesforce, means that the whole call failed.

A failed call is sent again in two cases only: Salesforce certainly did not perform it (no connection, or asked to retry later), or the
action is repeatable (see :mod:`consumer.actions.inputs`). Any other failure is raised as
:class:`~consumer.actions.results.ActionCallFailed` and left to the caller, who can check first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from consumer.actions.inputs import ActionInput, AssignTarget
from consumer.actions.results import (
    ActionAnswer,
    ActionCallFailed,
    ActionError,
    ActionResult,
    ActionStatus,
)
from consumer.actions.validation import is_cadence_id
from consumer.backoff import Backoff
from consumer.clock import Clock
from consumer.domain.record_ids import to_18
from consumer.domain.soql import ACTIVE_RUNS, batches, quoted, quoted_list
from consumer.errors import AuthenticationFailed
from consumer.rate_limit import RateLimiter
from consumer.salesforce.rest import RestClient, RestError, rest_error

__all__ = ["RestActionSender"]

MAX_ATTEMPTS = 3
"""Maximum number of attempts of a call that may be sent again."""
BACKOFF = Backoff(500, 2_000, factor=4)
"""Backoff between two attempts."""
MAX_NAMES_PER_QUERY = 15
"""Names per query, which may be long."""

InputT = TypeVar("InputT", bound=ActionInput)


class RestActionSender:
    """Sender of actions to an org.

    Args:
        rest: REST client for calls and queries.
        api_version: as in ``66.0``; each action has a first version that offers it.
        chunk: maximum number of inputs per call.
        rate: maximum number of calls per second, of all callers together.
        clock: clock for spacing the calls.

    Attributes:
        calls: number of action calls sent, queries not counted.
    """

    def __init__(
        self, rest: RestClient, *, api_version: str, clock: Clock, chunk: int = 100, rate: float = 5.0
    ) -> None:
        self._rest = rest
        self._api_version = api_version
        self._chunk = chunk
        self._rate_limiter = RateLimiter(rate)
        self._clock = clock
        self.calls = 0

    async def send(self, inputs: Sequence[InputT], *, client: str) -> list[ActionResult[InputT]]:
        """Perform inputs of one kind; one result per input, in input order.

        Raises:
            ActionCallFailed: a call failed; its results contain those of the earlier calls.
        """
        results: list[ActionResult[InputT]] = []
        for start in range(0, len(inputs), self._chunk):
            batch = inputs[start : start + self._chunk]
            try:
                results += await self._send_chunk(batch, client)
            except (RestError, AuthenticationFailed) as error:
                unsent = isinstance(error, AuthenticationFailed) or error.performed is False
                status = ActionStatus.UNSENT if unsent else ActionStatus.UNKNOWN
                results += [ActionResult(item, status) for item in batch]
                results += [ActionResult(item, ActionStatus.UNSENT) for item in inputs[len(results) :]]
                raise ActionCallFailed(batch[0].action, str(error), results) from error
        return results

    async def _send_chunk(self, batch: Sequence[InputT], client: str) -> list[ActionResult[InputT]]:
        kind = type(batch[0])
        if float(self._api_version) < kind.since:
            raise RestError(
                kind.action,
                0,
                "api_version",
                f"it requires API version {kind.since:.1f}, and salesforce.api_version is {self._api_version}",
                performed=False,
            )
        payload = {"inputs": [item.to_json() for item in batch]}
        maybe_performed = False
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                return await self._send_once(kind, batch, payload, client)
            except RestError as error:
                maybe_performed |= error.performed is None
                if attempt == MAX_ATTEMPTS or not _may_retry(kind, error):
                    error.performed = None if maybe_performed else error.performed
                    raise
            await asyncio.sleep(BACKOFF.delay_ms(attempt) / 1000)
        raise AssertionError("the last attempt returns or raises")

    async def _send_once(
        self, kind: type[InputT], batch: Sequence[InputT], payload: Mapping[str, Any], client: str
    ) -> list[ActionResult[InputT]]:
        now_ms = self._clock.monotonic_ms()
        delay_ms = self._rate_limiter.delay_ms(now_ms)
        self._rate_limiter.consume(now_ms, 1)  # before sleeping, so that later callers queue behind
        await asyncio.sleep(delay_ms / 1000)
        self.calls += 1
        status, body = await self._rest.post(f"/actions/standard/{kind.action}", payload, client=client)
        answers = _parse_answers(body)
        if answers is None:
            if isinstance(body, list) and any(
                isinstance(item, dict) and "isSuccess" in item for item in body
            ):
                message = "the answer contains results that cannot be read"
                raise RestError(kind.action, status, "unreadable", message)
            raise rest_error(kind.action, status, body)
        if len(answers) != len(batch):
            raise RestError(
                kind.action,
                status,
                "wrong_count",
                f"{len(answers)} results for {len(batch)} inputs cannot be matched",
            )
        return [_to_result(item, answer) for item, answer in zip(batch, answers, strict=True)]

    # ------------------------------------------------------------ queries

    async def active_runs(self, inputs: Sequence[AssignTarget]) -> list[str | None]:
        """Look up, for each input, the active run of its target in its cadence, or None.

        Cadence names are resolved to ids; where several cadences have the name, a run in any of them counts.

        Raises:
            RestError: Salesforce refused, or did not answer.
            AuthenticationFailed: no token could be obtained.
        """
        cadences = await self._resolve_cadences(item.cadence for item in inputs)
        targets: dict[str, dict[str, None]] = {}
        for item in inputs:
            for cadence in cadences[item.cadence]:
                targets.setdefault(cadence, {})[item.target_id] = None
        active: dict[tuple[str, str], str] = {}
        for cadence, target_ids in targets.items():
            for batch in batches(list(target_ids)):
                rows = await self._rest.query(
                    f"SELECT Id, TargetId {ACTIVE_RUNS} "
                    f"AND ActionCadenceId = {quoted(cadence)} AND TargetId IN ({quoted_list(batch)})"
                )
                active.update({(cadence, row["TargetId"]): row["Id"] for row in rows})
        return [
            next((active[key] for cadence in cadences[item.cadence] if (key := (cadence, item.target_id)) in active), None)
            for item in inputs
        ]  # fmt: skip

    async def _resolve_cadences(self, names_or_ids: Iterable[str]) -> dict[str, list[str]]:
        """Map each name or id to the ids of the cadences it stands for."""
        distinct = dict.fromkeys(names_or_ids)
        cadence_ids = {item: [to_18(item)] if is_cadence_id(item) else [] for item in distinct}
        for batch in batches(
            [item for item in distinct if not is_cadence_id(item)], size=MAX_NAMES_PER_QUERY
        ):
            rows = await self._rest.query(
                f"SELECT Id, Name FROM ActionCadence WHERE Name IN ({quoted_list(batch)})"  # noqa: S608 - quoted
            )
            for row in rows:
                for name in batch:
                    if name.casefold() == str(row["Name"]).casefold():
                        cadence_ids[name].append(row["Id"])
        return cadence_ids

    async def is_active(self, tracker_id: str) -> bool:
        """Query whether a run exists and has not ended.

        Raises:
            RestError: Salesforce refused, or did not answer.
            AuthenticationFailed: no token could be obtained.
            ValueError: ``tracker_id`` is not a record id.
        """
        item = quoted(to_18(tracker_id))
        rows = await self._rest.query(f"SELECT Id {ACTIVE_RUNS} AND Id = {item}")
        return bool(rows)


def _may_retry(kind: type[ActionInput], error: RestError) -> bool:
    """Report whether a failed call may be sent again, and may then succeed."""
    transient = error.code == "unreachable" or error.status == 429 or error.status >= 500
    return transient and (error.performed is False or kind.repeatable)


def _parse_answers(body: Any) -> list[ActionAnswer] | None:
    """Parse the array of results; None when the body is anything else."""
    if not isinstance(body, list) or not body:
        return None
    try:
        return [ActionAnswer.model_validate(item) for item in body]
    except ValidationError:
        return None


def _to_result(item: InputT, answer: ActionAnswer) -> ActionResult[InputT]:
    output = answer.output_values or {}
    if answer.is_success:
        return ActionResult(item, ActionStatus.SUCCEEDED, output=output)
    errors = answer.errors or (ActionError(message=str(output.get("error") or "Salesforce gave no reason")),)
    return ActionResult(item, ActionStatus.FAILED, errors, output)
