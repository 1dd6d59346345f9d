"""The plugin that handler authors test with: its stories are the service's, its calls are the service's."""

from collections import Counter
from datetime import timedelta

import pytest
from pydantic import BaseModel

from consumer import BatchHandler, Failed, Handler, Reject, RemoveTarget, Retry, handler
from consumer.errors import SettingsError
from tests.support.builders.readme import HANDLERS, blocks

pytest_plugins = ["pytester"]


def test_everything_that_the_package_offers_can_be_imported():
    import consumer.testing

    for name in consumer.testing.__all__:
        assert getattr(consumer.testing, name).__module__.startswith("consumer.testing")
    with pytest.raises(AttributeError, match="no attribute 'Fed'"):
        consumer.testing.Fed  # noqa: B018 - the access is what is tested


def whole_story(run):
    return (
        run.enrol()
        .begin_step("SendAnEmail")
        .complete_step()
        .begin_step("Call", title="Ring")
        .pause()
        .resume()
        .fail_step("TARGET_EMAIL_BOUNCED")
        .reassign("0055e000000OTHER")
        .end("LeadConverted", disposition="Success")
    )


def test_a_story_reads_as_the_service_would_tell_it(new_run):
    run = whole_story(new_run(cadence="Inbound"))
    assert [event.type for event in run.events] == [
        "run.enrolled",
        "run.started",
        "step.created",
        "step.activated",
        "run.advanced",
        "step.ended.completed",
        "step.created",
        "step.activated",
        "run.advanced",
        "run.paused",
        "run.resumed",
        "step.failed",
        "run.reassigned",
        "run.ended.converted",
    ]
    assert {event.tracker_id for event in run.events} == {run.tracker_id}
    assert {event.cadence_name for event in run.events} == {"Inbound"}
    assert {event.target_id for event in run.events} == {run.target_id}
    assert len({event.id for event in run.events}) == len(run.events)
    failed = run.events[11]
    assert failed.error is not None
    assert (failed.error.code, failed.error.kind) == ("TARGET_EMAIL_BOUNCED", "prospect data")
    assert failed.step_title == "Ring"
    assert run.events[-1].disposition == "Success"


def test_runs_of_one_test_differ_in_everything_that_identifies_them(new_run):
    first, second = whole_story(new_run()), whole_story(new_run())
    assert not {e.id for e in first.events} & {e.id for e in second.events}
    assert not {e.record_id for e in first.events} & {e.record_id for e in second.events}
    assert first.target_id != second.target_id


def test_a_story_is_told_in_order(new_run):
    with pytest.raises(RuntimeError, match="enrol"):
        new_run().pause()
    with pytest.raises(RuntimeError, match="begin_step"):
        new_run().enrol().complete_step()


async def test_a_handler_gets_the_types_it_wants_in_order(new_run, feed):
    seen = []

    @handler(on=["run.ended.*", "step.failed"])
    async def notify(event, ctx):
        seen.append((event.type, ctx.attempt, ctx.replayed))

    report = await feed(notify).deliver(whole_story(new_run()).events)
    assert seen == [("step.failed", 1, False), ("run.ended.converted", 1, False)]
    assert report.types == ["step.failed", "run.ended.converted"]
    assert {why for _, why in report.left_out} == {"type"}


async def test_a_failure_holds_back_its_own_run_only_and_no_time_passes(new_run, feed):
    ill, well = new_run().enrol(), new_run().enrol()
    calls = Counter()

    @handler()
    async def flaky(event, ctx):
        calls[event.id] += 1
        if event.tracker_id == ill.tracker_id and event.type == "run.enrolled" and ctx.attempt < 3:
            raise Retry(after=timedelta(hours=1))

    report = await feed(flaky).deliver([*ill.events, *well.events])
    assert [e.tracker_id for e in report.delivered] == [well.tracker_id] * 2 + [ill.tracker_id] * 2
    assert [(a.number, a.error is None) for a in report.attempts if a.event is ill.events[0]] == [
        (1, False),
        (2, False),
        (3, True),
    ]
    assert report.waited == timedelta(hours=2)


@pytest.mark.parametrize(
    ("on_failure", "where"), [("dead_letter", "dead_letters"), ("skip", "skipped"), ("block", "blocked")]
)
async def test_attempts_end_as_the_settings_say(new_run, feed, on_failure, where):
    run = new_run().enrol()

    @handler()
    async def broken(event, ctx):
        if event.type == "run.enrolled":
            raise ValueError("never")

    report = await feed(broken, max_attempts=3, on_failure=on_failure).deliver(run.events)
    assert getattr(report, where) == [(run.events[0], "ValueError: never")]
    assert report.types == ([] if on_failure == "block" else ["run.started"])
    assert len([a for a in report.attempts if a.error]) == 3


async def test_reject_is_a_dead_letter_at_once(new_run, feed):
    @handler(on="run.enrolled")
    async def picky(event, ctx):
        raise Reject("no such customer")

    run = new_run().enrol()
    report = await feed(picky).deliver(run.events)
    assert report.dead_letters == [(run.events[0], "no such customer")]
    assert len(report.attempts) == 1


class Sink(BatchHandler):
    class Settings(BaseModel):
        table: str

    lives: list["Sink"] = []  # noqa: RUF012 - one test's

    async def open(self, settings, ctx):
        self.table, self.got, self.closed = settings.table, [], False
        self.lives.append(self)

    async def handle_batch(self, events, ctx):
        self.got.append([event.type for event in events])
        if len(events) > 1 and "run.paused" in self.got[-1]:
            raise Failed({e.id: "poison" for e in events if e.type == "run.paused"})

    async def close(self):
        self.closed = True


async def test_batches_fail_in_part_and_a_kill_delivers_everything_again(new_run, feed):
    Sink.lives = []
    kit = feed(Sink, settings={"table": "events"})
    run = new_run().enrol().pause()
    report = await kit.deliver(run.events, kills=[1])
    first, second = Sink.lives
    assert first.got == [["run.enrolled", "run.started", "run.paused"]]
    assert second.got == [["run.enrolled", "run.started", "run.paused"], ["run.paused"]]
    assert (first.closed, second.closed) == (False, True)
    assert report.types == ["run.enrolled", "run.started", "run.paused"]
    assert report.lives == 2


async def test_wrong_settings_are_reported_as_at_the_start_of_the_service(feed):
    with pytest.raises(SettingsError, match=r"handlers\.tested\.settings\.tabel"):
        feed(Sink, settings={"tabel": "events"})
    with pytest.raises(SettingsError, match="selects no event type"):
        feed("log", on=["run.eneded"])


async def test_built_in_handlers_are_fed_by_name(new_run, feed, tmp_path):
    path = tmp_path / "out.jsonl"
    run = whole_story(new_run())
    await feed("jsonl", settings={"path": path}).deliver(run.events)
    assert len(path.read_text().splitlines()) == len(run.events)


async def test_own_changes_origins_and_age_are_left_out(new_run, feed):
    @handler()
    async def all_of_it(event, ctx): ...

    run = new_run().enrol().pause()
    old, echo, snapshot = (
        run.events[0],
        run.events[1].model_copy(
            update={"change_origin": "com/salesforce/api/rest/66.0;client=cadence-consumer.me"}
        ),
        run.events[2].model_copy(update={"origin": "snapshot"}),
    )
    report = await feed(all_of_it, name="me", max_age="1m").deliver([old, echo, snapshot, run.events[2]])
    assert [why for _, why in report.left_out] == ["max_age", "own_change", "origin"]
    assert report.delivered == [run.events[2]]


class Remover(Handler):
    on = ("step.failed",)

    async def handle(self, event, ctx):
        if await ctx.actions.is_active(event.tracker_id):
            [result] = await ctx.actions.remove([RemoveTarget(tracker_id=event.tracker_id)])
            if not result.succeeded:
                raise Retry(reason=result.why)


async def test_actions_are_recorded_and_fail_when_told_to(new_run, feed):
    run = new_run().enrol().begin_step().fail_step()
    kit = feed(Remover)
    kit.actions.refuse("UNKNOWN_EXCEPTION", "the record is being edited")
    kit.actions.break_off("timed out")
    report = await kit.deliver(run.events)
    assert kit.actions.sent == [RemoveTarget(tracker_id=run.tracker_id)] * 3
    first, second, third = (attempt.error for attempt in report.attempts)
    assert first == "UNKNOWN_EXCEPTION: the record is being edited"
    assert "timed out" in second
    assert third is None
    kit.actions.over.add(run.tracker_id)
    await kit.deliver(run.events)
    assert len(kit.actions.sent) == 3


async def test_a_replay_says_so_and_does_not_act(new_run, feed):
    run = new_run().enrol().begin_step().fail_step()
    kit = feed(Remover)
    report = await kit.replay(run.events)
    assert kit.actions.sent == []
    assert "replay" in report.dead_letters[0][1]
    allowed = feed(Remover, allow_actions_on_replay=True)
    await allowed.replay(run.events)
    assert len(allowed.actions.sent) == 1


async def test_the_guard_against_double_enrolment_is_the_real_one(new_run, feed):
    run = new_run().enrol().end()

    @handler(on="run.ended.*")
    async def again(event, ctx):
        [result] = await ctx.actions.assign([{"target_id": event.target_id, "cadence": "Nurture"}])
        if not result.succeeded:
            raise Reject(result.why)

    kit = feed(again)
    kit.actions.enrolled[run.target_id, "Nurture"] = "0qB000000000001AAA"
    report = await kit.deliver(run.events)
    assert "ALREADY_ENROLLED" in report.dead_letters[0][1]
    assert kit.actions.sent == []


def test_the_example_of_the_page_is_a_test_that_passes_with_the_plugin_as_installed(pytester):
    (source,) = [block for block in blocks(HANDLERS, "python") if block.startswith("# test_notify.py\n")]
    pytester.makepyfile(test_notify=source)
    pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function")
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2)
