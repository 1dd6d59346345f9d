"""Which due timers fire, decided without a store."""

from consumer.domain.lifecycle import OrgInfo
from consumer.domain.timers import timers_of
from consumer.ingest.batch import LoadedStates
from consumer.ingest.fire_timers import fire_timers
from tests.support.builders.changes import ORG, RUN_1, STEP, STEP_1
from tests.unit.ingest.test_interpret import DUE, change, decide

THE_ORG = OrgInfo(ORG, "https://acme.my.salesforce.com")
KEY = f"{STEP_1}/step.overdue"


def active():
    loaded = LoadedStates({STEP_1: None, RUN_1: None})
    fields = {"State": "Active", "ActionCadenceTrackerId": RUN_1, "DueDateTime": DUE}
    return loaded, decide(loaded, change("CREATE", STEP, STEP_1, fields, commit=1)).timers[KEY]


def test_a_timer_that_still_holds_fires_once_and_is_remembered_with_its_record():
    loaded, due_ms = active()
    batch = fire_timers([(KEY, due_ms)], loaded, THE_ORG)
    assert [record.type for record in batch.journal] == ["step.overdue"]
    assert batch.journal[0].tracker_id == RUN_1
    assert batch.timers == {KEY: None}
    assert timers_of(batch.states[STEP_1]) == {}
    again = fire_timers([(KEY, due_ms)], loaded, THE_ORG)
    assert (again.journal, again.states, again.timers) == ([], {}, {KEY: None})


def test_a_timer_of_another_time_or_of_an_unknown_record_is_removed_and_fires_nothing():
    loaded, due_ms = active()
    other = f"{RUN_1[:-1]}Q/step.overdue"
    batch = fire_timers([(KEY, due_ms - 1), (other, due_ms)], loaded, THE_ORG)
    assert (batch.journal, batch.states) == ([], {})
    assert batch.timers == {KEY: None, other: None}
