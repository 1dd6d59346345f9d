"""The sandbox's actions: documented shapes, effects on the world, and that the effects come back as change events."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from consumer.sandbox import (
    STEP_TRACKER,
    TRACKER,
    ActionOptions,
    ManualClock,
    Sandbox,
    SandboxOptions,
)

LEAD = "00Qxx000002TRI2EAO"
FOLLOW_UP = "Event Follow-up"


class Acting:
    """POSTs of actions with a token."""

    def __init__(self, sandbox: Sandbox, client: str | None = "probe") -> None:
        self.sandbox = sandbox
        headers = {"Authorization": f"Bearer {sandbox.access_token()}"}
        if client:
            headers["Sforce-Call-Options"] = f"client={client}, defaultNamespace=x"
        self.http = aiohttp.ClientSession(headers=headers)
        self.status = 0

    async def post(self, action: str, *inputs: Any, version: str = "66.0", body: Any = None) -> Any:
        url = f"{self.sandbox.url}/services/data/v{version}/actions/standard/{action}"
        async with self.http.post(url, json=body or {"inputs": list(inputs)}) as answer:
            self.status = answer.status
            return await answer.json()

    async def one(self, action: str, **given: Any) -> Any:
        """One input's message: None when it succeeded."""
        (answer,) = await self.post(action, given)
        assert answer["actionName"] == action
        return None if answer["isSuccess"] else answer["errors"][0]["message"]

    def tracker(self, run: str) -> dict[str, Any]:
        return self.sandbox.org.records[TRACKER][run]

    def step(self, run: str) -> dict[str, Any]:
        return self.sandbox.org.records[STEP_TRACKER][self.tracker(run)["CurrentStepId"]]


@pytest.fixture
async def org() -> AsyncIterator[Sandbox]:
    async with Sandbox(SandboxOptions(clock=ManualClock())) as running:
        yield running


@pytest.fixture
async def acting(org: Sandbox) -> AsyncIterator[Acting]:
    made = Acting(org)
    yield made
    await made.http.close()


def last_headers(org: Sandbox) -> list[dict[str, Any]]:
    return [
        message["data"]["payload"]["ChangeEventHeader"]
        for message in org.ledger.messages(channel="/data/ChangeEvents")
    ]


async def test_a_success_and_a_failure_have_the_documented_shapes(acting: Acting) -> None:
    assert await acting.post(
        "assignTargetToSalesCadence", {"salesCadenceNameOrId": FOLLOW_UP, "targetId": LEAD}
    ) == [{"actionName": "assignTargetToSalesCadence", "isSuccess": True}]
    assert acting.status == 200
    message = "The object needs to be a valid cadence entity."
    assert await acting.post(
        "assignTargetToSalesCadence", {"salesCadenceNameOrId": "Nowhere", "targetId": LEAD}
    ) == [
        {
            "actionName": "assignTargetToSalesCadence",
            "errors": [{"statusCode": "UNKNOWN_EXCEPTION", "message": message, "fields": []}],
            "isSuccess": False,
            "outputValues": {"error": message},
        }
    ]
    assert acting.status == 400


@pytest.mark.parametrize("status", [200, 400])
async def test_a_partial_failure_is_answered_in_input_order_with_the_chosen_status(status: int) -> None:
    options = SandboxOptions(actions=ActionOptions(failure_status=status))
    async with Sandbox(options) as org:
        acting = Acting(org)
        answers = await acting.post(
            "assignTargetToSalesCadence",
            {"salesCadenceNameOrId": FOLLOW_UP, "targetId": "005xx000002TRI2"},
            {"salesCadenceNameOrId": FOLLOW_UP, "targetId": LEAD},
            {"salesCadenceNameOrId": FOLLOW_UP, "targetId": LEAD},
        )
        await acting.http.close()
    assert acting.status == status
    assert [answer["isSuccess"] for answer in answers] == [False, True, False]
    assert answers[2]["errors"][0]["message"] == "The target is already assigned to this cadence."


async def test_every_effect_comes_back_as_change_events_of_the_caller(org: Sandbox, acting: Acting) -> None:
    assert (
        await acting.one("assignTargetToSalesCadence", salesCadenceNameOrId=FOLLOW_UP, targetId=LEAD) is None
    )
    (run,) = org.world.open_runs
    headers = last_headers(org)
    assert {header["entityName"] for header in headers} == {TRACKER, STEP_TRACKER}
    assert {header["changeOrigin"] for header in headers} == {"com/salesforce/api/rest/66.0;client=probe"}
    assert {header["commitUser"] for header in headers} == {org.org.integration_user_id}
    assert acting.tracker(run)["OwnerId"] == org.org.integration_user_id
    org.world.complete_step(run)
    assert last_headers(org)[-1]["changeOrigin"] == "com/salesforce/api/rest/66.0;client=SfdcInternalAPI/"


async def test_an_origin_without_a_client_names_none(org: Sandbox) -> None:
    acting = Acting(org, client=None)
    await acting.one("assignTargetToSalesCadence", salesCadenceNameOrId=FOLLOW_UP, targetId=LEAD)
    await acting.http.close()
    assert last_headers(org)[0]["changeOrigin"] == "com/salesforce/api/rest/66.0"


async def test_assigning_takes_start_step_assignee_and_related_record(org: Sandbox, acting: Acting) -> None:
    cadence = org.catalogue.cadence(FOLLOW_UP)
    assert (
        await acting.one(
            "assignTargetToSalesCadence",
            salesCadenceNameOrId=cadence.id,
            targetId=LEAD,
            startStepNameOrId="Send slides",
            userId=org.world.users[1],
            relatedToId="006R0000003DNpJIAW",
        )
        is None
    )
    (run,) = org.world.open_runs
    tracker = acting.tracker(run)
    assert (tracker["OwnerId"], tracker["RelatedToId"]) == (org.world.users[1], "006R0000003DNpJIAW")
    assert acting.step(run)["ActionCadenceStepId"] == cadence.steps[1].id
    wrong = await acting.one(
        "assignTargetToSalesCadence",
        salesCadenceNameOrId="Long-term Nurture",
        targetId=LEAD,
        startStepNameOrId="Nope",
    )
    assert wrong == "The start step isn't a step of the cadence."


async def test_a_target_may_be_in_several_cadences_only_where_the_org_allows_it() -> None:
    for several, message in ((True, None), (False, "The target is already assigned to a cadence.")):
        async with Sandbox(SandboxOptions(actions=ActionOptions(several_cadences=several))) as org:
            acting = Acting(org)
            name = "assignTargetToSalesCadence"
            assert await acting.one(name, salesCadenceNameOrId=FOLLOW_UP, targetId=LEAD) is None
            told = await acting.one(name, salesCadenceNameOrId="Long-term Nurture", targetId=LEAD)
            await acting.http.close()
        assert told == message


async def test_removing_by_target_ends_every_run_and_by_tracker_one(org: Sandbox, acting: Acting) -> None:
    first, second, third = (
        org.world.enrol(name, LEAD) for name in (FOLLOW_UP, "Long-term Nurture", "Outbound Prospecting")
    )
    name, reason = "removeTargetFromSalesCadence", "ManuallyRemoved"
    told = await acting.one(
        name,
        actionCadenceTrackerId=first,
        completionReasonCode=reason,
        completionDisposition="Bad Data",
        relatedToId="006R0000003DNpJIAW",
        relatedToAttributionType="Maturation",
    )
    assert told is None
    ended = acting.tracker(first)
    assert (ended["State"], ended["CompletionReason"], ended["CompletionDisposition"]) == (
        "Complete",
        reason,
        "Bad Data",
    )
    assert (ended["RelatedToId"], ended["RelatedToAttributionType"]) == ("006R0000003DNpJIAW", "Maturation")
    assert await acting.one(name, targetId=LEAD, completionReasonCode=reason) is None
    assert not org.world.open_runs
    assert {acting.tracker(run)["State"] for run in (second, third)} == {"Complete"}
    assert (
        await acting.one(name, targetId=LEAD, completionReasonCode=reason)
        == "The target isn't in an active cadence."
    )
    both = await acting.one(name, targetId=LEAD, actionCadenceTrackerId=first, completionReasonCode=reason)
    assert both == "Specify either a target ID or an action cadence tracker ID."


async def test_removal_with_user_context_leaves_other_owners_alone(org: Sandbox, acting: Acting) -> None:
    others = org.world.enrol(FOLLOW_UP, LEAD, org.world.users[0])
    mine = org.world.enrol("Long-term Nurture", LEAD, org.org.integration_user_id)
    name = "removeTargetFromSalesCadence"
    given = {"targetId": LEAD, "completionReasonCode": "ManuallyRemoved", "shouldApplyUserContext": True}
    assert await acting.one(name, **given) is None
    assert org.world.open_runs == (others,)
    assert acting.tracker(mine)["State"] == "Complete"


async def test_pausing_and_resuming_a_target(org: Sandbox, acting: Acting) -> None:
    run = org.world.enrol(FOLLOW_UP, LEAD)
    told = await acting.one("pauseSalesCadenceTracker", targetId=LEAD, resumeTime="2026-06-15T05:30:00.521Z")
    assert told is None
    assert acting.tracker(run)["State"] == "Paused"
    assert acting.tracker(run)["ScheduledResumeDateTime"] == 1_781_501_400_521
    assert (
        await acting.one("pauseSalesCadenceTracker", targetId=LEAD)
        == "The target isn't in a running cadence."
    )
    assert await acting.one("resumeSalesCadenceTracker", targetId=LEAD) is None
    assert acting.tracker(run)["State"] == "Running"
    assert (
        await acting.one("resumeSalesCadenceTracker", targetId=LEAD)
        == "The target isn't in a paused cadence."
    )
    for time in ("2021-06-15T05:30:00:521917Z", "2026-06-15T05:30:00", "2026-13-15T05:30:00Z", 5):
        told = await acting.one("pauseSalesCadenceTracker", targetId=LEAD, resumeTime=time)
        assert told == "The resume time is not valid."


async def test_assignee_and_attributes_change_the_run(org: Sandbox, acting: Acting) -> None:
    run = org.world.enrol(FOLLOW_UP, LEAD, org.world.users[0])
    name = "changeSalesCadenceTargetAssignee"
    assert await acting.one(name, targetId=LEAD, userId=org.world.users[2]) is None
    assert acting.tracker(run)["OwnerId"] == org.world.users[2]
    assert await acting.one(name, targetId=LEAD, userId="005R0000000eg3zIAA") == "The user isn't valid."
    name, given = "modifyCadenceTrackerAttributes", {"actionCadenceTrackerId": run}
    assert await acting.one(name, **given, completionDisposition="Customer Engaged") is None
    assert acting.tracker(run)["CompletionDisposition"] == "Customer Engaged"
    assert await acting.one(name, **given) == "Specify at least one attribute to modify."
    related = {"relatedToId": "006R0000003DNpJIAW", "relatedToAttributionType": "Collected"}
    assert (
        await acting.one(name, **given, **related)
        == "The attribution type is not valid for the related record."
    )
    told = await acting.one(name, **given, completionDisposition="Wonderful")
    assert told == "The completion disposition is not valid."


async def test_events_skip_and_complete_the_current_step_and_no_other(org: Sandbox, acting: Acting) -> None:
    run = org.world.enrol(FOLLOW_UP, LEAD)
    first = acting.step(run)
    name = "sendSalesCadenceEvent"
    assert (
        await acting.one(name, recordId=first["Id"], eventType="Manual Complete")
        == "The event type is not valid."
    )
    assert await acting.one(name, recordId=first["Id"], eventType="Skip") is None
    assert (first["State"], first["CompletionReason"]) == ("Completed", "ManuallySkipped")
    assert first["CompletedById"] == org.org.integration_user_id
    second = acting.step(run)
    assert await acting.one(name, recordId=second["Id"], eventType="ManualComplete") is None
    assert second["CompletionReason"] == "ManuallyCompleted"
    told = await acting.one(name, recordId=first["Id"], eventType="Skip")
    assert told == "The cadence step isn't active for this target."


async def test_templates_belong_to_email_steps(org: Sandbox, acting: Acting) -> None:
    mail, call = org.world.enrol("Inbound Demo Request"), org.world.enrol(FOLLOW_UP)
    name = "selectTemplateForSalesCadenceStepTracker"
    found, again, none = await acting.post(
        name, *({"stepTrackerId": acting.tracker(run)["CurrentStepId"]} for run in (mail, mail, call))
    )
    template = found["outputValues"]["output"]
    assert template["TemplateId"].startswith("00X")
    assert again["outputValues"]["output"] == template
    assert none["outputValues"] == {"error": "No template was found."}


async def test_what_is_not_an_action_call_is_a_rest_error(acting: Acting) -> None:
    assert await acting.post("completeActionCadenceStep", {}) == [
        {"message": "The requested resource does not exist", "errorCode": "NOT_FOUND"}
    ]
    assert acting.status == 404
    await acting.post("pauseSalesCadenceTracker", {"targetId": LEAD}, version="49.0")
    assert acting.status == 404
    for body in ({"input": []}, {"inputs": []}, {"inputs": ["x"]}):
        (error,) = await acting.post("pauseSalesCadenceTracker", body=body)
        assert (acting.status, error["errorCode"]) == (400, "JSON_PARSER_ERROR")
    (error,) = await acting.post("pauseSalesCadenceTracker", *[{"targetId": LEAD}] * 201)
    assert (acting.status, error["errorCode"]) == (400, "LIMIT_EXCEEDED")
    told = await acting.one("pauseSalesCadenceTracker", targetId=LEAD, until="x")
    assert told == "Invalid input parameter: until"
    assert await acting.one("pauseSalesCadenceTracker") == "Missing required input parameter: targetId"
    assert acting.sandbox.actions.calls == {"pauseSalesCadenceTracker": 2}


async def test_actions_can_be_listed_and_described(acting: Acting) -> None:
    base = f"{acting.sandbox.url}/services/data/v50.0/actions/standard"
    async with acting.http.get(base) as answer:
        names = [action["name"] for action in (await answer.json())["actions"]]
    assert len(names) == 5
    assert "modifyCadenceTrackerAttributes" not in names
    async with acting.http.get(f"{base}/pauseSalesCadenceTracker") as answer:
        assert (await answer.json())["inputs"] == [
            {"name": "targetId", "required": True},
            {"name": "resumeTime", "required": False},
        ]


async def test_actions_need_a_token(org: Sandbox) -> None:
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{org.url}/services/data/v66.0/actions/standard/pauseSalesCadenceTracker") as answer,
    ):
        assert answer.status == 401
