"""Decoding: one change per record, bad events named, foreign shapes tolerated."""

import json
import time
from pathlib import Path

import orjson
import pytest

from consumer.domain.change_events import decode, decode_event, position_of
from consumer.errors import BadEvent
from consumer.ingest.dead_letters import raw_messages, to_dead_letter
from consumer.ports.source import Answer
from tests.support.builders.changes import (
    RUN,
    RUN_1,
    RUN_2,
    changes,
    message,
)

SAMPLES = Path(__file__).parents[4] / "shared" / "samples"


def decoded(one):
    return decode(one, one["channel"], position_of(one["data"]))


def test_a_merged_event_is_one_change_for_each_record():
    first, second = changes("UPDATE", RUN, [RUN_1, RUN_2], {"State": "Paused"}, commit=5)
    assert (first.record_id, second.record_id) == (RUN_1, RUN_2)
    assert first.header is second.header
    assert first.position == second.position


def test_a_record_named_twice_is_changed_once():
    assert len(changes("UPDATE", RUN, [RUN_1, RUN_1], {"State": "Paused"}, commit=5)) == 1


def test_dates_have_one_form():
    (one,) = changes(
        "UPDATE",
        RUN,
        RUN_1,
        {
            "LastModifiedDate": "2021-03-10T09:08:59Z",
            "CreatedDate": "2013-05-08T21:20:00.000+0000",
            "Name": "2021-03-10T09:08:59Z",
        },
        commit=1,
    )
    assert one.body == {
        "LastModifiedDate": "2021-03-10T09:08:59.000Z",
        "CreatedDate": "2013-05-08T21:20:00.000Z",
        "Name": "2021-03-10T09:08:59Z",
    }


def test_missing_changed_fields_are_all_fields_of_the_body():
    (one,) = changes("UPDATE", RUN, RUN_1, {"State": "Paused"}, commit=1, changed=[])
    assert one.header.changed == ("State",)


def test_unknown_header_keys_are_tolerated():
    one = message("CREATE", RUN, RUN_1, {"State": "Running"}, commit=1)
    one["data"]["payload"]["ChangeEventHeader"]["isTransactionEnd"] = True
    assert len(decoded(one)) == 1


def with_header(**header):
    one = message("CREATE", RUN, RUN_1, {"State": "Running"}, commit=1)
    one["data"]["payload"]["ChangeEventHeader"].update(header)
    return one


def nested(deep):
    value = []
    for _ in range(deep):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (with_header(entityName="Account"), "unknown_entity"),
        (with_header(commitNumber="7"), "wrong_type"),
        (with_header(sequenceNumber=None), "wrong_type"),
        (with_header(commitTimestamp=10**18), "wrong_type"),
        (with_header(commitNumber=2**63), "wrong_type"),
        (with_header(sequenceNumber=True), "wrong_type"),
        (message("CREATE", RUN, RUN_1, {"State": ["Running"]}, commit=1), "wrong_type"),
        (message("CREATE", RUN, RUN_1, {"DaisyChainIteration": 1.5}, commit=1), "wrong_type"),
        (message("CREATE", RUN, RUN_1, {"DaisyChainIteration": 1e300}, commit=1), "wrong_type"),
        (message("CREATE", RUN, RUN_1, {"DaisyChainIteration": nested(900)}, commit=1), "wrong_type"),
        (message("CREATE", RUN, RUN_1, {"Later__c": nested(300)}, commit=1), "too_deep"),
        (with_header(recordIds=["0qBWP0000001AbC/AU"]), "wrong_type"),
        (message("CREATE", RUN, RUN_1, {"ScheduledResumeDateTime": "tomorrow"}, commit=1), "wrong_type"),
        (with_header(recordIds="0qB"), "wrong_type"),
        (with_header(recordIds=["short"]), "wrong_type"),
        (with_header(recordIds=[]), "no_record_ids"),
        (with_header(changeType="SOMETHING"), "unknown_change_type"),
        ({"channel": "/data/x", "data": {"payload": {}, "event": {"replayId": 1}}}, "no_header"),
        ({"channel": "/data/x", "data": {"event": {"replayId": 1}}}, "no_payload"),
        ({"channel": "/data/x", "data": {"payload": {}}}, "no_position"),
        ({"channel": "/data/x", "data": "text"}, "no_data"),
        ({"channel": "/data/x"}, "no_data"),
    ],
)
def test_a_bad_event_is_named(one, reason):
    with pytest.raises(BadEvent) as caught:
        decode(one, one["channel"], position_of(one.get("data")))
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "written",
    [
        "2026-01-31T09:30:00.000+0000",
        "2026-W05-6T09:30:00.000Z",
        "2026-01-31 09:30:00.000Z",
        "20260131T093000.000Z",
        "2026-01-31T09:30:00",
    ],
)
def test_a_date_has_one_form_however_it_was_written_and_wherever_this_runs(written, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    try:
        (one,) = decode_event(
            message("CREATE", RUN, RUN_1, {"ScheduledResumeDateTime": written}, commit=1)["data"]["payload"],
            "",
            "1",
        )
    finally:
        monkeypatch.undo()
        time.tzset()
    assert one.body == {"ScheduledResumeDateTime": "2026-01-31T09:30:00.000Z"}


def test_a_dead_letter_of_what_is_nested_too_deep_holds_its_bytes():
    deep = b'{"channel":"/data/x","data":' + b"[" * 1_000 + b"]" * 1_000 + b"}"
    body = b'[{"channel":"/meta/connect"}, ' + deep + b" ]"
    answer = Answer(1, orjson.loads(body)[1:], body, None, 0)
    dead_letter = to_dead_letter(answer, 0, "/data/x", None, BadEvent("no_data", ""), 1)
    assert dead_letter.raw == deep


def test_dead_letters_of_one_answer_are_each_its_own_bytes():
    pieces = [b'{"channel": "/data/x", "n": %d}' % number for number in range(2_000)]
    body = b"[" + b",".join((b'{"channel":"/meta/connect"}', *pieces)) + b"]"
    answer = Answer(1, orjson.loads(body)[1:], body, None, 0)
    dead_letters = [
        to_dead_letter(answer, at, "/data/x", None, BadEvent("no_data", ""), 1) for at in range(2_000)
    ]
    assert [dead_letter.raw for dead_letter in dead_letters] == pieces


def test_the_exact_bytes_of_each_message_can_be_cut_out():
    body = b'[ {"a": 1},\n {"b":  [1, "]"]} ,{"c":"\\u00e9 \xc3\xa9"}]'
    assert raw_messages(body) == [b'{"a": 1}', b'{"b":  [1, "]"]}', b'{"c":"\\u00e9 \xc3\xa9"}']


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the captures are not here")
def test_real_captures_decode_without_loss(monkeypatch):
    seen = 0
    for path in sorted(SAMPLES.glob("cometd/*.json")):
        event = json.loads(path.read_text())
        event = event.get("data", event)
        payload = event.get("payload", event)
        header = payload.get("ChangeEventHeader")
        if header is None or "<" in path.read_text() or "isTransactionEnd" in header:
            continue  # platform events, and documentation with placeholders
        monkeypatch.setattr("consumer.domain.change_events.ENTITIES", {header["entityName"]: None})
        monkeypatch.setattr("consumer.domain.change_events._FIELD_RULES", {header["entityName"]: {}})
        found = decode({"data": event}, "/data/x", position_of(event))
        assert [one.record_id for one in found] == header["recordIds"]
        assert found[0].body == {name: one for name, one in payload.items() if name != "ChangeEventHeader"}
        told = found[0].header
        assert (told.kind, told.transaction, told.commit_number, told.sequence_number, told.commit_ms) == (
            header["changeType"],
            header["transactionKey"],
            header["commitNumber"],
            header["sequenceNumber"],
            header["commitTimestamp"],
        )
        assert (told.user, told.origin) == (header["commitUser"], header["changeOrigin"])
        if told.kind == "UPDATE":
            assert list(told.changed) == header["changedFields"]
        seen += 1
    assert seen == 10


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the samples are not here")
def test_the_sample_payloads_of_both_objects_hold_nothing_undocumented():
    seen = set()
    for path in sorted(SAMPLES.glob("synthetic/*.json")):
        value = json.loads(path.read_text())
        for one in value if isinstance(value, list) else [value]:
            for found in decode(one, one["channel"], position_of(one["data"])):
                assert found.header.unknown_values == ()
                seen.add((found.header.entity, found.header.kind))
    assert len(seen) >= 6
