import json
from typing import Any

import pytest

from consumer.sandbox import FAULT_KINDS, FaultOptions, Faults, Org, UnknownFault, World
from consumer.sandbox.change_events import ChangeEvent

Transactions = list[list[ChangeEvent]]


def headers(published: list[tuple[ChangeEvent, int]]) -> list[dict[str, Any]]:
    return [event.payload["ChangeEventHeader"] for event, _ in published]


@pytest.fixture
def transaction(world: World, committed: Transactions) -> list[ChangeEvent]:
    run = world.enrol("Event Follow-up")
    world.complete_step(run)
    return committed[-1]


def test_fair_weather_changes_nothing(transaction: list[ChangeEvent]) -> None:
    faults = Faults()
    assert faults.apply_to_commit(transaction) == [(event, 0) for event in transaction]
    assert faults.counters == {}


def test_a_swap_publishes_a_transaction_in_reverse_once(transaction: list[ChangeEvent]) -> None:
    faults = Faults()
    faults.inject("swap")
    assert [event.sequence_number for event, _ in faults.apply_to_commit(transaction)] == [3, 2, 1]
    assert [event.sequence_number for event, _ in faults.apply_to_commit(transaction)] == [1, 2, 3]
    assert faults.counters == {"swap": 1}


def test_reordering_puts_publication_off_within_the_bounds(transaction: list[ChangeEvent]) -> None:
    faults = Faults(FaultOptions(reorder=1.0, reorder_ms=(50, 400)))
    delays = [delay for _ in range(50) for _, delay in faults.apply_to_commit(transaction)]
    assert min(delays) >= 50
    assert max(delays) <= 400
    assert len(set(delays)) > 10
    assert faults.counters["reorder"] == 150


def test_a_republished_event_is_published_now_and_once_more_later(transaction: list[ChangeEvent]) -> None:
    faults = Faults()
    faults.inject("republish")
    published = faults.apply_to_commit(transaction)
    assert [event.sequence_number for event, _ in published] == [1, 1, 2, 3]
    assert published[0][1] == 0
    assert published[1][1] > 0


def test_a_gap_keeps_the_header_and_loses_the_body(transaction: list[ChangeEvent]) -> None:
    faults = Faults()
    faults.inject("gap", times=3)
    published = faults.apply_to_commit(transaction)
    assert [each["changeType"] for each in headers(published)] == ["GAP_UPDATE", "GAP_CREATE", "GAP_UPDATE"]
    assert all(list(event.payload) == ["ChangeEventHeader"] for event, _ in published)
    assert {each["changeOrigin"] for each in headers(published)} == {""}
    assert [each["recordIds"] for each in headers(published)] == [
        event.payload["ChangeEventHeader"]["recordIds"] for event in transaction
    ]


def test_an_overflow_is_one_event_per_entity_with_the_empty_id(transaction: list[ChangeEvent]) -> None:
    faults = Faults()
    faults.inject("overflow")
    seen = headers(faults.apply_to_commit(transaction))
    assert [(each["changeType"], each["recordIds"]) for each in seen] == [
        ("GAP_OVERFLOW", ["000000000000000AAA"])
    ] * 2


def test_the_dice_are_reproducible_and_their_frequency_is_what_was_asked_for(
    transaction: list[ChangeEvent],
) -> None:
    first, second = (Faults(FaultOptions(gap=0.2), seed=9) for _ in range(2))
    shapes = [json.dumps(headers(first.apply_to_commit(transaction))) for _ in range(500)]
    assert shapes == [json.dumps(headers(second.apply_to_commit(transaction))) for _ in range(500)]
    assert 220 < first.counters["gap"] < 380


def test_an_order_alone_is_not_counted() -> None:
    faults = Faults()
    faults.inject("stall")
    assert faults.counters == {}
    faults.clear()
    assert faults.injected_for_poll() is None


def test_an_unknown_kind_is_refused_with_the_kinds_there_are() -> None:
    with pytest.raises(UnknownFault) as refused:
        Faults().inject("frogs")
    assert all(kind in str(refused.value) for kind in FAULT_KINDS)


def test_trouble_that_waits_for_no_occasion_counts_what_it_did(org: Org) -> None:
    del org
    faults = Faults()
    faults.register_immediate("revoke", len)
    faults.inject("revoke", token="a", other="b")
    assert faults.counters == {"revoke": 2}
