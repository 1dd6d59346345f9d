"""An event read from the journal is the event that validation makes, however it is looked at."""

import copy
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from threading import Barrier

import orjson
import pytest
from pydantic import BaseModel

from consumer.domain.lifecycle import OrgInfo, interpret
from consumer.domain.lifecycle_events import FORMAT, LifecycleEvent
from consumer.domain.objects import ActionCadenceStepTracker
from tests.support.builders.changes import (
    RUN,
    RUN_1,
    STEP,
    STEP_1,
    change,
)

ORG = OrgInfo("00DWP0000001234MAA", "https://acme.my.salesforce.com")
COMMITS = count(1)


def journaled() -> list[bytes]:
    """What a run with a step that fails looks like in the journal."""
    told = (
        ("CREATE", RUN, RUN_1, {"State": "Running", "TargetId": "00QWP0000001AbC2AU"}),
        (
            "CREATE",
            STEP,
            STEP_1,
            {"State": "Active", "ActionCadenceTrackerId": RUN_1, "StepType": "MakeACall"},
        ),
        ("UPDATE", STEP, STEP_1, {"State": "Error", "ErrorCode": "TARGET_EMAIL_BOUNCED"}),
        ("UPDATE", RUN, RUN_1, {"State": "Paused", "ScheduledResumeDateTime": "2026-01-05T10:00:00.000Z"}),
    )
    states, events = {}, []
    for kind, entity, record_id, fields in told:
        one = change(kind, entity, record_id, fields, commit=next(COMMITS))
        key = (0, one.header.commit_number, 1)
        state, meant = interpret(one, key, states.get(record_id), states.get(RUN_1), ORG, late=False)
        states[record_id] = state
        events += map(orjson.dumps, meant)
    return events


ENTRIES = journaled()


class Envelope(BaseModel):
    """Somebody's own model."""

    event: LifecycleEvent


def pairs() -> list[tuple[LifecycleEvent, LifecycleEvent]]:
    return [(LifecycleEvent.from_journal(one), LifecycleEvent.from_json(one)) for one in ENTRIES]


@pytest.mark.parametrize(
    "look",
    [
        lambda event: event,
        LifecycleEvent.to_json,
        lambda event: Envelope(event=event).model_dump_json(),
        LifecycleEvent.model_dump,
        LifecycleEvent.model_dump_json,
        dict,
        lambda event: {name: getattr(event, name) for name in LifecycleEvent.model_fields},
        lambda event: event.model_fields_set,
        copy.copy,
        copy.deepcopy,
        lambda event: event.model_copy(update={"late": True}),
        lambda event: event.model_copy(update={"after": None}),
        lambda event: pickle.loads(pickle.dumps(event)),
        hash,
    ],
)
def test_nobody_can_tell_the_difference(look):
    for read, validated in pairs():
        assert look(read) == look(validated)
        assert read == validated
        assert validated == read


def test_records_are_typed_when_they_are_looked_at():
    failed = next(read for read, _ in pairs() if read.type == "step.failed")
    assert isinstance(failed.after, ActionCadenceStepTracker)
    assert failed.after is failed.after
    assert failed.error is not None
    assert failed.error.kind == "prospect data"


def test_a_copy_outlives_what_is_looked_at_in_the_original():
    read, validated = pairs()[-1]
    twin = copy.copy(read)
    assert read.before == validated.before
    assert twin == validated


def test_what_is_no_field_is_no_attribute():
    read, _ = pairs()[0]
    with pytest.raises(AttributeError, match="nonsense"):
        _ = read.nonsense


def test_a_field_that_a_newer_release_adds_is_ignored():
    told = {**orjson.loads(ENTRIES[0]), "mood": "sunny"}
    assert LifecycleEvent.from_journal(orjson.dumps(told)) == LifecycleEvent.from_journal(ENTRIES[0])


WHOLE = orjson.loads(ENTRIES[0])


@pytest.mark.parametrize(
    "data",
    [b"[]", b"{", b'{"v": 1}', b'{"v": %d}' % (FORMAT + 1), b'{"v": "1"}']
    + [
        orjson.dumps({**WHOLE, name: value})
        for name, value in (("time", 7), ("changed", 7), ("entity", []), ("id", {}))
    ],
)
def test_what_is_no_event_is_refused(data):
    with pytest.raises(ValueError, match=r"event|JSON|required|expected"):
        LifecycleEvent.from_journal(data)


# ---------------------------------------------------------------- CloudEvents


def test_a_cloudevent_names_org_run_and_type_and_carries_the_event():
    event = LifecycleEvent.from_journal(ENTRIES[0])
    document = orjson.loads(event.to_cloudevent("elsewhere"))
    assert orjson.dumps(document.pop("data")) == event.to_json()
    assert document == {
        "specversion": "1.0",
        "id": event.id,
        "source": f"/salesforce/{ORG.id}",
        "type": f"cadence.{event.type}",
        "time": event.time.isoformat(),
        "datacontenttype": "application/json",
        "subject": RUN_1,
    }


def test_a_cloudevent_of_no_org_and_no_run_has_the_given_source_and_no_subject():
    event = LifecycleEvent.from_json(b'{"id":"x/y","type":"system.gap","time":"2026-01-05T12:00:00+02:00"}')
    document = orjson.loads(event.to_cloudevent("/cadence"))
    assert (document["source"], "subject" in document) == ("/cadence", False)
    assert document["time"] == "2026-01-05T10:00:00+00:00"


LOOKS = (
    lambda event: event.to_json(),
    lambda event: event.to_cloudevent("/x"),
    lambda event: (event.position, event.transaction, event.error),
    lambda event: (event.after, event.before),
    lambda event: event.model_dump(),
    lambda event: event == event.model_copy(),
    lambda event: copy.copy(event).position,
    repr,
)


def test_threads_that_look_at_one_event_at_once_all_see_it_whole():
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(len(LOOKS)) as threads:
            for _ in range(300):
                for data in ENTRIES:
                    event, barrier = LifecycleEvent.from_journal(data), Barrier(len(LOOKS))

                    def look(one, event=event, barrier=barrier):
                        barrier.wait()
                        one(event)
                        return event.position, event.after

                    positions = {(id(p), id(a)) for p, a in threads.map(look, LOOKS)}
                    assert len(positions) == 1, "every thread has the same objects"
                    assert event == LifecycleEvent.from_json(data)
                    assert event.to_json() == LifecycleEvent.from_json(data).to_json()
    finally:
        sys.setswitchinterval(switch)


def test_what_a_handler_does_to_its_copy_reaches_no_other():
    value = orjson.loads(ENTRIES[0])
    value["after"]["Unknown__c"] = {"inner": [1]}
    pristine = LifecycleEvent.from_journal(orjson.dumps(value))
    mine, yours = pristine.own_copy(), pristine.own_copy()
    wanted = pristine.own_copy().to_json()
    mine.after.model_extra["Unknown__c"]["inner"].append(2)
    mine.after.__dict__["state"] = "Broken"
    mine.__dict__["type"] = "nonsense"
    mine.model_fields_set.clear()
    del mine.__dict__["id"]
    assert yours.to_json() == wanted
    assert pristine.own_copy().to_json() == wanted
