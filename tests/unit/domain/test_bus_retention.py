from dataclasses import dataclass

import pytest

from consumer.domain.bus_retention import (
    BUS_RETENTION_MS,
    HEADROOM_WARNINGS_MS,
    HOUR_MS,
    LOW_HEADROOM_MS,
    headroom_ms,
)

NOW = 1_800_000_000_000


@dataclass(frozen=True)
class Times:
    position_ms: int | None
    polled_through_ms: int | None
    birth_ms: int


def test_the_bus_keeps_changes_for_three_days_and_a_day_of_it_is_little():
    assert BUS_RETENTION_MS == 72 * HOUR_MS
    assert LOW_HEADROOM_MS == HEADROOM_WARNINGS_MS[0] == 24 * HOUR_MS
    assert list(HEADROOM_WARNINGS_MS) == sorted(HEADROOM_WARNINGS_MS, reverse=True)


@pytest.mark.parametrize(
    ("ages", "hours"),
    [((None, None, 10), 62), ((5, None, 10), 67), ((5, 3, 10), 69), ((90, None, 100), -18)],
)
def test_headroom_counts_from_the_newest_proof_that_nothing_was_missed(ages, hours):
    position, polled, birth = (None if age is None else NOW - age * HOUR_MS for age in ages)
    assert headroom_ms(Times(position, polled, birth), NOW) == hours * HOUR_MS
