"""The loop closed with the real command: people act by ``actions``, a handler acts by ``ctx.actions``, the org answers with events."""

import asyncio
import json
import signal

import pytest

from consumer.sandbox import STEP_TRACKER, TRACKER, Sandbox, SandboxOptions
from tests.support.processes.service_process import ServiceProcess, settings_for

LEAD = "00Qxx000002TRI2EAO"

# Skips tasks; writes down everything that it is given.
SKIPPER = """
from consumer import Context, LifecycleEvent, handler

@handler(on=["run.*", "step.*"])
async def skip_tasks(event: LifecycleEvent, ctx: Context) -> None:
    with open("seen.txt", "a") as seen:
        seen.write(f"{event.type} {event.step_tracker_id} {event.change_origin}\\n")
    if event.type == "step.activated" and event.step_type == "CreateTask":
        result = await ctx.actions.skip_step(event.step_tracker_id)
        assert result.succeeded, result.why
"""


async def command(environment, folder, *words, code=0):
    async with ServiceProcess(environment, folder, *words) as process:
        assert await process.ended() == code, process.errors()
        return process.out.read_text(), process.errors()


async def holds(condition, within_s=20):
    async with asyncio.timeout(within_s):
        while not (found := condition()):
            await asyncio.sleep(0.05)
        return found


@pytest.fixture
async def sandbox():
    async with Sandbox(SandboxOptions()) as running:
        yield running


@pytest.mark.long
async def test_enrolled_by_action_skipped_by_a_handler_ended_by_action_and_told_by_timeline(
    sandbox, tmp_path
):
    (tmp_path / "skipper.py").write_text(SKIPPER)
    environment = settings_for(
        sandbox,
        tmp_path,
        CADENCE_HANDLERS__SKIPPER__USE="skipper:skip_tasks",
        CADENCE_ORDERING__LATENESS="100ms",
    )
    steps, trackers = sandbox.org.records[STEP_TRACKER], sandbox.org.records[TRACKER]

    def current(run, type_):
        step = steps.get(trackers[run]["CurrentStepId"] or "")
        return step and step["StepType"] == type_

    async with ServiceProcess(environment, tmp_path) as service:
        await service.ready()
        await command(environment, tmp_path, "actions", "assign", LEAD, "--cadence", "Event Follow-up")
        (run,) = sandbox.world.open_runs
        assert current(run, "MakeACall")
        await command(environment, tmp_path, "actions", "send-event", run, "--event", "ManualComplete")
        # The second step is a task: the handler skips it as soon as it hears of it, and the run is at its third.
        await holds(lambda: current(run, "LinkedInConnection"))
        await command(environment, tmp_path, "actions", "send-event", LEAD, "--event", "ManualComplete")
        assert trackers[run]["CompletionReason"] == "NoMoreSteps"

        def seen():
            return (
                (tmp_path / "seen.txt").read_text().splitlines() if (tmp_path / "seen.txt").exists() else []
            )

        await holds(lambda: any(line.startswith("run.ended.finished") for line in seen()))
        service.signal(signal.SIGTERM)
        assert await service.ended() == 0
        told = [json.loads(line) for line in service.errors().splitlines()]

    task, last = (one for one in steps.values() if one["StepType"] in {"CreateTask", "LinkedInConnection"})
    assert task["CompletionReason"] == "ManuallySkipped"
    assert sandbox.actions.calls["sendSalesCadenceEvent"] == 3
    echo = [line for line in seen() if "client=cadence-consumer.skipper" in line]
    assert echo == [], "the handler was given its own changes"
    assert f"step.activated {last['Id']}" not in "\n".join(seen()), "which the skip had brought about"
    (line,) = [line for line in told if line["event"] == "action"]
    assert (line["handler"], line["action"], line["subjects"], line["succeeded"]) == (
        "skipper",
        "sendSalesCadenceEvent",
        [task["Id"]],
        1,
    )

    out, _ = await command(environment, tmp_path, "timeline", LEAD, "--json")
    story = [json.loads(line) for line in out.splitlines()]
    assert [event["type"] for event in story][:2] == ["run.enrolled", "run.started"]
    assert story[-1]["type"] == "run.ended.finished"
    (skipped,) = [event for event in story if event["type"] == "step.ended.skipped"]
    assert skipped["step"] == "Send slides"
    assert skipped["marks"] == ["cadence-consumer.skipper"]
    assert {"step.ended.completed", "run.advanced"} <= {event["type"] for event in story}
    out, _ = await command(environment, tmp_path, "timeline", run)
    assert "step.ended.skipped" in out
    assert "cadence-consumer.skipper" in out


async def test_a_file_of_enrolments_is_reported_line_by_line_with_exit_code_1(sandbox, tmp_path):
    environment = settings_for(sandbox, tmp_path, CADENCE_ACTIONS__RATE="1000")
    targets = [sandbox.org.ids.next("Lead") for _ in range(958)]
    enrolled = [sandbox.org.ids.next("Contact") for _ in range(37)]
    for target in enrolled:
        sandbox.world.enrol("Event Follow-up", target)
    invalid = ["00Q", "https://acme.my.salesforce.com/", targets[0][:-1] + "!", LEAD[:-1] + "A", "0" * 18]
    given = [*invalid[:3], *targets, *enrolled, *invalid[3:]]
    (tmp_path / "targets.txt").write_text("\n".join(given))
    words = ("actions", "assign", "--from", "targets.txt", "--cadence", "Event Follow-up", "--json")
    out, told = await command(environment, tmp_path, *words, "--dry-run", code=1)
    assert "nothing was changed; 958 of 1000 would be sent" in told
    assert sandbox.actions.calls == {}
    out, told = await command(environment, tmp_path, *words, code=1)
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["given"] for line in lines] == given
    assert sum(line["succeeded"] for line in lines) == 958
    failed = [line for line in lines if not line["succeeded"]]
    assert {line["given"] for line in failed} == {*enrolled, *invalid}
    assert [line["errors"][0]["statusCode"] for line in failed].count("ALREADY_ENROLLED") == 37
    assert told == "958 of 1000 succeeded, in 10 calls to Salesforce\n"
    assert len(sandbox.world.open_runs) == 995


@pytest.mark.long
async def test_every_command_takes_what_a_person_has(sandbox, tmp_path):
    environment = settings_for(sandbox, tmp_path)
    world, trackers = sandbox.world, sandbox.org.records[TRACKER]

    async def act(*words, code=0):
        return await command(environment, tmp_path, "actions", *words, code=code)

    await act("assign", LEAD[:15], "--cadence", "Inbound Demo Request", "--user", world.users[0])
    (run,) = world.open_runs
    url = f"https://acme.lightning.force.com/lightning/r/ActionCadenceTracker/{run}/view"
    await act("pause", url, "--until", "2031-01-01T00:00:00Z")
    assert trackers[run]["State"] == "Paused"
    await act("resume", run)
    assert trackers[run]["State"] == "Running"
    await act("change-assignee", LEAD, "--user", world.users[1])
    assert trackers[run]["OwnerId"] == world.users[1]
    out, _ = await act("select-template", run)
    assert "template 00X" in out
    await act("modify", LEAD, "--disposition", "Customer Engaged")
    assert trackers[run]["CompletionDisposition"] == "Customer Engaged"
    other = world.enrol("Long-term Nurture", LEAD)
    out, _ = await act("modify", LEAD, "--disposition", "Success", code=1)
    assert f"{LEAD} is in several cadences; give the id of one of its runs: " in out
    assert run in out
    assert other in out
    await act("remove", trackers[run]["CurrentStepId"], code=1)
    out, _ = await act("remove", run, "--disposition", "No Response", "--json")
    assert json.loads(out)["input"] == {
        "actionCadenceTrackerId": run,
        "completionDisposition": "No Response",
        "completionReasonCode": "ManuallyRemoved",
    }
    out, told = await act("pause", run, "--until", "tomorrow", code=1)
    assert "resumeTime: 'tomorrow' is not ISO 8601; use a form such as 2026-01-31T09:30:00.000Z" in out
    assert told == "0 of 1 succeeded, in 0 calls to Salesforce\n"
    out, _ = await act("send-event", run, "--event", "Skip", code=1)
    assert f"run {run} has no current step" in out
    _, told = await act("remove", code=2)
    assert told == "there are no inputs: give ids, or --from FILE\n"


async def test_a_call_that_broke_off_tells_what_is_known_and_exits_69(sandbox, tmp_path):
    environment = settings_for(sandbox, tmp_path)
    run = sandbox.world.enrol("Event Follow-up", LEAD)
    sandbox.faults.inject("http_status", status=502, scope="rest")
    out, told = await command(environment, tmp_path, "actions", "pause", LEAD, code=69)
    assert "unknown" in out
    assert "1 may or may not have taken effect (check before sending them again)" in told
    assert sandbox.org.records[TRACKER][run]["State"] == "Running"
