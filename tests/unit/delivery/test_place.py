"""A handler's place, question by question: what is settled, what is parked, and what a restart makes of it."""

from __future__ import annotations

import pytest

from consumer.delivery.place import MOST_PARKED, WINDOW, Place
from consumer.ports import ParkedRun

IN_TROUBLE = ParkedRun("bad", 2, attempts=3, due_ms=90, error="down")


def taken(place: Place, *offsets: int, run: str | None = "good") -> None:
    for offset in offsets:
        assert place.taken(offset, run)


def test_a_new_place_is_at_the_beginning_with_all_its_room():
    place = Place()
    assert (place.offset, place.through, place.needed, place.room) == (0, 0, 1, WINDOW)
    assert (place.outstanding, place.parked, place.rows(), place.expects) == (0, 0, [], False)
    assert place.taken(1)


def test_through_is_the_highest_settled_entry():
    place = Place(5)
    assert place.through == 5
    taken(place, 6, 7, 8, 9)
    place.settled(7)
    assert place.through == 7
    place.settled(9)
    assert place.ranges() == [(7, 7), (9, 9)]
    assert place.through == 9
    place.settled(6)
    assert (place.offset, place.through) == (7, 9)


def test_everything_that_is_remembered_takes_room():
    place = Place(0, settled=[(3, 4), (8, 9)], window=10, parked=[ParkedRun("bad", 1)])
    assert place.room == 8
    assert place.taken(1, "bad")
    assert place.room == 7, "a parked entry is remembered as itself"
    taken(place, 2)
    assert place.room == 6
    assert place.outstanding == 2
    assert Place(0, window=0).room == 0
    place = Place(0, window=1)
    taken(place, 1, 2)
    assert place.room == 0, "and not less"


# ------------------------------------------------------------ what was settled before a restart


def test_what_was_settled_before_a_restart_is_not_delivered_again():
    place = Place(0, settled=[(2, 3), (5, 5), (7, 9)])
    delivered = [offset for offset in range(1, 12) if place.taken(offset)]
    assert delivered == [1, 4, 6, 10, 11]
    assert place.ranges() == [(2, 3), (5, 5), (7, 9)]


def test_the_offset_moves_over_what_was_settled_before_a_restart():
    place = Place(0, settled=[(1, 2), (4, 6)])
    assert not place.taken(1)
    assert not place.taken(2)
    assert place.offset == 2
    assert place.ranges() == [(4, 6)]
    taken(place, 3)
    assert [place.taken(offset) for offset in (4, 5, 6)] == [False] * 3
    assert (place.offset, place.ranges()) == (2, [(4, 6)])
    place.settled(3)
    assert (place.offset, place.ranges(), place.room) == (6, [], WINDOW)


def test_settled_ranges_end_where_something_is_outstanding():
    place = Place(0)
    taken(place, 1, 2, 3, 4, 5, 6)
    for offset in (2, 4, 5):
        place.settled(offset)
    assert place.ranges() == [(2, 2), (4, 5)]
    place.settled(6)
    assert place.ranges() == [(2, 2), (4, 6)]


def test_old_and_new_ranges_are_told_in_their_order():
    place = Place(0, settled=[(5, 6)])
    taken(place, 1, 2)
    place.settled(2)
    assert place.ranges() == [(2, 2), (5, 6)]


def test_what_was_settled_up_to_the_offset_is_no_range():
    assert Place(5, settled=[(3, 5)]).ranges() == []


def test_a_snapshot_says_all_of_it_and_is_read_again():
    place = Place.load(b'{"v":2,"offset":3,"settled":[[5,6],[9,9]]}', window=7)
    assert (place.offset, place.ranges(), place.room) == (3, [(5, 6), (9, 9)], 5)
    assert place.snapshot() == b'{"v":2,"offset":3,"settled":[[5,6],[9,9]]}'
    assert Place.load(b'{"v":1,"offset":0,"settled":[[0,0]]}').offset == 0


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'{"v":9,"offset":0,"settled":[]}', "not a place of format 2"),
        (b'{"v":2,"settled":[]}', "without an offset or ranges"),
        (b'{"v":2,"offset":-1,"settled":[]}', "no offsets of a journal"),
        (b'{"v":2,"offset":0,"settled":[[2,1]]}', "do not ascend"),
    ],
)
def test_what_is_no_place_is_refused_with_the_reason(data, why):
    with pytest.raises(ValueError, match=why):
        Place.load(data)


# ------------------------------------------------------------ parking


def test_a_run_is_parked_with_what_is_unsettled_of_it():
    place = Place(0)
    for offset, run in ((1, "good"), (2, "bad"), (3, "good"), (4, "bad")):
        taken(place, offset, run=run)
    assert place.park(IN_TROUBLE, [4, 2])
    assert (place.parked, place.row("bad"), place.rows()) == (1, IN_TROUBLE, [IN_TROUBLE])
    assert place.row("good") is None
    assert place.outstanding == 4
    assert place.changed_rows() == {"bad": IN_TROUBLE}
    assert place.changed_rows() == {}


def test_runs_are_parked_up_to_the_limit_and_one_more_holds_the_offset_back():
    place = Place(0, most_parked=2)
    for offset, run in enumerate(("a", "b", "c"), start=1):
        taken(place, offset, run=run)
    assert place.park(ParkedRun("a", 1), [1])
    assert place.park(ParkedRun("b", 2), [2])
    assert place.park(ParkedRun("c", 3), [3]) is False
    assert (place.parked, place.row("c"), place.offset) == (2, None, 2)
    assert place.park(ParkedRun("a", 1, attempts=2), [1]), "it is parked already"
    assert set(place.changed_rows()) == {"a", "b"}


def test_the_limit_is_a_thousand_unless_it_is_said():
    place = Place(0, window=MOST_PARKED + 1)
    for offset in range(1, MOST_PARKED + 1):
        taken(place, offset, run=str(offset))
        assert place.park(ParkedRun(str(offset), offset), [offset])
    taken(place, MOST_PARKED + 1, run="x")
    assert not place.park(ParkedRun("x", MOST_PARKED + 1), [MOST_PARKED + 1])


def test_parking_again_says_the_new_reason_and_keeps_what_is_done():
    place = Place(0)
    taken(place, 2, 3, 4, 5, 6, run="bad")
    place.park(IN_TROUBLE, [2, 3, 4, 5, 6])
    place.settled(5)
    place.settled(3)
    assert place.row("bad") == ParkedRun("bad", 2, 3, 90, "down", done=(3, 5))
    place.changed_rows()
    place.park(ParkedRun("bad", 2, 4, 180, "still down", done=(2, 6)), [2, 4])
    assert place.row("bad") == ParkedRun("bad", 2, 4, 180, "still down", done=(3, 5, 6))
    assert place.changed_rows() == {"bad": place.row("bad")}


def test_an_unsettled_event_of_a_parked_run_parts_what_is_settled_around_it():
    place = Place(0)
    taken(place, 1)
    taken(place, 2, run="bad")
    place.park(IN_TROUBLE, [2])
    taken(place, 3)
    taken(place, 4, run="bad")
    taken(place, 5)
    place.settled(3)
    place.settled(5)
    assert place.ranges() == [(3, 3), (5, 5)]


def test_a_run_whose_first_event_is_settled_begins_anew_with_the_next():
    place = Place(0)
    taken(place, 2, 3, 4, 5, run="bad")
    place.park(IN_TROUBLE, [2, 3, 4, 5])
    place.settled(4)
    place.settled(3)
    place.changed_rows()
    place.settled(2)
    assert place.row("bad") == ParkedRun("bad", 5)
    assert place.changed_rows() == {"bad": ParkedRun("bad", 5)}
    place.settled(5)
    assert (place.row("bad"), place.parked, place.changed_rows()) == (None, 0, {"bad": None})


def test_what_is_done_above_the_new_first_event_stays_done():
    place = Place(0)
    taken(place, 2, 3, 4, 5, run="bad")
    place.park(IN_TROUBLE, [2, 3, 4, 5])
    place.settled(4)
    place.settled(2)
    assert place.row("bad") == ParkedRun("bad", 3, done=(4,))
    place.settled(3)
    assert place.row("bad") == ParkedRun("bad", 5)


def test_each_changed_run_is_told_with_its_own_row():
    place = Place(0)
    taken(place, 1, run=None)
    taken(place, 2, run="bad")
    place.park(ParkedRun(None, 1), [1])
    place.park(IN_TROUBLE, [2])
    assert place.changed_rows() == {None: ParkedRun(None, 1), "bad": IN_TROUBLE}
    assert place.needed == 1


# ------------------------------------------------------------ parked runs after a restart


def test_a_parked_run_is_resumed_where_it_was():
    place = Place(9, parked=[IN_TROUBLE])
    assert place.expects
    place.resume("bad", [4, 2])
    assert not place.expects
    assert (place.row("bad"), place.outstanding, place.changed_rows()) == (IN_TROUBLE, 2, {})
    place.settled(2)
    assert place.row("bad") == ParkedRun("bad", 4)


def test_a_parked_run_whose_first_event_is_gone_begins_anew_with_the_next():
    place = Place(9, parked=[IN_TROUBLE])
    place.resume("bad", [3])
    assert place.row("bad") == ParkedRun("bad", 3)
    assert place.changed_rows() == {"bad": ParkedRun("bad", 3)}


@pytest.mark.parametrize("offset", [2, 9])
def test_a_parked_run_of_which_nothing_is_left_up_to_the_offset_is_parked_no_longer(offset):
    place = Place(offset, parked=[IN_TROUBLE, ParkedRun("other", offset + 1)])
    place.resume("bad", [])
    assert place.changed_rows() == {"bad": None}
    assert [row.tracker_id for row in place.rows()] == ["other"]


def test_a_parked_run_that_begins_above_the_offset_is_waited_for():
    place = Place(1, parked=[IN_TROUBLE])
    place.resume("bad", [])
    assert place.row("bad") == IN_TROUBLE
    place.miss()
    assert place.row("bad") == IN_TROUBLE, "its first event has not been reached"
    assert place.taken(2, "bad")
    assert not place.expects
    place.miss()
    assert place.row("bad") == IN_TROUBLE


def test_only_the_run_that_was_met_is_expected_no_longer():
    place = Place(0, parked=[IN_TROUBLE, ParkedRun("other", 1)])
    place.passed(1)
    assert place.taken(2, "bad")
    assert place.expects
    place.miss()
    assert (place.changed_rows(), place.expects) == ({"other": None}, False)
