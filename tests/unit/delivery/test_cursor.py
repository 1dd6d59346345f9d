"""A handler's place, question by question: what is settled, what is blocked, and what a restart makes of it."""

from __future__ import annotations

import pytest

from consumer.delivery.cursor import MAX_BLOCKED_RUNS, WINDOW, Cursor
from consumer.errors import StoreForeign
from consumer.ports.delivery import SavedBlockedRun, SavedCursor

IN_TROUBLE = SavedBlockedRun("bad", 2, attempts=3, due_ms=90, error="down")


def tracked(cursor: Cursor, *offsets: int, run: str | None = "good") -> None:
    for offset in offsets:
        assert cursor.tracked(offset, run)


def test_a_new_cursor_is_at_the_beginning_with_all_its_room():
    cursor = Cursor()
    assert (cursor.offset, cursor.through, cursor.lowest_needed_offset, cursor.capacity) == (0, 0, 1, WINDOW)
    assert (cursor.outstanding, cursor.blocked_runs, cursor.rows(), cursor.has_unseen_runs) == (
        0,
        0,
        [],
        False,
    )
    assert cursor.tracked(1)


def test_through_is_the_highest_acknowledged_entry():
    cursor = Cursor(5)
    assert cursor.through == 5
    tracked(cursor, 6, 7, 8, 9)
    cursor.acknowledged(7)
    assert cursor.through == 7
    cursor.acknowledged(9)
    assert cursor.ranges() == [(7, 7), (9, 9)]
    assert cursor.through == 9
    cursor.acknowledged(6)
    assert (cursor.offset, cursor.through) == (7, 9)


def test_everything_that_is_remembered_takes_room():
    cursor = Cursor(0, acknowledged=[(3, 4), (8, 9)], window=10, blocked_runs=[SavedBlockedRun("bad", 1)])
    assert cursor.capacity == 8
    assert cursor.tracked(1, "bad")
    assert cursor.capacity == 7, "a blocked entry is remembered as itself"
    tracked(cursor, 2)
    assert cursor.capacity == 6
    assert cursor.outstanding == 2
    assert Cursor(0, window=0).capacity == 0
    cursor = Cursor(0, window=1)
    tracked(cursor, 1, 2)
    assert cursor.capacity == 0, "and not less"


# ------------------------------------------------------------ what was settled before a restart


def test_what_was_acknowledged_before_a_restart_is_not_delivered_again():
    cursor = Cursor(0, acknowledged=[(2, 3), (5, 5), (7, 9)])
    delivered = [offset for offset in range(1, 12) if cursor.tracked(offset)]
    assert delivered == [1, 4, 6, 10, 11]
    assert cursor.ranges() == [(2, 3), (5, 5), (7, 9)]


def test_the_offset_moves_over_what_was_acknowledged_before_a_restart():
    cursor = Cursor(0, acknowledged=[(1, 2), (4, 6)])
    assert not cursor.tracked(1)
    assert not cursor.tracked(2)
    assert cursor.offset == 2
    assert cursor.ranges() == [(4, 6)]
    tracked(cursor, 3)
    assert [cursor.tracked(offset) for offset in (4, 5, 6)] == [False] * 3
    assert (cursor.offset, cursor.ranges()) == (2, [(4, 6)])
    cursor.acknowledged(3)
    assert (cursor.offset, cursor.ranges(), cursor.capacity) == (6, [], WINDOW)


def test_acknowledged_ranges_end_where_something_is_outstanding():
    cursor = Cursor(0)
    tracked(cursor, 1, 2, 3, 4, 5, 6)
    for offset in (2, 4, 5):
        cursor.acknowledged(offset)
    assert cursor.ranges() == [(2, 2), (4, 5)]
    cursor.acknowledged(6)
    assert cursor.ranges() == [(2, 2), (4, 6)]


def test_old_and_new_ranges_are_told_in_their_order():
    cursor = Cursor(0, acknowledged=[(5, 6)])
    tracked(cursor, 1, 2)
    cursor.acknowledged(2)
    assert cursor.ranges() == [(2, 2), (5, 6)]


def test_what_was_acknowledged_up_to_the_offset_is_no_range():
    assert Cursor(5, acknowledged=[(3, 5)]).ranges() == []


def test_a_snapshot_says_all_of_it_and_is_read_again():
    cursor = Cursor.load(b'{"v":2,"offset":3,"settled":[[5,6],[9,9]]}', window=7)
    assert (cursor.offset, cursor.ranges(), cursor.capacity) == (3, [(5, 6), (9, 9)], 5)
    assert cursor.snapshot() == b'{"v":2,"offset":3,"settled":[[5,6],[9,9]]}'
    assert Cursor.load(b'{"v":1,"offset":0,"settled":[[0,0]]}').offset == 0


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'{"v":9,"offset":0,"settled":[]}', "it has format 9; this version reads up to 2"),
        (b'{"v":2,"settled":[]}', "without an offset or ranges"),
        (b'{"v":2,"offset":-1,"settled":[]}', "no offsets of a journal"),
        (b'{"v":2,"offset":0,"settled":[[2,1]]}', "do not ascend"),
    ],
)
def test_what_is_no_cursor_is_refused_with_the_reason(data, why):
    with pytest.raises(ValueError, match=why):
        Cursor.load(data)


def test_a_stored_cursor_is_restored_with_its_window_and_its_rows():
    row = SavedBlockedRun("run-1", 3)
    cursor = Cursor.restore("crm", SavedCursor(1, Cursor(7).snapshot()), 2, [row])
    assert (cursor.offset, cursor.capacity, cursor.rows()) == (7, 2, [row])


def test_a_stored_cursor_of_a_newer_release_is_refused_with_the_handler_and_the_reason():
    saved = SavedCursor(1, b'{"v":9,"offset":0,"settled":[]}')
    with pytest.raises(StoreForeign, match=r"cursor of handler 'crm' cannot be read \(it has format 9"):
        Cursor.restore("crm", saved)


# ------------------------------------------------------------ parking


def test_a_run_is_blocked_with_what_is_unacknowledged_of_it():
    cursor = Cursor(0)
    for offset, run in ((1, "good"), (2, "bad"), (3, "good"), (4, "bad")):
        tracked(cursor, offset, run=run)
    assert cursor.block(IN_TROUBLE, [4, 2])
    assert (cursor.blocked_runs, cursor.row("bad"), cursor.rows()) == (1, IN_TROUBLE, [IN_TROUBLE])
    assert cursor.row("good") is None
    assert cursor.outstanding == 4
    assert cursor.changed_rows() == {"bad": IN_TROUBLE}
    assert cursor.changed_rows() == {}


def test_runs_are_blocked_up_to_the_limit_and_one_more_holds_the_offset_back():
    cursor = Cursor(0, max_blocked_runs=2)
    for offset, run in enumerate(("a", "b", "c"), start=1):
        tracked(cursor, offset, run=run)
    assert cursor.block(SavedBlockedRun("a", 1), [1])
    assert cursor.block(SavedBlockedRun("b", 2), [2])
    assert cursor.block(SavedBlockedRun("c", 3), [3]) is False
    assert (cursor.blocked_runs, cursor.row("c"), cursor.offset) == (2, None, 2)
    assert cursor.block(SavedBlockedRun("a", 1, attempts=2), [1]), "it is blocked already"
    assert set(cursor.changed_rows()) == {"a", "b"}


def test_the_limit_is_a_thousand_unless_it_is_said():
    cursor = Cursor(0, window=MAX_BLOCKED_RUNS + 1)
    for offset in range(1, MAX_BLOCKED_RUNS + 1):
        tracked(cursor, offset, run=str(offset))
        assert cursor.block(SavedBlockedRun(str(offset), offset), [offset])
    tracked(cursor, MAX_BLOCKED_RUNS + 1, run="x")
    assert not cursor.block(SavedBlockedRun("x", MAX_BLOCKED_RUNS + 1), [MAX_BLOCKED_RUNS + 1])


def test_blocking_again_says_the_new_reason_and_keeps_what_is_done():
    cursor = Cursor(0)
    tracked(cursor, 2, 3, 4, 5, 6, run="bad")
    cursor.block(IN_TROUBLE, [2, 3, 4, 5, 6])
    cursor.acknowledged(5)
    cursor.acknowledged(3)
    assert cursor.row("bad") == SavedBlockedRun("bad", 2, 3, 90, "down", done=(3, 5))
    cursor.changed_rows()
    cursor.block(SavedBlockedRun("bad", 2, 4, 180, "still down", done=(2, 6)), [2, 4])
    assert cursor.row("bad") == SavedBlockedRun("bad", 2, 4, 180, "still down", done=(3, 5, 6))
    assert cursor.changed_rows() == {"bad": cursor.row("bad")}


def test_an_unacknowledged_event_of_a_blocked_run_parts_what_is_acknowledged_around_it():
    cursor = Cursor(0)
    tracked(cursor, 1)
    tracked(cursor, 2, run="bad")
    cursor.block(IN_TROUBLE, [2])
    tracked(cursor, 3)
    tracked(cursor, 4, run="bad")
    tracked(cursor, 5)
    cursor.acknowledged(3)
    cursor.acknowledged(5)
    assert cursor.ranges() == [(3, 3), (5, 5)]


def test_a_run_whose_first_event_is_acknowledged_begins_anew_with_the_next():
    cursor = Cursor(0)
    tracked(cursor, 2, 3, 4, 5, run="bad")
    cursor.block(IN_TROUBLE, [2, 3, 4, 5])
    cursor.acknowledged(4)
    cursor.acknowledged(3)
    cursor.changed_rows()
    cursor.acknowledged(2)
    assert cursor.row("bad") == SavedBlockedRun("bad", 5)
    assert cursor.changed_rows() == {"bad": SavedBlockedRun("bad", 5)}
    cursor.acknowledged(5)
    assert (cursor.row("bad"), cursor.blocked_runs, cursor.changed_rows()) == (None, 0, {"bad": None})


def test_what_is_done_above_the_new_first_event_stays_done():
    cursor = Cursor(0)
    tracked(cursor, 2, 3, 4, 5, run="bad")
    cursor.block(IN_TROUBLE, [2, 3, 4, 5])
    cursor.acknowledged(4)
    cursor.acknowledged(2)
    assert cursor.row("bad") == SavedBlockedRun("bad", 3, done=(4,))
    cursor.acknowledged(3)
    assert cursor.row("bad") == SavedBlockedRun("bad", 5)


def test_each_changed_run_is_told_with_its_own_row():
    cursor = Cursor(0)
    tracked(cursor, 1, run=None)
    tracked(cursor, 2, run="bad")
    cursor.block(SavedBlockedRun(None, 1), [1])
    cursor.block(IN_TROUBLE, [2])
    assert cursor.changed_rows() == {None: SavedBlockedRun(None, 1), "bad": IN_TROUBLE}
    assert cursor.lowest_needed_offset == 1


# ------------------------------------------------------------ blocked runs after a restart


def test_a_blocked_run_is_resumed_where_it_was():
    cursor = Cursor(9, blocked_runs=[IN_TROUBLE])
    assert cursor.has_unseen_runs
    cursor.restore_run("bad", [4, 2])
    assert not cursor.has_unseen_runs
    assert (cursor.row("bad"), cursor.outstanding, cursor.changed_rows()) == (IN_TROUBLE, 2, {})
    cursor.acknowledged(2)
    assert cursor.row("bad") == SavedBlockedRun("bad", 4)


def test_a_blocked_run_whose_first_event_is_gone_begins_anew_with_the_next():
    cursor = Cursor(9, blocked_runs=[IN_TROUBLE])
    cursor.restore_run("bad", [3])
    assert cursor.row("bad") == SavedBlockedRun("bad", 3)
    assert cursor.changed_rows() == {"bad": SavedBlockedRun("bad", 3)}


@pytest.mark.parametrize("offset", [2, 9])
def test_a_blocked_run_of_which_nothing_is_left_up_to_the_offset_is_blocked_no_longer(offset):
    cursor = Cursor(offset, blocked_runs=[IN_TROUBLE, SavedBlockedRun("other", offset + 1)])
    cursor.restore_run("bad", [])
    assert cursor.changed_rows() == {"bad": None}
    assert [row.tracker_id for row in cursor.rows()] == ["other"]


def test_a_blocked_run_that_begins_above_the_offset_is_waited_for():
    cursor = Cursor(1, blocked_runs=[IN_TROUBLE])
    cursor.restore_run("bad", [])
    assert cursor.row("bad") == IN_TROUBLE
    cursor.drop_missing_runs()
    assert cursor.row("bad") == IN_TROUBLE, "its first event has not been reached"
    assert cursor.tracked(2, "bad")
    assert not cursor.has_unseen_runs
    cursor.drop_missing_runs()
    assert cursor.row("bad") == IN_TROUBLE


def test_only_the_run_that_was_met_is_expected_no_longer():
    cursor = Cursor(0, blocked_runs=[IN_TROUBLE, SavedBlockedRun("other", 1)])
    cursor.skipped(1)
    assert cursor.tracked(2, "bad")
    assert cursor.has_unseen_runs
    cursor.drop_missing_runs()
    assert (cursor.changed_rows(), cursor.has_unseen_runs) == ({"other": None}, False)


def test_a_cursor_counts_only_what_was_taken():
    cursor = Cursor(5)
    with pytest.raises(ValueError, match="does not come after 5"):
        cursor.tracked(5)
    with pytest.raises(ValueError, match="not outstanding"):
        cursor.acknowledged(6)
    assert cursor.tracked(7)
    cursor.skipped(8)
    assert cursor.offset == 6
    cursor.acknowledged(7)
    assert cursor.offset == 8
    with pytest.raises(ValueError, match="not outstanding"):
        cursor.acknowledged(7)


def test_a_cursor_is_encoded_with_its_version_and_compact_ranges():
    cursor = Cursor(0)
    for offset in range(1, 1_001):
        assert cursor.tracked(offset)
    for offset in range(2, 1_000):
        if offset != 500:
            cursor.acknowledged(offset)
    assert cursor.snapshot() == b'{"v":2,"offset":0,"settled":[[2,499],[501,999]]}'
    assert cursor.outstanding == 3


def test_what_was_acknowledged_before_a_restart_is_part_of_what_is_acknowledged_around_it():
    cursor = Cursor.load(b'{"v":2,"offset":0,"settled":[[3,3],[5,6],[9,9]]}')
    assert [offset for offset in range(1, 9) if cursor.tracked(offset)] == [1, 2, 4, 7, 8]
    for offset in (2, 4, 7):
        cursor.acknowledged(offset)
    assert cursor.snapshot() == b'{"v":2,"offset":0,"settled":[[2,7],[9,9]]}'
    retry_later = Cursor.load(cursor.snapshot())
    assert [offset for offset in range(1, 11) if retry_later.tracked(offset)] == [1, 8, 10]


@pytest.mark.parametrize(
    "data",
    [
        *(
            b"[]",
            b"{}",
            b'{"v":3,"offset":1,"settled":[]}',
            b'{"v":1}',
            b"x",
            b'{"v":1,"offset":1,"settled":[3]}',
        ),
        *(
            b'{"v":2,"offset":%s,"settled":[]}' % offset
            for offset in (b"1e300", b"-1", b'"1"', b"1.5", b"true", b"null")
        ),
        *(
            b'{"v":2,"offset":1,"settled":%s}' % spans
            for spans in (b"[[4,3]]", b"[[3,5],[5,6]]", b"[[7,8],[3,4]]", b'[["3","4"]]')
        ),
    ],
)
def test_what_is_not_a_cursor_of_this_format_is_refused(data):
    with pytest.raises(ValueError):  # noqa: PT011 - several messages, one promise
        Cursor.load(data)


def test_the_window_leaves_no_room_when_it_is_full():
    cursor = Cursor(0, window=3)
    for offset in (1, 2, 3):
        cursor.tracked(offset)
    cursor.acknowledged(2)
    cursor.acknowledged(3)
    assert cursor.capacity == 0
    cursor.acknowledged(1)
    assert cursor.capacity == 3


def test_a_blocked_run_lets_the_offset_go_on_and_its_row_stands_for_everything_unacknowledged():
    cursor = Cursor(0)
    for offset, run in ((1, "good"), (2, "bad"), (3, "slow"), (4, "bad")):
        assert cursor.tracked(offset, run)
    assert cursor.block(SavedBlockedRun("bad", 2, attempts=1), [2, 4])
    cursor.acknowledged(1)
    assert (cursor.offset, cursor.lowest_needed_offset, cursor.ranges()) == (2, 2, [])
    assert cursor.tracked(5, "bad"), "joins its blocked run"
    assert cursor.tracked(6, "good")
    cursor.acknowledged(6)
    assert cursor.ranges() == [(6, 6)], "neither 4 nor 5 is settled"
    cursor.acknowledged(3)
    assert (cursor.offset, cursor.lowest_needed_offset) == (6, 2)
    cursor.acknowledged(2)
    assert (cursor.row("bad"), cursor.lowest_needed_offset) == (SavedBlockedRun("bad", 4), 4)
    retry_later = Cursor.load(cursor.snapshot(), blocked_runs=cursor.rows())
    retry_later.restore_run("bad", [4, 5])
    for offset in (4, 5):
        retry_later.acknowledged(offset)
    assert (retry_later.offset, retry_later.lowest_needed_offset, retry_later.rows()) == (6, 7, [])
    assert retry_later.changed_rows() == {"bad": None}


def test_a_blocked_run_whose_event_is_not_wanted_any_more_is_let_go():
    cursor = Cursor(0, blocked_runs=[SavedBlockedRun("gone", 1), SavedBlockedRun("later", 3, attempts=2)])
    cursor.restore_run("gone", [])
    cursor.skipped(1)
    assert cursor.has_unseen_runs
    cursor.drop_missing_runs()
    assert cursor.row("later") is not None
    cursor.skipped(3)
    cursor.drop_missing_runs()
    assert (cursor.rows(), cursor.lowest_needed_offset) == ([], 4)
