"""What is remembered so that a change is known again: identities, the greatest key of a run, the row that covers it."""

from consumer.clock import iso
from consumer.domain.record_state import RecordState
from consumer.domain.state_machines import NEW
from tests.support.builders.changes import (
    COMMIT_MS,
    RUN,
    RUN_1,
    change,
)

KEY = (0, 5, 1)
SECOND = 1_000


def at(second: int) -> str:
    return iso(COMMIT_MS + second * SECOND)


def parts(state: RecordState) -> dict:
    return {name: getattr(state, name) for name in RecordState.__slots__}


def full() -> RecordState:
    """Nothing in it is empty, so that nothing can get lost unnoticed."""
    return RecordState(
        RUN,
        RUN_1,
        {"State": ("Running", KEY)},
        image=KEY,
        deleted=(False, KEY),
        announced=("Running", KEY),
        highest_key=KEY,
        seen={"one": 10, "two": 20},
        fired={"run.resume_due": (7,)},
        previous="0qBWP0000001AbF2AU",
        row_ms=8,
        last_activity_ms=9,
    )


def test_an_identity_is_added_and_everything_else_stays():
    assert parts(full().with_seen("three", 30)) == {
        **parts(full()),
        "seen": {"one": 10, "two": 20, "three": 30},
        "last_activity_ms": 30,
    }
    assert full().with_seen("three", 5).last_activity_ms == 9


def test_identities_are_forgotten_when_they_are_older_than_asked_and_not_before():
    state = full()
    state.forget_identities(10)
    assert state.seen == {"one": 10, "two": 20}
    state.forget_identities(11)
    assert state.seen == {"two": 20}
    state = full()
    state.forget_identities(20)
    assert state.seen == {"two": 20}
    state.forget_identities(21)
    assert state.seen == {}
    state.forget_identities(22)


def test_the_greatest_key_only_grows_and_everything_else_stays():
    assert parts(full().with_highest_key((0, 6, 1), 30)) == {
        **parts(full()),
        "highest_key": (0, 6, 1),
        "last_activity_ms": 30,
    }
    assert parts(full().with_highest_key((0, 4, 1), 30)) == {**parts(full()), "last_activity_ms": 30}
    assert parts(full().with_highest_key((0, 6, 1), 3)) == {**parts(full()), "highest_key": (0, 6, 1)}
    assert RecordState(RUN, RUN_1).with_highest_key((0, 1, 1), 3).highest_key == (0, 1, 1)


def test_what_says_nothing_new_makes_no_new_state():
    state = full()
    assert state.with_highest_key(KEY, 9) is state
    assert state.with_highest_key((0, 4, 1), 8) is state


def test_a_change_is_remembered_by_its_identity_and_its_commit_time():
    one = change("UPDATE", RUN, RUN_1, {"OwnerId": "x"}, commit=6)
    after = full().with_change(one, (0, 6, 1))
    assert after.seen == {"one": 10, "two": 20, one.identity: one.header.commit_ms}
    assert after.last_activity_ms == one.header.commit_ms
    early = change("UPDATE", RUN, RUN_1, {"OwnerId": "x"}, commit=6, commit_ms=5)
    assert full().with_change(early, (0, 6, 1)).last_activity_ms == 9


def test_a_change_leaves_what_it_does_not_speak_of():
    one = change("UPDATE", RUN, RUN_1, {"OwnerId": "x"}, commit=6)
    after = parts(full().with_change(one, (0, 6, 1)))
    assert after == {
        **parts(full()),
        "fields": {"State": ("Running", KEY), "OwnerId": ("x", (0, 6, 1))},
        "seen": after["seen"],
        "last_activity_ms": one.header.commit_ms,
    }


def test_a_change_that_a_row_covers_is_remembered_and_writes_nothing():
    state = full()
    state.row_ms = COMMIT_MS + 6 * SECOND
    one = change("UPDATE", RUN, RUN_1, {"State": "Paused", "LastModifiedDate": at(6)}, commit=60)
    assert state.is_reflected_in_row(one)
    after = state.with_change(one, (0, 60, 1))
    assert (after.fields, after.announced) == (state.fields, state.announced)
    assert one.identity in after.seen
    later = change("UPDATE", RUN, RUN_1, {"State": "Paused", "LastModifiedDate": at(7)}, commit=6)
    assert not state.is_reflected_in_row(later)
    assert state.with_change(later, (0, 6, 1)).get("State") == "Paused"


def test_a_change_that_does_not_say_when_it_was_made_was_made_at_its_commit():
    state = full()
    assert not state.is_reflected_in_row(change("DELETE", RUN, RUN_1, commit=6))
    state.row_ms = COMMIT_MS + 6 * SECOND
    assert state.is_reflected_in_row(change("DELETE", RUN, RUN_1, commit=6))
    assert not state.is_reflected_in_row(change("DELETE", RUN, RUN_1, commit=7))
    state.row_ms = None
    assert not state.is_reflected_in_row(change("DELETE", RUN, RUN_1, commit=6))


def test_what_was_created_is_new_until_it_has_told_a_state_and_what_was_restored_is_not():
    nothing = RecordState(RUN, RUN_1)
    for body in ({}, {"State": "Processing"}):
        created = nothing.with_change(change("CREATE", RUN, RUN_1, body, commit=6), KEY)
        assert (created.announced, created.image, created.deleted) == ((NEW, KEY), KEY, (False, KEY))
    created = nothing.with_change(change("CREATE", RUN, RUN_1, {"State": "Running"}, commit=6), KEY)
    assert created.announced == ("Running", KEY)
    restored = nothing.with_change(change("UNDELETE", RUN, RUN_1, {}, commit=6), KEY)
    assert (restored.announced, restored.image) == ((None, KEY), KEY)


def test_enrichment_fills_what_is_unknown_and_stands_below_every_change():
    one = change("UPDATE", RUN, RUN_1, {"TargetId": "t", "OwnerId": "x"}, commit=6, changed=["OwnerId"])
    after = RecordState(RUN, RUN_1).with_change(one, KEY)
    assert after.fields == {"OwnerId": ("x", KEY), "TargetId": ("t", (-1, -1, -1))}
    assert after.with_change(one, (0, 6, 1)).fields["TargetId"] == ("t", (-1, -1, -1))


def test_a_deletion_is_a_tombstone_unless_something_newer_spoke():
    gone = change("DELETE", RUN, RUN_1, commit=6)
    assert full().with_change(gone, (0, 6, 1)).deleted == (True, (0, 6, 1))
    assert full().with_change(gone, (0, 4, 1)).deleted == (False, KEY)
    # The same change again, as a wrong identity could bring it: what came first stands.
    assert full().with_change(gone, KEY).deleted == (False, KEY)
    assert RecordState(RUN, RUN_1).with_change(gone, KEY).deleted == (True, KEY)


def test_a_row_is_the_whole_record_at_the_version_of_what_was_known():
    after = parts(full().with_row({"State": "Paused", "OwnerId": "x"}, 30, deleted=False))
    assert after == {
        **parts(full()),
        "fields": {"State": ("Paused", KEY), "OwnerId": ("x", KEY)},
        "deleted": (False, KEY),
        "image": KEY,
        "announced": ("Paused", KEY),
        "row_ms": 30,
        "last_activity_ms": 30,
    }
    assert full().with_row({}, 3, deleted=False).last_activity_ms == 9


def test_a_row_in_a_transitional_state_announces_nothing():
    after = full().with_row({"State": "Processing"}, 30, deleted=False)
    assert (after.get("State"), after.announced) == ("Processing", ("Running", KEY))


def test_a_row_of_a_deletion_leaves_what_was_known():
    after = parts(full().with_row({}, 30, deleted=True))
    assert after == {**parts(full()), "deleted": (True, KEY), "row_ms": 30, "last_activity_ms": 30}


def test_an_older_row_says_what_no_change_has_written():
    state = RecordState(RUN, RUN_1, {"OwnerId": ("x", KEY), "TargetId": ("t", (-1, -1, -1))}, highest_key=KEY)
    after = state.with_older_row({"State": "Paused", "OwnerId": "y", "TargetId": "u"}, 30)
    assert after.fields == {
        "OwnerId": ("x", KEY),
        "TargetId": ("u", (0, 0, 0)),
        "State": ("Paused", (0, 0, 0)),
    }
    assert after.with_older_row({"State": "Running"}, 40).get("State") == "Running", "the newer row of two"
    assert (after.image, after.row_ms, after.highest_key) == ((0, 0, 0), 30, KEY)
    assert after.announced == ("Paused", (0, 0, 0))
    assert full().with_older_row({"State": "Paused"}, 30).announced == ("Running", KEY)
    assert state.with_older_row({"State": "Processing"}, 30).announced is None
    assert state.with_older_row({}, 30).announced == (None, (0, 0, 0))


def test_due_times_of_a_timer_are_remembered_up_to_a_hundred():
    state = full().with_fired("run.resume_due", 8).with_fired("step.overdue", 9)
    assert state.fired == {"run.resume_due": (7, 8), "step.overdue": (9,)}
    for due_ms in range(10, 200):
        state = state.with_fired("step.overdue", due_ms)
    assert state.fired["step.overdue"] == tuple(range(100, 200))
    assert parts(full().with_fired("step.overdue", 9)) == {
        **parts(full()),
        "fired": {"run.resume_due": (7,), "step.overdue": (9,)},
    }


def test_the_run_before_it_is_kept_with_everything_else():
    assert parts(full().with_previous("other")) == {**parts(full()), "previous": "other"}
