"""Sales Engagement actions: changes by the consumer that return as change events.

POST `/services/data/vXX.X/actions/standard/<name>` takes `{"inputs": […]}`; every input is performed in a transaction of its own, by
the token's user and with the caller's `Sforce-Call-Options` in `changeOrigin`. The answer has one element per input, in the documented
shapes. The documentation has one error text ("The object needs to be a valid cadence entity."); the others are invented in its style,
and so is the behaviour in `ActionOptions`. Only e-mail steps have templates here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson
from aiohttp import web

from consumer.sandbox.broken_responses import RequestHandler, json_response
from consumer.sandbox.cadences import Cadence, Step
from consumer.sandbox.errors import SandboxError
from consumer.sandbox.ids import to_18
from consumer.sandbox.rest import RestRefusal
from consumer.sandbox.runs import OPEN_RUN
from consumer.sandbox.schema import STEP_TRACKER, TRACKER, USER
from consumer.sandbox.world import World

_TARGETS: Final = ("00Q", "003", "001")
_DISPOSITIONS: Final = frozenset(
    {
        "Success",
        "Customer Engaged",
        "Customer Connected",
        "Contact Later",
        "No Response",
        "Not Interested",
        "Disqualified",
        "Bad Data",
        "Duplicate",
    }
)
_ATTRIBUTIONS: Final = frozenset({"Activation", "Maturation", "Collected"})
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)")

Row = dict[str, Any]
Output = dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionOptions:
    """Behaviour that the documentation leaves open.

    Attributes:
        failure_status: HTTP status of an answer with a failed input.
        most_inputs: limit of inputs per call; a call with more is refused as a whole.
        several_cadences: whether a target may be in more than one cadence at a time (an org setting since 57.0).
    """

    failure_status: int = 400
    most_inputs: int = 200
    several_cadences: bool = True


@dataclass(frozen=True, slots=True)
class _Action:
    """An action: its first API version, its inputs, and its implementation."""

    since: float
    required: tuple[str, ...]
    optional: tuple[str, ...]
    perform: Callable[[Row, str], Output]


class _Failed(Exception):
    """An input failed; the text is Salesforce's or in its style."""


class ActionsEndpoint:
    """Perform actions on a world.

    `user_of` maps an `Authorization` header to the user's id. `calls` counts POSTs by action, `inputs` their inputs.
    """

    def __init__(
        self, world: World, options: ActionOptions | None = None, *, user_of: Callable[[str], str | None]
    ) -> None:
        self._user_of = user_of
        self._world = world
        self._org = world.org
        self._options = options or ActionOptions()
        self._templates: dict[str, str] = {}
        self.calls: Counter[str] = Counter()
        self.inputs: Counter[str] = Counter()
        outcome = ("completionDisposition", "relatedToId", "relatedToAttributionType")
        self._actions = {
            "assignTargetToSalesCadence": _Action(
                45.0,
                ("salesCadenceNameOrId", "targetId"),
                ("startStepNameOrId", "userId", "relatedToId"),
                self._assign,
            ),
            "removeTargetFromSalesCadence": _Action(
                45.0,
                ("completionReasonCode",),
                ("targetId", "actionCadenceTrackerId", "shouldApplyUserContext", *outcome),
                self._remove,
            ),
            "pauseSalesCadenceTracker": _Action(50.0, ("targetId",), ("resumeTime",), self._pause),
            "resumeSalesCadenceTracker": _Action(50.0, ("targetId",), (), self._resume),
            "changeSalesCadenceTargetAssignee": _Action(50.0, ("targetId",), ("userId",), self._reassign),
            "modifyCadenceTrackerAttributes": _Action(
                51.0, ("actionCadenceTrackerId",), outcome, self._modify
            ),
            "sendSalesCadenceEvent": _Action(52.0, ("recordId", "eventType"), (), self._send_event),
            "selectTemplateForSalesCadenceStepTracker": _Action(
                53.0, ("stepTrackerId",), (), self._select_template
            ),
        }

    def add_routes(
        self, router: web.UrlDispatcher, authorized: Callable[[RequestHandler], RequestHandler]
    ) -> None:
        """Mount the actions, each behind `authorized`, which checks the token."""
        base = "/services/data/v{version:[0-9]+[.][0-9]}/actions/standard"
        router.add_get(base, authorized(self.list_actions))
        router.add_get(f"{base}/{{action}}", authorized(self.describe_action))
        router.add_post(f"{base}/{{action}}", authorized(self.perform_action))

    async def list_actions(self, request: web.Request) -> web.StreamResponse:
        """GET: the actions of this API version."""
        version = request.match_info["version"]
        actions = [
            {"name": name, "type": name.upper(), "url": f"{request.path.rstrip('/')}/{name}"}
            for name, action in self._actions.items()
            if float(version) >= action.since
        ]
        return json_response(orjson.dumps({"actions": actions}))

    async def describe_action(self, request: web.Request) -> web.StreamResponse:
        """GET: the inputs of one action."""
        name, action = self._action(request)
        inputs = [
            {"name": field, "required": field in action.required}
            for field in (*action.required, *action.optional)
        ]
        return json_response(orjson.dumps({"name": name, "standard": True, "inputs": inputs}))

    async def perform_action(self, request: web.Request) -> web.StreamResponse:
        """POST: perform the inputs one by one."""
        name, action = self._action(request)
        try:
            rows = orjson.loads(await request.read())["inputs"]
        except (orjson.JSONDecodeError, KeyError, TypeError) as malformed:
            raise RestRefusal(400, "JSON_PARSER_ERROR", "The body must hold 'inputs'") from malformed
        if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
            raise RestRefusal(400, "JSON_PARSER_ERROR", "'inputs' must be an array of objects")
        if len(rows) > self._options.most_inputs:
            limit = self._options.most_inputs
            raise RestRefusal(400, "LIMIT_EXCEEDED", f"The number of inputs exceeds the limit of {limit}")
        self.calls[name] += 1
        self.inputs[name] += len(rows)
        user = self._user_of(request.headers.get("Authorization", "")) or self._org.integration_user_id
        with self._org.on_behalf_of(user, _origin(request)):
            answers = [self._perform_input(name, action, row, user) for row in rows]
        failed = not all(answer["isSuccess"] for answer in answers)
        return json_response(orjson.dumps(answers), status=self._options.failure_status if failed else 200)

    def _action(self, request: web.Request) -> tuple[str, _Action]:
        name = request.match_info["action"]
        action = self._actions.get(name)
        if action is None or float(request.match_info["version"]) < action.since:
            raise RestRefusal(404, "NOT_FOUND", "The requested resource does not exist")
        return name, action

    def _perform_input(self, name: str, action: _Action, row: Row, user: str) -> Row:
        try:
            _check_names(action, row)
            output = action.perform(row, user)
        except (_Failed, SandboxError) as failed:
            return {
                "actionName": name,
                "errors": [{"statusCode": "UNKNOWN_EXCEPTION", "message": str(failed), "fields": []}],
                "isSuccess": False,
                "outputValues": {"error": str(failed)},
            }
        if output is None:
            return {"actionName": name, "isSuccess": True}
        return {"actionName": name, "errors": None, "isSuccess": True, "outputValues": output}

    # ------------------------------------------------------------ the actions

    def _assign(self, row: Row, user: str) -> Output:
        cadence = self._cadence(row["salesCadenceNameOrId"])
        target = _target(row)
        runs = self._active(target)
        if any(self._org.get(TRACKER, run)["ActionCadenceId"] == cadence.id for run in runs):
            raise _Failed("The target is already assigned to this cadence.")
        if runs and not self._options.several_cadences:
            raise _Failed("The target is already assigned to a cadence.")
        start = row.get("startStepNameOrId")
        self._world.enrol(
            cadence.id,
            target,
            self._user(row) or user,
            related_to=_id(row, "relatedToId"),
            start=None if start is None else _step(cadence, start).id,
        )
        return None

    def _remove(self, row: Row, user: str) -> Output:
        if row["completionReasonCode"] != "ManuallyRemoved":
            raise _Failed("The completion reason code is not valid.")
        tracker = _id(row, "actionCadenceTrackerId")
        if (tracker is None) == (row.get("targetId") is None):
            raise _Failed("Specify either a target ID or an action cadence tracker ID.")
        runs = self._active(_target(row)) if tracker is None else [self._run(tracker)]
        if row.get("shouldApplyUserContext"):
            runs = [run for run in runs if self._org.get(TRACKER, run)["OwnerId"] == user]
        runs = [run for run in runs if self._org.get(TRACKER, run)["IsTrackerActive"]]
        if not runs:
            raise _Failed("The target isn't in an active cadence.")
        values = _outcome(row)
        for run in runs:
            self._world.remove(run, by=user, **values)
        return None

    def _pause(self, row: Row, _user: str) -> Output:
        until = row.get("resumeTime")
        resume_at = None if until is None else _instant(until)
        runs = self._in_state(_target(row), "Running")
        if not runs:
            raise _Failed("The target isn't in a running cadence.")
        self._world.pause(*runs, resume_at=resume_at)
        return None

    def _resume(self, row: Row, _user: str) -> Output:
        runs = self._in_state(_target(row), "Paused")
        if not runs:
            raise _Failed("The target isn't in a paused cadence.")
        self._world.resume(*runs)
        return None

    def _reassign(self, row: Row, user: str) -> Output:
        runs = [run for run in self._active(_target(row)) if self._org.get(TRACKER, run)["State"] in OPEN_RUN]
        if not runs:
            raise _Failed("The target isn't in an active cadence.")
        self._world.reassign(*runs, owner=self._user(row) or user)
        return None

    def _modify(self, row: Row, _user: str) -> Output:
        run = self._run(_id(row, "actionCadenceTrackerId") or "")
        values = _outcome(row)
        if not values:
            raise _Failed("Specify at least one attribute to modify.")
        self._world.modify(run, **values)
        return None

    def _send_event(self, row: Row, user: str) -> Output:
        step = self._step_tracker(row, "recordId")
        run = step["ActionCadenceTrackerId"]
        if self._org.get(TRACKER, run)["CurrentStepId"] != step["Id"]:
            raise _Failed("The cadence step isn't active for this target.")
        if row["eventType"] == "Skip":
            self._world.skip_step(run, by=user)
        elif row["eventType"] == "ManualComplete":
            self._world.complete_step(run, manual=True, by=user)
        else:
            raise _Failed("The event type is not valid.")
        return None

    def _select_template(self, row: Row, _user: str) -> Output:
        step = self._step_tracker(row, "stepTrackerId")
        if step["StepType"] not in {"SendAnEmail", "AutoSendAnEmail"}:
            raise _Failed("No template was found.")
        step_id = step["ActionCadenceStepId"]
        if step_id not in self._templates:
            self._templates[step_id] = self._org.ids.next("EmailTemplate")
        return {"output": {"SplitPercentage": 100.0, "TemplateId": self._templates[step_id]}}

    # ------------------------------------------------------------ records that inputs name

    def _active(self, target: str) -> list[str]:
        return [
            run
            for run in self._world.open_runs
            if (tracker := self._org.get(TRACKER, run))["TargetId"] == target and tracker["IsTrackerActive"]
        ]

    def _in_state(self, target: str, state: str) -> list[str]:
        return [run for run in self._active(target) if self._org.get(TRACKER, run)["State"] == state]

    def _run(self, tracker: str) -> str:
        record = self._org.records[TRACKER].get(tracker)
        if record is None or record["IsDeleted"]:
            raise _Failed("The object needs to be a valid cadence tracker entity.")
        return tracker

    def _step_tracker(self, row: Row, name: str) -> Row:
        record = self._org.records[STEP_TRACKER].get(_id(row, name) or "")
        if record is None or record["IsDeleted"]:
            raise _Failed("The object needs to be a valid cadence step tracker entity.")
        return record

    def _cadence(self, name_or_id: str) -> Cadence:
        try:
            return self._world.catalogue.cadence(to_18(name_or_id) or name_or_id)
        except KeyError:
            raise _Failed("The object needs to be a valid cadence entity.") from None

    def _user(self, row: Row) -> str | None:
        user = _id(row, "userId")
        if user is not None and user not in self._org.records[USER]:
            raise _Failed("The user isn't valid.")
        return user


def _check_names(action: _Action, row: Row) -> None:
    for name in action.required:
        if not row.get(name):
            raise _Failed(f"Missing required input parameter: {name}")
    for name in row:
        if name not in action.required and name not in action.optional:
            raise _Failed(f"Invalid input parameter: {name}")


def _id(row: Row, name: str) -> str | None:
    value = row.get(name)
    if value is None:
        return None
    record_id = to_18(value) if isinstance(value, str) else None
    if record_id is None:
        raise _Failed(f"Invalid ID value for input parameter: {name}")
    return record_id


def _target(row: Row) -> str:
    target = _id(row, "targetId")
    if target is None or not target.startswith(_TARGETS):
        raise _Failed("The object needs to be a valid cadence entity.")
    return target


def _step(cadence: Cadence, name_or_id: str) -> Step:
    key = to_18(name_or_id) or name_or_id
    for step in cadence.steps:
        if key in {step.id, step.plan.title}:
            return step
    raise _Failed("The start step isn't a step of the cadence.")


def _outcome(row: Row) -> dict[str, str]:
    """Read the tracker's fields that removal and modification set."""
    disposition, kind = row.get("completionDisposition"), row.get("relatedToAttributionType")
    related = _id(row, "relatedToId")
    if disposition is not None and disposition not in _DISPOSITIONS:
        raise _Failed("The completion disposition is not valid.")
    if kind is not None and kind not in _ATTRIBUTIONS:
        raise _Failed("The attribution type is not valid.")
    opportunity = related is not None and related.startswith("006")
    if (kind == "Maturation" and related and not opportunity) or (kind == "Collected" and opportunity):
        raise _Failed("The attribution type is not valid for the related record.")
    fields = {
        "CompletionDisposition": disposition,
        "RelatedToId": related,
        "RelatedToAttributionType": kind,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _instant(text: object) -> int:
    if not (isinstance(text, str) and _TIME.fullmatch(text)):
        raise _Failed("The resume time is not valid.")
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        raise _Failed("The resume time is not valid.") from None


def _origin(request: web.Request) -> str:
    """Build `changeOrigin` as documented: the API, its version, and the client if any."""
    origin = f"com/salesforce/api/rest/{request.match_info['version']}"
    for option in request.headers.get("Sforce-Call-Options", "").split(","):
        name, _, value = option.strip().partition("=")
        if name == "client" and value:
            return f"{origin};client={value}"
    return origin
