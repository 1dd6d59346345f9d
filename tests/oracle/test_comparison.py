from datetime import UTC, datetime
from typing import Any

import pytest

from tests.oracle import Expectation, compare, differing_states, expected
from tests.oracle.story import T0, Story
from tests.oracle.wire import RUN, STEP

Journal = list[dict[str, Any]]


def time_of(commit_ms: int) -> str:
    return datetime.fromtimestamp(commit_ms / 1000, UTC).isoformat().replace("+00:00", "Z")


def faithful(expectation: Expectation) -> Journal:
    """A journal as an undisturbed service would write it."""
    return [
        {
            "v": 1,
            "id": event.id,
            "type": event.type,
            "time": time_of(event.commit_ms),
            "tracker_id": event.tracker_id,
            "record_id": event.record_id,
            "owner_id": event.owner_id,
            "cadence_id": event.cadence_id,
            "late": False,
            "missed_transitions": event.missed,
            "origin": "stream",
        }
        for event in sorted(expectation.events, key=lambda e: (e.commit_number, e.sequence_number))
    ]


@pytest.fixture
def story() -> Story:
    told = Story()
    for run, step in (("r1", "s1"), ("r2", "s2")):
        told.add("CREATE", RUN, run, State="Running", OwnerId="005A", ActionCadenceId="77C1")
        told.add("CREATE", STEP, step, same_transaction=True, State="Active", ActionCadenceTrackerId=run)
    told.add("UPDATE", RUN, "r1", "r2", State="Paused")
    told.add("UPDATE", RUN, "r1", "r2", State="Running")
    told.add("UPDATE", STEP, "s1", State="Completed", CompletionReason="ManuallySkipped")
    told.add("UPDATE", RUN, "r1", same_transaction=True, State="Complete", CompletionReason="NoMoreSteps")
    return told


@pytest.fixture
def expectation(story: Story) -> Expectation:
    return expected(story.messages, "00D")


@pytest.fixture
def journal(expectation: Expectation) -> Journal:
    return faithful(expectation)


def find(journal: Journal, type_: str, record_id: str = "r1") -> int:
    return next(i for i, e in enumerate(journal) if (e["type"], e["record_id"]) == (type_, record_id))


def test_a_faithful_journal_passes(expectation: Expectation, journal: Journal) -> None:
    verdict = compare(expectation, journal)
    assert verdict.ok, verdict
    assert verdict.compared == len(journal) == 14
    assert str(verdict) == "the journal holds what the ledger means (14 expected events, 0 late, 0 excused)"


def test_runs_may_be_interleaved_in_any_way(expectation: Expectation, journal: Journal) -> None:
    run_of = {id_: run for run, events in expectation.runs.items() for id_ in [e.id for e in events]}
    assert compare(expectation, sorted(journal, key=lambda e: run_of[e["id"]], reverse=True)).ok


def test_system_and_timer_events_are_not_held_against_the_journal(
    expectation: Expectation, journal: Journal
) -> None:
    journal.insert(3, {"id": "x", "type": "system.gap"})
    journal.append({"id": "t", "type": "step.overdue", "origin": "timer", "record_id": "s2"})
    assert compare(expectation, journal).ok


def test_an_absent_event_is_missing(expectation: Expectation, journal: Journal) -> None:
    gone = journal.pop(find(journal, "run.paused"))
    verdict = compare(expectation, journal)
    assert verdict.missing == [gone["id"]]
    assert not verdict.ok
    assert not verdict.out_of_order
    assert f"missing: 1, first: {gone['id']}" in str(verdict)


def test_an_absent_run_is_missing_whole(expectation: Expectation, journal: Journal) -> None:
    verdict = compare(expectation, [event for event in journal if event["tracker_id"] != "r2"])
    assert verdict.missing == [event.id for event in expectation.runs["r2"]]


def test_an_event_of_an_unknown_change_is_unexpected(expectation: Expectation, journal: Journal) -> None:
    invented = {
        **journal[0],
        "id": "00D/ActionCadenceTracker/r1/000-9/900/1/run.paused",
        "type": "run.paused",
    }
    assert compare(expectation, [*journal, invented]).unexpected == [invented["id"]]


def test_another_event_of_a_known_change_is_unexpected_and_the_right_one_missing(
    expectation: Expectation, journal: Journal
) -> None:
    event = journal[find(journal, "run.resumed")]
    right = event["id"]
    event.update(id=right.replace("resumed", "started"), type="run.started")
    verdict = compare(expectation, journal)
    assert (verdict.missing, verdict.unexpected) == ([right], [event["id"]])


def test_an_event_that_is_there_twice_is_duplicated(expectation: Expectation, journal: Journal) -> None:
    journal.append(dict(journal[2]))
    verdict = compare(expectation, journal)
    assert verdict.duplicated == [journal[2]["id"]]
    assert not verdict.ok


def test_the_first_of_two_copies_is_the_one_that_is_judged(
    expectation: Expectation, journal: Journal
) -> None:
    journal.append({**journal[2], "record_id": "r9"})
    assert compare(expectation, journal).contradicted == []
    journal.insert(0, {**journal[2], "record_id": "r9"})
    assert [each.found for each in compare(expectation, journal).contradicted] == ["r9"]


def test_a_timer_event_that_is_there_twice_is_duplicated(expectation: Expectation, journal: Journal) -> None:
    timer = {"id": "t", "type": "step.overdue", "origin": "timer", "record_id": "s2"}
    assert compare(expectation, [*journal, timer, timer]).duplicated == ["t"]


def test_two_changes_of_a_run_in_the_wrong_order_are_out_of_order(
    expectation: Expectation, journal: Journal
) -> None:
    one, other = find(journal, "run.paused"), find(journal, "run.resumed")
    journal[one], journal[other] = journal[other], journal[one]
    verdict = compare(expectation, journal)
    assert [each.tracker_id for each in verdict.out_of_order] == ["r1"]
    assert verdict.out_of_order[0].found == journal[one]["id"]
    assert verdict.out_of_order[0].wanted == journal[other]["id"]
    assert not verdict.ok


def test_two_events_of_one_change_in_the_wrong_order_are_out_of_order(
    expectation: Expectation, journal: Journal
) -> None:
    journal[0], journal[1] = journal[1], journal[0]
    assert [each.tracker_id for each in compare(expectation, journal).out_of_order] == ["r1"]


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("type", "run.started"),
        ("record_id", "r2"),
        ("tracker_id", "s1"),
        ("missed_transitions", True),
        ("owner_id", "005B"),
        ("cadence_id", "77C2"),
        ("time", "2026-01-01T09:00:00Z"),
    ],
)
def test_a_fact_that_differs_is_a_contradiction(
    expectation: Expectation, journal: Journal, fact: str, value: object
) -> None:
    event = journal[find(journal, "run.paused")]
    event[fact] = value
    verdict = compare(expectation, journal)
    assert [(each.id, each.fact) for each in verdict.contradicted] == [(event["id"], fact)]
    assert not verdict.ok
    assert fact in str(verdict)


def test_an_owner_that_the_journal_does_not_know_is_no_contradiction(
    expectation: Expectation, journal: Journal
) -> None:
    for event in journal:
        del event["owner_id"]
    assert compare(expectation, journal).ok


def resume_before_pause(journal: Journal) -> tuple[Journal, dict[str, Any]]:
    """As a service writes it that saw r1 resume first: nothing new, and then a late pause."""
    resumed = journal[find(journal, "run.resumed")]
    paused = journal.pop(find(journal, "run.paused"))
    journal.insert(find(journal, "run.resumed"), {**paused, "late": True})
    journal.remove(resumed)
    return journal, resumed


def test_a_late_event_excuses_what_it_changed_for_its_record_and_no_more(
    expectation: Expectation, journal: Journal
) -> None:
    journal, resumed = resume_before_pause(journal)
    verdict = compare(expectation, journal)
    assert verdict.ok, verdict
    assert verdict.excused == [resumed["id"]]
    assert [id_.rpartition("/")[2] for id_ in verdict.late] == ["run.paused"]
    lost = journal.pop(find(journal, "step.ended.skipped", "s1"))
    assert compare(expectation, journal).missing == [lost["id"]]


def test_a_change_that_speaks_in_any_case_is_demanded_even_of_a_late_record(
    expectation: Expectation, journal: Journal
) -> None:
    journal, _ = resume_before_pause(journal)
    lost = journal.pop(find(journal, "run.ended.finished"))
    assert compare(expectation, journal).missing == [lost["id"].rpartition("/")[0]]


def test_a_late_record_may_tell_its_changes_by_other_events(
    expectation: Expectation, journal: Journal
) -> None:
    paused = journal[find(journal, "run.paused")]
    journal.remove(paused)
    journal.append({**paused, "late": True})
    resumed = journal[find(journal, "run.resumed")]
    resumed.update(id=resumed["id"].replace("resumed", "updated"), type="run.updated")
    verdict = compare(expectation, journal)
    assert verdict.ok, verdict
    assert len(verdict.excused) == 1


def test_what_is_not_marked_late_must_be_in_order_even_beside_late_events(
    expectation: Expectation, journal: Journal
) -> None:
    step = journal.pop(find(journal, "step.ended.skipped", "s1"))
    journal.append(step)
    journal, _ = resume_before_pause(journal)
    assert [each.found for each in compare(expectation, journal).out_of_order] == [journal[-2]["id"]]
    journal[-1] = {**step, "late": True}
    assert compare(expectation, journal).ok


def test_an_event_that_only_a_late_record_may_tell_must_be_in_order_too(
    expectation: Expectation, journal: Journal
) -> None:
    paused = journal.pop(find(journal, "run.paused"))
    resumed = journal.pop(find(journal, "run.resumed"))
    other = {**resumed, "id": resumed["id"].replace("resumed", "updated"), "type": "run.updated"}
    verdict = compare(expectation, [*journal, other, {**paused, "late": True}])
    assert [(each.tracker_id, each.wanted) for each in verdict.out_of_order] == [("r1", other["id"])]
    journal.insert(find(journal, "step.ended.skipped", "s1"), other)
    assert compare(expectation, [*journal, {**paused, "late": True}]).ok


def test_nothing_may_come_of_a_change_that_never_speaks_even_for_a_late_record() -> None:
    story = Story()
    story.add("CREATE", RUN, "r1", State="Running")
    story.add("UPDATE", RUN, "r1", State="Processing")
    expectation = expected(story.messages, "00D")
    journal = [{**event, "late": True} for event in faithful(expectation)]
    invented = "00D/ActionCadenceTracker/r1/000-2/200/1/run.updated"
    journal.append({**journal[0], "id": invented, "type": "run.updated", "time": time_of(T0 + 2000)})
    assert compare(expectation, journal).unexpected == [invented]


def test_after_a_gap_a_record_owes_only_what_came_before(story: Story) -> None:
    story.add("GAP_UPDATE", RUN, "r2")
    story.add("UPDATE", RUN, "r2", OwnerId="005B")
    expectation = expected(story.messages, "00D")
    journal = faithful(expectation)
    last = journal.pop(find(journal, "run.reassigned", "r2"))
    row = {**last, "id": "00D/r2/2026/gap/run.reassigned", "origin": "gap"}
    verdict = compare(expectation, [*journal, row])
    assert verdict.ok, verdict
    assert verdict.excused == [last["id"]]
    enrolled = [event for event in journal if (event["type"], event["record_id"]) != ("run.enrolled", "r2")]
    started = [event for event in enrolled if (event["type"], event["record_id"]) != ("run.started", "r2")]
    assert compare(expectation, enrolled).ok, "another event of the same change covers it"
    assert compare(expectation, started).missing == ["00D/ActionCadenceTracker/r2/000-2/200/1"]


def test_a_gap_with_a_wildcard_concerns_every_record_of_its_object_with_that_prefix(story: Story) -> None:
    story.add("GAP_UPDATE", STEP, "s2*")
    story.add("UPDATE", STEP, "s1", DueDateTime=None)
    story.add("UPDATE", STEP, "s2", DueDateTime=None)
    expectation = expected(story.messages, "00D")
    journal = faithful(expectation)
    due_2, due_1 = journal.pop(), journal.pop()
    verdict = compare(expectation, journal)
    assert (verdict.missing, verdict.excused) == ([due_1["id"]], [due_2["id"]])


def test_a_record_that_was_repaired_owes_nothing_but_may_not_invent(
    expectation: Expectation, journal: Journal
) -> None:
    row = {**journal[0], "id": "00D/r1/2026/repair/run.paused", "type": "run.paused", "origin": "repair"}
    kept = [event for event in journal if event["record_id"] != "r1"]
    verdict = compare(expectation, [*kept, row])
    assert verdict.ok, verdict
    assert len(verdict.excused) == len(journal) - len(kept)
    invented = {
        **journal[0],
        "id": "00D/ActionCadenceTracker/r1/000-9/900/1/run.paused",
        "type": "run.paused",
    }
    assert compare(expectation, [*kept, row, invented]).unexpected == [invented["id"]]


def test_what_was_committed_before_the_service_subscribed_is_neither_demanded_nor_refused(
    expectation: Expectation, journal: Journal
) -> None:
    from_commit_ms = T0 + 3000
    young = [event for event in journal if event["type"] not in {"run.enrolled", "step.created"}]
    young = [event for event in young if event["type"] not in {"run.started", "step.activated"}]
    verdict = compare(expectation, young, from_commit_ms=from_commit_ms)
    assert verdict.ok, verdict
    assert verdict.compared == len(young) == 6
    assert compare(expectation, journal, from_commit_ms=from_commit_ms).ok
    assert compare(expectation, young[1:], from_commit_ms=from_commit_ms).missing == [young[0]["id"]]


def test_states_are_compared_by_value(expectation: Expectation) -> None:
    states = {record_id: {**fields, "ErrorMessage": None} for record_id, fields in expectation.states.items()}
    assert differing_states(expectation, states) == []
    states["r1"]["State"] = "Running"
    del states["s2"]
    differing = {(each.id, each.fact) for each in differing_states(expectation, states)}
    assert ("r1", "State") in differing
    assert {id_ for id_, _ in differing} == {"r1", "s2"}


def test_dates_are_compared_as_instants() -> None:
    story = Story()
    story.add("CREATE", STEP, "s1", DueDateTime="2026-01-05T10:00:00.000Z")
    expectation = expected(story.messages, "00D")

    def differs(due: object) -> bool:
        return bool(differing_states(expectation, {"s1": {"LastModifiedDate": "-", "DueDateTime": due}}))

    assert not differs("2026-01-05T10:00:00Z")
    assert not differs("2026-01-05T10:00:00.000+0000")
    assert not differs(datetime(2026, 1, 5, 10, tzinfo=UTC))
    assert differs("2026-01-05T10:00:01Z")
    assert differs(None)
