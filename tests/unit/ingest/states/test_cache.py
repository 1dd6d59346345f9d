"""What is kept of records in memory weighs no more than it may, however much becomes known of how few."""

from consumer.domain.record_state import RecordState
from consumer.ingest.states.cache import RecordCache


def known(record_id, identities=0, fields=0):
    return RecordState(
        "ActionCadenceTracker",
        record_id,
        {str(number): (number, (0, 1, 1)) for number in range(fields)},
        seen={str(number): number for number in range(identities)},
    )


def test_what_was_not_needed_for_longest_is_let_go_of_first():
    cache = RecordCache(3 * 8)
    for one in ("a", "b", "c"):
        cache.put(one, known(one))
    cache.touch("a")
    cache.put("d", None)
    cache.evict(())
    assert [one in cache for one in ("a", "b", "c", "d")] == [True, False, True, True]
    assert cache.get("d") is None


def test_what_is_not_written_yet_stays_however_heavy_it_is():
    cache = RecordCache(8)
    for one in ("written", "unwritten", "loaded with it"):
        cache.put(one, known(one))
    cache.evict({"unwritten"})
    assert [one in cache for one in ("written", "unwritten", "loaded with it")] == [False, True, True]
    cache.evict(())
    assert cache.weight == 8


def test_a_record_weighs_what_is_known_of_it():
    cache = RecordCache(100)
    cache.put("quiet", known("quiet", fields=10))
    cache.put("busy", known("busy", identities=10))
    assert cache.weight == 36
    cache.put("busy", known("busy", identities=80))
    cache.evict(())
    assert "quiet" not in cache
    assert cache.weight == 88


def test_a_record_that_is_heavier_than_everything_may_be_is_let_go_of_too():
    cache = RecordCache(50)
    cache.put("busy", known("busy", identities=400))
    cache.evict(())
    assert len(cache) == cache.weight == 0


def test_what_is_forgotten_weighs_nothing():
    cache = RecordCache(100)
    cache.put("a", known("a", fields=5))
    cache.discard("a")
    cache.discard("never kept")
    assert cache.weight == len(cache) == 0
