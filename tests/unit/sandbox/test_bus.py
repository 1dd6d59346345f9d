import itertools
import json

from consumer.sandbox import ALL_CHANGES, STEP_TRACKER, TRACKER, EventBus, Ledger, ManualClock, entity_channel
from consumer.sandbox.bus import ChannelCatalogue
from consumer.sandbox.change_events import ChangeEvent

HOUR = 3_600_000


def event(number: int, sequence: int = 1, entity: str = TRACKER) -> ChangeEvent:
    return ChangeEvent(entity, number, sequence, {"ChangeEventHeader": {"commitNumber": number}})


def bus_at(clock: ManualClock) -> EventBus:
    return EventBus(clock=clock, seed=1)


def numbers(bus: EventBus) -> list[int]:
    return [json.loads(each.data)["payload"]["ChangeEventHeader"]["commitNumber"] for each in bus.log]


def test_replay_ids_increase_in_publication_order_and_leave_gaps(clock: ManualClock) -> None:
    bus = bus_at(clock)
    for number in range(200):
        bus.publish(event(number))
    ids = [each.replay_id for each in bus.log]
    assert ids == sorted(set(ids))
    assert {1} < {after - before for before, after in itertools.pairwise(ids)}
    assert [json.loads(each.data)["event"] for each in bus.log] == [{"replayId": each} for each in ids]


def test_a_held_event_is_published_when_due_after_younger_ones_and_counts_as_late(clock: ManualClock) -> None:
    bus = bus_at(clock)
    bus.hold(event(1), 100)
    bus.publish(event(2))
    bus.release(99)
    assert numbers(bus) == [2]
    assert bus.next_due == 100
    bus.release(100)
    assert numbers(bus) == [2, 1]
    assert bus.counters["late"] == 1
    assert bus.next_due is None


def test_a_held_event_that_nothing_overtakes_is_not_late(clock: ManualClock) -> None:
    bus = bus_at(clock)
    bus.hold(event(1), 100)
    bus.release_all()
    bus.publish(event(2))
    assert bus.counters["late"] == 0


def test_resuming_after_a_stored_id_starts_behind_it(clock: ManualClock) -> None:
    bus = bus_at(clock)
    for number in range(3):
        bus.publish(event(number))
    assert bus.resume_after(bus.log[1].replay_id) == 2
    assert (bus.resume_after(-1), bus.resume_after(-2)) == (3, 0)
    assert bus.resume_after(bus.log[-1].replay_id + 1) is None
    assert bus.resume_after(1) is None


def test_events_are_forgotten_after_the_retention_time_but_stay_in_the_ledger(clock: ManualClock) -> None:
    bus = bus_at(clock)
    bus.publish(event(1))
    clock.advance(71 * HOUR)
    bus.publish(event(2))
    clock.advance(2 * HOUR)
    assert bus.floor == 1
    assert bus.resume_after(bus.log[0].replay_id) is None
    assert bus.resume_after(bus.log[1].replay_id) == 2
    assert bus.resume_after(-2) == 1
    assert len(Ledger(bus, ChannelCatalogue(selected=(TRACKER,), custom={}))) == 2


def test_expiring_forgets_through_an_id_or_everything(clock: ManualClock) -> None:
    bus = bus_at(clock)
    for number in range(4):
        bus.publish(event(number))
    assert bus.expire(bus.log[1].replay_id) == 2
    assert bus.resume_after(bus.log[1].replay_id) is None
    assert bus.resume_after(bus.log[2].replay_id) == 3
    assert bus.expire() == 2
    assert bus.resume_after(bus.log[3].replay_id) is None


def test_the_ledger_shows_each_channel_its_entities_only(clock: ManualClock) -> None:
    bus = bus_at(clock)
    channels = ChannelCatalogue(selected=(TRACKER, STEP_TRACKER), custom={"/data/Runs__chn": (TRACKER,)})
    ledger = Ledger(bus, channels)
    bus.publish(event(1))
    bus.publish(event(1, 2, STEP_TRACKER))
    first, second = (each.replay_id for each in bus.log)
    assert ledger.replay_ids(channel=ALL_CHANGES) == [first, second]
    assert (
        ledger.replay_ids(channel=entity_channel(TRACKER))
        == ledger.replay_ids(channel="/data/Runs__chn")
        == [first]
    )
    assert ledger.replay_ids(channel="/data/Nonsense") == []
    assert ledger.replay_ids(after=first) == [second]
    assert [each["channel"] for each in ledger.messages()] == [
        entity_channel(TRACKER),
        entity_channel(STEP_TRACKER),
    ]


def test_an_injected_object_gets_a_replay_id_and_anything_else_goes_out_as_it_is(clock: ManualClock) -> None:
    bus = bus_at(clock)
    replay_id = bus.inject({"payload": {}})
    bus.inject(b'{"event": {"replayId": "seven"}}')
    bus.inject("not even an object")
    assert [json.loads(each.data) for each in bus.log] == [
        {"payload": {}, "event": {"replayId": replay_id}},
        {"event": {"replayId": "seven"}},
        "not even an object",
    ]
