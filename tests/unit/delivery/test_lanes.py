"""Lanes of a handler, question by question: which events go to the next call, and in which order."""

from consumer.delivery.lanes import Delivery, Lanes
from consumer.ports.journal import JournalEntry


def delivery(offset: int, run: str | None = "a", attempts: int = 0) -> Delivery:
    return Delivery(JournalEntry(offset, f"e{offset}", "run.updated", run, b"{}"), Nowhere(), attempts)


class Nowhere:
    replayed = redriven = cancelled = False

    def acknowledged(self, delivery, dead_letter=None): ...

    def blocked_runs(self, row, offsets): ...


def offsets(deliveries):
    return [one.entry.offset for one in deliveries]


def test_lanes_come_and_go():
    lanes = Lanes()
    for offset in range(1, 7):
        lanes.add(delivery(offset, f"run-{offset % 3}"))
    assert len(lanes) == 3
    assert lanes.ready == 3
    while tracked := lanes.take(0):
        lanes.acknowledged(tracked[0])
    assert (len(lanes), lanes.ready, lanes.fresh_events) == (0, 0, 0)


def test_a_flying_lane_gives_nothing_and_a_blocked_one_nothing_before_its_time():
    lanes = Lanes()
    lanes.add(delivery(1))
    lanes.add(delivery(2))
    (first,) = lanes.take(0)
    assert lanes.take(0) == []
    first.attempts = 1
    lanes.retry_later(first, 100)
    assert (lanes.take(99), lanes.blocked_runs, lanes.next_due_ms()) == ([], 1, 100)
    assert lanes.take(100) == [first]
    lanes.acknowledged(first)
    assert offsets(lanes.take(100)) == [2]


def test_a_batch_is_in_journal_order_and_counts_what_is_left():
    lanes = Lanes()
    for offset, run in enumerate("abacabad", start=1):
        lanes.add(delivery(offset, run))
    assert lanes.fresh_events == 8
    tracked = lanes.take(0, 6)
    assert offsets(tracked) == [1, 2, 3, 5, 6, 7]
    assert lanes.fresh_events == 2
    for one in tracked:
        lanes.acknowledged(one)
    assert offsets(lanes.take(0, 6)) == [4, 8]
    assert lanes.fresh_events == 0


def test_what_failed_is_taken_alone_and_takes_turns_with_what_is_new():
    lanes = Lanes()
    for offset in range(1, 4):
        lanes.add(delivery(offset, f"run-{offset}"))
    for one in lanes.take(0, 3):
        one.attempts = 1
        lanes.retry_later(one, 10)
    for offset in range(4, 8):
        lanes.add(delivery(offset, f"run-{offset}"))
    assert [offsets(lanes.take(10, 2)) for _ in range(5)] == [[1], [4, 5], [2], [6, 7], [3]]


def test_returned_events_go_back_before_what_came_meanwhile():
    lanes = Lanes()
    for offset in (1, 2, 3):
        lanes.add(delivery(offset))
    one, two, three = lanes.take(0, 3)
    lanes.add(delivery(4))
    for returned in (three, one):
        returned.attempts = 1
        lanes.retry_later(returned, 5)
    lanes.acknowledged(two)
    order = []
    for _ in range(3):
        (tracked,) = lanes.take(5, 3)
        order.append(tracked.entry.offset)
        lanes.acknowledged(tracked)
    assert order == [1, 3, 4]


def test_a_call_takes_either_replayed_events_or_others():
    class Replayed(Nowhere):
        replayed = True

    lanes = Lanes()
    for offset, run in ((1, "a"), (2, "b"), (3, "c")):
        lanes.add(delivery(offset, run))
    for offset, run in ((4, "a"), (5, "d")):
        lanes.add(Delivery(JournalEntry(offset, f"e{offset}", "run.updated", run, b"{}"), Replayed()))
    tracked = []
    while batch := lanes.take(0, 10):
        tracked.append(offsets(batch))
        for one in batch:
            lanes.acknowledged(one)
    assert tracked == [[1, 2, 3], [4, 5]]
