"""The stream of the benchmarks: what it serves must be what Salesforce could have sent, or the figures are about something else."""

import time
from collections import Counter
from itertools import islice

import orjson
import pytest

from consumer.sandbox.ids import to_18
from tests.benchmarks import stream

CHANNELS = (stream.CUSTOM,)


@pytest.fixture(scope="module")
def block():
    return stream.record(time.time_ns() // 1_000_000)


def payloads(block, first, count, order=None):
    some = islice(stream.messages(block, first, CHANNELS, order), count)
    return [orjson.loads(one)["data"]["payload"] for one in some]


def test_an_event_is_of_a_kilobyte_and_a_half(block):
    assert 1_400 < block.bytes_per_event < 1_600


def test_ids_of_every_repetition_have_valid_checksums(block):
    size = len(block.templates)
    for payload in payloads(block, 400 * size, size):
        for record_id in payload["ChangeEventHeader"]["recordIds"]:
            assert to_18(record_id) == record_id


def test_repetitions_share_no_record_and_no_transaction(block):
    size = len(block.templates)
    headers = [payload["ChangeEventHeader"] for payload in payloads(block, 0, 2 * size)]
    first, second = headers[:size], headers[size:]
    for name in ("commitNumber", "transactionKey"):
        assert not {one[name] for one in first} & {one[name] for one in second}
    assert not {one["recordIds"][0] for one in first} & {one["recordIds"][0] for one in second}


def test_no_more_is_enriched_than_salesforce_allows(block):
    assert all(len(names) <= 10 for names in stream.ENRICHED.values())
    for payload in payloads(block, 0, len(block.templates)):
        header = payload["ChangeEventHeader"]
        if header["changeType"] == "UPDATE":
            along = payload.keys() - {"ChangeEventHeader"} - set(header["changedFields"])
            assert along <= set(stream.ENRICHED[header["entityName"]])


def test_what_comes_then_is_about_what_was_known_before():
    life = stream.life(time.time_ns() // 1_000_000)
    before = payloads(life.before, 0, len(life.before.templates))
    then = payloads(life.then, 0, len(life.then.templates))
    known = {one["ChangeEventHeader"]["recordIds"][0] for one in before}
    assert [
        (one["ChangeEventHeader"]["changeType"], one["ChangeEventHeader"]["recordIds"][0] in known)
        for one in then
    ] == [("UPDATE", True), ("CREATE", False), ("UPDATE", True)]
    last = max(one["ChangeEventHeader"]["commitNumber"] for one in before)
    assert all(one["ChangeEventHeader"]["commitNumber"] > last for one in then)


def test_visits_are_spread_over_all_lives_and_commits_come_in_the_order_of_their_numbers():
    visits = stream.visits(500_000, 10_000)
    assert len(set(visits)) == 10_000
    tenths = Counter(visit // 50_000 for visit in visits)
    assert len(tenths) == 10
    assert min(tenths.values()) > 800
    then = stream.life(time.time_ns() // 1_000_000).then
    numbers = [one["ChangeEventHeader"]["commitNumber"] for one in payloads(then, 0, 300, visits)]
    assert numbers == sorted(numbers)
