"""What the stream does not say: the run of an unseen step, the target of an unseen run, the name of a cadence, the chain."""

import pytest

from consumer.salesforce.rest import RestError
from tests.support.builders.changes import (
    RUN,
    RUN_1,
    RUN_2,
    STEP,
    STEP_1,
    message,
)
from tests.support.rigs.ingest import tenure

pytestmark = pytest.mark.looptime

TARGET, CADENCE = "00QWP000001xYz12AE", "77CWP0000000hJV2AY"


class Org:
    """Rows as REST would give them."""

    def __init__(self, rows=None, error=None):
        self.known = rows or {}
        self.error = error
        self.asked = []

    async def rows(self, entity, ids, fields):
        self.asked.append((entity, tuple(ids)))
        if self.error:
            raise self.error
        return {
            one: {"attributes": {"type": entity}, "Id": one}
            | {name: self.known[one].get(name) for name in fields}
            for one in ids
            if one in self.known
        }


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cadence.db"


async def told(path, rows, *messages, **options):
    async with tenure(path, rows, **options) as rig:
        await rig.open()
        for one in messages:
            await rig.answer(one)
        await rig.pass_time(2_000)
        return await rig.journal(), rig.witness


done = message(
    "UPDATE", STEP, STEP_1, {"State": "Completed", "CompletionReason": "ManuallySkipped"}, commit=5
)
STEP_ROW = {
    "ActionCadenceTrackerId": RUN_1,
    "ActionCadenceId": CADENCE,
    "TargetId": TARGET,
    "StepTitle": "Call",
    "StepType": "MakeACall",
    "State": "Completed",
}
RUN_ROW = {"ActionCadenceId": CADENCE, "TargetId": TARGET, "OwnerId": "005", "State": "Complete"}


async def test_the_run_of_an_unseen_step_is_fetched_before_it_is_interpreted(path):
    rows = Org({STEP_1: STEP_ROW, RUN_1: RUN_ROW, CADENCE: {"Name": "Outbound"}})
    (event,), _ = await told(path, rows, done)
    assert (event["tracker_id"], event["target_id"], event["step_title"]) == (RUN_1, TARGET, "Call")
    assert (event["cadence_id"], event["cadence_name"]) == (CADENCE, "Outbound")
    assert "owner_id" not in event, "the owner now is not the owner then"
    assert "State" not in event.get("before", {})
    assert rows.asked == [(STEP, (STEP_1,)), (RUN, (RUN_1,)), ("ActionCadence", (CADENCE,))]


async def test_a_step_that_is_gone_is_its_own_key(path):
    (event,), _ = await told(path, Org(), done)
    assert event["tracker_id"] == STEP_1


async def test_a_created_step_needs_no_look_up_and_names_are_asked_for_once(path):
    rows = Org({CADENCE: {"Name": "Outbound"}})
    fields = {"State": "Running", "TargetId": TARGET, "ActionCadenceId": CADENCE}
    create = message("CREATE", RUN, RUN_1, fields, commit=1)
    first = message(
        "CREATE",
        STEP,
        STEP_1,
        {"State": "Active", "ActionCadenceTrackerId": RUN_1, "ActionCadenceId": CADENCE},
        commit=1,
        sequence=2,
    )
    journal, _ = await told(path, rows, create, first, done)
    assert {event["cadence_name"] for event in journal} == {"Outbound"}
    assert rows.asked == [("ActionCadence", (CADENCE,))]


async def test_an_unseen_run_is_described_unless_told_not_to(path, tmp_path):
    pause = message("UPDATE", RUN, RUN_1, {"State": "Paused"}, commit=2)
    (event,), _ = await told(path, Org({RUN_1: RUN_ROW}), pause)
    assert event["target_id"] == TARGET
    rows = Org({RUN_1: RUN_ROW})
    (event,), _ = await told(tmp_path / "other.db", rows, pause, hydrate=False)
    assert "target_id" not in event
    assert rows.asked == []


async def test_what_rest_says_besides_what_was_asked_for_is_not_known_of_the_record(path):
    pause = message("UPDATE", RUN, RUN_1, {"State": "Paused"}, commit=2)
    (event,), _ = await told(path, Org({RUN_1: RUN_ROW}), pause)
    assert "attributes" not in event["before"] | event["after"]


async def test_an_unreachable_rest_costs_one_attempt_a_minute_and_no_event(path):
    rows = Org(error=RestError("POST /x", 0, "unreachable", "refused"))
    more = [
        message("UPDATE", STEP, f"8HFWP00000{number:02d}AbD4AU", {"State": "Paused"}, commit=number + 10)
        for number in range(5)
    ]
    journal, witness = await told(path, rows, done, *more)
    assert len(journal) == 6
    assert len(witness.lookups) == len(rows.asked) == 1


async def test_the_runs_of_a_daisy_chain_are_linked(path):
    fields = {"State": "Running", "TargetId": TARGET, "DaisyChainIteration": 1}
    first = message("CREATE", RUN, RUN_1, fields, commit=1)
    ended = message("UPDATE", RUN, RUN_1, {"State": "Complete", "CompletionReason": "DaisyChained"}, commit=2)
    second = message("CREATE", RUN, RUN_2, {**fields, "DaisyChainIteration": 2}, commit=2, sequence=2)
    moved = message("UPDATE", RUN, RUN_2, {"CurrentStepId": STEP_1}, commit=3)
    journal, _ = await told(path, None, first, ended, second, moved)
    of_second = [event for event in journal if event["tracker_id"] == RUN_2]
    assert {event["previous_tracker_id"] for event in of_second} == {RUN_1}
    assert all("previous_tracker_id" not in event for event in journal if event["tracker_id"] == RUN_1)


async def test_a_re_enrolment_is_no_chain(path):
    fields = {"State": "Running", "TargetId": TARGET, "DaisyChainIteration": 1}
    journal, _ = await told(
        path,
        None,
        message("CREATE", RUN, RUN_1, fields, commit=1),
        message("CREATE", RUN, RUN_2, fields, commit=5),
    )
    assert all("previous_tracker_id" not in event for event in journal)
