"""A minute (five where CI says so) of the storm that ``make storm`` lets rage for half an hour."""

import os
from pathlib import Path

import pytest

from tests.rounds.storm import storm_of

SECONDS = 300 if os.environ.get("CI") else 60

pytestmark = [pytest.mark.long, pytest.mark.timeout(SECONDS + 120)]


async def test_a_storm_of_connection_faults_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    storm = await storm_of(tmp_path, SECONDS, seed=1)
    print(f"\n{storm}")
    assert storm.faults.total() > 50
    assert storm.ends.total() > 30, "the faults were felt"
    assert storm.unready > 10, "and were told"
