"""The actions client over real sockets: against the sandbox, and against a server that answers as badly as told."""

import asyncio
import json
from collections import Counter
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from pydantic import SecretStr
from structlog.testing import capture_logs

from consumer import (
    ActionCallFailed,
    ActionResult,
    Actions,
    ActionStatus,
    AssignTarget,
    ChangeAssignee,
    PauseRun,
    RemoveTarget,
    SelectTemplate,
)
from consumer.actions.client import client_name_for, is_from_client
from consumer.backoff import Backoff
from consumer.clock import SystemClock
from consumer.salesforce import action_sender as module
from consumer.salesforce.action_sender import RestActionSender
from consumer.salesforce.grants import ClientCredentials, StaticAccessToken
from consumer.salesforce.rest import RestClient, RestError
from consumer.salesforce.token_cache import TokenCache
from consumer.salesforce.token_endpoint import TokenEndpoint
from consumer.sandbox import STEP_TRACKER, TRACKER, ActionOptions, Sandbox, SandboxOptions

LEAD, LEAD_2, USER = "00Qxx000002TRI2EAO", "00Qxx000002TRI3EAO", "005R0000000eg3zIAA"
RUN = "0qBR00000005CXvMAM"
FOLLOW_UP = "Event Follow-up"
UNCAPPED = 1_000_000.0


class Quiet:
    """A logger nobody reads."""

    def info(self, *_: object, **__: object) -> None: ...

    warning = info


@asynccontextmanager
async def acting(sandbox, *, client="cadence-consumer.test", **options):
    """The whole way from the public interface to the sandbox's sockets."""
    clock, known = SystemClock(), sandbox.credentials
    grant = ClientCredentials(known.client_id, SecretStr(known.client_secret), sandbox.url)
    rest = RestClient(TokenCache(grant, TokenEndpoint(clock)), api_version=options.pop("version", "66.0"))
    action_sender = RestActionSender(
        rest, api_version=rest._api_version, clock=clock, **{"rate": UNCAPPED, **options}
    )
    try:
        yield Actions(action_sender, Quiet(), client=client), action_sender
    finally:
        await rest.aclose()


class Scripted:
    """Answers action calls as told, one answer per call, the last for ever; None closes the socket."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.bodies = []
        self.headers = []

    async def __aenter__(self):
        application = web.Application()
        application.router.add_get("/services/oauth2/userinfo", self.userinfo)
        application.router.add_post("/services/data/v66.0/actions/standard/{name}", self.answer)
        self.runner = web.AppRunner(application, shutdown_timeout=1)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "localhost", 0)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]
        clock = SystemClock()
        grant = StaticAccessToken(SecretStr("token"), f"http://localhost:{self.port}")
        self.rest = RestClient(TokenCache(grant, TokenEndpoint(clock)), api_version="66.0", timeout_ms=1_000)
        self.action_sender = RestActionSender(
            self.rest, api_version="66.0", clock=clock, rate=UNCAPPED, chunk=2
        )
        self.actions = Actions(self.action_sender, Quiet())
        return self

    async def __aexit__(self, *_):
        await self.rest.aclose()
        await self.runner.cleanup()

    async def userinfo(self, _request):
        return web.json_response({"organization_id": "00D000000000001EAA", "user_id": USER})

    async def answer(self, request):
        self.bodies.append(await request.json())
        self.headers.append(dict(request.headers))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            request.transport.abort()
            return web.Response()
        status, body = answer
        return web.Response(
            status=status, text=body if isinstance(body, str) else json.dumps(body), content_type="text/plain"
        )


def fine(count=1):
    return (200, [{"actionName": "x", "isSuccess": True}] * count)


def statuses(results):
    return [one.status.value for one in results]


@pytest.fixture(autouse=True)
def _no_long_waits(monkeypatch):
    monkeypatch.setattr(module, "BACKOFF", Backoff(1, 1))


# ---------------------------------------------------------------- bulk


@pytest.mark.parametrize("failure_status", [200, 400])
async def test_a_thousand_enrolments_with_duplicates_and_invalid_ids_are_each_accounted_for(failure_status):
    options = SandboxOptions(actions=ActionOptions(failure_status=failure_status))
    async with Sandbox(options) as sandbox, acting(sandbox) as (actions, action_sender):
        targets = [sandbox.org.ids.next("Lead") for _ in range(995)]
        enrolled = targets[100:125]
        for target in enrolled:
            sandbox.world.enrol(FOLLOW_UP, target)
        before = len(sandbox.world.open_runs)
        # 25 are in the cadence already and 12 come twice; three ids are none, and two belong to other objects.
        fresh = [one for one in targets if one not in enrolled][:958]
        given = [*fresh, *enrolled, *fresh[:12], "00Q", "not an id at all", targets[0][:-1] + "-", USER, RUN]
        assert len(given) == 1_000
        rows = [{"salesCadenceNameOrId": FOLLOW_UP, "targetId": target} for target in given]
        requests = sandbox.rest.requests
        results = await actions.assign(rows)
        assert Counter(statuses(results)) == {"succeeded": 958, "refused": 42}
        codes = Counter(one.errors[0].status_code for one in results if not one.succeeded)
        assert codes == {"ALREADY_ENROLLED": 25, "DUPLICATE_INPUT": 12, "INVALID_INPUT": 5}
        for target, one in zip(given, results, strict=True):
            assert one.subject == target
            assert one.succeeded or target in one.why or one.why.startswith("INVALID_INPUT: targetId: ")
        assert len(sandbox.world.open_runs) - before == 958
        assert action_sender.calls == sandbox.actions.calls["assignTargetToSalesCadence"] == 10
        # Ten calls, one look-up of the cadence's name and three of active runs (400 targets each).
        assert sandbox.rest.requests - requests == 14


async def test_without_the_guard_salesforce_is_the_judge_and_names_the_same_inputs():
    async with Sandbox(SandboxOptions()) as sandbox, acting(sandbox) as (actions, action_sender):
        targets = [sandbox.org.ids.next("Lead") for _ in range(250)]
        for target in targets[:37]:
            sandbox.world.enrol(FOLLOW_UP, target)
        rows = [AssignTarget(cadence=FOLLOW_UP, target_id=target) for target in targets]
        results = await actions.assign(rows, guard=False)
    assert [one.input for one in results] == rows
    assert statuses(results) == ["failed"] * 37 + ["succeeded"] * 213
    assert results[0].why == "UNKNOWN_EXCEPTION: The target is already assigned to this cadence."
    assert action_sender.calls == 3


async def test_the_guard_asks_for_this_cadence_and_for_active_runs_alone():
    async with Sandbox(SandboxOptions()) as sandbox, acting(sandbox) as (actions, _):
        sandbox.world.enrol("Long-term Nurture", LEAD)
        over = sandbox.world.enrol(FOLLOW_UP, LEAD)
        sandbox.world.remove(over)
        (first,) = await actions.assign([AssignTarget(cadence=FOLLOW_UP, target_id=LEAD)])
        cadence = sandbox.catalogue.cadence(FOLLOW_UP).id
        (again,) = await actions.assign([AssignTarget(cadence=cadence, target_id=LEAD)])
        run = sandbox.world.open_runs[-1]
        assert await actions.is_active(run)
        assert not await actions.is_active(over)
    assert first.succeeded
    assert again.why == f"ALREADY_ENROLLED: {LEAD} is already in {cadence}, in run {run}"


async def test_a_cadence_whose_name_has_quotes_is_asked_for_as_it_is():
    async with Sandbox(SandboxOptions()) as sandbox, acting(sandbox) as (actions, _):
        (one,) = await actions.assign([AssignTarget(cadence="O'Neil \\ Sons' cadence", target_id=LEAD)])
    assert one.why == "UNKNOWN_EXCEPTION: The object needs to be a valid cadence entity."


# ---------------------------------------------------------------- every action, and the conveniences


async def test_every_action_takes_effect_in_the_org():
    async with Sandbox(SandboxOptions()) as sandbox, acting(sandbox) as (actions, _):
        org, users = sandbox.org, sandbox.world.users
        await actions.assign([{"salesCadenceNameOrId": FOLLOW_UP, "targetId": LEAD, "userId": users[0]}])
        (run,) = sandbox.world.open_runs
        tracker = org.records[TRACKER][run]
        first = tracker["CurrentStepId"]
        assert statuses(await actions.pause([PauseRun(target_id=LEAD)])) == ["succeeded"]
        assert tracker["State"] == "Paused"
        assert statuses(await actions.resume([{"targetId": LEAD}])) == ["succeeded"]
        assert statuses(await actions.change_assignee([{"targetId": LEAD, "userId": users[1]}])) == [
            "succeeded"
        ]
        assert tracker["OwnerId"] == users[1]
        assert (await actions.skip_step(first)).succeeded
        assert org.records[STEP_TRACKER][first]["CompletionReason"] == "ManuallySkipped"
        second = tracker["CurrentStepId"]
        assert (await actions.complete_step(second)).succeeded
        assert org.records[STEP_TRACKER][second]["CompletionReason"] == "ManuallyCompleted"
        (none,) = await actions.select_template([SelectTemplate(step_tracker_id=second)])
        assert (none.template, none.why) == (None, "UNKNOWN_EXCEPTION: No template was found.")
        (gone,) = await actions.remove(
            [RemoveTarget(tracker_id=run, completion_disposition="Not Interested")]
        )
        assert gone.succeeded
        assert tracker["CompletionDisposition"] == "Not Interested"
        mail = sandbox.world.enrol("Inbound Demo Request")
        step = org.records[TRACKER][mail]["CurrentStepId"]
        (found,) = await actions.select_template([SelectTemplate(step_tracker_id=step)])
        assert found.template.template_id.startswith("00X")
        assert found.template.split_percentage == 100.0


async def test_a_call_outcome_is_recorded_before_the_step_is_completed():
    async with Sandbox(SandboxOptions()) as sandbox, acting(sandbox) as (actions, _):
        run = sandbox.world.enrol(FOLLOW_UP)
        tracker = sandbox.org.records[TRACKER][run]
        step = tracker["CurrentStepId"]
        results = await actions.log_call_outcome(run, step, "Customer Connected")
        assert statuses(results) == ["succeeded", "succeeded"]
        assert tracker["CompletionDisposition"] == "Customer Connected"
        assert sandbox.org.records[STEP_TRACKER][step]["CompletionReason"] == "ManuallyCompleted"
        again = await actions.log_call_outcome(run, step, "Customer Connected")
        assert statuses(again) == ["succeeded", "failed"]
        current = tracker["CurrentStepId"]
        missing = await actions.log_call_outcome(RUN, current, "Customer Connected")
        assert statuses(missing) == ["failed"], "a step whose outcome is not recorded is not completed"
        assert sandbox.org.records[STEP_TRACKER][current]["State"] == "Active"
        with pytest.raises(ValueError, match="is not a disposition"):
            await actions.log_call_outcome(run, current, "Voicemail")


async def test_calls_are_signed_and_the_signature_comes_back():
    client = client_name_for("closer")
    async with Sandbox(SandboxOptions()) as sandbox, acting(sandbox, client=client) as (actions, _):
        await actions.assign([AssignTarget(cadence=FOLLOW_UP, target_id=LEAD)])
        header = sandbox.ledger.messages(channel="/data/ChangeEvents")[0]["data"]["payload"][
            "ChangeEventHeader"
        ]
    assert header["changeOrigin"] == "com/salesforce/api/rest/66.0;client=cadence-consumer.closer"
    assert is_from_client(header["changeOrigin"], client)


@pytest.mark.parametrize(
    ("origin", "mine"),
    [
        ("com/salesforce/api/rest/66.0;client=cadence-consumer.closer", True),
        ("com/salesforce/api/rest/66.0;client=cadence-consumer.closer/", True),
        ("com/salesforce/api/rest/66.0;client=cadence-consumer.closer2", False),
        ("com/salesforce/api/rest/66.0;client=cadence-consumer", False),
        ("com/salesforce/api/soap/58.0;client=SfdcInternalAPI/", False),
        ("com/salesforce/api/rest/66.0", False),
        ("com.salesforce.core", False),
        ("", False),
        (None, False),
    ],
)
def test_an_origin_is_ours_when_its_client_is(origin, mine):
    assert is_from_client(origin, "cadence-consumer.closer") is mine


# ---------------------------------------------------------------- answers that are none


async def test_an_expired_token_is_renewed_and_the_call_performed_once():
    async with Sandbox(SandboxOptions()) as sandbox, acting(sandbox) as (actions, action_sender):
        await actions.is_active(RUN)
        sandbox.oauth.revoke(None)
        (one,) = await actions.assign([AssignTarget(cadence=FOLLOW_UP, target_id=LEAD)], guard=False)
        assert one.succeeded
        assert sandbox.actions.inputs["assignTargetToSalesCadence"] == 1
        assert action_sender.calls == 1


def pauses(count):
    return [PauseRun(target_id=LEAD) for _ in range(count)]


async def test_a_lost_answer_is_not_asked_for_again_where_that_could_do_harm():
    async with Scripted(fine(2), None, fine()) as server:
        with pytest.raises(ActionCallFailed) as caught:
            await server.actions.pause(pauses(5))
    assert statuses(caught.value.results) == ["succeeded", "succeeded", "unknown", "unknown", "unsent"]
    assert len(server.bodies) == 2
    assert str(caught.value).startswith("pauseSalesCadenceTracker failed: ")
    assert str(caught.value).endswith(
        "of 5 inputs 2 may or may not have taken effect (check before sending them again) and 1 was not sent"
    )


async def test_a_lost_answer_of_a_repeatable_action_is_asked_for_again():
    async with Scripted(None, (502, "<html>"), fine()) as server:
        (one,) = await server.actions.change_assignee([ChangeAssignee(target_id=LEAD, user_id=USER)])
    assert one.succeeded
    assert len(server.bodies) == 3
    assert server.bodies[0] == server.bodies[2] == {"inputs": [{"targetId": LEAD, "userId": USER}]}


async def test_a_repeatable_action_is_given_up_after_three_attempts_and_its_outcome_is_unknown():
    async with Scripted(None) as server:
        with pytest.raises(ActionCallFailed) as caught:
            await server.actions.change_assignee([ChangeAssignee(target_id=LEAD, user_id=USER)])
    assert statuses(caught.value.results) == ["unknown"]
    assert len(server.bodies) == 3


async def test_a_call_that_was_turned_away_is_sent_again_whatever_it_does():
    async with Scripted((429, "slow down"), fine()) as server:
        (one,) = await server.actions.pause(pauses(1))
    assert one.succeeded
    assert len(server.bodies) == 2


@pytest.mark.parametrize(
    ("answer", "status", "message"),
    [
        (
            (403, [{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "TotalRequests Limit exceeded."}]),
            "unsent",
            "failed (REQUEST_LIMIT_EXCEEDED, HTTP 403): TotalRequests Limit exceeded.",
        ),
        (
            (404, [{"errorCode": "NOT_FOUND", "message": "The requested resource does not exist"}]),
            "unsent",
            "failed (NOT_FOUND, HTTP 404)",
        ),
        ((500, "<html>down</html>"), "unknown", "failed (no_error_code, HTTP 500)"),
        ((200, "[{"), "unknown", "failed (no_error_code, HTTP 200)"),
        ((200, {"isSuccess": True}), "unknown", "failed (no_error_code, HTTP 200)"),
        (fine(2), "unknown", "2 results for 1 inputs cannot be matched"),
        ((400, [{"isSuccess": "perhaps"}]), "unknown", "the answer contains results that cannot be read"),
    ],
)
async def test_an_answer_that_says_nothing_about_the_inputs_is_an_exception(answer, status, message):
    async with Scripted(answer) as server:
        with pytest.raises(ActionCallFailed) as caught:
            await server.actions.pause(pauses(1))
    assert statuses(caught.value.results) == [status]
    assert message in str(caught.value)
    assert len(server.bodies) == 1


async def test_no_answer_in_time_leaves_the_outcome_unknown():
    release = asyncio.Event()

    class Slow(Scripted):
        async def answer(self, request):
            self.bodies.append(await request.json())
            await release.wait()
            return web.Response()

    async with Slow() as server:
        with pytest.raises(ActionCallFailed) as caught:
            await server.actions.pause(pauses(1))
        release.set()
    assert statuses(caught.value.results) == ["unknown"]


async def test_a_connection_that_cannot_be_made_sends_nothing_and_is_tried_three_times(monkeypatch):
    async with Scripted(fine()) as server:
        await server.actions.pause(pauses(1))
        await server.runner.cleanup()
        server.action_sender.calls = 0
        with pytest.raises(ActionCallFailed) as caught:
            await server.actions.pause(pauses(1))
    assert statuses(caught.value.results) == ["unsent"]
    assert "1 was not sent" in str(caught.value)
    assert server.action_sender.calls == 3


async def test_an_action_that_the_api_version_lacks_is_not_sent():
    async with (
        Sandbox(SandboxOptions()) as sandbox,
        acting(sandbox, version="49.0") as (actions, action_sender),
    ):
        with pytest.raises(
            ActionCallFailed, match=r"it requires API version 50\.0, and salesforce\.api_version is 49\.0"
        ):
            await actions.pause(pauses(1))
        assert action_sender.calls == 0


async def test_a_guard_that_cannot_look_sends_nothing():
    async with Sandbox(SandboxOptions()) as sandbox, acting(sandbox) as (actions, action_sender):
        sandbox.faults.inject("http_status", status=503, scope="rest")
        given = [AssignTarget(cadence=FOLLOW_UP, target_id=LEAD), {"targetId": "x"}]
        with pytest.raises(ActionCallFailed) as caught:
            await actions.assign(given)
        assert statuses(caught.value.results) == ["unsent", "refused"]
        assert action_sender.calls == 0
        sandbox.faults.inject("http_status", status=503, scope="rest")
        with pytest.raises(RestError):
            await actions.is_active(RUN)


async def test_a_failure_without_a_reason_says_so():
    async with Scripted((200, [{"actionName": "x", "isSuccess": False, "errors": None}])) as server:
        (one,) = await server.actions.pause(pauses(1))
    assert one.why == "UNKNOWN_EXCEPTION: Salesforce gave no reason"


# ---------------------------------------------------------------- pace and record


async def test_calls_are_spaced_by_the_rate_whoever_makes_them():
    async with Scripted(fine()) as server:
        loop = asyncio.get_running_loop()
        action_sender = RestActionSender(server.rest, api_version="66.0", clock=SystemClock(), rate=20.0)
        actions = Actions(action_sender, Quiet())
        began = loop.time()
        await asyncio.gather(*(actions.pause(pauses(1)) for _ in range(6)))
        assert loop.time() - began >= 5 / 20 - 0.02


async def test_every_call_leaves_one_line_in_the_log_with_ids_and_counts():
    import structlog

    with capture_logs() as lines:
        async with Scripted(fine(2), None) as server:
            actions = Actions(server.action_sender, structlog.get_logger("test"))
            await actions.pause([*pauses(2), {"targetId": "x"}])
            with pytest.raises(ActionCallFailed):
                await actions.pause(pauses(1))
            await actions.pause([])
    first, second, third = lines
    assert first == {
        "event": "action",
        "log_level": "warning",
        "action": "pauseSalesCadenceTracker",
        "inputs": 3,
        "succeeded": 2,
        "refused": 1,
        "subjects": [LEAD, LEAD],
        "first_failure": "INVALID_INPUT: targetId: 'x' is not a Salesforce record id (15 or 18 letters and digits)",
    }
    assert (second["event"], second["log_level"], second["unknown"]) == ("action_call_failed", "warning", 1)
    assert (third["event"], third["log_level"], third["inputs"]) == ("action", "info", 0)


async def test_what_is_neither_input_nor_mapping_is_a_mistake_of_the_program():
    async with Scripted(fine()) as server:
        with pytest.raises(TypeError, match="pauseSalesCadenceTracker takes PauseRun or a mapping, not str"):
            await server.actions.pause([LEAD])
        with pytest.raises(TypeError, match="not ChangeAssignee"):
            await server.actions.pause([ChangeAssignee(target_id=LEAD)])


def test_a_result_as_json_shows_the_input_with_salesforce_names():
    one = ActionResult(PauseRun(target_id=LEAD), ActionStatus.SUCCEEDED)
    assert one.to_json() == {"status": "succeeded", "succeeded": True, "input": {"targetId": LEAD}}
